"""The options of rejection-sampling fine-tuning, as the config group ``policy`` spells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from transformers import PreTrainedModel

from rlaif.bounds import bounds_problems
from rlaif.modules.settings import SupervisedSettings, room_problems
from rlaif.modules.sft import SFTModule
from rlaif.ranges import AtLeastOne, AtLeastTwo, Positive, PositiveShare
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class BestOfNSettings(SupervisedSettings):
    """Config group ``policy`` of a policy that imitates the best of its own responses."""

    group: ClassVar[str] = "policy"

    samples_per_prompt: AtLeastTwo
    """Responses per prompt, of which the best is imitated."""
    temperature: Positive = 0.9
    """Of the sampling."""
    max_new_tokens: AtLeastOne = 128
    """Longest response in tokens."""
    max_prompt_tokens: AtLeastOne = 1024
    """A longer prompt is cut from the left."""
    top_p: PositiveShare = 1.0
    """Share of the probability that is sampled from: the likeliest tokens that together have it."""
    strip_trailing: str = ""
    """Characters stripped from the end of a response before it is rewarded; it is imitated as sampled."""
    learner: Runtime[Literal["best_of_n"]] = "best_of_n"
    """The step that learns so, for ``pipeline=iterative``."""

    def _problems(self) -> Iterator[str]:
        yield from dict.fromkeys([*super()._problems(), *bounds_problems(self)])
        yield from room_problems(self.max_length, "policy.max_new_tokens", self.max_new_tokens)

    @property
    def sampling(self) -> SamplingSettings:
        """Sampling settings of the responses."""
        return SamplingSettings(
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            max_prompt_tokens=self.max_prompt_tokens,
            top_p=self.top_p,
        )

    def module(self, model: PreTrainedModel) -> SFTModule:
        """The module to train; ``model`` is changed in place."""
        return SFTModule(model, optimization=self.optimization, max_tokens_per_forward=self.max_tokens_per_forward)
