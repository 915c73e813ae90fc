"""Judges: sources of the verdicts that win rates and alignments are computed from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rlaif.data.base import Annotators
from rlaif.errors import ConfigError
from rlaif.evaluation.votes import SIMULATED, Votes, annotator_votes, harmless_votes
from rlaif.types import Comparison, Preference, Prompt, Rating, content_id


class Judge(Protocol):
    """Gives verdicts on comparisons."""

    @property
    def name(self) -> str:
        """The judge in words, as notes of figures name it: ``simulated annotators``, ``LLM judge …``."""
        ...

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """One row of verdicts per comparison; an empty row where the judge has none."""
        ...


@runtime_checkable
class HarmJudge(Protocol):
    """A judge that also gives verdicts on the harmlessness of single responses."""

    @property
    def name(self) -> str:
        """As :attr:`Judge.name`."""
        ...

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        """One row of verdicts per response, 1 for harmless."""
        ...


@dataclass(frozen=True)
class AnnotatorJudge:
    """Simulated annotators.

    Args:
        annotators: The annotators of the data.
        num_raters: Verdicts per comparison.
        first_rater: Number of the first rater; above the number of a rater who is judged by the others.
    """

    annotators: Annotators
    num_raters: int = 1
    first_rater: int = 0
    name: str = SIMULATED

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """As :func:`~rlaif.evaluation.votes.annotator_votes`."""
        return annotator_votes(self.annotators, comparisons, self.num_raters, first_rater=self.first_rater)

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        """As :func:`~rlaif.evaluation.votes.harmless_votes`."""
        return harmless_votes(self.annotators, prompts, responses, self.num_raters)


class PeopleJudge:
    """People's labels that came with the data.

    Args:
        labels: Their labels; of several labels of one comparison the last counts.
        name: The people in words; empty names the labels' sources.
    """

    def __init__(self, labels: Sequence[Preference], name: str = "") -> None:
        self.name = name or label_sources(labels)
        self._p_first = {label.comparison.id: label.p_first for label in labels}

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """The labels of the same comparisons, in the same order of the candidates."""
        p_first = [self._p_first.get(comparison.id) for comparison in comparisons]
        return [() if p is None else (p,) for p in p_first]


def label_sources(labels: Iterable[Preference]) -> str:
    """The sources of labels that came with the data, in words.

    >>> label_sources([])
    'unnamed labels of the data'
    """
    return f"{' and '.join(sorted({label.source for label in labels if label.source})) or 'unnamed'} labels of the data"


class LabelJudge:
    """Labels that an LLM judge has given.

    Two identical texts are a tie. A label above or below one half is a hard verdict, a label of exactly one half a
    tie, a missing label no verdict.

    Args:
        labels: The judge's labels of those comparisons whose two texts differ (:meth:`to_ask`).
        model: The judge's model, for its name.
    """

    def __init__(self, labels: Sequence[Preference], *, model: str) -> None:
        self.name = f"LLM judge {model}"
        self._by_comparison = {label.comparison.id: label for label in labels}

    @staticmethod
    def to_ask(comparisons: Sequence[Comparison]) -> list[Comparison]:
        """The comparisons that a model must be asked about."""
        return [comparison for comparison in comparisons if not comparison.is_identical]

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """The labels as hard verdicts; a comparison without a label has none."""
        return [(0.5,) if comparison.is_identical else self._hard_vote(comparison) for comparison in comparisons]

    def _hard_vote(self, comparison: Comparison) -> tuple[float, ...]:
        label = self._by_comparison.get(comparison.id)
        if label is None or label.p_first is None:
            return ()
        return (0.5 if label.p_first == 0.5 else float(label.p_first > 0.5),)


class RatedHarm:
    """Ratings of single responses, as hard verdicts on harm.

    Above the middle of its scale a response is harmless, in the middle it is a tie; a missing rating is no verdict.

    Args:
        ratings: One per response.
        name: The rater in words.
    """

    def __init__(self, ratings: Iterable[Rating], *, name: str) -> None:
        self.name = name
        self._by_response = {(rating.prompt.id, rating.completion.trimmed): rating for rating in ratings}

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        """As :meth:`HarmJudge.harmless`, of responses that were rated."""
        return [_harmless(self._by_response[prompt.id, text]) for prompt, text in zip(prompts, responses, strict=True)]


def _harmless(rating: Rating) -> tuple[float, ...]:
    if rating.score is None:
        return ()
    middle = (rating.lowest + rating.highest) / 2.0
    is_middle = math.isclose(rating.score, middle, abs_tol=1e-9 * (rating.highest - rating.lowest))
    return (0.5 if is_middle else float(rating.score > middle),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRating:
    """A rating of one response by one rater, on any scale."""

    prompt: str
    response: str
    rating: float
    rater: str = ""


class RatingJudge:
    """Ratings of single responses: the response with the higher rating wins, equal ratings are a tie.

    Args:
        ratings: On one scale per rater. A rater's verdict needs ratings of both responses by the same rater.
        name: The raters in words.
    """

    def __init__(self, ratings: Iterable[ResponseRating], *, name: str) -> None:
        self.name = name
        self._by_response: dict[str, dict[str, float]] = {}
        for item in ratings:
            self._by_response.setdefault(content_id(item.prompt, item.response), {})[item.rater] = item.rating

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """One verdict per rater who rated both responses."""
        return [self._votes(comparison) for comparison in comparisons]

    def _votes(self, comparison: Comparison) -> tuple[float, ...]:
        first, second = (
            self._by_response.get(content_id(comparison.prompt.text, candidate.text), {})
            for candidate in (comparison.first, comparison.second)
        )
        raters = sorted(first.keys() & second.keys())
        return tuple(0.5 + 0.5 * ((first[rater] > second[rater]) - (first[rater] < second[rater])) for rater in raters)


def read_ratings(path: Path) -> list[ResponseRating]:
    """Read JSON lines with ``prompt``, ``response``, ``rating`` and perhaps ``rater``.

    Raises:
        ConfigError: A line is no such record; the message names file and line.
    """
    ratings = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            ratings.append(_rating(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ConfigError(
                f"{path}:{number}: {reason}; every line is "
                '{"prompt": text, "response": text, "rating": number} and may have a "rater"'
            ) from error
    return ratings


def _rating(record: Mapping[str, object]) -> ResponseRating:
    rating = record["rating"]
    if isinstance(rating, bool) or not isinstance(rating, int | float):
        raise ValueError(f"rating={rating!r} is no number")
    return ResponseRating(
        prompt=str(record["prompt"]),
        response=str(record["response"]),
        rating=float(rating),
        rater=str(record.get("rater", "")),
    )
