"""Files as a stream of bytes: decompressed, the member of a zip archive, and with their first bytes to look at."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import IO, Any

import pyarrow as pa

from rlaif.data.files.rows import DataFile
from rlaif.data.files.signatures import ZIP_CONTENTS

NUM_SNIFFED = 1 << 16
"""Bytes that are looked at to tell what a file is."""
MOST_LAYERS = 3
"""Compressions inside each other, at most."""
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"\x04\x22\x4d\x18": "lz4",
    **{b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)},
}
OPENERS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "xz": lzma.LZMAFile,
    "bz2": bz2.BZ2File,
    "zst": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"),
    "lz4": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "lz4"),
}
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_DECOMPRESSION_ERRORS = (zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)
HIDDEN_MEMBERS = ("__MACOSX/", ".DS_Store")


class DamagedError(Exception):
    """Bytes that cannot be had: a cut or damaged archive, a disk that fails."""


class Stream(io.RawIOBase):
    """Bytes of a file, whose beginning can be looked at before it is read.

    Args:
        inner: Where they come from.
        kind: Of the compression, for messages; empty for none.

    Raises:
        DamagedError: When reading comes to bytes that cannot be had.
    """

    def __init__(self, inner: IO[bytes], kind: str = "") -> None:
        self.kind = kind
        self._inner = inner
        self._failure: DamagedError | None = None
        self.head = b""
        while len(self.head) < NUM_SNIFFED and (piece := self._first_piece(NUM_SNIFFED - len(self.head))):
            self.head += piece
        self._ahead = self.head

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; 0 at the end."""
        piece, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        piece = piece or self._more(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _first_piece(self, size: int) -> bytes:
        try:
            return self._more(size)
        except DamagedError as error:
            self._failure = error  # told when reading comes there, with its line
            return b""

    def _more(self, size: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            return self._inner.read(size)
        except (EOFError, OSError, ValueError, NotImplementedError, RuntimeError, *_DECOMPRESSION_ERRORS) as error:
            raise DamagedError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        if not self.kind:
            return f"cannot be read ({error}); copy the file to another disk"
        if isinstance(error, EOFError) or "Truncated" in str(error):
            return (
                f"the {self.kind} file ends here, before its end mark: it was not copied or downloaded whole;"
                " get it again"
            )
        return f"the {self.kind} file is damaged ({error}); get it again"


def compression_of(head: bytes) -> str | None:
    """Compression of a file by its first bytes; None where there is none."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def opened(file: DataFile) -> Iterator[tuple[Stream, DataFile]]:
    """The file's bytes after all decompression, and the file without the part of its path that named a zip's member.

    Raises:
        DataError: The file cannot be opened, or is an archive of which no one member is chosen.
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(file.path.open("rb"))
        except OSError as error:
            raise file.error(f"cannot be read ({error.strerror}); change its permissions") from error
        stream = Stream(raw)
        if stream.head.startswith(ZIP_MAGIC):
            stream, file = _member(file, raw, stack), replace(file, part="")
        for _ in range(MOST_LAYERS):
            if (kind := compression_of(stream.head)) is None:
                break
            inner = stack.enter_context(OPENERS[kind](io.BufferedReader(stream)))
            stream = Stream(inner, kind)
        yield stream, file


def _member(file: DataFile, raw: IO[bytes], stack: ExitStack) -> Stream:
    try:
        archive = stack.enter_context(zipfile.ZipFile(raw))
        name = _chosen(file, archive.namelist())
        return Stream(stack.enter_context(archive.open(name)), "zip")
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise file.error(
            f"is a zip archive that is not whole ({error}): it was not copied or downloaded whole; get it again"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # a password, a compression that Python does not know
        raise file.error(f"is a zip archive that cannot be opened here ({error}); unpack it") from error


def _chosen(file: DataFile, names: list[str]) -> str:
    for mark, told in ZIP_CONTENTS.items():
        if any(mark in name for name in names):
            raise file.error(told)
    members = [
        name for name in names if not name.startswith(HIDDEN_MEMBERS[0]) and not name.endswith(("/", *HIDDEN_MEMBERS))
    ]
    if file.part in members:
        return file.part
    if len(members) == 1 and not file.part:
        return members[0]
    shown = ", ".join(members[:10]) + (f" and {len(members) - 10} more" if len(members) > 10 else "")
    if not members:
        raise file.error("is a zip archive without files")
    whole = file.name.removesuffix(f"/{file.part}") if file.part else file.name
    absent = f"there is no {file.part} in the archive; " if file.part else ""
    raise file.error(f"{absent}the zip archive holds {shown}; choose one with {whole}/{members[0]}")
