"""Files that hold no rows, told by their first bytes, with what to do instead."""

from __future__ import annotations

import re

EXCEL = (
    "is an Excel workbook; save its sheet as CSV (UTF-8), or write it with pandas:"
    " pandas.read_excel(FILE).to_parquet(OUT)"
)
PICKLE = (
    "is a Python pickle, which is not read because loading one runs its code; load it where you trust it and write"
    " Parquet or JSON lines, e.g. with pandas: frame.to_parquet(OUT)"
)
TENSORS = "holds arrays or a model's weights, no rows of text"
OFFICE = "is an office document; copy its table into a CSV file (UTF-8)"
UNPACK = "unpack it and give the file with the rows"
POINTER = "a pointer of {}, not the data itself: {}"

ZIP_CONTENTS = {
    "xl/workbook.": EXCEL,
    "word/document.": OFFICE,
    "content.xml": OFFICE,
    "data.pkl": TENSORS,
    ".npy": TENSORS,
}
"""A zip archive that is a file of another kind, by a part of the name of one of its members."""

_BINARY: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", EXCEL),
    (0, b"%PDF-", "is a PDF document; get the data as JSON lines, CSV or Parquet"),
    (
        0,
        b"SQLite format 3\x00",
        "is a SQLite database; write its table as CSV: sqlite3 -header -csv FILE 'select * from TABLE' > OUT.csv",
    ),
    (0, b"FEA1\x00", "is a Feather file of version 1; write it with pandas: pandas.read_feather(FILE).to_parquet(OUT)"),
    (0, b"Obj\x01", "is an Avro file; write its rows as JSON lines or Parquet"),
    (0, b"7z\xbc\xaf\x27\x1c", f"is a 7z archive; {UNPACK}"),
    (0, b"Rar!\x1a\x07", f"is a rar archive; {UNPACK}"),
    (257, b"ustar", f"is a tar archive; {UNPACK} (tar -xf FILE)"),
    (0, b"\x93NUMPY", TENSORS),
    (0, b"\x89HDF\r\n\x1a\n", TENSORS),
    (0, b"\x89PNG", "is an image"),
    (0, b"\xff\xd8\xff", "is an image"),
    (0, b"GIF8", "is an image"),
    (0, b"\x7fELF", "is a program"),
)

_PATTERNS = (
    (
        re.compile(rb"ORC[^ -~\s]"),
        "is an ORC file; write it with pyarrow: pyarrow.orc.read_table(FILE), pyarrow.parquet.write_table(TABLE, OUT)",
    ),
    (re.compile(rb"PARE[^ -~\s]"), "is an encrypted Parquet file; decrypt it"),
)
"""Marks of letters alone, which a heading may begin with too: what follows is no text."""
_ANNEX = re.compile(rb"(/|(\.\./)*\.git/)annex/objects/\S+\s*")
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80}?)\s*<", re.IGNORECASE)
_LFS_SIZE = re.compile(rb"^size (\d+)", re.MULTILINE)
_OLD_PICKLES = (b"(lp0\n", b"(dp0\n", b"(lp1\n", b"(dp1\n", b"ccopy_reg\n", b"ccollections\n")


def foreign_kind(head: bytes) -> str | None:
    """What a file is that holds no rows, and what to do; None where it may hold some.

    Args:
        head: Its first bytes.

    >>> foreign_kind(b"%PDF-1.7")
    'is a PDF document; get the data as JSON lines, CSV or Parquet'
    >>> foreign_kind(b'{"prompt": "Hi"}')
    """
    for offset, magic, told in _BINARY:
        if head[offset : offset + len(magic)] == magic:
            return told
    for pattern, told in _PATTERNS:
        if pattern.match(head):
            return told
    if (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or head.startswith(_OLD_PICKLES):
        return PICKLE
    if head and not head.strip(b"\x00"):
        return "holds zero bytes alone: it was not copied or downloaded whole; get it again"
    return _pointer(head) or _markup(head.removeprefix(b"\xef\xbb\xbf").lstrip())


def _pointer(head: bytes) -> str | None:
    if head.startswith((b"version https://git-lfs.github.com/", b"version https://hawser.github.com/")):
        size = _LFS_SIZE.search(head)
        told = f"git-LFS (to {int(size[1][:18]):,} bytes)" if size else "git-LFS"
        return "is " + POINTER.format(told, "get it with git lfs pull, or with hf download --repo-type dataset NAME")
    if _ANNEX.fullmatch(head):
        return "is " + POINTER.format("git-annex", "get it with git annex get FILE")
    if head.startswith(b"# xet version"):
        return "is " + POINTER.format("git-xet", "get it with hf download --repo-type dataset NAME")
    if head.startswith(b"outs:\n") and b"md5:" in head[:400]:
        return "is " + POINTER.format("DVC", "get it with dvc pull")
    return None


def _markup(text: bytes) -> str | None:
    if text.startswith(b"---\n") or re.match(rb"- \w+:", text):
        return "looks like YAML; write its rows as JSON lines"
    if not text.startswith(b"<"):
        return None
    if re.match(rb"<(!doctype html|html|head|body|!--)", text, re.IGNORECASE):
        title = _TITLE.search(text)
        named = f" ({title[1].decode('utf-8', 'replace')!r})" if title else ""
        return (
            f"is a web page{named}, not the data: a page to log in, or the page about the file, was saved instead;"
            " download the file itself"
        )
    return "is XML; write its rows as JSON lines or CSV"
