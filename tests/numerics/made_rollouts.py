"""Rollouts with given rewards and lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.functional.seeds import generator
from rlaif.rollouts.batch import Rollouts


def rollouts(rewards: list[float], lengths: list[int], samples_per_prompt: int, **tensors: Tensor) -> Rollouts:
    mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    logprobs_BT = -torch.rand(mask_BT.shape, generator=generator("old")) * mask_BT
    rewards_B = torch.tensor(rewards)
    given = {"logprobs_BT": logprobs_BT, "ref_logprobs_BT": logprobs_BT, "values_BT": torch.zeros(mask_BT.shape)}
    return Rollouts(
        prompt_ids=[[0]] * (len(rewards) // samples_per_prompt),
        tokens_BT=torch.zeros(mask_BT.shape, dtype=torch.long),
        mask_BT=mask_BT,
        finished_B=torch.ones(len(rewards), dtype=torch.bool),
        samples_per_prompt=samples_per_prompt,
        rewards_B=rewards_B,
        scored_mask_B=rewards_B.isfinite(),
        **(given | tensors),  # type: ignore[arg-type]
    )
