"""The labels of a file by the texts of the pair, and an account of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlaif.data.formats.base import UNLABELED, LabeledPair, OddRowError, OtherTaskError, ReadRow
from rlaif.data.formats.pair_files import PairFile
from rlaif.data.repeated import CONTRADICTING, REPEATED, PairKey, VoteTable
from rlaif.errors import DataError
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Preference, is_blank

NUM_SHOWN = 3
NUM_OTHERS = 8
"""Values of rows that ``where`` leaves out, of which an error lists so many."""


@dataclass(frozen=True, kw_only=True)
class ReadSummary:
    """Counts over the rows of a file: pairs, labels, rows left out, repeated rows."""

    num_rows: int
    num_pairs: int
    """Different pairs, either order counting as the same."""
    num_labels: int
    """Pairs with a label."""
    mean_p_first: float | None = None
    """Over the pairs with a label, each in the order of its first row; None without any, and for verdicts in two
    orders."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason, the most frequent first."""
    examples: tuple[str, ...] = ()
    """The first three of them, as ``file:line: reason``."""
    apart: dict[str, int] = field(default_factory=dict)
    """Rows that ``where``, of the user or of the layout, leaves out, by reason: none of those asked for."""
    num_empty: int = 0
    """Pairs of which one response is empty; they count."""
    repeated: int = 0
    """Rows that repeat an earlier pair with the same label: merged."""
    contradicting: int = 0
    """Rows that repeat an earlier pair with another label: the pair gets the mean."""
    num_verdicts: int | None = None
    """Verdicts of one judge in two orders; None where the rows of a pair are labels of several people."""
    shown: tuple[str, ...] = ()
    """The layout and the first three pairs in words."""

    @property
    def num_skipped(self) -> int:
        """Rows that were left out."""
        return sum(self.skipped.values())

    def lines(self) -> list[str]:
        """The account in words."""
        mean = "" if self.mean_p_first is None else f", mean p_first {self.mean_p_first:.6f}"
        lines = [f"{self.num_rows:,} rows read, {self.num_skipped:,} left out"]
        lines += [f"left out: {count:,} × {reason}" for reason, count in self.skipped.items()]
        lines += list(self.examples)
        lines += [f"not asked for: {count:,} × {reason}" for reason, count in self.apart.items()]
        if self.num_empty:
            lines.append(f"{self.num_empty:,} pairs have an empty response")
        if self.num_verdicts is not None:
            return [
                *lines,
                f"{self.num_pairs:,} pairs, {self.num_labels:,} of them with a verdict in each order, "
                f"{self.num_verdicts:,} verdicts",
            ]
        lines.append(
            f"{self.repeated:,} rows repeat a pair with the same label, {self.contradicting:,} with another (the mean"
            " counts)"
        )
        lines.append(f"{self.num_pairs:,} pairs, {self.num_labels:,} with a label{mean}")
        return [*lines, *self.shown]


class ReadRows:
    """The rows of a file that can be used, and an account of the others.

    Args:
        file: The rows.
        confidences: Only rows with one of these confidences; empty takes all.

    Raises:
        DataError: While they are read: the file cannot be read.
    """

    def __init__(self, file: PairFile, confidences: Sequence[float] = ()) -> None:
        self.file = file
        self.confidences = confidences
        self.num_rows = 0
        self.unusable: dict[str, str] = {}
        """By :attr:`PairKey.id`, what is wrong with the first row of a pair whose label cannot be used."""
        self._skipped: Counter[str] = Counter()
        self._shown: list[str] = []
        self._others: dict[str, None] = {}
        self._apart: Counter[str] = Counter()
        self._num_empty = 0

    def __iter__(self) -> Iterator[tuple[ReadRow, LabeledPair]]:
        for row in self.file.read():
            if isinstance(row.odd, OtherTaskError):  # ``where`` leaves it out: it is none of those asked for
                if len(self._others) < NUM_OTHERS:
                    self._others.setdefault(str(row.odd))
                self._apart[row.odd.reason] += 1
                continue
            self.num_rows += 1
            try:
                pairs = list(_pairs_in(row, self.confidences))
            except OddRowError as odd:
                self.leave_out(row, odd)
                continue
            for pair in pairs:
                self._num_empty += is_blank(pair.first) or is_blank(pair.second)
                yield row, pair

    def leave_out(self, row: ReadRow, odd: OddRowError) -> None:
        """Count a row that cannot be used."""
        self._skipped[odd.reason] += 1
        if odd.pair is not None:
            self.unusable.setdefault(PairKey.of(*odd.pair).id, str(odd))
        if len(self._shown) < NUM_SHOWN:
            self._shown.append(f"{row.place}: {odd}")

    def check_any(self, num_pairs: int) -> None:
        """Refuse a file of which nothing can be used.

        Raises:
            DataError: No row gave a pair.
        """
        if not num_pairs and self._others and not self.num_rows:
            if not self.file.options.where:
                reasons = ", ".join(f"{count:,} × {reason}" for reason, count in self._apart.most_common())
                raise DataError(f"{self.file.name}: not one row makes a pair: {reasons}")
            others = ", ".join(self._others)
            raise DataError(f"{self.file.name}: no row has the values of {self.file.group}.where; there are {others}")
        if not num_pairs:
            raise DataError(
                f"{self.file.name}: not one of {self.num_rows:,} rows can be used ({'; '.join(self._shown)}); is"
                f" {self.file.group}.format={self.file.layout.name} right?"
            )

    def summary(self, *, num_pairs: int, num_labels: int, **counts: Any) -> ReadSummary:
        """The account, with further counts of :class:`ReadSummary`."""
        skipped, examples = dict(self._skipped.most_common()), tuple(self._shown)
        return ReadSummary(
            num_rows=self.num_rows,
            num_pairs=num_pairs,
            num_labels=num_labels,
            skipped=skipped,
            examples=examples,
            apart=dict(self._apart.most_common()),
            num_empty=self._num_empty,
            shown=tuple(self.file.shown),
            **counts,
        )


