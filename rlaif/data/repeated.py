"""Merges pairs that are in the data more than once, in either order: one pair with the weighted mean of its labels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from rlaif.data.transcripts import instruction_in, instruction_of, transcript_of
from rlaif.types import content_id

if TYPE_CHECKING:
    from rlaif.data.formats.base import LabeledPair
    from rlaif.types import Comparison, Preference

REPEATED = "repeated pair, same label"
CONTRADICTING = "repeated pair, other label"
_ROUNDING = 1e-9
"""Rounding error of a swapped label."""
_CUE = re.compile(r"\s*TL;DR:\s*\Z")
"""What asks for the summary of a post; some files have it behind the post, others leave it to the task."""


def plain(text: str) -> str:
    """A text as texts are compared: without surrounding white space, with the line ends of Unix, and with a letter and
    its accent as one character.

    >>> plain("a cafe\\u0301\\r\\nin Lyon ") == "a caf\\u00e9\\nin Lyon"
    True
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()


class PairKey(NamedTuple):
    """A pair under the key that it has in either order."""

    id: str
    """Content hash of prompt and both responses as they are compared (:func:`plain`), the responses sorted; a dialogue
    of one turn and its bare instruction are the same prompt."""
    turned: bool
    """True when the key names the second response first."""

    @classmethod
    def of(cls, prompt: str, first: str, second: str) -> PairKey:
        """The key of a pair.

        >>> PairKey.of("p", "a", "b").id == PairKey.of("p", "b", " a ").id
        True
        """
        first, second = plain(first), plain(second)
        return cls(content_id(plain(_CUE.sub("", instruction_in(prompt))), *sorted((first, second))), second < first)

    @classmethod
    def of_comparison(cls, pair: Comparison) -> PairKey:
        """The key of a pair of a run, which is that of its row in a file whatever the text of the task's prompt."""
        prompt = pair.prompt
        has_several = prompt.has_own_turns and len(prompt.turns) > 1
        text = transcript_of(prompt.turns) if has_several else instruction_of(prompt)
        return cls.of(text, pair.first.text, pair.second.text)


@dataclass(slots=True)
class Votes:
    """The labels of one pair, in the order in which its first row names the responses."""

    turned: bool
    """As :attr:`PairKey.turned` of the first row."""
    labels: list[float] = field(default_factory=list)
    """P(first is better), one per row that has a label."""
    weights: list[float] = field(default_factory=list)
    """Of the labels, each at least 0."""
    confidence: float | None = None
    """Of the first row."""

    def p_first(self, turned: bool) -> float | None:
        """Mean of the labels by their weights, for a pair in this order; None without a label.

        A label of weight 0 is left out where another counts.
        """
        if not self.labels:
            return None
        weights = self.weights if any(self.weights) else [1.0] * len(self.labels)
        counted = [(label, weight) for label, weight in zip(self.labels, weights, strict=True) if weight]
        equal = _agree(min(counted)[0], max(counted)[0])
        total = sum(weight for _, weight in counted)
        mean = counted[0][0] if equal else sum(label * weight for label, weight in counted) / total
        return mean if turned == self.turned else 1.0 - mean

    @property
    def weight(self) -> float:
        """Mean of the weights above 0; 0 where there is none, 1 without a label."""
        counted = [weight for weight in self.weights if weight]
        if not counted:
            return 0.0 if self.weights else 1.0
        return sum(counted) / len(counted)


@dataclass
class VoteTable:
    """Votes by pair; several people's hard labels of one pair become one soft label."""

    votes: dict[str, Votes] = field(default_factory=dict)
    """By :attr:`PairKey.id`."""
    repeated: Counter[str] = field(default_factory=Counter)
    """Rows that repeat an earlier pair, with the same label and with another."""

    def add(self, pair: LabeledPair) -> bool:
        """Count a row; True when its pair is new."""
        return self.add_under(PairKey.of(pair.prompt, pair.first, pair.second), pair)

    def add_under(self, key: PairKey, pair: LabeledPair | Preference) -> bool:
        """Count a label of the pair with this key; True when the pair is new."""
        known = self.votes.get(key.id)
        is_new = known is None
        if known is None:
            known = self.votes[key.id] = Votes(key.turned, confidence=pair.confidence)
        p_first = pair.p_first if pair.p_first is None or key.turned == known.turned else 1.0 - pair.p_first
        if not is_new:
            before = known.labels[0] if known.labels else None
            self.repeated[REPEATED if _agree(before, p_first) else CONTRADICTING] += 1
        if p_first is not None:
            known.labels.append(p_first)
            known.weights.append(pair.weight)
        return is_new

    def find(self, key: PairKey) -> Votes | None:
        """The votes on a pair; None where it is not in the table."""
        return self.votes.get(key.id)


class Repeats:
    """Pairs that are in the data more than once, by their places in a list of records.

    There may be a million pairs: labels are collected for repeated ones alone, of the others a number is held.
    """

    def __init__(self) -> None:
        self.table = VoteTable()
        """Labels of the repeated pairs."""
        self._places: dict[int, int] = {}
        self._repeated: dict[int, PairKey] = {}

    def place(self, key: PairKey, new: int) -> int:
        """Where the pair with this key is already; ``new``, which is then its place, where it is not known."""
        return self._places.setdefault(int(key.id, 16), new)

    def add(self, key: PairKey, pair: Preference, place: int, first: Preference) -> None:
        """Count the label of a row whose pair is known.

        Args:
            key: Of the pair as the row has it.
            pair: The row's label.
            place: From :meth:`place`.
            first: The label of the pair's first row.
        """
        if place not in self._repeated:
            texts = plain(first.comparison.first.text), plain(first.comparison.second.text)
            self._repeated[place] = PairKey(key.id, texts[1] < texts[0])
            self.table.add_under(self._repeated[place], first)
        self.table.add_under(key, pair)

    def merged(self, place: int, first: Preference) -> Preference:
        """The first row's label of a repeated pair with the mean of all its labels."""
        key = self._repeated[place]
        votes = self.table.votes[key.id]
        p_first = votes.p_first(key.turned)
        return replace(first, p_first=p_first, missing=first.missing if p_first is None else None, weight=votes.weight)

    def __iter__(self) -> Iterator[int]:
        """Places of the repeated pairs."""
        return iter(self._repeated)


def _agree(p: float | None, q: float | None) -> bool:
    return p == q if p is None or q is None else abs(p - q) < _ROUNDING
