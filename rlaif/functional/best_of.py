"""The best of several samples of one prompt.

Shapes: G prompts, K samples per prompt.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Best(NamedTuple):
    """The best sample of each prompt."""

    place_G: Tensor
    """int64, its position among the samples; of equal ones the first. Means nothing where ``found_G`` is False."""
    found_G: Tensor
    """Bool, prompts with a reward."""
    num_equal_G: Tensor
    """int64, samples with the best reward, at least 1 where ``found_G``."""


def best_of(rewards_GK: Tensor, mask_GK: Tensor) -> Best:
    """The sample with the highest reward.

    Args:
        rewards_GK: Rewards, anything where the mask is False.
        mask_GK: Rewards that exist; a prompt without any has no best sample.

    >>> best_of(torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([[True, True, True]]))
    Best(place_G=tensor([1]), found_G=tensor([True]), num_equal_G=tensor([2]))
    """
    known_GK = rewards_GK.masked_fill(~mask_GK, -torch.inf)
    highest_G1 = known_GK.amax(-1, keepdim=True)
    is_best_GK = (known_GK == highest_G1) & mask_GK
    return Best(is_best_GK.float().argmax(-1), mask_GK.any(-1), is_best_GK.sum(-1))
