"""A labeler that asks a language model which response meets one criterion better."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.engines.base import Engine
from rlaif.outcome import OptionScores
from rlaif.tasks.base import get_task
from rlaif.types import Comparison, Preference, Segment, StructuredPrompt, content_id

OPTIONS = ("1", "2")


class CriterionLabeler:
    """Asks in both orders and averages P(first), so that a model's preference for a slot cancels.

    Args:
        engine: The language model that is asked; chosen with labeler/engine=…
        criterion: What the better response is, as it follows "Which response is".
        prompt: Takes no prompt strategy: the question is its own.
    """

    name = "criterion"
    source = "ai"

    def __init__(self, engine: Engine, *, criterion: str = "more helpful", prompt: None = None) -> None:
        self.engine = engine
        self.criterion = criterion
        self.prompt = prompt

    @property
    def identity(self) -> str:
        """Content hash of the model and of the question."""
        return content_id(self.name, self.engine.identity, self.criterion)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison; missing where the model does not answer in one of the two orders."""
        if not comparisons:
            return []
        prompts = [prompt for pair in comparisons for prompt in (self._question(pair), self._question(pair, swap=True))]
        scores = self.engine.score(prompts, OPTIONS)
        return [self._preference(*item) for item in zip(comparisons, scores[::2], scores[1::2], strict=True)]

    def _question(self, pair: Comparison, *, swap: bool = False) -> StructuredPrompt:
        """Text by others is in data segments, so that no response can be read as a part of the question."""
        task = get_task(pair.prompt.task)
        first, second = (pair.second, pair.first) if swap else (pair.first, pair.second)
        segments = [Segment(text=f"{task.context_noun}:"), _data(task.judge_text(pair.prompt.text))]
        for number, response in enumerate((first, second), start=1):
            segments += [Segment(text=f"\n{task.response_noun} {number}:"), _data(response.text)]
        segments.append(Segment(text=f"\n\nWhich {task.response_noun.lower()} is {self.criterion}? Answer="))
        return StructuredPrompt(segments=tuple(segments), template_id=content_id(self.name, self.criterion))

    def _preference(self, pair: Comparison, given: OptionScores, swapped: OptionScores) -> Preference:
        p_given, p_swapped = _p_slot1(given), _p_slot1(swapped)
        p_first = None if p_given is None or p_swapped is None else (p_given + 1.0 - p_swapped) / 2.0
        missing = None if p_first is not None else given.missing or swapped.missing or "no probability for 1 or 2"
        author = f"{self.name}:{self.identity}"
        return Preference(comparison=pair, p_first=p_first, missing=missing, labeler=author, source=self.source)


def _p_slot1(scores: OptionScores) -> float | None:
    """Probability of slot 1 among both options; None where the model gave neither."""
    if scores.logprobs is None or max(scores.logprobs) == -math.inf:
        return None
    first, second = (math.exp(logprob - max(scores.logprobs)) for logprob in scores.logprobs)
    return first / (first + second)


def _data(text: str) -> Segment:
    return Segment(text=f" {text.strip()}", is_data=True)
