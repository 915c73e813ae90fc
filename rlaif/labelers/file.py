"""Labels that already exist: in a table, or given by people who are asked outside of this program."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.data.base import Annotators
from rlaif.engines.base import Engine
from rlaif.errors import ConfigError, DataError
from rlaif.labelers.pairwise import PairwisePrompt
from rlaif.types import Comparison, Preference, content_id

COLUMNS = {"prompt": "prompt", "first": "first", "second": "second", "p_first": "p_first"}
"""What a label needs, and the column it stands in unless ``labeler.columns`` says otherwise."""
NOT_IN_FILE = "not in file"

Key = tuple[str, str, str]
"""Prompt and both responses without surrounding white space, the responses in alphabetical order."""


class Pair(NamedTuple):
    """A pair under the key that it has in either order."""

    key: Key
    turned: bool
    """True when the key names the second response first."""

    @classmethod
    def of(cls, prompt: str, first: str, second: str) -> Pair:
        first, second = first.strip(), second.strip()
        turned = second < first
        return cls((prompt.strip(), *((second, first) if turned else (first, second))), turned)


class Row(NamedTuple):
    """One label of a table and where it stands."""

    pair: Pair
    p_first: float | None
    """As in the table; None when null there."""
    place: str
    """``file:line`` or ``file, row n``."""

    def p_first_of(self, pair: Pair) -> float | None:
        """The label of the same pair, inverted when its responses stand in the other order."""
        if self.p_first is None or pair.turned == self.pair.turned:
            return self.p_first
        return 1.0 - self.p_first


class FileLabeler:
    """Looks labels up in a Parquet or JSON-lines table, by the texts of prompt and both responses.

    A pair that stands in the table with its responses swapped gets the inverted label; one that does
    not stand there is missing ("not in file"), as is one whose ``p_first`` is null there.

    Args:
        path: ``.parquet``, ``.jsonl`` or ``.jsonl.gz``; the label tables that this package writes are read as they are.
        source: Who gave the labels, e.g. ``human``; stored with each of them.
        columns: Other names of the columns ``prompt``, ``first``, ``second`` and ``p_first``
            (probability in [0, 1] that the first response is the better one; 0 and 1 for hard labels).
        prompt: Accepted from a composed configuration and not used: a file asks nobody.
        engine: Likewise.

    Raises:
        ConfigError: An option is missing or unknown.
        DataError: From ``label`` and ``identity``, when the table cannot be read.
    """

    name = "file"

    def __init__(
        self,
        path: str | Path,
        *,
        source: str,
        columns: Mapping[str, str] | None = None,
        prompt: PairwisePrompt | None = None,
        engine: Engine | None = None,
    ) -> None:
        if not source:
            raise ConfigError('labeler.source="": say who gave the labels, e.g. labeler.source=human')
        self.path = Path(path)
        self.source = source
        self.columns = {**COLUMNS, **_known_columns(columns or {})}
        self.prompt = prompt
        self.engine = engine

    @property
    def identity(self) -> str:
        return content_id("FileLabeler", self._content_hash, self.source, *(self.columns[name] for name in COLUMNS))

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Look every comparison up; what is not in the table is missing."""
        return [self._label(comparison) for comparison in comparisons]

    def _label(self, comparison: Comparison) -> Preference:
        pair = Pair.of(comparison.prompt.text, comparison.first.text, comparison.second.text)
        row = self._table.get(pair.key)
        p_first = None if row is None else row.p_first_of(pair)
        reason = NOT_IN_FILE if row is None else "null in file"
        return Preference(
            comparison=comparison,
            p_first=p_first,
            missing=reason if p_first is None else None,
            labeler=f"{self.name}:{self.identity}",
            source=self.source,
        )

    @cached_property
    def _content_hash(self) -> str:
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"labeler.path={self.path}: cannot be read ({error.strerror})") from error

    @cached_property
    def _table(self) -> dict[Key, Row]:
        table: dict[Key, Row] = {}
        for row in self._rows():
            known = table.setdefault(row.pair.key, row)
            if not _agree(known.p_first_of(row.pair), row.p_first):
                raise DataError(
                    f"{row.place}: a pair that {known.place} labels otherwise; "
                    "keep one label per pair (their mean, if several people gave one)"
                )
        return table

    def _rows(self) -> Iterator[Row]:
        records = _parquet(self.path) if self.path.suffix == ".parquet" else _json_lines(self.path)
        for place, record in records:
            prompt, first, second, p_first = (_value(record, self.columns[name], place) for name in COLUMNS)
            if not all(isinstance(text, str) for text in (prompt, first, second)):
                raise DataError(f"{place}: prompt, first and second must be texts")
            if p_first is not None and not (isinstance(p_first, int | float) and 0.0 <= p_first <= 1.0):
                raise DataError(
                    f"{place}: {self.columns['p_first']}={p_first!r} is not a probability in [0, 1] or null"
                )
            yield Row(Pair.of(prompt, first, second), None if p_first is None else float(p_first), place)


