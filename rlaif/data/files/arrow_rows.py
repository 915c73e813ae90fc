"""Rows of Parquet and Arrow, a thousand in memory at most."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.data.files.archives import DamagedError, Stream
from rlaif.data.files.rows import DataFile, Row

ArrowKind = Literal["Parquet", "Arrow", "Arrow stream"]
MAGIC: dict[bytes, ArrowKind] = {b"PAR1": "Parquet", b"ARROW1\x00\x00": "Arrow", b"\xff\xff\xff\xff": "Arrow stream"}
ROWS_AT_ONCE = 1024
BUFFER_BYTES = 1 << 20
_UNREADABLE = (pa.ArrowException, OSError, ValueError, ArithmeticError, KeyError, TypeError, MemoryError)
"""What pyarrow raises for a damaged file, or for a value that Python has no object for (a date before the year 1)."""


def arrow_kind(head: bytes) -> ArrowKind | None:
    """Kind of a binary table by its first bytes; None for other files."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def arrow_rows(kind: ArrowKind, stream: Stream, file: DataFile, *, is_plain: bool) -> Iterator[Row]:
    """The rows of a binary table.

    Args:
        kind: From :func:`arrow_kind`.
        stream: Its bytes.
        file: The file.
        is_plain: Whether the file itself is the table; else it is unpacked into a temporary one.

    Raises:
        DataError: The table is cut or damaged, or two of its columns have one name.
    """
    number = 0
    try:
        with _source(kind, stream, file, is_plain) as source:
            for batch in _batches(kind, source):
                _check_columns(batch.schema, file)
                batch.validate(full=True)  # a wrong offset would end the process
                for values in batch.to_pylist():
                    number += 1
                    yield Row(file.place(number), values)
    except DamagedError as error:
        raise file.error(str(error)) from error
    except _UNREADABLE as error:
        told = f"{kind} file" if kind != "Arrow stream" else kind
        reason = " ".join(str(error).split())[:200]
        raise file.error(f"after row {number}: is not a whole {told} ({reason}); get it again") from error


@contextmanager
def _source(kind: ArrowKind, stream: Stream, file: DataFile, is_plain: bool) -> Iterator[pa.NativeFile]:
    if is_plain:
        with pa.memory_map(str(file.path)) if kind == "Arrow" else pa.OSFile(str(file.path)) as source:
            yield source
        return
    with tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(stream, unpacked)
        unpacked.seek(0)
        yield pa.PythonFile(unpacked, mode="r")


def _batches(kind: ArrowKind, source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    if kind == "Parquet":
        # Otherwise a row group, which may be the whole table, is read at once.
        with pq.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False) as table:
            yield from table.iter_batches(ROWS_AT_ONCE, use_threads=False)
        return
    if kind == "Arrow":
        with pa.ipc.open_file(source) as table:
            batches = (table.get_batch(index) for index in range(table.num_record_batches))
            yield from _slices(batches)
        return
    with pa.ipc.open_stream(source) as reader:
        yield from _slices(iter(reader))


def _slices(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield cast(pa.RecordBatch, batch.slice(start, ROWS_AT_ONCE))


def _check_columns(schema: pa.Schema, file: DataFile) -> None:
    names = schema.names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise file.error(f"has several columns {', '.join(map(repr, twice))}; give each column its own name")
