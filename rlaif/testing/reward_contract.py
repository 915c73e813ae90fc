"""The contract of a reward as checks: ``rlaif-plugins check reward=NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from rlaif.rewards.base import Reward, RewardBatch, RewardResources, prepared
from rlaif.roles import Reads
from rlaif.tasks.base import Dialogue
from rlaif.testing.contract import CheckResult, NotApplicable, require, run_checks
from rlaif.testing.samples import sample_comparisons
from rlaif.types import Completion, Prompt

TOLERANCE = 1e-4
"""Padding to another width moves the last digits of a float32 forward pass."""
SAMPLES_PER_PROMPT = 2


class _Subject:
    """A reward, which is prepared once, as in a run."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self._directory = TemporaryDirectory()

    @cached_property
    def ready(self) -> Reward:
        """The reward to call."""
        if self.reward.reads():
            raise NotApplicable("reads results that only a run has")
        resources = RewardResources(
            task=Dialogue(),
            inputs={},
            directory=Path(self._directory.name),
            samples=_responses,
            references=lambda: {pair.prompt.id: pair.first for pair in sample_comparisons()},
            asking=lambda rater: rater,
        )
        return prepared(self.reward, resources)


def check_reward(reward: Reward) -> list[CheckResult]:
    """Run every contract check on a reward; none of them raises.

    A reward that reads results of earlier steps is checked as far as it can be without
    them.
    """
    return run_checks(CHECKS, _Subject(reward))


def check_declares(subject: _Subject) -> str:
    """It says which results it reads, and has the methods that a run calls."""
    reward = subject.reward
    absent = [name for name in ("reads", "prepare", "to") if not callable(getattr(reward, name, None))]
    require(not absent, f"no method {', '.join(absent)}")
    roles = reward.reads()
    require(isinstance(roles, Mapping), f"reads() gave a {type(roles).__name__} where a mapping of roles is expected")
    require(all(isinstance(item, Reads) for item in roles.values()), "reads() must give a Reads for each role")
    require(reward.reads() == roles, "reads() changes between two calls")
    return f"reads {', '.join(roles) or 'nothing'}"


def check_prepares(subject: _Subject) -> str:
    """It prepares itself and returns the reward to call."""
    return f"prepared a {type(subject.ready).__name__}"


def check_one_value_each(subject: _Subject) -> str:
    """One float32 value per response, finite exactly where it is scored; no responses give no values."""
    batch = _rewards(subject, *_responses())
    empty = subject.ready([], [], samples_per_prompt=SAMPLES_PER_PROMPT)
    require(len(empty.values_B) == 0, "no responses must give no values")
    present = int(batch.scored_mask_B.sum())
    require(present > 0, "every reward is missing")
    return f"{present} of {len(batch.values_B)} responses scored"


def check_order(subject: _Subject) -> str:
    """A reward does not depend on the position of its prompt's responses in the call."""
    prompts, responses = _responses()
    ahead = _rewards(subject, prompts, responses)
    behind = _rewards(subject, prompts[::-1], responses[::-1])
    worst = _largest_difference(ahead.values_B, behind.values_B.flip(0))
    require(worst <= TOLERANCE, f"in the other order rewards differ by {worst:.3g}, more than {TOLERANCE:g}")
    return f"in the other order within {worst:.1g}"


def check_deterministic(subject: _Subject) -> str:
    """The same call gives the same rewards, bit for bit."""
    first, second = _rewards(subject, *_responses()), _rewards(subject, *_responses())
    require(torch.equal(first.values_B.nan_to_num(), second.values_B.nan_to_num()), "two equal calls differ")
    return "two equal calls gave equal rewards"


CHECKS: dict[str, Callable[[_Subject], str]] = {
    "declares itself": check_declares,
    "prepares itself": check_prepares,
    "one value each": check_one_value_each,
    "order of responses": check_order,
    "deterministic": check_deterministic,
}


def _responses() -> tuple[list[Prompt], list[Completion]]:
    """Two responses to each of the sample prompts, prompt-major."""
    pairs = sample_comparisons()
    return [pair.prompt for pair in pairs for _ in range(2)], [
        item for pair in pairs for item in (pair.first, pair.second)
    ]


def _rewards(subject: _Subject, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> RewardBatch:
    batch = subject.ready(prompts, responses, samples_per_prompt=SAMPLES_PER_PROMPT)
    for name, tensor, dtype in (
        ("values_B", batch.values_B, torch.float32),
        ("scored_mask_B", batch.scored_mask_B, torch.bool),
    ):
        require(
            tensor.shape == (len(responses),), f"{name} has shape {tuple(tensor.shape)} for {len(responses)} responses"
        )
        require(tensor.dtype == dtype, f"{name} is {tensor.dtype}, must be {dtype}")
    finite_B = torch.isfinite(batch.values_B)
    require(bool((finite_B == batch.scored_mask_B).all()), "a value must be finite where scored_mask_B, else NaN")
    return batch


def _largest_difference(values_B: Tensor, others_B: Tensor) -> float:
    require(bool((values_B.isnan() == others_B.isnan()).all()), "a reward is missing in one order only")
    return float((values_B - others_B).nan_to_num().abs().max()) if len(values_B) else 0.0
