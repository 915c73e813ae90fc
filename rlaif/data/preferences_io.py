"""Labels and samples as Parquet tables: every row in plan order, equal rows in equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.artifacts import atomic_file
from rlaif.data.table_types import other_types
from rlaif.errors import DataError
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Turn, as_unicode

_TOKENS = pa.list_(pa.int32())
_COMPLETION = pa.struct(
    [("text", pa.string()), ("token_ids", _TOKENS), ("finished", pa.bool_()), ("source", pa.string())]
)
_JUDGMENT = pa.struct(
    [
        ("order", pa.string()),
        ("prompt", pa.string()),
        ("reply", pa.string()),
        ("option_logprobs", pa.list_(pa.float64())),
        ("p_slot1", pa.float64()),
        ("missing", pa.string()),
        ("unreadable", pa.bool_()),
        ("num_prompt_tokens", pa.int32()),
        ("num_reply_tokens", pa.int32()),
        ("judge", pa.string()),
        ("options", pa.list_(pa.string())),
        ("asks_for_worse", pa.bool_()),
        ("answer_mass", pa.float64()),
        ("reasoning", pa.string()),
    ]
)
_TURNS = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))
_PROMPT_COLUMNS = [("prompt_id", pa.string()), ("task", pa.string()), ("stratum", pa.string()), ("prompt", pa.string())]

PREFERENCE_SCHEMA = pa.schema(
    [
        *_PROMPT_COLUMNS,
        ("first", pa.string()),
        ("second", pa.string()),
        ("p_first", pa.float64()),
        ("p_first_by_order", pa.list_(pa.float64())),
        ("labeler", pa.string()),
        ("source", pa.string()),
        ("missing", pa.string()),
        ("comparison_id", pa.string()),
        ("first_token_ids", _TOKENS),
        ("first_finished", pa.bool_()),
        ("first_source", pa.string()),
        ("second_token_ids", _TOKENS),
        ("second_finished", pa.bool_()),
        ("second_source", pa.string()),
        ("confidence", pa.float64()),
        ("weight", pa.float64()),
        ("judgments", pa.list_(_JUDGMENT)),
        ("turns", _TURNS),
    ]
)
"""``p_first`` is null exactly when ``missing`` holds a reason; ``p_first_by_order`` is [as given, swapped],
both P(first is better)."""

ADDED_COLUMNS = ("weight", "judgments", "turns")
"""Columns that a table may lack (those of an earlier version, and sets without the evidence); their rows read with
the field's default."""
ROWS_AT_ONCE = 1024
BUFFER_BYTES = 65_536
"""Of a column that is read from a file."""

SAMPLE_SCHEMA = pa.schema([*_PROMPT_COLUMNS, ("completions", pa.list_(_COMPLETION)), ("turns", _TURNS)])


def write_preferences(path: str | Path, preferences: Iterable[Preference]) -> None:
    """Write a label table, row group by row group: an iterator's labels are never all in memory.

    Args:
        path: The ``.parquet`` file; it appears whole or not at all.
        preferences: In plan order, missing ones included.

    Raises:
        StoreError: The file cannot be written.
    """
    _write(path, (_preference_row(preference) for preference in preferences), PREFERENCE_SCHEMA)


def read_preferences(path: str | Path) -> list[Preference]:
    """Read a label table that :func:`write_preferences` wrote.

    Raises:
        DataError: The file is no such table.
    """
    return list(iterate_preferences(path))


def iterate_preferences(path: str | Path) -> Iterator[Preference]:
    """The labels of a table one after the other, a thousand in memory at most.

    Raises:
        DataError: The file is no such table.
    """
    number = 0
    with open_table(path, PREFERENCE_SCHEMA) as table:
        for batch in batches_of(table, path):
            for row in batch.to_pylist():
                number += 1
                try:
                    label = _preference(row)
                    _ = label.comparison.id  # of texts alone
                except (TypeError, ValueError, AttributeError) as error:
                    raise DataError(
                        f"{path}, row {number}: is no label ({error}); give a table that rlaif wrote"
                    ) from error
                yield label


def write_samples(path: str | Path, samples: Sequence[tuple[Prompt, Sequence[Completion]]]) -> None:
    """Write prompts with the completions sampled for each.

    Args:
        path: The ``.parquet`` file; it appears whole or not at all.
        samples: In plan order.

    Raises:
        StoreError: The file cannot be written.
    """
    rows = ({**_prompt_row(prompt), "completions": [asdict(c) for c in completions]} for prompt, completions in samples)
    _write(path, rows, SAMPLE_SCHEMA)


def read_samples(path: str | Path) -> list[tuple[Prompt, tuple[Completion, ...]]]:
    """Read a table that :func:`write_samples` wrote.

    Raises:
        DataError: The file is no such table.
    """
    return [
        (
            _prompt(row),
            tuple(Completion(**{**c, "token_ids": tuple(c["token_ids"])}) for c in row["completions"]),
        )
        for row in _read(path, SAMPLE_SCHEMA)
    ]


