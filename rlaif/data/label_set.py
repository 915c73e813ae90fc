"""A label table as a data set: split by prompt, each pair once, with a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.artifacts import atomic_write
from rlaif.data.cards import Card, card_text
from rlaif.data.pairs import conversation_start
from rlaif.data.preferences_io import PREFERENCE_SCHEMA, ROWS_AT_ONCE, open_table
from rlaif.data.repeated import PairKey
from rlaif.errors import ConfigError
from rlaif.types import content_id

SPLITS = ("train", "validation", "test")
EVIDENCE = "judgments"
CARD = "README.md"
DATA = "data"


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How prompts are spread over the splits."""

    validation: float = 0.05
    """Share of the prompts."""
    test: float = 0.05
    """Share of the prompts."""

    def __post_init__(self) -> None:
        problems = [
            f"{name}={share:g}: must be at least 0 and below 1"
            for name, share in (("validation", self.validation), ("test", self.test))
            if not 0.0 <= share < 1.0
        ]
        if not problems and self.validation + self.test >= 1.0:
            problems.append(f"validation={self.validation:g}, test={self.test:g}: must leave prompts for training")
        if problems:
            raise ConfigError(problems)

    def split_of(self, prompt: str) -> str:
        """The split of a prompt: by hash of how its conversation begins, the same on every machine.

        >>> SplitOptions(validation=0.0, test=0.0).split_of("A post.")
        'train'
        """
        position = int(content_id("label set", conversation_start(prompt)), 16) / 2**64
        if position < self.test:
            return "test"
        return "validation" if position < self.test + self.validation else "train"


@dataclass(kw_only=True)
class SetCounts:
    """What stands in a label set."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """By split."""
    missing: Counter[str] = field(default_factory=Counter)
    """Labels that were not obtained, by reason."""
    sources: Counter[str] = field(default_factory=Counter)
    labelers: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    num_ties: int = 0
    """Labels of exactly one half."""
    num_repeated: int = 0
    """Rows left out: the same source had labeled the pair before, in either order."""
    sum_p_first: float = 0.0

    @property
    def num_rows(self) -> int:
        return sum(self.rows.values())

    @property
    def num_labels(self) -> int:
        return self.num_rows - self.missing.total()

    def add(self, row: Mapping[str, Any], split: str) -> None:
        self.rows[split] += 1
        self.sources[row["source"]] += 1
        self.labelers[row["labeler"]] += 1
        self.tasks[row["task"]] += 1
        if row["p_first"] is None:
            self.missing[row["missing"]] += 1
        else:
            self.sum_p_first += row["p_first"]
            self.num_ties += row["p_first"] == 0.5


def write_label_set(
    table: Path, folder: Path, card: Card, *, options: SplitOptions | None = None, with_evidence: bool = False
) -> SetCounts:
    """Write ``data/train.parquet``, ``validation``, ``test`` and ``README.md``, which ``load_dataset(folder)`` reads.

    Rows keep their order. Of the rows in which one source labels one pair, the first with a label stays;
    a missing label stays where the pair has no other. A split without rows has no file.

    Args:
        table: A label table.
        folder: Made when missing; its ``data`` and card are replaced.
        card: What the card tells besides the counts.
        options: Shares of the splits; None takes the defaults.
        with_evidence: Whether the column ``judgments`` (the judge prompts as they were read) stays.

    Returns:
        The counts, which the card has too.

    Raises:
        DataError: The table cannot be read.
    """
    options = options or SplitOptions()
    names = [name for name in PREFERENCE_SCHEMA.names if with_evidence or name != EVIDENCE]
    kept, counts = _rows_to_keep(table)
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    with open_table(table, PREFERENCE_SCHEMA) as source:
        names = [name for name in names if name in source.schema_arrow.names]
        schema = pa.schema([PREFERENCE_SCHEMA.field(name) for name in names])
        parts = {split: _Part(folder / DATA / f"{split}.parquet", schema) for split in SPLITS}
        keeps = iter(kept)
        for batch in source.iter_batches(ROWS_AT_ONCE, columns=names):
            splits = [options.split_of(row["prompt"]) for row in batch.select(["prompt"]).to_pylist()]
            chosen = [split if next(keeps) else "" for split in splits]
            for row, split in zip(batch.to_pylist(), chosen, strict=True):
                if split:
                    counts.add(row, split)
            for split, part in parts.items():
                part.add(batch.filter(pa.array([name == split for name in chosen])))
    for part in parts.values():
        part.close()
    atomic_write(folder / CARD, card_text(card, counts, evidence=with_evidence).encode())
    return counts


class _Part:
    """One split, written in groups of rows."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.writer = pq.ParquetWriter(path, schema, compression="zstd")
        self.waiting: list[pa.RecordBatch] = []
        self.num_rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.num_rows += batch.num_rows
        if sum(waiting.num_rows for waiting in self.waiting) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Finish the file; without rows there is none."""
        self._flush()
        self.writer.close()
        if not self.num_rows:
            self.path.unlink()

    def _flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.Table.from_batches(self.waiting).cast(self.schema))
            self.waiting.clear()


def _rows_to_keep(table: Path) -> tuple[list[bool], SetCounts]:
    """Which rows stay, and how many do not."""
    counts = SetCounts()
    first_label: dict[str, int] = {}
    first_row: dict[str, int] = {}
    keys = []
    for index, (key, has_label) in enumerate(_keys(table)):
        keys.append(key)
        first_row.setdefault(key, index)
        if has_label:
            first_label.setdefault(key, index)
    kept = [index == first_label.get(key, first_row[key]) for index, key in enumerate(keys)]
    counts.num_repeated = len(kept) - sum(kept)
    return kept, counts


def _keys(table: Path) -> Iterator[tuple[str, bool]]:
    columns = ["prompt", "first", "second", "source", "p_first"]
    with open_table(table, PREFERENCE_SCHEMA) as source:
        for batch in source.iter_batches(ROWS_AT_ONCE, columns=columns):
            for row in batch.to_pylist():
                pair = PairKey.of(row["prompt"], row["first"], row["second"])
                yield content_id(pair.id, row["source"]), row["p_first"] is not None
