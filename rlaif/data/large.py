"""Sequences for a million records: packed in memory, and made of other records when they are asked for."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")
S = TypeVar("S")
CHUNK = 256
"""Records that are packed together: an access unpacks so many, about a millisecond."""
NUM_PLAIN = 50_000
"""So many records are kept as they are; what comes after them is packed."""
_LEVEL = 1


class Packed(Sequence[T]):
    """A list that only grows. The first records are kept as objects, the others compressed, chunk by chunk.

    A million pairs of half a kilobyte take about a third of their text. Reading in order unpacks each chunk once.
    A record is read-only: what is read out of a chunk is a copy.

    Args:
        num_plain: So many records are kept as objects, at least 0.
    """

    def __init__(self, num_plain: int = NUM_PLAIN) -> None:
        self._num_plain = num_plain
        self._plain: list[T] = []
        self._chunks: list[bytes] = []
        self._open: list[T] = []
        self._changed: dict[int, T] = {}
        self._unpacked: tuple[int, list[T]] = (-1, [])

    def append(self, record: T) -> None:
        """Add a record at the end."""
        if len(self._plain) < self._num_plain:
            self._plain.append(record)
            return
        self._open.append(record)
        if len(self._open) == CHUNK:
            self._chunks.append(zlib.compress(pickle.dumps(self._open, pickle.HIGHEST_PROTOCOL), _LEVEL))
            self._open = []

    def replace(self, place: int, record: T) -> None:
        """Put another record in a place, counted from 0; it is kept as an object."""
        self._changed[place] = record

    def __len__(self) -> int:
        return len(self._plain) + CHUNK * len(self._chunks) + len(self._open)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._changed[place] if place in self._changed else self._kept(place)

    def _kept(self, place: int) -> T:
        if place < len(self._plain):
            return self._plain[place]
        number, position = divmod(place - len(self._plain), CHUNK)
        if number == len(self._chunks):
            return self._open[position]
        if number != self._unpacked[0]:
            self._unpacked = (number, pickle.loads(zlib.decompress(self._chunks[number])))
        return self._unpacked[1][position]


class Selected(Sequence[T], Generic[S, T]):
    """Some of other records, each made into what is wanted when it is asked for.

    Args:
        records: What is selected from; grows no more.
        rows: Places of the selected ones, in the order wanted.
        make: Makes one record of another; equal records give equal ones.
    """

    def __init__(self, records: Sequence[S], rows: Sequence[int], make: Callable[[S], T]) -> None:
        self.records = records
        self.rows = rows
        self.make = make

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.make(self.records[row]) for row in self.rows[index]]
        return self.make(self.records[self.rows[index]])
