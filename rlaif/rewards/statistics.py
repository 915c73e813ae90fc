"""Statistics of the rewards of a policy step: what is missing and why, true zeros, and parts."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.functional.losses import LossSum
from rlaif.rewards.base import RewardBatch
from rlaif.rewards.missing import causes_of

SHARES = ("unreadable", "failed", "zero_reward")
"""Figures that every reward has."""


def reward_statistics(rewards: RewardBatch, device: torch.device | str = "cpu") -> dict[str, LossSum]:
    """Totals and counts of the figures that are logged beside the mean reward, as sums that add up over processes.

    Args:
        rewards: Of the responses of a policy step on this process.
        device: Where the sums are put.

    Returns:
        ``unreadable`` and ``failed`` (shares of responses without a reward because the judge's reply holds no verdict,
        or because it gave no reply), ``zero_reward`` (share of the scored responses whose reward is exactly 0), and
        ``reward/NAME`` (mean of each part where it is present).
    """
    values_B, scored_B = rewards.values_B, rewards.scored_mask_B
    causes = causes_of(rewards.causes, scored_B.tolist())

    def pair(total: float | Tensor, count: float | Tensor) -> LossSum:
        return LossSum(*(torch.as_tensor(value, dtype=torch.float32, device=device) for value in (total, count)))

    figures = {
        "unreadable": pair(causes.count("unreadable"), len(causes)),
        "failed": pair(causes.count("failed"), len(causes)),
        "zero_reward": pair((values_B[scored_B] == 0).sum(), scored_B.sum()),
    }
    for name, part_B in rewards.parts.items():
        present_B = part_B[~part_B.isnan()]
        figures[f"reward/{name}"] = pair(present_B.sum(), len(present_B))
    return figures
