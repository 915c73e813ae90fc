"""Objectives on a policy of nine responses: the exact gradient of what they say, and that they learn.

Two tokens of three, the second drawn from a table row that the first chooses.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from made_rollouts import rollouts
from scipy import stats
from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.seeds import generator
from rlaif.objectives.base import PolicyOutputs, RolloutObjective
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.kl import GrpoKlPlace, KlPenalty
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rollouts.batch import Rollouts

RESPONSES = list(itertools.product(range(3), repeat=2))
REWARDS = torch.randn(3, 3, generator=generator("rewards"))
REFERENCE = torch.randn(4, 3, generator=generator("reference table"))


def states_of(table: Tensor, responses: list[tuple[int, int]]) -> Tensor:
    """Row of the table at each of both states of each response."""
    first_B = torch.tensor([first for first, _ in responses])
    return table[torch.stack([torch.zeros_like(first_B), 1 + first_B], dim=1)]


def logprobs_of(theta: Tensor, responses: list[tuple[int, int]]) -> Tensor:
    return states_of(theta, responses).log_softmax(-1).gather(-1, torch.tensor(responses)[..., None])[..., 0]


def expected(theta: Tensor, reward_weight: float, beta: float) -> Tensor:
    """E[w r - β KL] over all nine responses."""
    log_p, log_ref = (logprobs_of(table, RESPONSES).sum(-1) for table in (theta, REFERENCE))
    return (log_p.exp() * (reward_weight * REWARDS.flatten() - beta * (log_p - log_ref))).sum()


def toy_rollouts(theta: Tensor, responses: list[tuple[int, int]], samples_per_prompt: int, values: Tensor) -> Rollouts:
    return rollouts(
        [REWARDS[first, second].item() for first, second in responses],
        [2] * len(responses),
        samples_per_prompt,
        logprobs_BT=logprobs_of(theta, responses).detach(),
        ref_logprobs_BT=logprobs_of(REFERENCE, responses),
        values_BT=states_of(values, responses).detach(),
    )


def toy_outputs(theta: Tensor, responses: list[tuple[int, int]], values: Tensor) -> PolicyOutputs:
    logits = [states_of(table, responses) for table in (theta, REFERENCE)]
    return PolicyOutputs(logprobs_of(theta, responses), states_of(values, responses), *logits)


def expected_gradient(
    objective: RolloutObjective, theta: Tensor, *names: str, sampled_by: Tensor | None = None
) -> Tensor:
    """Gradient of terms over all ordered pairs of responses to one prompt, weighted by their probability.

    The responses are those of the policy itself, or of the one before some updates.
    """
    values, found = torch.tensor([0.4, -1.0, 0.3, 2.0]), torch.zeros_like(theta)
    old = theta if sampled_by is None else sampled_by
    for pair in itertools.product(RESPONSES, repeat=2):
        responses = list(pair)
        batch = objective.credit(toy_rollouts(old, responses, objective.needs.samples_per_prompt, values))
        losses = objective.losses(toy_outputs(theta, responses, values), batch)
        terms = torch.stack([losses.terms[name].total for name in names]).sum() / batch.loss_shares.sum()
        probability = logprobs_of(old, responses).detach().sum().exp()
        found += probability * torch.autograd.grad(terms, theta)[0]
    return found


UNSCALED: dict[str, Any] = {"advantages": "unscaled", "per": "constant", "max_new_tokens": 1}
"""A sum over tokens, averaged over responses: the estimator whose expectation is known."""


@pytest.mark.parametrize(
    ("objective", "reward_weight", "factor"),
    [
        (Ppo(beta=0.3, policy_lambda=1.0, **UNSCALED), 0.7, 1.0),
        (Ppo(beta=0.3, policy_lambda=1.0, reward_weight="one", **UNSCALED), 1.0, 1.0),
        (Grpo(beta=0.3, kl="reward", **UNSCALED), 1.0, 0.5),
        (Grpo(beta=0.3, kl="reward", reward_weight="one_minus_beta", **UNSCALED), 0.7, 0.5),
        (Reinforce(beta=0.3, reward_weight="one", advantages="unscaled"), 1.0, 1.0),
        (Rloo(beta=0.3, reward_weight="one", advantages="unscaled"), 1.0, 1.0),
    ],
)
def test_the_first_update_has_the_gradient_of_the_exact_objective(
    objective: RolloutObjective, reward_weight: float, factor: float
) -> None:
    """The group's own mean as a baseline shrinks it by (K - 1)/K = ½ (arXiv 2503.20783, appendix A)."""
    theta = torch.randn(4, 3, generator=generator("theta")).requires_grad_()
    (exact,) = torch.autograd.grad(expected(theta, reward_weight, 0.3), theta)
    torch.testing.assert_close(-expected_gradient(objective, theta, "loss"), factor * exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("updates", [0.0, 0.7])
@pytest.mark.parametrize("kl", ["loss", "k2", "weighted_k3"])
@pytest.mark.parametrize("make", [Grpo, Ppo, Reinforce, Rloo])
def test_the_kl_as_a_loss_has_the_gradient_of_the_kl_at_the_visited_states(make: Any, kl: str, updates: float) -> None:
    options = UNSCALED if make in (Grpo, Ppo) else {}
    objective = make(beta=0.25, kl=kl, **options)
    theta = torch.randn(4, 3, generator=generator("theta")).requires_grad_()
    old = theta.detach() + updates * torch.randn(4, 3, generator=generator("updates"))
    kl_of = [
        torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=t[row]) for t in (theta, REFERENCE)))
        for row in range(4)
    ]
    visits = old[0].softmax(-1)
    surrogate = 0.25 * (kl_of[0] + (visits * torch.stack(kl_of[1:])).sum())
    (exact,) = torch.autograd.grad(surrogate, theta)
    ours = expected_gradient(objective, theta, "kl_loss", sampled_by=old)
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [Grpo(), Ppo()])
def test_logged_ratio_and_kl_of_the_updates_are_those_of_the_enumerated_policies(objective: Any) -> None:
    theta = torch.randn(4, 3, generator=generator("theta"))
    old = theta + 0.7 * torch.randn(4, 3, generator=generator("updates"))
    values, found = torch.zeros(4), {"ratio": 0.0, "update_kl": 0.0}
    for pair in itertools.product(RESPONSES, repeat=2):
        responses = list(pair)
        batch = objective.credit(toy_rollouts(old, responses, objective.needs.samples_per_prompt, values))
        measures = objective.losses(toy_outputs(theta, responses, values), batch).measures
        for name in found:
            found[name] += (logprobs_of(old, responses).sum().exp() * measures[name].mean).item()
    kl_of = [
        torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=t[row]) for t in (theta, old)))
        for row in range(4)
    ]
    exact = (kl_of[0] + (old[0].softmax(-1) * torch.stack(kl_of[1:])).sum()) / 2
    assert found["ratio"] == pytest.approx(1.0, rel=1e-4)
    assert found["update_kl"] == pytest.approx(exact.item(), rel=1e-3)


