"""Policy steps as a data loader: rollouts are drawn when the updates on the ones before are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.rollouts.batch import Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBatch:
    """Responses of one forward pass with gradient, on the device where they were made."""

    rollouts: Rollouts
    """Rows with credit."""
    denominator: Tensor
    """Sum of ``loss_shares`` over the optimizer step, divided by its micro-batches and by processes: Lightning
    averages over both, so the accumulated gradient is that of the step's mean."""

    def to(self, device: torch.device | str) -> PolicyBatch:
        """Lightning moves what has this method; these tensors already are where they are needed."""
        return self


class RolloutLoader:
    """Serves the batches of every policy step, drawn only when the step before has been learned.

    It is sized, so Lightning never fetches ahead, and its state is the next step, so Lightning resumes it.
    One epoch is the whole training.

    Args:
        collect: Draws the rollouts of a policy step; gives the batches of all its optimizer steps, in order.
        num_steps: Policy steps.
        batches_per_step: Batches per policy step, those of later passes over the rollouts included.
        current_step: Policy steps whose optimizer steps are all done.
    """

    def __init__(
        self,
        collect: Callable[[int], list[PolicyBatch]],
        *,
        num_steps: int,
        batches_per_step: int,
        current_step: Callable[[], int],
    ) -> None:
        self.collect = collect
        self.num_steps = num_steps
        self.batches_per_step = batches_per_step
        self.current_step = current_step
        self._next_step = 0

    def __len__(self) -> int:
        return self.num_steps * self.batches_per_step

    def __iter__(self) -> Iterator[PolicyBatch]:
        for step in range(self._next_step, self.num_steps):
            yield from self.collect(step)

    def state_dict(self) -> dict[str, int]:
        """Checkpoints are made between policy steps only: the rollouts of the next one have not been drawn."""
        return {"next_step": self.current_step()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue after the rollout that a checkpoint names."""
        self._next_step = state_dict["next_step"]
