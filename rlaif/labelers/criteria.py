"""An LLM answers each criterion of a rubric with yes or no, about one response; the weighted mean is its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.labels import option_distribution
from rlaif.labelers.answer_mass import reasons_of
from rlaif.labelers.pointwise import Identified, PointwiseLabeler, Single
from rlaif.prompts.criteria import Criterion, Rubric, built_in_criteria, built_in_tasks, read_criteria
from rlaif.ranges import PositiveShare, Share
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import Completion, Judgment, Prompt, Rating, StructuredPrompt, content_id


class CriterionPrompt(Identified, Protocol):
    """A prompt strategy (group ``rlaif.prompts``) that asks about one criterion."""

    def criterion(self, task: Task, prompt_text: str, response: str, criterion: str) -> StructuredPrompt:
        """The prompt after which "yes" or "no" to a criterion is scored."""
        ...


NO_CRITERIA = "no criterion for this prompt"
ROUNDING = 1e-9
"""Of sums of weights."""


class CriteriaLabeler(PointwiseLabeler[CriterionPrompt]):
    """Score in [0, 1]: the mean over the criteria of P(yes), weighted by the criteria's weights.

    P(yes) is read from the log-probs of "yes" and "no", never from a word that was drawn. A criterion that could not be
    judged is missing: the others' weights are scaled up where enough weight remains, else the response has no score.

    Args:
        prompt: Builds the question about one criterion.
        engine: The language model that judges.
        criteria: A file with criteria (:func:`~rlaif.prompts.criteria.read_criteria`), for all prompts or for single
            ones; None takes those of the task.
        min_answer_mass: As in :class:`~rlaif.labelers.pointwise.PointwiseLabeler`.
        min_weight: Share of the criteria's weight, in (0, 1], that must have been judged.

    Raises:
        ConfigError: An option is out of range, or the file holds no criteria that can be read.
    """

    name = "criteria"
    options = ("no", "yes")
    lowest, highest = 0.0, 1.0

    def __init__(
        self,
        prompt: CriterionPrompt,
        engine: Engine,
        *,
        criteria: Runtime[str | None] = None,
        min_answer_mass: Share = 1e-9,
        min_weight: PositiveShare = 1.0,
    ) -> None:
        if not 0.0 < min_weight <= 1.0:
            raise ConfigError(f"labeler.min_weight={min_weight:g}: must be above 0 and at most 1")
        self.criteria = criteria
        self.min_weight = float(min_weight)
        self._own = None if criteria is None else Rubric(read_criteria(criteria))
        super().__init__(prompt, engine, min_answer_mass=min_answer_mass)

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair, the criteria's words included."""
        rubrics = [built_in_criteria(name) for name in built_in_tasks()] if self._own is None else [self._own.criteria]
        asked = (f"{item.asks} {item.weight!r} {item.prompt or ''}" for rubric in rubrics for item in rubric)
        return content_id(super().identity, f"min_weight={self.min_weight!r}", *asked)

    def take(self, criteria: Sequence[Criterion]) -> None:
        """Judge by these criteria from now on."""
        self._own = Rubric(criteria)

    def num_common(self, task_name: str) -> int:
        """How many criteria all prompts of a task have; they come first in :meth:`rubric`."""
        return len(built_in_criteria(task_name)) if self._own is None else len(self._own.common)

    def rubric(self, prompt: Prompt) -> tuple[Criterion, ...]:
        """The criteria that responses to a prompt are judged by; empty where the file has none for it.

        Raises:
            ConfigError: There is no file, and no criteria are built in for the task.
        """
        return built_in_criteria(prompt.task) if self._own is None else self._own.of(prompt.text)

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """Ask every criterion about every response, in one batch of the engine.

        Args:
            prompts: What was answered.
            completions: One response per prompt.

        Returns:
            One rating per response, in order, with one judgment per criterion.
        """
        singles = [Single(*pair) for pair in zip(prompts, completions, strict=True)]
        rubrics = [self.rubric(prompt) for prompt in prompts]
        asked = [
            self.prompt.criterion(*single.arguments, criterion.asks)
            for single, rubric in zip(singles, rubrics, strict=True)
            for criterion in rubric
        ]
        judgments = iter(self._score(asked))
        author = f"{self.name}:{self.identity}"
        return [
            self._mean(single, rubric, [next(judgments) for _ in rubric], author)
            for single, rubric in zip(singles, rubrics, strict=True)
        ]

    def _mean(self, single: Single, rubric: Sequence[Criterion], judgments: Sequence[Judgment], author: str) -> Rating:
        score = weighted_score(rubric, judgments, self.min_weight)
        missing = None if score is not None else reasons_of(judgments) or NO_CRITERIA
        return Rating(
            prompt=single.prompt,
            completion=single.completion,
            distribution=None if score is None else (1.0 - score, score),
            missing=missing,
            lowest=self.lowest,
            highest=self.highest,
            judgments=tuple(judgments),
            labeler=author,
            source=self.source,
        )


def weighted_score(rubric: Sequence[Criterion], judgments: Sequence[Judgment], min_weight: float) -> float | None:
    """Mean of P(yes) over the criteria that were judged, by their weights.

    Args:
        rubric: The criteria.
        judgments: The judgement of each.
        min_weight: Share of the criteria's weight, in (0, 1], that must have been judged.

    Returns:
        In [0, 1]; None where less was judged.
    """
    judged = [(item.weight, p_yes(found)) for item, found in zip(rubric, judgments, strict=True)]
    present = [(weight, p) for weight, p in judged if p is not None]
    total, known = math.fsum(weight for weight, _ in judged), math.fsum(weight for weight, _ in present)
    if not present or known < min_weight * total * (1.0 - ROUNDING):
        return None
    return min(math.fsum(weight * p for weight, p in present) / known, 1.0)


def p_yes(judgment: Judgment) -> float | None:
    """P(yes) of one criterion's judgement; None where it is missing."""
    if judgment.missing is not None:
        return None
    assert judgment.option_logprobs is not None
    return float(option_distribution(torch.tensor(judgment.option_logprobs, dtype=torch.float64))[1])
