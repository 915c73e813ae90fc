"""Kinds of file: the same three rows in each, told by content; and what is told of files that hold no rows."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_kinds import LIST, ROWS, TEXT_ROWS, TYPED, UNTYPED, lines, parquet, separated, zipped, zstd

from rlaif.data.files.rows import Row
from rlaif.data.files.table_files import TableFiles
from rlaif.errors import ConfigError, DataError


def read(folder: Path, name: str, content: bytes, **options: Any) -> list[Row]:
    path = folder / name
    path.write_bytes(content)
    return list(TableFiles(path, "data.path", **options).rows())


def told(folder: Path, name: str, content: bytes, **options: Any) -> str:
    """The error of a file without the path of the folder."""
    with pytest.raises(DataError) as caught:
        read(folder, name, content, **options)
    return str(caught.value).replace(f"{folder}/", "")


def numbered(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"p_first": float(values["p_first"])}


@pytest.mark.parametrize("name", TYPED)
def test_three_rows_with_their_numbers(tmp_path: Path, name: str) -> None:
    rows = read(tmp_path, name, TYPED[name])
    assert [numbered(dict(row.values)) for row in rows] == ROWS
    assert all(row.place.startswith(f"{name}:") for row in rows)


@pytest.mark.parametrize("name", UNTYPED)
def test_three_rows_as_texts(tmp_path: Path, name: str) -> None:
    rows = [dict(row.values) for row in read(tmp_path, name, UNTYPED[name])]
    # A line end inside a text stays as it is.
    assert rows == TEXT_ROWS


def test_places_are_lines_of_texts_and_rows_of_lists(tmp_path: Path) -> None:
    assert [row.place for row in read(tmp_path, "a.jsonl", lines(end="\n\n"))] == [
        "a.jsonl:1",
        "a.jsonl:3",
        "a.jsonl:5",
    ]
    assert [row.place for row in read(tmp_path, "a.json", LIST)] == ["a.json:1", "a.json:2", "a.json:3"]
    text = b'prompt,first\n"one\nline",x\n\ntwo,y\nthree,z\n'
    assert [row.place for row in read(tmp_path, "a.csv", text)] == ["a.csv:2", "a.csv:5", "a.csv:6"]
    assert [row.place for row in read(tmp_path, "a", parquet())] == ["a:1", "a:2", "a:3"]
    pretty = "".join(json.dumps(row, indent=1) + "\n" for row in ROWS).encode()
    assert [row.place for row in read(tmp_path, "a.json", pretty)] == ["a.json:1", "a.json:7", "a.json:13"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("prompt\na; b\nc; d\n", [{"prompt": "a; b"}, {"prompt": "c; d"}]),
        ('prompt\n"a, b"\n"c\td|e"\n', [{"prompt": "a, b"}, {"prompt": "c\td|e"}]),
        ("prompt,first\na;b,c;d\n", [{"prompt": "a;b", "first": "c;d"}]),
        ("prompt;first\n0,5;1,5\n", [{"prompt": "0,5", "first": "1,5"}]),
        ("prompt;first, or so\na;b\n", [{"prompt": "a", "first, or so": "b"}]),
        ('prompt\tfirst\nsay "hi" twice\t"so" it is\n', [{"prompt": 'say "hi" twice', "first": '"so" it is'}]),
        (",prompt\n0,a\n1,b\n", [{"": "0", "prompt": "a"}, {"": "1", "prompt": "b"}]),
        ("prompt,first\n,\n", [{"prompt": "", "first": ""}]),
        ("prompt;first;;\n1;2;;\n3;4; ;\n5;6\n", [{"prompt": str(n), "first": str(n + 1)} for n in (1, 3, 5)]),
        ("prompt~first\na~b\n", [{"prompt": "a", "first": "b"}]),
        ("PARENT,ORC\na,b\n", [{"PARENT": "a", "ORC": "b"}]),
        ("ORC,FEA1\na,b\n", [{"ORC": "a", "FEA1": "b"}]),
        ("link: to\na: b\nc\n", [{"link: to": "a: b"}, {"link: to": "c"}]),
    ],
)
def test_the_separator_is_the_one_of_the_heading(tmp_path: Path, content: str, rows: list[dict[str, str]]) -> None:
    assert [row.values for row in read(tmp_path, "a.csv", content.encode())] == rows


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
        {"chosen": [{"role": "user", "content": "Hi"}], "rejected": [{"role": "user", "content": "Ho"}]},
        {"chosen": {"role": "assistant", "content": "x"}, "rejected": {"role": "assistant", "content": "y"}},
        {"prompt": "Q", "completions": [{"response": "x"}, {"response": "y"}]},
        {"instruction": "Q", "generations": ["x", "y"], "ratings": [1, 2]},
    ],
)
def test_one_row_alone_is_no_document_of_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    assert [found.values for found in read(tmp_path, "a.jsonl", json.dumps(row).encode())] == [row]
    assert [found.values for found in read(tmp_path, "a.json", json.dumps(row, indent=1).encode())] == [row]


def test_a_member_and_a_key_are_chosen_behind_the_path(tmp_path: Path) -> None:
    (tmp_path / "two.zip").write_bytes(zipped({"train.jsonl": lines(), "test.jsonl": lines(ROWS[:1])}))
    (tmp_path / "two.json").write_text(json.dumps({"train": ROWS, "test": ROWS[:1]}))
    assert len(list(TableFiles(tmp_path / "two.zip" / "test.jsonl").rows())) == 1
    assert len(list(TableFiles(tmp_path / "two.json" / "train").rows())) == 3
    for typed, message in {
        "two.zip": r"the zip archive holds train.jsonl, test.jsonl; choose one with path=.*two\.zip/train\.jsonl",
        "two.zip/dev.jsonl": r"there is no dev.jsonl in the archive; .* choose one with path=.*two\.zip/train\.jsonl",
        "two.json": r"holds several lists of rows: train \(3 rows\), test \(1 rows\); choose one .* FILE/train",
        "two.json/dev": r"has no key 'dev'; it has 'train', 'test'",
    }.items():
        with pytest.raises(DataError, match=message):
            list(TableFiles(tmp_path / typed).rows())


def test_the_encoding_is_an_option_where_no_mark_tells_it(tmp_path: Path) -> None:
    content = separated(",", "cp1252")
    assert "line 3: is not UTF-8 (byte 0x93 after 'Say '); give the encoding" in told(tmp_path, "a.csv", content)
    assert "for a Western Windows file data.encoding=cp1252" in told(tmp_path, "a.csv", content)
    assert [row.values for row in read(tmp_path, "a.csv", content, encoding="cp1252")] == TEXT_ROWS
    bare = separated(",", "utf-16-le")
    assert "looks like UTF-16-LE without a byte order mark: add data.encoding=utf-16-le" in told(
        tmp_path, "a.csv", bare
    )
    assert [row.values for row in read(tmp_path, "a.csv", bare, encoding="utf-16-le")] == TEXT_ROWS
    marked = b"\xef\xbb\xbf" + separated(",")
    assert "begins with the byte order mark of UTF-8: leave data.encoding=cp1252 out" in told(
        tmp_path, "a.csv", marked, encoding="cp1252"
    )
    for encoding in ("windows", "rot13", "a\0b", 8):
        with pytest.raises(ConfigError, match=r"data\.encoding=.*: is no encoding of texts"):
            TableFiles(tmp_path, "data.path", encoding=encoding)  # type: ignore[arg-type]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 875191\n" % (b"0" * 64)
LOGIN = b"<!DOCTYPE html>\n<html><head><title>Sign in to the hub</title></head><body></body></html>"


def saved(save: Any, *values: Any) -> bytes:
    out = io.BytesIO()
    save(out, *values)
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("rows.jsonl")
        member.size = len(lines())
        archive.addfile(member, io.BytesIO(lines()))
    return out.getvalue()


def sqlite(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "rows.db")
    connection.execute("create table pairs (prompt)")
    connection.commit()
    connection.close()
    return (folder / "rows.db").read_bytes()


WRONG: dict[str, tuple[bytes, str]] = {
    "pointer.jsonl.gz": (
        LFS,
        "is a pointer of git-LFS (to 875,191 bytes), not the data itself: get it with git lfs pull",
    ),
    "annex.jsonl": (b"/annex/objects/SHA256E-s1--0.jsonl\n", "is a pointer of git-annex"),
    "sheet.csv": (
        zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}),
        "is an Excel workbook; save its sheet as CSV",
    ),
    "sheet.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "is an Excel workbook"),
    "letter.docx": (zipped({"word/document.xml": b""}), "is an office document"),
    "arrays.npz": (zipped({"x.npy": b""}), "holds arrays or a model's weights"),
    "paper.jsonl": (b"%PDF-1.7\n", "is a PDF document"),
    "rows.orc": (b"ORC\x01\x03\x00\x00", "is an ORC file"),
    "login.jsonl": (LOGIN, "is a web page ('Sign in to the hub'), not the data"),
    "login.jsonl.gz": (gzip.compress(LOGIN), "is a web page"),
    "feed.json": (b'<?xml version="1.0"?>\n<rows/>', "is XML"),
    "rows.pkl": (pickle.dumps(ROWS), "is a Python pickle, which is not read because loading one runs its code"),
    "rows.npy": (saved(np.save, np.zeros(2)), "holds arrays"),
    "rows.tar": (tar(), "is a tar archive; unpack it"),
    "rows.tar.gz": (gzip.compress(tar()), "is a tar archive; unpack it"),
    "rows.yaml": (b"- prompt: a\n  first: b\n", "looks like YAML"),
    "nothing.jsonl": (b"", "the file is empty; expected rows"),
    "spaces.jsonl": (b" \n\n", "the file is empty"),
    "nothing.jsonl.gz": (gzip.compress(b""), "the file is empty"),
    "zeros.jsonl": (bytes(4096), "holds zero bytes alone: it was not copied or downloaded whole; get it again"),
    "none.json": (b"[]", "holds no row"),
    "none.parquet": (saved(lambda out: pq.write_table(pa.table({"a": []}), out)), "holds no row"),
    "heading.csv": (b"prompt,first\n", "holds one line ('prompt, first') and no rows under it"),
    "message.txt": (b"Entry not found", "holds one line ('Entry not found') and no rows under it"),
    "message.jsonl": (
        b'{"error": "Access to this data set is restricted."}',
        "is a server's message ({'error': 'Access",
    ),
    "word.jsonl": (b"Entry not found", "line 1: is 'Entry not found', not JSON"),
    "number.json": (b"[1, 2]", "row 1 is 1, no JSON object; expected a JSON list of objects"),
    "repr.jsonl": (str(ROWS[0]).encode(), "these are Python's quotes; write the file with json.dumps"),
    "twice.csv": (b"prompt,prompt\na,b\n", "the heading names 'prompt' twice"),
    "columns.csv": (b"prompt,first\na,b\na,b,c\n", "line 3: has 3 columns, the heading has 2 ('prompt, first')"),
    "unnamed.csv": (b"prompt,first,,\na,b,,\na,b,,c\n", "line 3: has 4 columns, the heading has 2 ('prompt, first')"),
    "quote.csv": (b'prompt,first\n"a,b\nc,d\n', "line 2: is not CSV (unexpected end of data): a quote that opens here"),
    "nul.csv": (b"prompt,first\na,b\0\n", "line 2: holds a NUL character"),
    "key.jsonl": (
        lines() + b'{"prompt": "p", "first": "a", "first": "b"}\n',
        "line 4: has an object with the key 'first' twice",
    ),
    "key.json": (b'[{"a": {"b": 1, "b": 2}}]', "line 1: has an object with the key 'b' twice"),
    "nul.jsonl": (lines() + b'{"prompt": "\0"}\n', "line 4: holds a NUL character"),
    "deep.jsonl": (lines() + b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 4: has more than 200 lists"),
    "deep300.jsonl": (lines() + b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}\n", "line 4: has more than 200 lists"),
    "digits400.jsonl": (lines() + b'{"a": %s}\n' % (b"1" * 400), "line 4: has an integer of 400 digits"),
    "digits5000.json": (b'[{"a": -%s}]' % (b"1" * 5000), "line 1: has an integer of 5001 digits"),
    "escape.jsonl": (b'{"a": "\\x"}\n' + lines(), "line 1: is not JSON (Invalid \\escape"),
    "cut.json": (LIST[:-40], "the file ends in the middle of a value: it was not copied or written whole"),
    "cut.jsonl": (lines()[:-40], "line 3: is not JSON"),
    "cut.utf16.csv": (separated(",", "utf-16")[:-1], "line 5: ends in the middle of a character"),
    "cut.parquet": (parquet()[:-40], "after row 0: is not a whole Parquet file"),
    "cut.zip": (zipped({"lines.jsonl": lines()})[:-40], "is a zip archive that is not whole"),
    "cut.jsonl.zst": (zstd(lines() * 2000)[:-40], "the zst file ends here, before its end mark"),
    "cut.jsonl.gz": (gzip.compress(lines())[:-12], "line 1: the gzip file ends here, before its end mark"),
    "damaged.jsonl.gz": (gzip.compress(lines())[:-8] + bytes(8), "the gzip file is damaged"),
    "empty.zip": (zipped({}), "is a zip archive without files"),
    "nested.zip": (zipped({"a.zip": zipped({"lines.jsonl": lines()})}), "is an archive inside an archive"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_without_rows_is_told_as_what_it_is(tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    text = told(tmp_path, name, content)
    assert text.startswith(f"data.path={name}") and message in text
    assert "delete" not in text


def test_a_database_is_told_with_how_to_write_it(tmp_path: Path) -> None:
    assert "is a SQLite database; write its table as CSV: sqlite3" in told(tmp_path, "a.jsonl", sqlite(tmp_path))


def test_a_line_that_is_cut_in_an_archive_comes_after_the_whole_ones(tmp_path: Path) -> None:
    many = lines([row | {"number": number * 7919 % 10007} for number in range(2000) for row in ROWS])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(many)[:-5000])
    rows = TableFiles(tmp_path / "a.jsonl.gz").rows()
    assert next(rows).values["prompt"] == ROWS[0]["prompt"]
    with pytest.raises(DataError, match=r"line \d{3,}: the gzip file ends here"):
        list(rows)


def test_rows_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    """A wrong last line of a long file stops after the rows before it: nothing waits for the whole."""
    for name, content in {
        "a.jsonl": lines() * 5000 + b"[",
        "a.csv": separated(",") + b"a,b,c,1\n" * 5000 + b"x\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        rows = TableFiles(tmp_path / name).rows()
        assert len([next(rows) for _ in range(5000)]) == 5000
        with pytest.raises(DataError, match="line "):
            list(rows)


@pytest.mark.parametrize("name", ["one_group.parquet", "stream.arrow"])
def test_a_table_of_one_row_group_is_not_held_in_memory(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(0)
    table, path = pa.table({"prompt": [random.bytes(500).hex() for _ in range(10_000)]}), tmp_path / name
    if name.endswith(".arrow"):
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
    else:
        pq.write_table(table, path, row_group_size=10_000, use_dictionary=False)
    before, size = pa.total_allocated_bytes(), table.nbytes
    rows = TableFiles(path).rows()
    assert len(str(next(rows).values["prompt"])) == 1000
    assert pa.total_allocated_bytes() - before < size / 2
    assert sum(1 for _ in rows) == 9_999
