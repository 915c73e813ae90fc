"""Lines of a text: its encoding by the byte order mark or the option, and where it cannot be decoded."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from rlaif.data.files.archives import DamagedError, Stream
from rlaif.data.files.rows import DataFile
from rlaif.errors import ConfigError

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; that of UTF-32 begins as that of UTF-16 does."""
OF_NO_FILE = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
"""What Python calls text encodings too, and is never that of a file."""
NUM_SHOWN = 20


def check_encoding(option: str, encoding: object) -> None:
    """Check the name of an encoding.

    Raises:
        ConfigError: Python knows no text encoding of that name.
    """
    try:
        found = codecs.lookup(encoding) if isinstance(encoding, str) else None
    except (LookupError, ValueError):
        found = None
    known = found is not None and found._is_text_encoding and found.name.replace("_", "-") not in OF_NO_FILE
    if not known:
        raise ConfigError(f"{option}={encoding}: is no encoding of texts; there are utf-8, utf-16, cp1252, latin-1, …")


def lines_of(stream: Stream, file: DataFile) -> Iterator[str]:
    """The lines of a text, each with its end, the first without a byte order mark.

    Raises:
        DataError: Bytes that are no text in the encoding, or that cannot be had.
    """
    encoding = _encoding(stream, file)
    number = 0
    try:
        for number, line in enumerate(io.TextIOWrapper(io.BufferedReader(stream), encoding=encoding, newline=""), 1):
            if "\0" in line:
                raise file.error("holds a NUL character: the file is damaged or no text; get it again", line=number)
            yield line
    except DamagedError as error:
        raise file.error(str(error), line=number + 1) from error
    except UnicodeDecodeError as error:
        raise _undecodable(error, file, encoding, number) from error
    except UnicodeError as error:
        raise file.error(f"is not {encoding.upper()} ({error})", line=number + 1) from error


def _encoding(stream: Stream, file: DataFile) -> str:
    check_encoding(file.encoding_option, file.encoding)
    typed = codecs.lookup(file.encoding).name
    for mark, encoding in MARKS:
        if stream.head.startswith(mark):
            if typed != "utf-8" and not typed.startswith(encoding[:6].rstrip("-")):
                raise file.error(
                    f"begins with the byte order mark of {encoding[:6].rstrip('-').upper()}:"
                    f" leave {file.encoding_option}={file.encoding} out"
                )
            stream.read(len(mark))
            return encoding
    if typed == "utf-8" and (guess := _without_mark(stream.head)):
        raise file.error(f"looks like {guess.upper()} without a byte order mark: add {file.encoding_option}={guess}")
    return typed.removesuffix("-sig")


def _without_mark(head: bytes) -> str | None:
    """UTF-16 of Western text has a zero in every second byte."""
    half = len(head) // 2
    odd, even = head[1::2].count(0), head[::2].count(0)
    if half and max(odd, even) > 0.6 * half and min(odd, even) < 0.1 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _undecodable(error: UnicodeDecodeError, file: DataFile, encoding: str, number: int) -> Exception:
    """All whole lines before the bytes of the error were given; those in front of its place are counted here."""
    before = bytes(error.object[: error.start]).decode(encoding, "replace")
    line = number + 1 + before.count("\n")
    if error.start >= len(error.object) - 3 and error.reason in ("truncated data", "unexpected end of data"):
        what = "ends in the middle of a character: it was not copied or downloaded whole; get it again"
        return file.error(what, line=line)
    shown = before.rpartition("\n")[2][-NUM_SHOWN:]
    where = f"byte {error.object[error.start]:#04x}" + (f" after {shown!r}" if shown else "")
    todo = "give the encoding in which it was written"
    if encoding == "utf-8":
        todo += f", for a Western Windows file {file.encoding_option}=cp1252"
    return file.error(f"is not {encoding.upper()} ({where}); {todo}", line=line)
