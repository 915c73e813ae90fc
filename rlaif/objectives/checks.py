"""Numbers that nothing can be learned from stop a training before its optimizer step, and name who gave them.

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rlaif.errors import TrainingError
from rlaif.functional.losses import LossSum
from rlaif.objectives.base import Losses, PairObjective, RolloutObjective
from rlaif.objectives.sums import counted_tokens
from rlaif.registry import described
from rlaif.rewards.base import Reward, RewardBatch
from rlaif.rewards.standardized import Standardized
from rlaif.rollouts.batch import Rollouts

MOST_SHOWN = 3
"""Numbers that an error shows."""
PROBABILITIES_ADD_UP = 1e-3
"""Largest distance of P(first is better) + P(second is better) from 1."""
GO_ON = "nothing was learned from it; the next start goes on from the last checkpoint"


def check_rewards(rewards: RewardBatch, num_responses: int, reward: Reward, *, samples_per_prompt: int = 1) -> None:
    """Hold what a reward gave against its contract.

    Args:
        rewards: Of all responses of a process.
        num_responses: How many these are.
        reward: Who gave them.
        samples_per_prompt: K consecutive responses answer one prompt.

    Raises:
        TrainingError: Another shape or type than promised, or a number that is not finite and not marked as missing.
    """
    problems = [*_type_problems(rewards)]
    problems = problems or [
        *_reward_problems(rewards, num_responses),
        *_pair_problems(rewards, num_responses, samples_per_prompt),
    ]
    if problems:
        inside = reward.reward if isinstance(reward, Standardized) else reward
        raise TrainingError(f"reward {described(inside)} gave {'; '.join(problems)}; {GO_ON}")


def _type_problems(rewards: object) -> Iterator[str]:
    if not isinstance(rewards, RewardBatch):
        yield f"a {type(rewards).__name__}, must be a RewardBatch"
        return
    named = {"values_B": rewards.values_B, "scored_mask_B": rewards.scored_mask_B}
    for name, tensor in {**named, **{f"parts[{name!r}]": part for name, part in rewards.parts.items()}}.items():
        if not isinstance(tensor, Tensor):
            yield f"{name} as a {type(tensor).__name__}, must be a tensor"


def _reward_problems(rewards: RewardBatch, num_responses: int) -> Iterator[str]:
    values_B, scored_B = rewards.values_B, rewards.scored_mask_B
    right = True
    for name, tensor, kind in (("values_B", values_B, "float"), ("scored_mask_B", scored_B, "bool")):
        if tuple(tensor.shape) != (num_responses,):
            right = False
            yield f"{name} of shape {list(tensor.shape)} for {num_responses} responses, must be [{num_responses}]"
        if not (tensor.is_floating_point() if kind == "float" else tensor.dtype == torch.bool):
            right = False
            yield f"{name} of {tensor.dtype}, must be {kind}"
    for name, part in rewards.parts.items():
        if tuple(part.shape) != (num_responses,):
            yield f"parts[{name!r}] of shape {list(part.shape)}, must be [{num_responses}]"
    if right and (found := _not_finite(values_B, scored_B)):
        yield f"{found} under a true scored_mask_B: a missing reward has scored_mask_B False"


def _pair_problems(rewards: RewardBatch, num_responses: int, samples_per_prompt: int) -> Iterator[str]:
    """Probabilities of pairs that are none; NaN is a pair that was not judged."""
    p_BK = rewards.p_beats_BK
    if p_BK is None:
        return
    if tuple(p_BK.shape) != (num_responses, samples_per_prompt) or not p_BK.is_floating_point():
        yield (
            f"p_beats_BK of shape {list(p_BK.shape)} and {p_BK.dtype}, must be float"
            f" [{num_responses}, {samples_per_prompt}]"
        )
        return
    pairs = p_BK.view(-1, samples_per_prompt, samples_per_prompt)
    outside = (p_BK < 0) | (p_BK > 1)
    if outside.any():
        yield f"p_beats_BK has {p_BK[outside][0].item()}, must be a probability, or NaN for a pair without a judgement"
    elif ((pairs + pairs.transpose(1, 2) - 1).abs() > PROBABILITIES_ADD_UP).any():
        yield "p_beats_BK whose two entries for a pair do not add up to 1"


def check_credited(credited: object, scored: Rollouts, objective: RolloutObjective) -> None:
    """Look at the type and the shapes of what an objective's ``credit`` returned, before anything reads it.

    Args:
        credited: What it returned.
        scored: What it was given.
        objective: Who gave it.

    Raises:
        TrainingError: It is no batch of these responses with advantages and ``counted_mask_B``.
    """
    wrong = []
    if not isinstance(credited, Rollouts):
        wrong = [f"credit gave a {type(credited).__name__}, must be Rollouts"]
    else:
        for name, wanted in (("advantages_BT", scored.mask_BT.shape), ("counted_mask_B", scored.mask_BT.shape[:1])):
            tensor = getattr(credited, name)
            if tensor is None or tensor.shape != wanted:
                shown = None if tensor is None else list(tensor.shape)
                wrong.append(f"credit gave {name} of shape {shown}, must be {list(wanted)}")
    if wrong:
        raise TrainingError(f"objective {described(objective)}: {'; '.join(wrong)}; {GO_ON}")


def check_credit(credited: Rollouts, objective: RolloutObjective, reward: Reward) -> None:
    """Look at the credited responses of a policy step, those of all processes.

    Args:
        credited: From ``objective.credit``.
        objective: Who gave the advantages.
        reward: Who gave the rewards.

    Raises:
        TrainingError: No response has a reward, or an advantage or return that counts is not finite.
    """
    assert credited.scored_mask_B is not None and credited.counted_mask_B is not None
    if not credited.scored_mask_B.any():
        inside = reward.reward if isinstance(reward, Standardized) else reward
        raise TrainingError(
            f"reward {described(inside)} gave none of the {len(credited)} responses of a policy step a reward;"
            f" {GO_ON} once its labeler or server answers"
        )
    mask_BT = counted_tokens(credited)
    for name in ("advantages_BT", "returns_BT", "weights_BT"):
        tensor = getattr(credited, name)
        if tensor is not None and (found := _not_finite(tensor, mask_BT)):
            raise TrainingError(f"objective {described(objective)}: {name} has {found}; {GO_ON}")


def check_losses(losses: Losses, objective: RolloutObjective | PairObjective) -> None:
    """Look at losses before their gradient is taken.

    Args:
        losses: Of a micro-batch.
        objective: Who gave them.

    Raises:
        TrainingError: There is none, one is of another type or without a gradient, or a total is not finite.
    """
    if wrong_type := next(_loss_problems(losses), None):
        raise TrainingError(f"objective {described(objective)}: losses {wrong_type}; {GO_ON}")
    wrong = {name: term.total.item() for name, term in losses.terms.items() if not torch.isfinite(term.total).all()}
    if wrong:
        told = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        raise TrainingError(f"objective {described(objective)}: {told}; {GO_ON}")


def _loss_problems(losses: object) -> Iterator[str]:
    if not isinstance(losses, Losses):
        yield f"gave a {type(losses).__name__}, must be Losses"
        return
    for name, part in {**losses.terms, **losses.measures}.items():
        if not isinstance(part, LossSum) or not all(map(_is_scalar, (part.total, part.count))):
            yield f"has {name} as a {type(part).__name__}, must be a LossSum of two tensors with one number each"
            return
    if not losses.terms:
        yield "has no term"
    elif torch.is_grad_enabled() and not any(term.total.requires_grad for term in losses.terms.values()):
        yield "has no term with a gradient"


def _is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0


def _not_finite(tensor: Tensor, mask: Tensor) -> str:
    """The first numbers of a tensor that count and are not finite, with their places; empty where there are none."""
    places = (mask & ~tensor.isfinite()).nonzero().tolist()
    shown = [
        f"{tensor[tuple(place)].item()} at {place if len(place) > 1 else place[0]}" for place in places[:MOST_SHOWN]
    ]
    more = f" and {len(places) - MOST_SHOWN} more" if len(places) > MOST_SHOWN else ""
    return ", ".join(shown) + more
