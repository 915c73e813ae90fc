"""An LLM judges one response at a time: a score from 1 to 10, or good and bad.

Source: RLAIF, arXiv 2309.00267, section 2.2.2: the likelihoods of the ten scores, renormalised, give an
expected score, which is mapped to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch

from rlaif.engines.base import Engine
from rlaif.functional.labels import option_distribution, probability_greater
from rlaif.labelers.answer_mass import check_minimum
from rlaif.labelers.evidence import judged
from rlaif.labelers.rationale import Rationales, after, rationale_form
from rlaif.ranges import Share
from rlaif.reasons import kind_of
from rlaif.tasks.base import Task, get_task
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Rating, StructuredPrompt, View, content_id

SCORES = tuple(str(score) for score in range(1, 11))
"""Whole answers that are scored, worst first; "10" begins with "1", so an engine closes each with a newline."""
VERDICTS = ("bad", "good")


class Identified(Protocol):
    """What every prompt strategy (group ``rlaif.prompts``) has."""

    @property
    def identity(self) -> str:
        """Content hash of templates and options."""
        ...


class PointwisePrompt(Identified, Protocol):
    """A prompt strategy with the questions of labelers that rate a response as a whole; each asks some of them."""

    def rating(self, task: Task, prompt_text: str, response: str, *, rationale: str | None = None) -> StructuredPrompt:
        """The prompt after which one of ``SCORES`` is scored; with a rationale, the second step."""
        ...

    def rating_rationale_request(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """The prompt of the first step, which a model continues with a rationale."""
        ...

    def binary(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """The prompt after which "good" or "bad" is scored."""
        ...


PromptT = TypeVar("PromptT", bound=Identified)


class Single(NamedTuple):
    """One response to one prompt."""

    prompt: Prompt
    completion: Completion

    @property
    def arguments(self) -> tuple[Task, str, str]:
        """Arguments for a prompt strategy: task, prompt text, response."""
        return get_task(self.prompt.task), self.prompt.text, self.completion.text


class PointwiseLabeler(Generic[PromptT]):
    """Scores the options of a scale after each response; two ratings make a preference.

    Args:
        prompt: Builds the judge prompts.
        engine: The language model that judges.
        min_answer_mass: Least probability, in [0, 1], that all answers have together in a judgement; below it the
            judgement is missing. 0 takes every judgement. An answer may take several tokens ("7" and the closing
            newline), so the default is lower than that of "1" against "2".

    Raises:
        ConfigError: An option is out of range.
    """

    name: str
    source = "ai"
    options: ClassVar[tuple[str, ...]]
    """Answers, worst first."""
    lowest: ClassVar[float]
    highest: ClassVar[float]

    def __init__(self, prompt: PromptT, engine: Engine, *, min_answer_mass: Share = 1e-9) -> None:
        check_minimum(min_answer_mass)
        self.prompt = prompt
        self.engine = engine
        self.min_answer_mass = float(min_answer_mass)

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        minimum = f"min_answer_mass={self.min_answer_mass!r}"
        return content_id(type(self).__qualname__, self.prompt.identity, self.engine.identity, minimum)

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """Judge every response on its own.

        Args:
            prompts: What was answered.
            completions: One response per prompt; an engine reads them as one batch.

        Returns:
            One rating per response, in order; missing with its reason where the model gave none.
        """
        singles = [Single(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        author = f"{self.name}:{self.identity}"
        return [self._rating(*judged, author) for judged in zip(singles, self._judge(singles), strict=True)]

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Rate both candidates and compare: P(first's score is higher), equal scores counting ½.

        There are no two orders to average, and swapping the candidates inverts the label exactly. A label is
        missing when one of the ratings is.
        """
        sides = [side for pair in comparisons for side in (pair.first, pair.second)]
        prompts = [pair.prompt for pair in comparisons for _ in range(2)]
        ratings = iter(self.rate(prompts, sides))
        return [preference_from_ratings(pair, next(ratings), next(ratings)) for pair in comparisons]

    def _judge(self, singles: Sequence[Single]) -> list[Judgment]:
        return self._score([self._question(single) for single in singles])

    def _question(self, single: Single) -> StructuredPrompt:
        raise NotImplementedError

    def _score(self, prompts: Sequence[StructuredPrompt]) -> list[Judgment]:
        scores = self.engine.score(prompts, self.options) if prompts else []
        return [
            judged("first", *answered, self.options, min_answer_mass=self.min_answer_mass)
            for answered in zip(prompts, scores, strict=True)
        ]

    def _rating(self, single: Single, judgment: Judgment, author: str) -> Rating:
        distribution, missing = None, judgment.missing
        if missing is None:
            assert judgment.option_logprobs is not None
            probabilities = option_distribution(torch.tensor(judgment.option_logprobs, dtype=torch.float64))
            distribution = tuple(probabilities.tolist())
        return Rating(
            prompt=single.prompt,
            completion=single.completion,
            distribution=distribution,
            missing=None if missing is None else kind_of(missing),
            lowest=self.lowest,
            highest=self.highest,
            judgments=(judgment,),
            labeler=author,
            source=self.source,
        )


