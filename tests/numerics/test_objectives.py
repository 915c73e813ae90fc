"""Objectives against small sums done by hand, and against the exact gradient of J on a tiny problem."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import zscore
from sklearn.metrics import explained_variance_score
from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.baselines import explained_variance
from rlaif.objectives.base import PolicyOutputs, Updates
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rollouts.batch import Rollouts

NAN = float("nan")


def rollouts(
    rewards: list[float],
    mask: list[list[bool]],
    *,
    logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    values: Tensor | None = None,
    samples_per_prompt: int = 1,
) -> Rollouts:
    mask_BT = torch.tensor(mask)
    rewards_B = torch.tensor(rewards)
    zeros_BT = torch.zeros(mask_BT.shape)
    return Rollouts(
        prompt_ids=[[0]] * (len(rewards) // samples_per_prompt),
        tokens_BT=zeros_BT.long(),
        finished_B=torch.ones_like(rewards_B, dtype=torch.bool),
        rewards_B=rewards_B,
        scored_mask_B=rewards_B.isfinite(),
        mask_BT=mask_BT,
        logprobs_BT=zeros_BT if logprobs is None else logprobs,
        ref_logprobs_BT=zeros_BT if ref_logprobs is None else ref_logprobs,
        values_BT=zeros_BT if values is None else values,
        samples_per_prompt=samples_per_prompt,
    )


def test_reinforce_credits_return_to_go_minus_value() -> None:
    credit = Reinforce(beta=0.5, advantages="unscaled").credit(
        rollouts(
            [4.0, NAN],
            [[True, True, False], [True, True, True]],
            logprobs=torch.tensor([[-1.0, -1.0, 0.0], [-1.0, -1.0, -1.0]]),
            ref_logprobs=torch.tensor([[-3.0, -2.0, 0.0], [-9.0, -9.0, -9.0]]),
            values=torch.tensor([[1.0, 1.0, 7.0], [1.0, 1.0, 1.0]]),
        )
    )
    # Terminal (1 - 0.5) * 4 = 2; KL rewards -0.5 * 2 = -1 and -0.5 * 1 = -0.5.
    assert credit.returns_BT.tolist() == [[0.5, 1.5, 0.0], [0.0, 0.0, 0.0]]
    assert credit.advantages_BT.tolist() == [[-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert credit.counted_mask_B.tolist() == [True, False]


def test_a_missing_reward_changes_nothing_else() -> None:
    mask = [[True, True], [True, False], [True, True]]
    values = torch.tensor([[0.1, 0.2], [0.3, 0.0], [5.0, 5.0]])
    with_missing = Reinforce().credit(rollouts([1.0, -2.0, NAN], mask, values=values))
    without = Reinforce().credit(rollouts([1.0, -2.0], mask[:2], values=values[:2]))
    torch.testing.assert_close(with_missing.advantages_BT[:2], without.advantages_BT)
    logprobs_BT = torch.full((3, 2), -1.0, requires_grad=True)
    outputs = PolicyOutputs(logprobs_BT, values.clone().requires_grad_(), None, None)
    losses = Reinforce().losses(outputs, with_missing)
    assert list(losses.terms) == ["loss", "value_loss"]
    (losses.terms["loss"].mean + losses.terms["value_loss"].mean).backward()
    assert losses.terms["loss"].count == 2
    assert logprobs_BT.grad is not None
    assert logprobs_BT.grad[2].tolist() == [0.0, 0.0]
    assert logprobs_BT.grad.isfinite().all()


def test_scaled_advantages_have_unit_size() -> None:
    inputs = rollouts([1.0, -2.0, 4.0], [[True], [True], [True]])
    plain, standardized, by_root_mean_square = (
        Reinforce(beta=0.0, advantages=how).credit(inputs).advantages_BT.flatten().tolist()  # type: ignore[union-attr]
        for how in ("unscaled", "standardized", "root_mean_square")
    )
    assert plain == [1.0, -2.0, 4.0]
    assert standardized == pytest.approx(zscore(plain).tolist(), rel=1e-5)
    assert by_root_mean_square == pytest.approx([x / 7**0.5 for x in plain], rel=1e-5)  # (1 + 4 + 16) / 3 = 7


def test_the_batch_baseline_is_the_mean_return_of_the_other_responses() -> None:
    mask = [[True, True], [True, False], [True, True]]
    credit = Reinforce(beta=0.0, baseline="batch", advantages="unscaled").credit(rollouts([1.0, 4.0, NAN], mask))
    assert credit.advantages_BT is not None and credit.counted_mask_B is not None
    assert credit.advantages_BT.tolist() == [[-3.0, -3.0], [3.0, 0.0], [0.0, 0.0]]
    assert credit.counted_mask_B.tolist() == [True, True, False]
    alone = Reinforce(beta=0.0, baseline="batch").credit(rollouts([1.0, NAN, NAN], mask))
    assert alone.counted_mask_B is not None and not alone.counted_mask_B.any()


@pytest.mark.parametrize("objective", [Reinforce(), Reinforce(advantages="root_mean_square"), Rloo()])
def test_a_reward_without_spread_gives_no_advantage(objective: Reinforce | Rloo) -> None:
    """A baseline near the returns leaves rounding, which no scaling may blow up."""
    mask, rewards = [[True] * 7] * 4, [3.3 + noise for noise in (0.0, 2.4e-7, -2.4e-7, 0.0)]
    values = torch.full((4, 7), 0.95 * 3.3)
    credit = objective.credit(rollouts(rewards, mask, values=values, samples_per_prompt=2))
    assert credit.advantages_BT is not None
    assert credit.advantages_BT.abs().max() == 0.0


def test_rloo_leaves_the_sample_itself_out_of_its_baseline() -> None:
    mask = [[True], [True], [True], [True]]
    credit = Rloo(beta=0.0, advantages="unscaled").credit(rollouts([1.0, 3.0, 5.0, NAN], mask, samples_per_prompt=2))
    assert credit.advantages_BT.flatten().tolist() == [-2.0, 2.0, 0.0, 0.0]
    assert credit.counted_mask_B.tolist() == [True, True, False, False]
    with pytest.raises(ConfigError, match="samples_per_prompt=1"):
        Rloo().credit(rollouts([1.0, 3.0], mask[:2]))


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_beta_outside_its_range_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match=r"policy\.objective\.beta"):
        Reinforce(beta=beta)


def exact_objective(theta: Tensor, ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    """J of a policy over two binary tokens, by summing all four responses."""
    total = torch.zeros((), dtype=torch.float64)
    for first, second in itertools.product(range(2), repeat=2):
        log_p = theta[0].log_softmax(-1)[first] + theta[1 + first].log_softmax(-1)[second]
        log_ref = ref[0].log_softmax(-1)[first] + ref[1 + first].log_softmax(-1)[second]
        total = total + log_p.exp() * ((1 - beta) * reward[first, second] - beta * (log_p - log_ref))
    return total


@pytest.mark.parametrize(
    "objective", [Reinforce(beta=0.3, advantages="unscaled"), Rloo(beta=0.3, advantages="unscaled")]
)
def test_the_expected_gradient_is_that_of_the_exact_objective(objective: Reinforce | Rloo) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    ref = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    reward = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    (exact,) = torch.autograd.grad(exact_objective(theta, ref, reward, 0.3), theta)

    responses = list(itertools.product(range(2), repeat=2))
    estimate = torch.zeros_like(exact)
    # Every ordered pair of responses to one prompt, weighted by its probability: an expectation, not a sample.
    for pair in itertools.product(responses, repeat=2):

        def logprobs(table: Tensor, pair: tuple[tuple[int, int], ...] = pair) -> Tensor:
            rows = [[table[0].log_softmax(-1)[a], table[1 + a].log_softmax(-1)[b]] for a, b in pair]
            return torch.stack([torch.stack(row) for row in rows])

        logprobs_BT = logprobs(theta)
        scored = Rollouts(
            prompt_ids=[[0]],
            tokens_BT=torch.tensor(pair),
            finished_B=torch.tensor([True, True]),
            rewards_B=torch.stack([reward[a, b] for a, b in pair]),
            scored_mask_B=torch.tensor([True, True]),
            mask_BT=torch.ones(2, 2, dtype=torch.bool),
            logprobs_BT=logprobs_BT.detach(),
            ref_logprobs_BT=logprobs(ref),
            values_BT=torch.full((2, 2), 0.7),  # any baseline leaves the expectation alone
            samples_per_prompt=2,
        )
        credit = objective.credit(scored)
        outputs = PolicyOutputs(logprobs_BT, scored.values_BT, None, None)
        loss = objective.losses(outputs, credit).terms["loss"].mean
        (gradient,) = torch.autograd.grad(-loss, theta)
        estimate += logprobs_BT.detach().sum().exp() * gradient
    torch.testing.assert_close(estimate, exact, rtol=1e-5, atol=1e-6)


def test_kl_as_a_loss_has_the_gradient_of_its_own_surrogate() -> None:
    logits_BTV = torch.tensor([[[0.2, -0.4, 1.0]]], requires_grad=True)
    ref_logits_BTV = torch.tensor([[[0.0, 0.5, 0.1]]])
    zeros_BT = torch.zeros(1, 1)
    objective = Reinforce(beta=0.25, kl="loss")
    assert objective.needs.vocabulary_logits and not Reinforce().needs.vocabulary_logits
    outputs = PolicyOutputs(zeros_BT, zeros_BT, logits_BTV, ref_logits_BTV)
    kl = objective.losses(outputs, objective.credit(rollouts([1.0], [[True]]))).terms["kl_loss"]
    expected = 0.25 * torch.nn.functional.kl_div(
        ref_logits_BTV.log_softmax(-1), logits_BTV.log_softmax(-1), log_target=True, reduction="sum"
    )
    assert kl.mean.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(loss, logits_BTV)[0] for loss in (kl.mean, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("epochs", "minibatches"), [(0, 1), (1, 0)])
def test_a_rollout_has_at_least_one_update(epochs: int, minibatches: int) -> None:
    assert Updates(epochs=2, minibatches=3).total == 6
    with pytest.raises(ConfigError, match="must be at least 1"):
        Updates(epochs=epochs, minibatches=minibatches)


def test_explained_variance_is_sklearns() -> None:
    generator = torch.Generator().manual_seed(0)
    returns_BT, values_BT = (torch.randn(6, 5, generator=generator) + shift for shift in (3.0, -1.0))
    mask_BT = torch.rand(6, 5, generator=generator) < 0.7
    ours = explained_variance(returns_BT + 0.3 * values_BT, returns_BT, mask_BT).item()
    theirs = explained_variance_score(returns_BT[mask_BT].numpy(), (returns_BT + 0.3 * values_BT)[mask_BT].numpy())
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert explained_variance(values_BT, torch.full((6, 5), 2.0), mask_BT) == 0.0
