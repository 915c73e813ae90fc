"""The bandit of arXiv 2402.12366 against the published figures, and against values that were computed apart from it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rlaif.errors import ConfigError
from rlaif.evaluation.bandit import Bandit, Policies, crossing, quality, rlaif_by_student, simulate, solve
from rlaif.functional.bandit import drawn_pairs, expected_pairs, fit_rewards, fit_softmax, kl_regularized_policy
from rlaif.functional.seeds import generator


@pytest.fixture(scope="module")
def solved() -> Policies:
    return solve(Bandit())


def test_the_published_figures(solved: Policies) -> None:
    means = {name: quality(policy).mean for name, policy in solved.by_name.items()}
    published = {"student": 40.0, "teacher": 78.5, "rlaif": 51.8, "sft": 70.7}
    assert means == pytest.approx(published, abs=0.1)
    rlaif = quality(solved.rlaif)
    assert rlaif.mode == 52 and rlaif.deviation == pytest.approx(3.18, abs=0.01)
    assert rlaif.peak == pytest.approx(0.131, abs=1e-3)
    assert quality(solved.sft).deviation == pytest.approx(22.1, abs=0.1)


@pytest.mark.parametrize(("beta", "mean"), [(0.05, 52.10), (0.2, 51.17), (0.5, 48.04), (1.0, 44.77)])
def test_a_stronger_kl_keeps_the_policy_at_the_student(solved: Policies, beta: float, mean: float) -> None:
    policy = kl_regularized_policy(solved.student, solved.rewards, beta)
    assert quality(policy).mean == pytest.approx(mean, abs=0.01)


def test_feedback_on_a_better_student_beats_imitation(solved: Policies) -> None:
    """At a student centre of about 59 as SFT is trained, of about 67 against the teacher itself."""
    centers = [50.0, 60.0, 70.0]
    means = rlaif_by_student(Bandit(), centers)
    assert means == pytest.approx([61.8, 71.8, 81.8], abs=0.05)
    assert crossing(centers, means, quality(solved.sft).mean) == pytest.approx(59, abs=0.5)
    assert crossing(centers, means, quality(solved.teacher).mean) == pytest.approx(67, abs=0.5)
    assert crossing(centers, means, 90.0) is None


def test_draws_come_to_what_is_expected(solved: Policies) -> None:
    drawn = simulate(Bandit(), seed=3)
    assert quality(drawn.rlaif).mean == pytest.approx(quality(solved.rlaif).mean, abs=0.2)
    assert quality(drawn.sft).mean == pytest.approx(quality(solved.sft).mean, abs=0.2)
    assert not torch.equal(drawn.rewards, solved.rewards)


def test_pairs_hold_the_worse_action_first() -> None:
    policy = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    pairs = expected_pairs(policy)
    assert pairs.flatten().tolist() == pytest.approx([0, 0.12, 0.2, 0, 0, 0.3, 0, 0, 0])
    torch.testing.assert_close(drawn_pairs(policy, 200_000, generator(1)), pairs, atol=5e-3, rtol=0)


def test_rewards_follow_the_gradient_of_the_pairwise_loss() -> None:
    pairs = expected_pairs(torch.tensor([0.2, 0.3, 0.4, 0.1], dtype=torch.float64))
    rewards = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([rewards], lr=0.5)
    worse, better = torch.triu_indices(4, 4, offset=1)
    for _ in range(20):
        optimizer.zero_grad()
        (-pairs[worse, better] * F.logsigmoid(rewards[better] - rewards[worse])).sum().backward()
        optimizer.step()
    torch.testing.assert_close(fit_rewards(pairs, steps=20, lr=0.5), rewards.detach())


def test_imitation_ends_at_the_teacher() -> None:
    target = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    torch.testing.assert_close(fit_softmax(target, steps=2000, lr=0.5), target)


def test_all_settings_out_of_range_are_told() -> None:
    with pytest.raises(ConfigError) as error:
        Bandit(student=120.0, beta=0.0, sft_steps=0)
    assert [problem.split("=")[0] for problem in error.value.problems] == ["--student", "--beta", "--sft-steps"]
