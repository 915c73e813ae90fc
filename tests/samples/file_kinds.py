"""Three rows in every kind of file, as other tools write them: shared by the tests of files and their mutations."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS: list[dict[str, Any]] = [
    {
        "prompt": "Where do gulls sleep?",
        "first": "On cliffs; or, at times, the sea.",
        "second": "Inside.",
        "p_first": 1.0,
    },
    {"prompt": "Say “café” twice.", "first": "Café, café.", "second": 'He said "no".', "p_first": 0.5},
    {"prompt": "Two lines?", "first": "One,\nand two.", "second": "One | two\tthree.", "p_first": 0.0},
]
"""With separators, quotes and a line end in the texts."""
TEXT_ROWS = [{name: str(value) for name, value in row.items()} for row in ROWS]
"""What a table of text gives."""


def lines(rows: list[dict[str, Any]] = ROWS, end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def separated(mark: str, encoding: str = "utf-8", end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=mark, lineterminator=end)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode(encoding)


def parquet(**options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out, **options)
    return out.getvalue()


def arrow(make: Callable[..., Any]) -> bytes:
    out, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with make(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


FRAME = pd.DataFrame(ROWS)
LIST = json.dumps(ROWS, ensure_ascii=False).encode()
TYPED: dict[str, bytes] = {
    "lines.jsonl": lines(),
    "lines_in.json": lines(),
    "crlf.jsonl": lines(end="\r\n"),
    "blank_between.jsonl": b"\n" + lines(end="\n\n"),
    "no_last_end.jsonl": lines().rstrip(),
    "escaped.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "mark.jsonl": b"\xef\xbb\xbf" + lines(),
    "utf16.jsonl": lines().decode().encode("utf-16"),
    "utf32.jsonl": lines().decode().encode("utf-32"),
    "no_ending": lines(),
    "named_csv.csv": lines(),
    "list.json": LIST,
    "list_in.jsonl": LIST,
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "one_after_the_other.json": "".join(json.dumps(row, indent=2) + "\n" for row in ROWS).encode(),
    "without_line_ends.json": "".join(json.dumps(row) for row in ROWS).encode(),
    "data.json": json.dumps({"version": "1.0", "data": ROWS}).encode(),
    "pretty_data.json": json.dumps({"version": "1.0", "data": ROWS}, indent=1).encode(),
    "own_key.json": json.dumps({"gulls": ROWS}).encode(),
    "pandas.json": FRAME.to_json().encode(),
    "pandas_pretty.json": FRAME.to_json(indent=2).encode(),
    "pandas_index.json": FRAME.to_json(orient="index").encode(),
    "pandas_split.json": FRAME.to_json(orient="split").encode(),
    "pandas_records.json": FRAME.to_json(orient="records").encode(),
    "pandas_lines.json": FRAME.to_json(orient="records", lines=True).encode(),
    "pandas_table.json": FRAME.to_json(orient="table", index=False).encode(),
    "columns.json": json.dumps(FRAME.to_dict("list")).encode(),
    "rows.parquet": parquet(),
    "groups.parquet": parquet(row_group_size=1, compression="zstd"),
    "parquet_without_ending": parquet(),
    "parquet_named.csv": parquet(compression="gzip"),
    "file.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
    "lines.jsonl.gz": gzip.compress(lines()),
    "gzip_without_ending": gzip.compress(lines()),
    "two_members.jsonl.gz": gzip.compress(lines(ROWS[:1])) + gzip.compress(lines(ROWS[1:])),
    "lines.jsonl.xz": lzma.compress(lines()),
    "lines.jsonl.bz2": bz2.compress(lines()),
    "lines.jsonl.zst": zstd(lines()),
    "list.json.zst": zstd(LIST),
    "rows.parquet.gz": gzip.compress(parquet()),
    "stream.arrow.xz": lzma.compress(arrow(pa.ipc.new_stream)),
    "lines.zip": zipped({"rows/lines.jsonl": lines()}),
    "mac.zip": zipped({"rows/": b"", "rows/lines.jsonl": lines(), "__MACOSX/._lines.jsonl": b"x", ".DS_Store": b"x"}),
    "rows.parquet.zip": zipped({"rows.parquet": parquet()}),
    "gz.zip": zipped({"lines.jsonl.gz": gzip.compress(lines())}),
}
"""Kinds that know numbers from texts."""
UNTYPED: dict[str, bytes] = {
    "comma.csv": separated(","),
    "crlf.csv": separated(",", end="\r\n"),
    "quoted.csv": FRAME.to_csv(index=False, quoting=csv.QUOTE_ALL).encode(),
    "mark.csv": b"\xef\xbb\xbf" + separated(";"),
    "utf16.csv": separated("\t", "utf-16"),
    "utf16_be.csv": b"\xfe\xff" + separated(",", "utf-16-be"),
    "tab.tsv": separated("\t"),
    "tab_in.csv": separated("\t"),
    "semicolon.csv": separated(";"),
    "bar.csv": separated("|"),
    "bar.txt": separated("|"),
    "caret.csv": separated("^"),
    "excel.csv": b"sep=;\r\n" + separated(";", end="\r\n"),
    "comma.csv.gz": gzip.compress(separated(",")),
    "comma.jsonl": separated(","),
    "tab.zip": zipped({"rows.tsv": separated("\t")}),
}
"""Kinds that hold texts alone."""
KINDS = TYPED | UNTYPED
