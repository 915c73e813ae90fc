"""A label table as a data set: split by prompt, each pair once, with a card."""

from __future__ import annotations

from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.artifacts import atomic_file, atomic_write
from rlaif.data.held_out import conversation_start
from rlaif.data.label_sets.cards import SPLITS, Card, SetCounts, card_text, is_card
from rlaif.data.preferences_io import PREFERENCE_SCHEMA, ROWS_AT_ONCE, batches_of, open_table
from rlaif.data.repeated import PairKey
from rlaif.errors import ConfigError
from rlaif.types import content_id

EVIDENCE = "judgments"
CARD = "README.md"
DATA = "data"
TABLE = "labels.parquet"
NUM_NAMES_SHOWN = 3
COUNTED = ["prompt", "task", "source", "labeler", "p_first", "missing"]


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Assignment of prompts to the splits."""

    validation: float = 0.05
    """Share of the prompts."""
    test: float = 0.05
    """Share of the prompts."""

    def __post_init__(self) -> None:
        problems = [
            f"--{name}={share:g}: must be at least 0 and below 1"
            for name, share in (("validation", self.validation), ("test", self.test))
            if not 0.0 <= share < 1.0
        ]
        if not problems and self.validation + self.test >= 1.0:
            problems.append(f"--validation={self.validation:g}, --test={self.test:g}: must leave prompts for training")
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


def check_replaceable(folder: Path, table: Path) -> None:
    """Refuse a folder where a label set would replace what is not a label set of ours.

    Args:
        folder: Where the set would be written. It may be absent, hold no file, or hold an earlier set: a card that
            :func:`~rlaif.data.label_sets.cards.card_text` wrote.
        table: The label table that the set would be made from.

    Raises:
        ConfigError: The folder holds other files, a run's own label table, or ``table`` itself.
    """
    if not folder.is_dir() or not any(path.is_file() for path in folder.rglob("*")):
        return
    todo = "name a folder that does not exist yet"
    if table.resolve().parent in (folder.resolve(), (folder / DATA).resolve()):
        raise ConfigError(f"{folder}: {table} is in it, which a new set would replace; {todo}")
    if (folder / TABLE).exists():
        raise ConfigError(f"{folder}: is a run's result ({TABLE} is in it), which is never replaced; {todo}")
    if not is_card(folder / CARD):
        names = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(names[:NUM_NAMES_SHOWN]) + (", …" if len(names) > NUM_NAMES_SHOWN else "")
        raise ConfigError(
            f"{folder}: holds files ({shown}) and no label set that rlaif wrote, so nothing was written there; {todo},"
            " or an empty one"
        )


def write_label_set(
    table: Path, folder: Path, card: Card, *, options: SplitOptions | None = None, with_evidence: bool = False
) -> SetCounts:
    """Write ``data/train.parquet``, ``validation``, ``test`` and ``README.md``, which ``load_dataset(folder)`` reads.

    Rows keep their order. Of the rows in which one source labels one pair, the first with a label stays;
    a missing label stays where the pair has no other. A split without rows has no file.

    Args:
        table: A label table.
        folder: Made when missing; its card and the three files are replaced, so look with
            :func:`check_replaceable` first where a person names it. Other files in it stay as they are.
        card: Contents of the card besides the counts.
        options: Shares of the splits; None takes the defaults.
        with_evidence: Whether the column ``judgments`` (the judge prompts as they were read) stays.

    Returns:
        The counts, which the card has too.

    Raises:
        DataError: The table cannot be read.
    """
    options = options or SplitOptions()
    counts = SetCounts()
    keeps = iter(_rows_to_keep(table))
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        source = stack.enter_context(open_table(table, PREFERENCE_SCHEMA))
        present = source.schema_arrow.names
        names = [name for name in PREFERENCE_SCHEMA.names if name in present and (with_evidence or name != EVIDENCE)]
        schema = pa.schema([PREFERENCE_SCHEMA.field(name) for name in names])
        parts = {split: _Part(folder / DATA / f"{split}.parquet", schema, stack) for split in SPLITS}
        for batch in batches_of(source, table, names):
            rows = batch.select(COUNTED).to_pylist()
            chosen = [options.split_of(row["prompt"]) if next(keeps) else "" for row in rows]
            counts.num_repeated += chosen.count("")
            for row, split in zip(rows, chosen, strict=True):
                if split:
                    counts.add(row, split)
            for split, part in parts.items():
                part.add(batch.filter(pa.array([name == split for name in chosen])))
        for part in parts.values():
            part.close()
    for split, num_rows in counts.rows.items():
        if not num_rows:
            parts[split].path.unlink()
    atomic_write(folder / CARD, card_text(card, counts, evidence=with_evidence).encode())
    return counts


class _Part:
    """One split, written in groups of rows; it appears whole when the stack ends."""

    def __init__(self, path: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self.path = path
        self.schema = schema
        file = stack.enter_context(atomic_file(path))
        self.writer = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
        self.waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        if sum(waiting.num_rows for waiting in self.waiting) >= ROWS_AT_ONCE:
            self.close()

    def close(self) -> None:
        """Write the rows that are in memory, and close the file."""
        if self.waiting:
            self.writer.write_table(pa.Table.from_batches(self.waiting).cast(self.schema))
            self.waiting.clear()


def _rows_to_keep(table: Path) -> bytearray:
    """One byte per row: 1 where the row stays."""
    keys, has_label = array("Q"), bytearray()
    with open_table(table, PREFERENCE_SCHEMA) as source:
        for batch in batches_of(source, table, ["prompt", "first", "second", "source", "p_first"]):
            for row in batch.to_pylist():
                pair = PairKey.of(row["prompt"], row["first"], row["second"])
                keys.append(int(content_id(pair.id, row["source"]), 16))
                has_label.append(row["p_first"] is not None)
    # Of equal keys the first row with a label, else the first: the sort is stable.
    order = np.lexsort((np.logical_not(np.array(has_label, np.uint8)), np.array(keys, np.uint64)))
    in_order = np.array(keys, np.uint64)[order]
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = in_order[1:] != in_order[:-1]
    kept = np.zeros(len(keys), np.uint8)
    kept[order[is_first]] = 1
    return bytearray(kept)
