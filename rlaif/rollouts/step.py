"""The prompts and responses of one policy step.

Everything here is a function of (seed, step, weights): a resumed run draws what an uninterrupted one draws.
Shapes: B responses (prompt-major).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed, generator
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.responses import completions_of, policy_prompt_ids
from rlaif.rollouts.sampler import Sampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt


def draw_prompts(num_prompts: int, count: int, step: int, seed: int) -> list[int]:
    """The prompts of each policy step: passes over all prompts, each in a new order.

    Args:
        num_prompts: How many there are.
        count: Prompts per step.
        step: Policy step, from 0.
        seed: The run's seed.

    Returns:
        ``count`` positions; no prompt comes again before all had their turn.

    >>> sorted(draw_prompts(4, 2, 0, seed=0) + draw_prompts(4, 2, 1, seed=0))
    [0, 1, 2, 3]
    """
    places = range(step * count, (step + 1) * count)
    orders = {
        turn: torch.randperm(num_prompts, generator=generator(seed, "policy", "prompts", turn))
        for turn in {place // num_prompts for place in places}
    }
    return [int(orders[place // num_prompts][place % num_prompts]) for place in places]


class StepResponses(NamedTuple):
    """The responses of one process in one policy step."""

    prompts: list[Prompt]
    """Prompt of each of the B responses."""
    completions: list[Completion]
    """Text of each response, as it is rewarded."""
    rollouts: Rollouts
    """Tokens of all responses."""


class StepSampler:
    """Draws the responses of each policy step, all samples of the first prompt first.

    Args:
        tokenizer: The policy's.
        task: Gives the text that the policy continues.
        prompts: What responses are drawn for.
        prompts_per_step: Prompts of one policy step, over all devices.
        samples_per_prompt: Responses per prompt; the prompt is read once for all of them.
        settings: Temperature, above 0, and lengths. Training is on this distribution, with no top-k or top-p.
        strip_trailing: Characters stripped from the end of a response before it is rewarded (the paper strips
            trailing periods and spaces before rating); empty rewards it as sampled.
        seed: The run's seed.

    Raises:
        ConfigError: With every option that is out of range.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        task: Task,
        prompts: Sequence[Prompt],
        prompts_per_step: int,
        samples_per_prompt: int = 1,
        settings: SamplingSettings,
        strip_trailing: str = "",
        seed: int = 0,
    ) -> None:
        self.tokenizer = PromptTokenizer(tokenizer)
        self.task = task
        self.prompts = prompts
        self.prompts_per_step = prompts_per_step
        self.samples_per_prompt = samples_per_prompt
        self.settings = settings
        self.strip_trailing = strip_trailing
        self.seed = seed
        if problems := list(self._problems()):
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        for name in ("prompts_per_step", "samples_per_prompt"):
            if getattr(self, name) < 1:
                yield f"policy.{name}={getattr(self, name)}: must be at least 1"
        if not self.settings.temperature > 0:
            yield f"policy.temperature={self.settings.temperature}: must be above 0, a policy learns from samples"
        if not self.prompts:
            yield "data.num_policy_prompts: there is no prompt to train the policy on"

    def draw(self, sampler: Sampler, step: int, *, rank: int = 0, world_size: int = 1) -> StepResponses:
        """Responses of one step; a process draws its own share of the prompts.

        Args:
            sampler: Of the policy.
            step: Policy step, from 0.
            rank: This process.
            world_size: Processes that share the step.

        Raises:
            ConfigError: The prompts of a step do not divide among the processes.
        """
        if self.prompts_per_step % world_size:
            raise ConfigError(
                f"policy.prompts_per_step={self.prompts_per_step}: must be a multiple of the number of devices,"
                f" {world_size}"
            )
        share = self.prompts_per_step // world_size
        places = range(rank * share, (rank + 1) * share)
        chosen = draw_prompts(len(self.prompts), self.prompts_per_step, step, self.seed)
        prompts = [self.prompts[chosen[place]] for place in places]
        numbers = range(self.samples_per_prompt)
        rollouts = sampler.sample(
            policy_prompt_ids(self.tokenizer, self.task, prompts, self.settings.max_prompt_tokens),
            num_samples=self.samples_per_prompt,
            sampling=self.settings.sampling(),
            seeds=[derive_seed(self.seed, "policy", "sample", step, place, n) for place in places for n in numbers],
        )
        completions = completions_of(rollouts, self.tokenizer, source="policy")
        row_prompts = [prompt for prompt in prompts for _ in numbers]
        return StepResponses(row_prompts, [self.as_rewarded(item) for item in completions], rollouts)

    def as_rewarded(self, completion: Completion) -> Completion:
        """As :func:`as_rewarded`, by the sampler's own option."""
        return as_rewarded(completion, self.strip_trailing)


def as_rewarded(completion: Completion, strip_trailing: str) -> Completion:
    """The completion as it is rewarded; one that was shortened has no tokens, for these were never sampled.

    Args:
        completion: As sampled.
        strip_trailing: Characters stripped from its end.
    """
    trimmed = completion.trimmed
    kept = trimmed.rstrip(strip_trailing) if strip_trailing else trimmed
    return completion if kept == trimmed else replace(completion, text=kept, token_ids=())