class HumanLabeler:
    """People: labels that came with the data, and in the pocket world one simulated rater.

    Every other part of a run asks it like a model, so ``labeler=human`` turns RLAIF into RLHF.

    Args:
        rater: Which simulated rater answers; people who labeled a data set have no number.
        prompt: Accepted from a composed configuration and not used: people are not prompted here.
        engine: Likewise.
    """

    name = "human"

    def __init__(self, rater: int = 0, *, prompt: PairwisePrompt | None = None, engine: Engine | None = None) -> None:
        self.rater = rater
        self.prompt = prompt
        self.engine = engine
        self._known: dict[str, Preference] = {}
        self._annotators: Annotators | None = None
        self._bound_to = ""

    def bind(
        self, known: Sequence[Preference], annotators: Annotators | None = None, *, data_identity: str = ""
    ) -> HumanLabeler:
        """A copy that answers from these labels, and else from simulated annotators.

        Args:
            known: Labels that came with the data; either order of a pair finds them.
            annotators: Simulated people for pairs that nobody has labeled; None leaves those missing.
            data_identity: ``DataSource.identity`` of where both come from, part of this labeler's own.
        """
        bound = HumanLabeler(self.rater, prompt=self.prompt, engine=self.engine)
        bound._known = {preference.comparison.id: preference for preference in known}
        bound._annotators = annotators
        answers = (f"{key}={preference.p_first!r}" for key, preference in sorted(bound._known.items()))
        bound._bound_to = content_id(data_identity, *answers)
        return bound

    @property
    def source(self) -> str:
        return "human" if self._annotators is None else "simulated annotators"

    @property
    def identity(self) -> str:
        return content_id("HumanLabeler", str(self.rater), self.source, self._bound_to)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """The people's labels; a pair that nobody has judged is missing."""
        found = [self._find(comparison) for comparison in comparisons]
        unknown = [comparison for comparison, label in zip(comparisons, found, strict=True) if label is None]
        answers = iter(self._annotators.prefer(unknown, self.rater) if self._annotators is not None else [])
        author = f"{self.name}:{self.identity}"
        return [
            self._asked(comparison, next(answers, None), author) if label is None else label
            for comparison, label in zip(comparisons, found, strict=True)
        ]

    def _find(self, comparison: Comparison) -> Preference | None:
        label = self._known.get(comparison.id)
        if label is not None:
            return replace(label, comparison=comparison)
        swapped = Comparison(prompt=comparison.prompt, first=comparison.second, second=comparison.first)
        label = self._known.get(swapped.id)
        if label is None:
            return None
        p_first = None if label.p_first is None else 1.0 - label.p_first
        return replace(label, comparison=comparison, p_first=p_first)

    def _asked(self, comparison: Comparison, answer: float | None, author: str) -> Preference:
        missing = "no human label for this pair" if answer is None else None
        return Preference(comparison=comparison, p_first=answer, missing=missing, labeler=author, source=self.source)


def _agree(p: float | None, q: float | None) -> bool:
    """Equal up to what inverting a label rounds away."""
    return p == q if p is None or q is None else abs(p - q) < 1e-9


def _known_columns(columns: Mapping[str, str]) -> Mapping[str, str]:
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ConfigError([f"labeler.columns.{name}: unknown, there are {', '.join(COLUMNS)}" for name in unknown])
    return columns


def _value(record: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in record:
        near = difflib.get_close_matches(column, list(record), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise DataError(
            f"{place}: no column {column!r}{hint} There are {', '.join(record)}; name others with labeler.columns"
        )
    return record[column]


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}:{number}: a JSON object per line is expected")
                yield f"{path}:{number}", record
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: not JSON ({error.msg})") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}:{number + 1}: cannot be read ({error}); is the file complete?") from error


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error}); is the file complete?") from error
    for number, record in enumerate(rows, start=1):
        yield f"{path}, row {number}", record
