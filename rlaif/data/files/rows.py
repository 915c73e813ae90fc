"""A row with its place, and the file in which it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rlaif.errors import DataError


class Row(NamedTuple):
    """One raw row and its place in the file."""

    place: str
    """``file:line`` of JSON lines and CSV, else ``file:row``; both count from 1."""
    values: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file that is read, and how messages name it."""

    path: Path
    name: str
    """Option and path as typed."""
    label: str
    """The file in places: its name, or its path where several files have one name."""
    part: str = ""
    """Member of a zip archive, or key of a JSON document; empty where the path names the file alone."""
    encoding: str = "utf-8"
    """Of texts without a byte order mark."""
    encoding_option: str = "encoding"
    """What the encoding is typed as."""
    expected: str = ""
    """What a row should hold."""

    def place(self, number: int) -> str:
        """A row's place.

        Args:
            number: Line or row, from 1.
        """
        return f"{self.label}:{number}"

    def error(self, what: str, *, line: int | None = None) -> DataError:
        """The error of the whole file, or of a line that is not at fault."""
        return DataError(f"{self.name}{'' if line is None else f', line {line}'}: {what}")

    def bad_line(self, line: int, what: str, wanted: str = "rows") -> DataError:
        """The error of one line, with what is expected.

        Args:
            line: From 1.
            what: What is wrong with it.
            wanted: What the lines of this kind of file are.
        """
        return self.error(f"{what}; {self.expects(wanted)}: correct this line in a copy of the file", line=line)

    def expects(self, wanted: str = "rows") -> str:
        """What is expected, for messages."""
        return f"expected {wanted} with {self.expected}" if self.expected else f"expected {wanted}"