def test_the_kl_stands_in_one_place_only() -> None:
    batch = rollouts([1.0, 2.0], [2, 1], 1, ref_logprobs_BT=torch.full((2, 2), -3.0))
    plain_BT = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
    kl_BT = (batch.logprobs_BT - batch.ref_logprobs_BT) * batch.mask_BT
    for place in get_args(GrpoKlPlace):
        penalty = KlPenalty(1.0, place, "one")
        expected_BT = plain_BT - kl_BT if place == "reward" else plain_BT
        torch.testing.assert_close(penalty.token_rewards(batch), expected_BT)
        torch.testing.assert_close(penalty.response_rewards(batch), expected_BT.sum(-1))
        assert penalty.needs_vocabulary == (place == "loss")
        assert not KlPenalty(0.0, place, "one").needs_vocabulary
    credited = Reinforce(beta=0.0, kl="k2", advantages="unscaled").credit(batch)
    outputs = PolicyOutputs(batch.logprobs_BT, None, None, None)
    assert set(KlPenalty(1.0, "k2", "one").terms(outputs, credited)) == {"kl_loss"}
    assert KlPenalty(0.0, "k2", "one").terms(outputs, credited) == {}
    assert KlPenalty(1.0, "reward", "one").terms(outputs, credited) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": -0.5}, "it shares with the reward"),
        ({"beta": 1.0}, "it shares with the reward"),
        ({"beta": -0.5, "reward_weight": "one"}, "must be at least 0"),
        ({"beta": math.inf, "reward_weight": "one"}, "must be at least 0"),
    ],
)
def test_a_beta_out_of_range_is_told_with_what_it_shares(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Reinforce(**options)
    Reinforce(beta=0.0)
    Reinforce(beta=1.0, reward_weight="one")


def test_a_missing_reward_changes_no_advantage_of_small_rewards() -> None:
    """[1, 3, 2, missing] gives the first three what [1, 3, 2] gives, whatever the unit of the rewards."""
    for unit in (1.0, 1e-9):
        objective = Rloo(beta=0.0, advantages="standardized")
        made = [
            objective.credit(rollouts([unit, 3 * unit, 2 * unit, *more], [2] * (3 + len(more)), 3 + len(more)))
            for more in ([], [math.nan])
        ]
        first, second = (batch.advantages_BT[:3] for batch in made)
        torch.testing.assert_close(first, second)
        assert first[:, 0].tolist() == pytest.approx(stats.zscore([1.0, 3.0, 2.0]), abs=1e-4)


def test_k3_of_grpo_has_the_gradient_of_the_reverse_kl() -> None:
    theta = torch.randn(4, 3, generator=generator("theta")).requires_grad_()
    kl_of = [
        torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=t[row]) for t in (REFERENCE, theta)))
        for row in range(4)
    ]
    visits = theta[0].softmax(-1).detach()
    (exact,) = torch.autograd.grad(0.25 * (kl_of[0] + (visits * torch.stack(kl_of[1:])).sum()), theta)
    ours = expected_gradient(Grpo(beta=0.25, kl="k3", **UNSCALED), theta, "kl_loss")
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)


