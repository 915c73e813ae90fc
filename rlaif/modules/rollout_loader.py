"""Policy steps as a data loader: rollouts are drawn when the updates on the ones before are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlaif.rollouts.batch import Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The rollouts of one policy step."""

    credited: Rollouts
    """The responses of all processes, with credit."""
    metrics: dict[str, Tensor]
    """What is logged of them, by name."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as a checkpoint keeps them."""
        return {"credited": self.credited.state_dict(), "metrics": dict(self.metrics)}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> Collected:
        """What :meth:`state_dict` gave, on a device."""
        metrics = {name: value.to(device) for name, value in state["metrics"].items()}
        return cls(credited=Rollouts(**state["credited"]).to(device), metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBatch:
    """This process's responses of one optimizer step, on the device where they were made."""

    rollouts: Rollouts
    """Rows with credit."""
    denominator: Tensor
    """Sum of ``loss_shares`` over the optimizer step and all processes, divided by the number of processes: gradients
    are averaged over these."""
    prompts_once: bool = True
    """As in :meth:`~rlaif.rollouts.batch.Rollouts.tokens_of_prompts`."""

    def row_tokens(self) -> list[int]:
        """Tokens of each prompt with all its responses, which stay together."""
        return self.rollouts.tokens_of_prompts(prompts_once=self.prompts_once)

    def rows(self, rows: Sequence[int]) -> PolicyBatch:
        """All responses to some prompts."""
        return replace(self, rollouts=self.rollouts.of_prompts(rows))

    def to(self, device: torch.device | str) -> PolicyBatch:
        """Lightning moves what has this method; these tensors already are where they are needed."""
        return self


class RolloutLoader:
    """Serves a batch for every optimizer step; rollouts are drawn only when the step before has been learned.

    It is sized, so Lightning never fetches ahead. Its state is the number of optimizer steps and, between two updates
    on the same rollouts, these rollouts: a resumed training neither draws nor rewards them again. One epoch is the
    whole training.

    Args:
        collect: Draws the rollouts of a policy step.
        batches: Cuts them into the batches of all its optimizer steps, in order.
        num_steps: Policy steps.
        batches_per_step: Optimizer steps per policy step, those of later passes over the rollouts included.
        optimizer_steps: The number of optimizer steps that are done.
        device: Where restored rollouts go.
    """

    def __init__(
        self,
        collect: Callable[[int], Collected],
        batches: Callable[[Collected], list[PolicyBatch]],
        *,
        num_steps: int,
        batches_per_step: int,
        optimizer_steps: Callable[[], int],
        device: Callable[[], torch.device],
    ) -> None:
        self.collect = collect
        self.batches = batches
        self.num_steps = num_steps
        self.batches_per_step = batches_per_step
        self.optimizer_steps = optimizer_steps
        self.device = device
        self._next_batch = 0
        self._collected: Collected | None = None

    def __len__(self) -> int:
        return self.num_steps * self.batches_per_step

    def __iter__(self) -> Iterator[PolicyBatch]:
        first, done = divmod(self._next_batch, self.batches_per_step)
        for step in range(first, self.num_steps):
            if self._collected is None:
                self._collected = self.collect(step)
            yield from self.batches(self._collected)[done:]
            self._collected, done = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The position in the training, and the rollouts that are still learned from."""
        done = self.optimizer_steps()
        state: dict[str, Any] = {"next_batch": done}
        if done % self.batches_per_step:
            assert self._collected is not None
            state["collected"] = self._collected.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the optimizer step that a checkpoint was made after."""
        self._next_batch = state_dict["next_batch"]
        if (kept := state_dict.get("collected")) is not None:
            self._collected = Collected.from_state(kept, self.device())
