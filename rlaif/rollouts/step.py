"""The prompts and responses of one policy step.

Everything here is a function of (seed, step, weights): a resumed run draws what an uninterrupted one draws.
Shapes: B responses (prompt-major).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed, generator
from rlaif.rollouts.batch import Rollouts, rows_of
from rlaif.rollouts.responses import completions_of, policy_prompt_ids
from rlaif.rollouts.sampler import Sampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt

T = TypeVar("T")


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


def further_prompts(num_prompts: int, taken: Sequence[int], step: int, attempt: int, seed: int) -> list[int]:
    """Prompts that a step does not have, in an order of their own; all of them where the step has every prompt.

    >>> sorted(further_prompts(4, [0, 2], step=0, attempt=1, seed=0))
    [1, 3]
    """
    order = torch.randperm(num_prompts, generator=generator(seed, "policy", "further prompts", step, attempt)).tolist()
    return [prompt for prompt in order if prompt not in set(taken)] or order


class StepResponses(NamedTuple):
    """The responses of one process in one policy step."""

    prompts: list[Prompt]
    """Prompt of each of the B responses."""
    completions: list[Completion]
    """Text of each response, as it is rewarded."""
    rollouts: Rollouts
    """Tokens of all responses."""

    def replaced(self, prompts: Sequence[int], others: StepResponses) -> StepResponses:
        """The responses with those to some prompts exchanged.

        Args:
            prompts: Positions of the prompts to exchange.
            others: Responses to as many other prompts.
        """
        rows = {row: new for new, row in enumerate(rows_of(prompts, self.rollouts.samples_per_prompt))}

        def placed(old: list[T], new: list[T]) -> list[T]:
            return [new[rows[row]] if row in rows else item for row, item in enumerate(old)]

        return StepResponses(
            placed(self.prompts, others.prompts),
            placed(self.completions, others.completions),
            self.rollouts.with_prompts(prompts, others.rollouts),
        )


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
        places = self._places(rank, world_size)
        chosen = draw_prompts(len(self.prompts), self.prompts_per_step, step, self.seed)
        return self._draw(sampler, [self.prompts[chosen[place]] for place in places], places, step)

    def redraw(
        self, sampler: Sampler, step: int, prompts: Sequence[int], *, attempt: int, rank: int = 0, world_size: int = 1
    ) -> StepResponses:
        """Responses to further prompts, in the place of some of a process's prompts of one step.

        Args:
            sampler: Of the policy.
            step: Policy step, from 0.
            prompts: Positions among the prompts that this process drew in the step.
            attempt: Which redraw of the step this is, from 1.
            rank: This process.
            world_size: Processes that share the step.
        """
        own = self._places(rank, world_size)
        places = [own[prompt] for prompt in prompts]
        taken = draw_prompts(len(self.prompts), self.prompts_per_step, step, self.seed)
        further = further_prompts(len(self.prompts), taken, step, attempt, self.seed)
        chosen = [self.prompts[further[place % len(further)]] for place in places]
        return self._draw(sampler, chosen, places, step, attempt)

    def _places(self, rank: int, world_size: int) -> range:
        """Positions of this process's prompts among those of a step."""
        share = self.prompts_per_step // world_size
        return range(rank * share, (rank + 1) * share)

    def _draw(
        self, sampler: Sampler, prompts: Sequence[Prompt], places: Sequence[int], step: int, *attempt: int
    ) -> StepResponses:
        numbers = range(self.samples_per_prompt)
        rollouts = sampler.sample(
            policy_prompt_ids(self.tokenizer, self.task, prompts, self.settings.max_prompt_tokens),
            num_samples=self.samples_per_prompt,
            sampling=self.settings.sampling(),
            seeds=[
                derive_seed(self.seed, "policy", "sample", step, place, number, *attempt)
                for place in places
                for number in numbers
            ],
        )
        completions = completions_of(rollouts, self.tokenizer, source="policy")
        row_prompts = [prompt for prompt in prompts for _ in numbers]
        return StepResponses(row_prompts, [self.as_rewarded(item) for item in completions], rollouts)

    def as_rewarded(self, completion: Completion) -> Completion:
        """As :func:`as_rewarded`, by the sampler's own option."""
        return as_rewarded(completion, self.strip_trailing)


def as_rewarded(completion: Completion, strip_trailing: str) -> Completion:
    """The completion as it is rewarded: its text is shortened, its tokens stay those that were sampled.

    Args:
        completion: As sampled.
        strip_trailing: Characters stripped from its end.
    """
    trimmed = completion.trimmed
    kept = trimmed.rstrip(strip_trailing) if strip_trailing else trimmed
    return completion if kept == trimmed else replace(completion, text=kept)
