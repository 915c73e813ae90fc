"""The contracts of objectives as checks: ``rlaif-plugins check policy/objective=NAME`` and the like for pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlaif.objectives.base import (
    Losses,
    Needs,
    PairLabels,
    PairObjective,
    PairOutputs,
    PolicyOutputs,
    RolloutObjective,
    Updates,
)
from rlaif.rollouts.batch import Rollouts
from rlaif.testing.contract import CheckResult, require, run_checks

NUM_PROMPTS, SAMPLES_PER_PROMPT, NUM_TOKENS, NUM_WORDS = 3, 2, 5, 7
NUM_RESPONSES = NUM_PROMPTS * SAMPLES_PER_PROMPT
TOLERANCE = 1e-5


def check_objective(objective: RolloutObjective) -> list[CheckResult]:
    """Run every contract check on a rollout objective, on six made-up responses; none of them raises."""
    return run_checks(ROLLOUT_CHECKS, objective)


def check_pair_objective(objective: PairObjective) -> list[CheckResult]:
    """Run every contract check on a pair objective, on six made-up pairs; none of them raises."""
    return run_checks(PAIR_CHECKS, objective)


def check_declares(objective: RolloutObjective) -> str:
    """It says what it needs and how many optimizer steps a rollout takes."""
    require(isinstance(objective.needs, Needs), f"needs is a {type(objective.needs).__name__}, must be Needs")
    require(isinstance(objective.updates, Updates), f"updates is a {type(objective.updates).__name__}, must be Updates")
    return f"{objective.updates.total} optimizer steps per rollout"


def check_credit(objective: RolloutObjective) -> str:
    """Credit fills advantages, returns and the mask of what counts, and leaves the rollout as it was."""
    batch = rollouts(objective)
    rewards_B = batch.rewards_B
    credited = objective.credit(batch)
    for name, shape in (
        ("advantages_BT", (NUM_RESPONSES, NUM_TOKENS)),
        ("returns_BT", (NUM_RESPONSES, NUM_TOKENS)),
        ("counted_mask_B", (NUM_RESPONSES,)),
    ):
        tensor = getattr(credited, name)
        require(isinstance(tensor, Tensor) and tensor.shape == shape, f"credit must fill {name} with shape {shape}")
    assert credited.advantages_BT is not None and credited.counted_mask_B is not None
    require(bool(credited.advantages_BT.isfinite().all()), "an advantage is not finite where a reward is missing")
    require(not bool(credited.advantages_BT[~batch.mask_BT].any()), "advantages must be 0 outside mask_BT")
    require(not bool(credited.counted_mask_B[1]), "a response without a reward must not count")
    require(batch.advantages_BT is None and batch.rewards_B is rewards_B, "credit must not change its argument")
    return f"{int(credited.counted_mask_B.sum())} of {NUM_RESPONSES} responses count"


def check_losses(objective: RolloutObjective) -> str:
    """Losses are finite, have a gradient, and those of parts add up to those of the whole."""
    credited = objective.credit(rollouts(objective))
    outputs = policy_outputs(objective)
    whole = objective.losses(outputs, credited)
    _require_losses(whole, outputs.logprobs_BT)
    middle = SAMPLES_PER_PROMPT
    parts = [
        objective.losses(_cut(outputs, rows), credited.rows(rows))
        for rows in (slice(0, middle), slice(middle, NUM_RESPONSES))
    ]
    for name, term in whole.terms.items():
        together = sum(part.terms[name].total.item() for part in parts)
        require(
            abs(together - term.total.item()) <= TOLERANCE * max(1.0, abs(together)), f"{name}: parts do not add up"
        )
    return ", ".join(f"{name} {term.mean.item():.3g}" for name, term in whole.terms.items())


def check_pair_losses(objective: PairObjective) -> str:
    """Losses are finite, have a gradient, and do not change when both responses and labels are swapped."""
    first, second = _pair_outputs(0), _pair_outputs(1)
    p_first_B, weight_B = torch.linspace(0.0, 1.0, NUM_RESPONSES), torch.ones(NUM_RESPONSES)
    losses = objective.losses(first, second, PairLabels(p_first_B, weight_B))
    _require_losses(losses, first.logprobs_B)
    swapped = objective.losses(second, first, PairLabels(1.0 - p_first_B, weight_B))
    for name, term in losses.terms.items():
        off = abs(term.mean.item() - swapped.terms[name].mean.item())
        require(off <= TOLERANCE, f"{name} differs by {off:.3g} when both responses are swapped")
    return ", ".join(f"{name} {term.mean.item():.3g}" for name, term in losses.terms.items())


ROLLOUT_CHECKS: dict[str, Callable[[RolloutObjective], str]] = {
    "declares itself": check_declares,
    "credit": check_credit,
    "losses": check_losses,
}
PAIR_CHECKS: dict[str, Callable[[PairObjective], str]] = {"losses": check_pair_losses}


def _require_losses(losses: Losses, logprobs: Tensor) -> None:
    require(isinstance(losses, Losses) and bool(losses.terms), "losses must give Losses with at least one term")
    for name, term in losses.terms.items():
        require(bool(torch.isfinite(term.total)) and bool(torch.isfinite(term.count)), f"{name} is not finite")
    total = torch.stack([term.total for term in losses.terms.values()]).sum()
    require(total.requires_grad, "no term has a gradient")
    (gradient,) = torch.autograd.grad(total, logprobs, retain_graph=True, allow_unused=True)
    require(gradient is not None and bool(gradient.isfinite().all()), "log-probs get no finite gradient")
    require(bool(gradient.any()), "the gradient of every log-prob is 0")


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rollouts(objective: RolloutObjective) -> Rollouts:
    """Six responses of different lengths; the second one has no reward."""
    lengths_B = torch.tensor([5, 3, 4, 5, 2, 5])
    mask_BT = torch.arange(NUM_TOKENS) < lengths_B[:, None]
    shape = (NUM_RESPONSES, NUM_TOKENS)
    logprobs_BT = -_random(*shape, seed=1).abs() * mask_BT
    rewards_B = _random(NUM_RESPONSES, seed=2)
    rewards_B[1] = float("nan")
    return Rollouts(
        prompt_ids=[[1, 2]] * NUM_PROMPTS,
        tokens_BT=torch.ones(shape, dtype=torch.long),
        mask_BT=mask_BT,
        finished_B=torch.ones(NUM_RESPONSES, dtype=torch.bool),
        samples_per_prompt=SAMPLES_PER_PROMPT,
        sampled_logprobs_BT=logprobs_BT,
        rewards_B=rewards_B,
        scored_mask_B=~rewards_B.isnan(),
        logprobs_BT=logprobs_BT,
        ref_logprobs_BT=-_random(*shape, seed=3).abs() * mask_BT,
        values_BT=_random(*shape, seed=4) * mask_BT if objective.needs.values else None,
    )


def policy_outputs(objective: RolloutObjective) -> PolicyOutputs:
    """Outputs of some policy for the responses of :func:`rollouts`, with what the objective needs."""
    shape, vocabulary = (NUM_RESPONSES, NUM_TOKENS), objective.needs.vocabulary_logits
    logits_BTV = _random(*shape, NUM_WORDS, seed=7).requires_grad_() if vocabulary else None
    return PolicyOutputs(
        logprobs_BT=(-_random(*shape, seed=5).abs()).requires_grad_(),
        values_BT=_random(*shape, seed=6).requires_grad_() if objective.needs.values else None,
        logits_BTV=logits_BTV,
        ref_logits_BTV=_random(*shape, NUM_WORDS, seed=8) if vocabulary else None,
    )


def _cut(outputs: PolicyOutputs, rows: slice) -> PolicyOutputs:
    """Rows of the outputs, cut to their longest response as :meth:`Rollouts.rows` cuts."""
    width = int(torch.tensor([5, 3, 4, 5, 2, 5])[rows].max())
    return PolicyOutputs(*(None if tensor is None else tensor[rows, :width] for tensor in outputs))  # type: ignore[arg-type]


def _pair_outputs(seed: int) -> PairOutputs:
    logprobs_B = (-_random(NUM_RESPONSES, seed=10 + seed).abs()).requires_grad_()
    return PairOutputs(
        logprobs_B=logprobs_B,
        ref_logprobs_B=-_random(NUM_RESPONSES, seed=20 + seed).abs(),
        num_tokens_B=torch.arange(1, NUM_RESPONSES + 1) + seed,
    )