def test_the_entropy_bonus_pulls_towards_the_uniform_distribution() -> None:
    theta = torch.tensor([[3.0, 0.0, 0.0]] + [[0.0] * 3] * 3, requires_grad=True)
    gradient = expected_gradient(Grpo(beta=0.0, entropy=0.5, **UNSCALED), theta, "entropy_loss")
    (exact,) = torch.autograd.grad(-0.5 * torch.distributions.Categorical(logits=theta[0]).entropy(), theta)
    torch.testing.assert_close(gradient[0], exact[0], rtol=1e-4, atol=1e-6)


OBJECTIVES = {
    "grpo": Grpo(minibatches=2),
    "grpo, k3": Grpo(kl="k3", epochs=2),
    "grpo, kl over the vocabulary": Grpo(kl="loss", entropy=0.01),
    "dr_grpo": Grpo(beta=0.0, advantages="unscaled", per="constant", max_new_tokens=2),
    "dapo": Grpo(
        beta=0.0, clip_high=0.28, per="step", dynamic_sampling=True, overlong_buffer=1, max_new_tokens=3, minibatches=2
    ),
    "gspo": Grpo(ratio="sequence", clip_low=3e-4, clip_high=4e-4, minibatches=4),
    "ppo": Ppo(epochs=3, minibatches=2),
    "ppo, k2, mean over responses": Ppo(kl="k2", per="sequence", value_clip=None, entropy=0.01),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_policy_learns_as_far_as_its_objective_lets_it(objective: RolloutObjective) -> None:
    """30 rollouts of 16 prompts: the expected reward, summed over all responses, rises to most of what is possible."""
    torch.manual_seed(0)
    theta, values = torch.zeros(4, 3, requires_grad=True), torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [theta], "lr": 0.05}, {"params": [values], "lr": 0.1}])
    draws, minibatches = generator("draws"), objective.updates.minibatches
    start = expected(theta.detach(), 1.0, 0.0).item()
    for _ in range(30):
        probability = logprobs_of(theta.detach(), RESPONSES).sum(-1).exp()
        responses = [RESPONSES[i] for i in torch.multinomial(probability, 64, replacement=True, generator=draws)]
        batch = objective.credit(toy_rollouts(theta, responses, 4, values))
        size = 64 // minibatches
        for first in [part * size for part in range(minibatches)] * objective.updates.epochs:
            rows = batch.rows(slice(first, first + size))
            losses = objective.losses(toy_outputs(theta, responses[first : first + size], values), rows)
            terms = torch.stack([term.total for term in losses.terms.values()]).sum() / rows.loss_shares.sum().clamp(1)
            optimizer.zero_grad()
            terms.backward()
            optimizer.step()
    reached = expected(theta.detach(), 1.0, 0.0).item()
    assert reached > start + 0.7 * (REWARDS.max().item() - start)