class ScoreLabeler(PointwiseLabeler[PointwisePrompt]):
    """Expected score from 1 to 10 (direct RLAIF, arXiv 2309.00267, section 2.2.2); arguments as its base."""

    name = "scorer"
    options = SCORES
    lowest, highest = 1.0, 10.0

    def _question(self, single: Single) -> StructuredPrompt:
        return self.prompt.rating(*single.arguments)


class ChainOfThoughtScoreLabeler(ScoreLabeler):
    """Writes a rationale about the response, greedily, and scores it after.

    Args:
        prompt: Builds the prompts of both steps.
        engine: The language model that reasons and judges.
        min_answer_mass: As in :class:`PointwiseLabeler`.
        max_rationale_tokens: Limit of the first step, in tokens of the engine; a longer rationale is missing.

    Raises:
        ConfigError: An option is out of range.
    """

    name = "cot_scorer"

    def __init__(
        self,
        prompt: PointwisePrompt,
        engine: Engine,
        *,
        min_answer_mass: Share = 1e-9,
        max_rationale_tokens: int = 512,
    ) -> None:
        super().__init__(prompt, engine, min_answer_mass=min_answer_mass)
        self.rationales = Rationales(max_rationale_tokens)
        self.max_rationale_tokens = max_rationale_tokens

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        return content_id(super().identity, str(self.max_rationale_tokens), *rationale_form(self.engine))

    def _judge(self, singles: Sequence[Single]) -> list[Judgment]:
        requests = [self.prompt.rating_rationale_request(*single.arguments) for single in singles]
        thoughts = self.rationales.write(self.engine, requests, ["first"] * len(requests))
        judged = [pair for pair in zip(singles, thoughts, strict=True) if pair[1].missing is None]
        prompts = [self.prompt.rating(*single.arguments, rationale=thought.reply) for single, thought in judged]
        scored = iter(self._score(prompts))
        return [thought if thought.missing else after(thought, next(scored)) for thought in thoughts]


class BinaryLabeler(PointwiseLabeler[PointwisePrompt]):
    """Probability that a response is good rather than bad; arguments as its base."""

    name = "binary"
    options = VERDICTS
    lowest, highest = 0.0, 1.0

    def _question(self, single: Single) -> StructuredPrompt:
        return self.prompt.binary(*single.arguments)


def preference_from_ratings(comparison: Comparison, first: Rating, second: Rating) -> Preference:
    """Two ratings on one scale as a soft label; missing when one of them is.

    Args:
        comparison: The pair that was rated.
        first: Of its first candidate.
        second: Of its second candidate.
    """
    sides: tuple[tuple[View, Rating], ...] = (("first", first), ("second", second))
    reasons = dict.fromkeys(rating.missing for _, rating in sides if rating.missing is not None)
    p_first = None
    if first.distribution is not None and second.distribution is not None:
        higher = (torch.tensor(rating.distribution, dtype=torch.float64) for _, rating in sides)
        # Rounding may leave the sum of the products a hair above 1.
        p_first = min(float(probability_greater(*higher)), 1.0)
    return Preference(
        comparison=comparison,
        p_first=p_first,
        missing="; ".join(reasons) or None,
        judgments=tuple(seen_as(judgment, view) for view, rating in sides for judgment in rating.judgments),
        labeler=first.labeler,
        source=first.source,
    )


def seen_as(judgment: Judgment, view: View) -> Judgment:
    """The same evidence for the other candidate of a pair."""
    return replace(judgment, order=view)
