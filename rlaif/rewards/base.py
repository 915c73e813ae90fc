"""What a policy is rewarded for: texts in, one number per response out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rlaif.types import Completion, Prompt


class RewardBatch(NamedTuple):
    """Rewards of B responses."""

    values_B: Tensor
    """float32; NaN where missing."""
    scored_mask_B: Tensor
    """Bool: responses that have a reward. A missing reward is left out of the policy's loss, never 0."""


class Reward(Protocol):
    """Scores responses. Registered in the group ``rlaif.rewards``."""

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> RewardBatch:
        """One reward per (prompt, response); it depends on nothing but that pair."""
        ...

    def to(self, device: torch.device | str) -> object:
        """Move what it scores with to a device; nothing to do where nothing runs here."""
        ...
