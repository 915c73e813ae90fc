"""The responses of a policy step divided among processes, optimizer steps and forward passes with gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDivision:
    """Numbers that must divide one another."""

    prompts_per_step: int
    """Prompts of a policy step, over all processes."""
    samples_per_prompt: int
    """Responses per prompt."""
    num_updates: int
    """Optimizer steps per pass over the responses."""
    minibatch_size: int | None
    """Responses per forward pass with gradient; None takes all of an optimizer step."""

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
            return
        responses, size = self._responses(num_processes), self.minibatch_size
        if size is not None and (responses % size or size % self.samples_per_prompt):
            yield (
                f"policy.minibatch_size={size}: must divide the {responses} responses per optimizer step and device,"
                f" and hold whole prompts (multiples of policy.samples_per_prompt={self.samples_per_prompt})"
            )

    def num_minibatches(self, num_processes: int) -> int:
        """Forward passes with gradient per optimizer step and process, where there are no problems."""
        responses = self._responses(num_processes)
        return responses // (self.minibatch_size or responses)

    def _responses(self, num_processes: int) -> int:
        """Responses per optimizer step and process."""
        return self.prompts_per_step // num_processes // self.num_updates * self.samples_per_prompt
