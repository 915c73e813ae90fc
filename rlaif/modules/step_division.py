"""The prompts of a policy step divided among processes and optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDivision:
    """Numbers that must divide one another."""

    prompts_per_step: int
    """Prompts of a policy step, over all processes."""
    num_updates: int
    """Optimizer steps per pass over the responses."""

    def problems(self, num_processes: int) -> Iterator[str]:
        """Numbers that do not divide: one line each, ``option=value: what is wrong``."""
        if self.prompts_per_step % num_processes:
            yield (
                f"policy.prompts_per_step={self.prompts_per_step}: must be a multiple of the number of devices,"
                f" {num_processes}"
            )
            return
        num_prompts = self.prompts_per_step // num_processes
        if num_prompts % self.num_updates:
            yield (
                f"policy.objective.minibatches={self.num_updates}: must divide the {num_prompts} prompts per step and"
                f" device (policy.prompts_per_step={self.prompts_per_step})"
            )