class LabelTable:
    """Reads a file and keeps its labels.

    Rows that cannot be used are left out and counted; a pair that is in several rows, in either order,
    gets the mean of their labels.

    Args:
        file: The rows.
        confidences: Only rows with one of these confidences; empty takes all.
        keep_pairs: Whether the texts are kept too (:attr:`pairs`).

    Raises:
        DataError: The file cannot be read, or not one of its rows can be used.
    """

    def __init__(self, file: PairFile, *, confidences: Sequence[float] = (), keep_pairs: bool = False) -> None:
        self.table = VoteTable()
        self.pairs: list[LabeledPair] = []
        """One per pair, as its first row gives it."""
        rows = ReadRows(file, confidences)
        for _, pair in rows:
            if self.table.add(pair) and keep_pairs:
                self.pairs.append(pair)
        self.unusable = rows.unusable
        """By :attr:`PairKey.id`, what is wrong with the first row of a pair whose label cannot be used."""
        votes = self.table.votes.values()
        labels = [p_first for vote in votes if (p_first := vote.p_first(vote.turned)) is not None]
        self.reading = rows.summary(
            num_pairs=len(votes),
            num_labels=len(labels),
            mean_p_first=sum(labels) / len(labels) if labels else None,
            repeated=self.table.repeated[REPEATED],
            contradicting=self.table.repeated[CONTRADICTING],
        )
        rows.check_any(len(votes))


def _pairs_in(row: ReadRow, confidences: Sequence[float]) -> Iterator[LabeledPair]:
    """The pairs of a row.

    Raises:
        OddRowError: It has none, or another confidence.
    """
    if row.odd is not None:
        raise row.odd
    for record in row.records:
        if not isinstance(record, LabeledPair):
            raise OddRowError("no pair", "one response or none")
        if confidences and record.confidence not in confidences:
            raise OddRowError("other confidence")
        yield record


def preferences_of(table: LabelTable, task: Task, source: str) -> list[Preference]:
    """The pairs of a file as labels, in the order of their first rows.

    Args:
        table: A reading that kept the pairs.
        task: What the texts are; where its policy continues a dialogue, a bare instruction gets turns.
        source: Who gave the labels.
    """
    return [_preference(table, pair, task, source) for pair in table.pairs]


def _preference(table: LabelTable, pair: LabeledPair, task: Task, source: str) -> Preference:
    key = PairKey.of(pair.prompt, pair.first, pair.second)
    votes = table.table.votes[key.id]
    p_first = votes.p_first(key.turned)
    prompt = pair.as_prompt(task.name, cue=task.policy_text(""))
    return Preference(
        comparison=Comparison(
            prompt=prompt,
            first=Completion(text=pair.first, source=pair.first_source),
            second=Completion(text=pair.second, source=pair.second_source),
        ),
        p_first=p_first,
        missing=UNLABELED if p_first is None else None,
        labeler="file",
        source=source,
        confidence=votes.confidence,
        weight=votes.weight,
    )
