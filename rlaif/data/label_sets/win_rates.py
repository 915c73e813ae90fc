"""Win rates of the responses in a file of labels, for each value of a column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from rlaif.data.formats.base import LabeledPair, OtherTaskError
from rlaif.data.formats.pair_files import PairFile
from rlaif.data.formats.rows import DRAWN_ORDER
from rlaif.errors import ConfigError
from rlaif.functional.statistics import Estimate, clustered_rate
from rlaif.types import Preference

TABLE_COLUMNS: dict[str, Callable[[Preference], str]] = {
    "first_source": lambda label: label.comparison.first.source,
    "second_source": lambda label: label.comparison.second.source,
    "source": lambda label: label.source,
    "labeler": lambda label: label.labeler,
    "stratum": lambda label: label.comparison.prompt.stratum,
    "task": lambda label: label.comparison.prompt.task,
}
"""What the rows of a label table can be grouped by."""


class Labeled(NamedTuple):
    """One row."""

    group: str
    prompt: str
    p_second: float | None
    """P(second is better); None where the row has no label."""


def rows_of_file(file: PairFile, column: str, confidences: Sequence[float] = ()) -> Iterator[Labeled]:
    """The rows of a file by a column of it.

    Every row with a label counts, also one with two equal responses and one whose pair is in another row: a win rate is
    a mean over all comparisons.

    Args:
        file: Whose rows say which of two responses is better.
        column: Of the file.
        confidences: Only rows with one of these; empty takes all.

    Raises:
        ConfigError: The file has no such column, or its rows list the better response first, so that neither is the
            second one.
        DataError: It cannot be read.
    """
    if any(label.kind in DRAWN_ORDER for label in file.layout.labels):
        raise ConfigError(
            f"--by {column}: {file.name}, read as {file.layout.name}, has the better response first in every row, and"
            " its place in the pair is drawn: a win rate of the second response would say nothing"
        )
    for row in file.read():
        if isinstance(row.odd, OtherTaskError):  # ``where`` leaves it out: it is none of those asked for
            continue
        if column not in row.values:
            raise ConfigError(f"--by {column}: there is no such column; a row has {', '.join(map(str, row.values))}")
        group = str(row.values[column])
        if row.odd is not None:
            prompt = row.odd.pair[0] if row.odd.pair else row.odd.prompt
            yield Labeled(group, prompt, _other(row.odd.p_first))
        for record in row.records:
            if confidences and getattr(record, "confidence", None) not in confidences:
                continue
            yield Labeled(group, record.prompt, _other(record.p_first) if isinstance(record, LabeledPair) else None)


def _other(p_first: float | None) -> float | None:
    return None if p_first is None else 1.0 - p_first


def rows_of_table(labels: Iterable[Preference], column: str) -> Iterator[Labeled]:
    """The rows of a label table by one of :data:`TABLE_COLUMNS`.

    Raises:
        ConfigError: It has no such column.
    """
    if column not in TABLE_COLUMNS:
        raise ConfigError(f"--by {column}: a label table is grouped by {', '.join(TABLE_COLUMNS)}")
    for label in labels:
        p_second = None if label.p_first is None else 1.0 - label.p_first
        yield Labeled(TABLE_COLUMNS[column](label), label.comparison.prompt.id, p_second)


def win_rate_lines(rows: Iterable[Labeled], column: str, confidence: float = 0.95) -> list[str]:
    """A line for each group, the highest win rate of the second response first.

    The win rate is the mean of P(second is better), so that soft labels count as they are and a tie one half.

    Args:
        rows: Of :func:`rows_of_file` or :func:`rows_of_table`.
        column: What they are grouped by.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    values, prompts = defaultdict[str, list[float]](list), defaultdict[str, list[str]](list)
    unlabeled = Counter[str]()
    for row in rows:
        if row.p_second is None:
            unlabeled[row.group] += 1
            continue
        values[row.group].append(row.p_second)
        prompts[row.group].append(row.prompt)
    rates = {group: clustered_rate(values[group], prompts[group], confidence) for group in values}
    width = max(map(len, {*values, *unlabeled}), default=0)
    heading = (
        f"win rate of the second response by {column}, of the first in brackets; {confidence:.0%} interval by prompt"
    )
    lines = [heading]
    for group in sorted(rates, key=lambda group: (-(rates[group].value or 0.0), group)):
        missing = f", {unlabeled[group]:,} without a label" if unlabeled[group] else ""
        lines.append(f"{group:<{width}}  {_in_words(rates[group])}, {len(values[group]):,} labels{missing}")
    return lines + [
        f"{group:<{width}}  {unlabeled[group]:,} without a label" for group in unlabeled if group not in rates
    ]


def _in_words(rate: Estimate) -> str:
    assert rate.value is not None
    ends = "" if rate.low is None or rate.high is None else f" [{100 * rate.low:.2f}, {100 * rate.high:.2f}]"
    return f"{100 * rate.value:6.2f} %{ends}  (first {100 * (1 - rate.value):.2f} %)  {rate.n:,} prompts"
