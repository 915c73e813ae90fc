"""Sampling settings of responses: config group ``sampling``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlaif.errors import ConfigError
from rlaif.models.uses import ModelUse
from rlaif.types import Sampling


def sampling_problems(
    temperature: float, max_new_tokens: int, max_prompt_tokens: int, top_p: float = 1.0
) -> Iterator[str]:
    """Every option of a sampling that is out of its range: ``name=value: what is allowed``.

    >>> list(sampling_problems(0.0, 0, 1))
    ['max_new_tokens=0: must be at least 1']
    """
    if not 0 <= temperature < math.inf:
        yield f"temperature={temperature}: must be a finite number of at least 0 (0 decodes greedily)"
    for name, value in (("max_new_tokens", max_new_tokens), ("max_prompt_tokens", max_prompt_tokens)):
        if value < 1:
            yield f"{name}={value}: must be at least 1"
    if not 0 < top_p <= 1:
        yield f"top_p={top_p}: must be above 0 and at most 1 (1 samples from all tokens)"


def temperature_problems(option: str, temperatures: Sequence[float]) -> Iterator[str]:
    """Every item of a list of temperatures that is none, and those that stand there twice.

    >>> list(temperature_problems("evaluation.further_temperatures", [0, 0.5, -1]))
    ['evaluation.further_temperatures: -1 is no temperature; write finite numbers of at least 0 (0 decodes greedily)']
    """
    for value in temperatures:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            yield f"{option}: {value} is no temperature; write finite numbers of at least 0 (0 decodes greedily)"
    twice = [value for place, value in enumerate(temperatures) if value in temperatures[:place]]
    if twice:
        yield f"{option}: {', '.join(map(str, dict.fromkeys(twice)))} stands there twice; write it once"


def plain_temperature(temperature: float) -> int | float:
    """A temperature as names of figures and steps have it.

    >>> plain_temperature(0.0), plain_temperature(0.5)
    (0, 0.5)
    """
    return int(temperature) if float(temperature).is_integer() else float(temperature)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Config group ``sampling``.

    Raises:
        ConfigError: An option is out of range.
    """

    temperature: float = 0.9
    """Of the sampling; 0 decodes greedily."""
    max_new_tokens: int = 128
    """Longest response in tokens."""
    max_prompt_tokens: int = 1024
    """A longer prompt is cut from the left."""
    top_p: float = 1.0
    """Share of the probability that is sampled from: the likeliest tokens that together have it. A policy that samples
    while it learns takes 1."""

    def __post_init__(self) -> None:
        problems = sampling_problems(self.temperature, self.max_new_tokens, self.max_prompt_tokens, self.top_p)
        if told := [f"sampling.{problem}" for problem in problems]:
            raise ConfigError(told)

    def use(self, group: str) -> ModelUse:
        """What sampling asks of a model.

        Args:
            group: Of the configuration, e.g. ``sampling``.
        """
        num_tokens = self.max_prompt_tokens + self.max_new_tokens
        option = f"{group}.max_prompt_tokens"
        return ModelUse(purpose="sample", num_tokens=num_tokens, option=option, num_other=self.max_new_tokens)

    def sampling(self) -> Sampling:
        """The part that the sampler reads; prompts are cut before."""
        return Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
