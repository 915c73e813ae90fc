"""The labels of a file by the texts of the pair, and an account of what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rlaif.data.formats.base import UNLABELED, LabeledPair, OddRowError, ReadRow
from rlaif.data.formats.pair_files import PairFile
from rlaif.data.repeated import CONTRADICTING, REPEATED, PairKey, VoteTable
from rlaif.errors import DataError
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Preference

NUM_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ReadSummary:
    """Counts over the rows of a file: pairs, labels, rows left out, repeated rows."""

    num_rows: int
    num_pairs: int
    """Different pairs, either order counting as the same."""
    num_labels: int
    """Pairs with a label."""
    mean_p_first: float | None
    """Over the pairs with a label, each in the order of its first row; None without any."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason, the most frequent first."""
    examples: tuple[str, ...] = ()
    """The first three of them, as ``file:line: reason``."""
    repeated: int = 0
    """Rows that repeat an earlier pair with the same label: merged."""
    contradicting: int = 0
    """Rows that repeat an earlier pair with another label: the pair gets the mean."""
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
        lines.append(
            f"{self.repeated:,} rows repeat a pair with the same label, {self.contradicting:,} with another (the mean"
            " counts)"
        )
        lines.append(f"{self.num_pairs:,} pairs, {self.num_labels:,} with a label{mean}")
        return [*lines, *self.shown]


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
        self.unusable: dict[str, str] = {}
        """By :attr:`PairKey.id`, what is wrong with the first row of a pair whose label cannot be used."""
        skipped: Counter[str] = Counter()
        shown: list[str] = []
        num_rows = 0
        for num_rows, row in enumerate(file.read(), 1):  # noqa: B007
            try:
                pairs = list(_pairs_in(row, confidences))
            except OddRowError as odd:
                skipped[odd.reason] += 1
                if odd.pair is not None:
                    self.unusable.setdefault(PairKey.of(*odd.pair).id, str(odd))
                if len(shown) < NUM_SHOWN:
                    shown.append(f"{row.place}: {odd}")
                continue
            for pair in pairs:
                if self.table.add(pair) and keep_pairs:
                    self.pairs.append(pair)
        votes = self.table.votes.values()
        labels = [p_first for vote in votes if (p_first := vote.p_first(vote.turned)) is not None]
        self.reading = ReadSummary(
            num_rows=num_rows,
            num_pairs=len(votes),
            num_labels=len(labels),
            mean_p_first=sum(labels) / len(labels) if labels else None,
            skipped=dict(skipped.most_common()),
            examples=tuple(shown),
            repeated=self.table.repeated[REPEATED],
            contradicting=self.table.repeated[CONTRADICTING],
            shown=tuple(file.shown),
        )
        if not votes:
            raise DataError(
                f"{file.name}: not one of {num_rows:,} rows can be used ({'; '.join(shown)}); is"
                f" {file.group}.format={file.layout.name} right?"
            )


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
    prompt = pair.as_prompt(task.name, continues_dialogue=not task.policy_text(""))
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
