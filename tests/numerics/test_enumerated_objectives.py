"""Objectives on a policy of nine responses: the exact gradient of what they say, and that they learn.

Two tokens of three, the second drawn from a table row that the first chooses.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from made_rollouts import rollouts
from torch import Tensor

from rlaif.functional.seeds import generator
from rlaif.objectives.base import PolicyOutputs, RolloutObjective
from rlaif.objectives.grpo import Grpo
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


def expected_gradient(objective: RolloutObjective, theta: Tensor, *names: str) -> Tensor:
    """Gradient of terms over all ordered pairs of responses to one prompt, weighted by their probability."""
    values, found = torch.tensor([0.4, -1.0, 0.3, 2.0]), torch.zeros_like(theta)
    for pair in itertools.product(RESPONSES, repeat=2):
        responses = list(pair)
        batch = objective.credit(toy_rollouts(theta, responses, objective.needs.samples_per_prompt, values))
        losses = objective.losses(toy_outputs(theta, responses, values), batch)
        terms = torch.stack([losses.terms[name].total for name in names]).sum() / batch.loss_shares.sum()
        probability = logprobs_of(theta, responses).detach().sum().exp()
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


@pytest.mark.parametrize("kl", ["loss", "k2", "weighted_k3"])
@pytest.mark.parametrize("make", [Grpo, Ppo, Reinforce, Rloo])
def test_the_kl_as_a_loss_has_the_gradient_of_the_kl_at_the_visited_states(make: Any, kl: str) -> None:
    options = UNSCALED if make in (Grpo, Ppo) else {}
    objective = make(beta=0.25, kl=kl, **options)
    theta = torch.randn(4, 3, generator=generator("theta")).requires_grad_()
    kl_of = [
        torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=t[row]) for t in (theta, REFERENCE)))
        for row in range(4)
    ]
    visits = theta[0].softmax(-1).detach()
    surrogate = 0.25 * (kl_of[0] + (visits * torch.stack(kl_of[1:])).sum())
    (exact,) = torch.autograd.grad(surrogate, theta)
    torch.testing.assert_close(expected_gradient(objective, theta, "kl_loss"), exact, rtol=1e-4, atol=1e-5)


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
