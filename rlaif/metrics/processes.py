"""Merging over processes what is no metric: names and counts that notes and loops are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Processes:
    """Says whether an evaluation is shared by the processes of the default group of ``torch.distributed``.

    Every process evaluates its share of the rows and gets the figures of all rows. Shares that follow one another
    (:meth:`share`) give the same bits as one process; other shares give the same figures up to rounding.
    """

    merge: bool = False
    """False keeps every process by itself, also where a process group exists."""

    def share(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """This process' share of the items: a stretch of about the same length for every process."""
        if not self.merge:
            return items
        rank, count = dist.get_rank(), dist.get_world_size()
        return items[len(items) * rank // count : len(items) * (rank + 1) // count]

    def union(self, names: Iterable[str]) -> list[str]:
        """All names that any process has, sorted."""
        return sorted({name for given in self._gather(sorted(set(names))) for name in given})

    def first(self, name: str) -> str:
        """The first name, in the order of the processes, that is not empty; empty where all are."""
        return next(filter(None, self._gather(name)), "")

    def total(self, count: int) -> int:
        """The sum of the processes' counts."""
        return sum(self._gather(count))

    def largest(self, count: int) -> int:
        """The largest of the processes' counts."""
        return max(self._gather(count))

    def _gather(self, item: ItemT) -> list[ItemT]:
        if not self.merge:
            return [item]
        gathered: list[ItemT | None] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, item)
        return gathered  # type: ignore[return-value]  # every place is filled


ONE_PROCESS = Processes()
