"""An LLM answers each criterion of a rubric with yes or no, about one response; the weighted mean is its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from rlaif.engines.base import Engine
from rlaif.functional.labels import option_distribution
from rlaif.labelers.answer_mass import reasons_of
from rlaif.labelers.pointwise import Identified, PointwiseLabeler, Single
from rlaif.prompts.criteria import Criterion, built_in_criteria, built_in_tasks, read_criteria
from rlaif.ranges import Share
from rlaif.tasks.base import Task
from rlaif.types import Completion, Judgment, Prompt, Rating, StructuredPrompt, content_id


class CriterionPrompt(Identified, Protocol):
    """A prompt strategy (group ``rlaif.prompts``) that asks about one criterion."""

    def criterion(self, task: Task, prompt_text: str, response: str, criterion: str) -> StructuredPrompt:
        """The prompt after which "yes" or "no" to a criterion is scored."""
        ...


class CriteriaLabeler(PointwiseLabeler[CriterionPrompt]):
    """Score in [0, 1]: the mean over the criteria of P(yes), weighted by the criteria's weights.

    P(yes) is read from the log-probs of "yes" and "no", never from a word that was drawn. A response with a criterion
    that could not be judged has no score.

    Args:
        prompt: Builds the question about one criterion.
        engine: The language model that judges.
        criteria: A TOML file with tables ``[[criterion]]``, each with ``asks`` and, where it is not 1, ``weight``; None
            takes those of the task.
        min_answer_mass: As in :class:`~rlaif.labelers.pointwise.PointwiseLabeler`.

    Raises:
        ConfigError: An option is out of range, or the file holds no criteria that can be read.
    """

    name = "criteria"
    options = ("no", "yes")
    lowest, highest = 0.0, 1.0

    def __init__(
        self, prompt: CriterionPrompt, engine: Engine, *, criteria: str | None = None, min_answer_mass: Share = 1e-9
    ) -> None:
        self.criteria = criteria
        self._own = None if criteria is None else read_criteria(criteria)
        super().__init__(prompt, engine, min_answer_mass=min_answer_mass)

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair, the criteria's words included."""
        rubrics = [built_in_criteria(name) for name in built_in_tasks()] if self._own is None else [self._own]
        asked = (f"{criterion.asks} {criterion.weight!r}" for rubric in rubrics for criterion in rubric)
        return content_id(super().identity, *asked)

    def rubric(self, task_name: str) -> tuple[Criterion, ...]:
        """The criteria that responses of a task are judged by.

        Raises:
            ConfigError: There is no file, and no criteria are built in for the task.
        """
        return built_in_criteria(task_name) if self._own is None else self._own

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """Ask every criterion about every response, in one batch of the engine.

        Args:
            prompts: What was answered.
            completions: One response per prompt.

        Returns:
            One rating per response, in order, with one judgment per criterion; missing where one of them is.
        """
        singles = [Single(*pair) for pair in zip(prompts, completions, strict=True)]
        asked = [self.prompt.criterion(*single.arguments, each.asks) for single in singles for each in self._of(single)]
        judgments = iter(self._score(asked))
        author = f"{self.name}:{self.identity}"
        return [self._mean(single, [next(judgments) for _ in self._of(single)], author) for single in singles]

    def _of(self, single: Single) -> tuple[Criterion, ...]:
        return self.rubric(single.prompt.task)

    def _mean(self, single: Single, judgments: Sequence[Judgment], author: str) -> Rating:
        missing, distribution = reasons_of(judgments), None
        if missing is None:
            weights = [criterion.weight for criterion in self._of(single)]
            met = [weight * _p_yes(judgment) for weight, judgment in zip(weights, judgments, strict=True)]
            score = min(math.fsum(met) / math.fsum(weights), 1.0)
            distribution = (1.0 - score, score)
        return Rating(
            prompt=single.prompt,
            completion=single.completion,
            distribution=distribution,
            missing=missing,
            lowest=self.lowest,
            highest=self.highest,
            judgments=tuple(judgments),
            labeler=author,
            source=self.source,
        )


def _p_yes(judgment: Judgment) -> float:
    assert judgment.option_logprobs is not None
    return float(option_distribution(torch.tensor(judgment.option_logprobs, dtype=torch.float64))[1])
