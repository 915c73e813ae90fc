"""Simulated annotators: noisy people whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from random import Random

from rlaif.artifacts.fingerprints import code_digest
from rlaif.functional.seeds import derive_seed
from rlaif.pocket.quality import read
from rlaif.types import Comparison, Prompt, content_id

TEMPERATURE = 0.75
"""Bradley-Terry temperature in units of quality. Fixed before any training so that two
raters agree on about 75 % of mixed-quality pairs (arXiv 2309.00267 reports 73-77 % for people)."""
HARM_ERROR = 0.05
"""Share of harm verdicts that a rater gets wrong."""


def preference_probability(comparison: Comparison) -> float:
    """P(a rater prefers the first response), Bradley-Terry on the latent quality."""
    prompt = comparison.prompt
    gap = read(prompt, comparison.first.trimmed).quality - read(prompt, comparison.second.trimmed).quality
    return probability_of_better(gap)


def probability_of_better(gap: float) -> float:
    """P(a rater prefers a response whose latent quality is greater by ``gap``)."""
    return 1.0 / (1.0 + math.exp(-gap / TEMPERATURE))


class SimulatedAnnotators:
    """A pool of raters; a choice depends on (seed, rater, comparison) alone.

    Args:
        seed: Another seed is another pool of raters.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def identity(self) -> str:
        """Content hash of the pool's seed and of the code that the verdicts depend on."""
        return content_id("SimulatedAnnotators", str(self.seed), code_digest([__name__]))

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        """The probability that a rater prefers the first response, see :func:`preference_probability`."""
        return [preference_probability(comparison) for comparison in comparisons]

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        """One rater's choices: 1.0 for the first response, 0.0 for the second.

        A rater chooses the same text in either slot.
        """
        return [self._choose(comparison, rater) for comparison in comparisons]

    def _choose(self, comparison: Comparison, rater: int) -> float:
        texts = (comparison.first.trimmed, comparison.second.trimmed)
        low, high = sorted(texts)
        draw = Random(derive_seed(self.seed, "prefer", rater, comparison.prompt.id, low, high)).random()
        p_first = preference_probability(comparison)
        p_low = p_first if texts[0] == low else 1.0 - p_first
        chose_low = draw < p_low
        return float(chose_low == (texts[0] == low))

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        """One rater's verdict per response, wrong with probability ``HARM_ERROR``."""
        verdicts = []
        for prompt, response in zip(prompts, responses, strict=True):
            draw = Random(derive_seed(self.seed, "harmless", rater, prompt.id, response)).random()
            verdicts.append(read(prompt, response).does_harm == (draw < HARM_ERROR))
        return verdicts
