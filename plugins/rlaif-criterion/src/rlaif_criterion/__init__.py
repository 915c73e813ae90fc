"""A labeler that asks a language model which response meets one criterion better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from rlaif.engines.base import Engine
from rlaif.labelers.answer_mass import check_minimum
from rlaif.labelers.evidence import judged
from rlaif.labelers.pairwise import combine_orders
from rlaif.outcome import OptionScores
from rlaif.tasks.base import get_task
from rlaif.types import Comparison, Judgment, Order, Preference, Segment, StructuredPrompt, content_id

OPTIONS = ("1", "2")
ORDERS: tuple[Order, ...] = get_args(Order)


class CriterionLabeler:
    """Asks in both orders and averages P(first), so that a model's preference for a slot cancels.

    Args:
        engine: The language model that is asked; chosen with labeler/engine=…
        criterion: What the better response is, as it follows "Which response is".
        min_answer_mass: Least probability that "1" and "2" have together; below it their shares are noise, and the
            judgement is missing.
        prompt: Takes no prompt strategy: the question is its own.
    """

    name = "criterion"
    source = "ai"

    def __init__(
        self,
        engine: Engine,
        *,
        criterion: str = "more helpful",
        min_answer_mass: float = 1e-6,
        prompt: None = None,
    ) -> None:
        check_minimum(min_answer_mass)
        self.engine = engine
        self.criterion = criterion
        self.min_answer_mass = min_answer_mass
        self.prompt = prompt

    @property
    def identity(self) -> str:
        """Content hash of the model, of the question and of the minimum."""
        return content_id(self.name, self.engine.identity, self.criterion, repr(self.min_answer_mass))

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison; missing where the model does not answer in one of the two orders."""
        if not comparisons:
            return []
        prompts = [self._question(pair, order) for pair in comparisons for order in ORDERS]
        scores = self.engine.score(prompts, OPTIONS)
        judged = zip(ORDERS * len(comparisons), prompts, scores, strict=True)
        judgments = iter([self._judgment(*item) for item in judged])
        author = f"{self.name}:{self.identity}"
        return [
            combine_orders(pair, (next(judgments), next(judgments)), "probability", author, self.source)
            for pair in comparisons
        ]

    def _question(self, pair: Comparison, order: Order) -> StructuredPrompt:
        """Text by others is in data segments, so that no response can be read as a part of the question."""
        task = get_task(pair.prompt.task)
        first, second = (pair.second, pair.first) if order == "swapped" else (pair.first, pair.second)
        segments = [Segment(text=f"{task.context_noun}:"), _data(task.judge_text(pair.prompt.text))]
        for number, response in enumerate((first, second), start=1):
            segments += [Segment(text=f"\n{task.response_noun} {number}:"), _data(response.text)]
        segments.append(Segment(text=f"\n\nWhich {task.response_noun.lower()} is {self.criterion}? Answer="))
        return StructuredPrompt(segments=tuple(segments), template_id=content_id(self.name, self.criterion))

    def _judgment(self, order: Order, prompt: StructuredPrompt, scores: OptionScores) -> Judgment:
        """The evidence of one order: checks, tables and the position bias are read off it."""
        return judged(order, prompt, scores, OPTIONS, min_answer_mass=self.min_answer_mass, p_slot1=_p_slot1)


def _p_slot1(logprobs: Sequence[float]) -> float:
    """Probability of slot 1 among both options."""
    first, second = (math.exp(logprob - max(logprobs)) for logprob in logprobs)
    return first / (first + second)


def _data(text: str) -> Segment:
    return Segment(text=f" {text.strip()}", is_data=True)