def open_table(path: str | Path, schema: pa.Schema) -> pq.ParquetFile:
    """Open a Parquet file that has the columns of a schema.

    Raises:
        DataError: It has not, or is no Parquet file.
    """
    try:
        # Otherwise a row group, which may be the whole table, is read at once.
        table = pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path}: is not a readable Parquet file ({error}); give a table that rlaif wrote whole"
            " (a run makes its own again when the folder around it is moved away)"
        ) from error
    absent = [name for name in schema.names if name not in (*table.schema_arrow.names, *ADDED_COLUMNS)]
    if absent:
        raise DataError(
            f"{path}: the columns {', '.join(absent)} are missing; expected a table written by this version of rlaif"
        )
    if wrong := other_types(table.schema_arrow, schema):
        raise DataError(f"{path}: {'; '.join(wrong)}: is no table of labels or samples that rlaif wrote")
    return table


def batches_of(
    table: pq.ParquetFile, path: str | Path, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of an open table, a thousand at a time.

    Args:
        table: From :func:`open_table`.
        path: The file's path, for messages.
        columns: Which to read; None reads all.

    Raises:
        DataError: The file is damaged.
    """
    rows = _by_row_group(table, columns)
    while True:
        try:
            if (batch := next(rows, None)) is not None:
                batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path}: the table is damaged ({error}); get it again") from error
        if batch is None:
            return
        yield batch


def _by_row_group(table: pq.ParquetFile, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Batches of one row group after the other, read in one thread.

    A reader of several row groups, and each further thread, would keep memory until the end of the file.
    """
    for group in range(table.num_row_groups):
        yield from table.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns, use_threads=False)


def is_label_table(path: Path) -> bool:
    """True when a file is a label table."""
    if not path.is_file():
        return False
    try:
        open_table(path, PREFERENCE_SCHEMA).close()
    except DataError:
        return False
    return True


def _write(path: str | Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    remaining = iter(rows)
    with atomic_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        group = list(islice(remaining, ROWS_AT_ONCE))
        while group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            group = list(islice(remaining, ROWS_AT_ONCE))


def _read(path: str | Path, schema: pa.Schema) -> list[dict[str, Any]]:
    with open_table(path, schema) as table:
        rows: list[dict[str, Any]] = table.read().to_pylist()
    return rows


def _prompt_row(prompt: Prompt) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "task": prompt.task,
        "stratum": prompt.stratum,
        "prompt": prompt.text,
        "turns": [asdict(turn) for turn in prompt.turns],
    }


def _prompt(row: Mapping[str, Any]) -> Prompt:
    turns = tuple(Turn(**turn) for turn in row.get("turns") or ())
    return Prompt(task=row["task"], text=row["prompt"], stratum=row["stratum"], turns=turns)


def _preference_row(preference: Preference) -> dict[str, Any]:
    comparison = preference.comparison
    row = _prompt_row(comparison.prompt)
    for side, completion in (("first", comparison.first), ("second", comparison.second)):
        row |= {
            side: completion.text,
            f"{side}_token_ids": completion.token_ids,
            f"{side}_finished": completion.finished,
            f"{side}_source": as_unicode(completion.source),
        }
    return row | {
        "comparison_id": comparison.id,
        "p_first": preference.p_first,
        "p_first_by_order": preference.p_first_by_order,
        "labeler": preference.labeler,
        "source": preference.source,
        "missing": None if preference.missing is None else as_unicode(preference.missing),
        "confidence": preference.confidence,
        "weight": preference.weight,
        "judgments": [_evidence(judgment) for judgment in preference.judgments],
    }


def _evidence(judgment: Judgment) -> dict[str, Any]:
    """Replace lone surrogates, which a model's reply may hold and Parquet cannot store."""
    fields = asdict(judgment)
    return fields | {name: as_unicode(value) for name, value in fields.items() if isinstance(value, str)}


def _preference(row: Mapping[str, Any]) -> Preference:
    first, second = (
        Completion(
            text=row[side],
            token_ids=tuple(row[f"{side}_token_ids"]),
            finished=row[f"{side}_finished"],
            source=row[f"{side}_source"],
        )
        for side in ("first", "second")
    )
    return Preference(
        comparison=Comparison(prompt=_prompt(row), first=first, second=second),
        p_first=row["p_first"],
        missing=row["missing"],
        judgments=tuple(_judgment(judgment) for judgment in row.get("judgments", ())),
        labeler=row["labeler"],
        source=row["source"],
        confidence=row["confidence"],
        weight=row.get("weight", 1.0),
    )


def _judgment(fields: Mapping[str, Any]) -> Judgment:
    """The evidence of a row; a table of an earlier version has not all fields."""
    known = {name: value for name, value in fields.items() if value is not None}
    known |= {name: tuple(known[name]) for name in ("option_logprobs", "options") if name in known}
    return Judgment(**known)
