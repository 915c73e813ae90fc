"""Processes that label one plan together, each every n-th batch, and stop together."""

from __future__ import annotations

from pathlib import Path

from rlaif.artifacts import atomic_write

_STOPPED, _MISSING = "stopped.txt", "missing-{rank}.txt"


class Team:
    """This process's part of a plan, and messages between processes in the directory of the batches.

    Args:
        directory: Where the batches are kept.
        rank: Which process this is, from 0.
        size: How many there are.
    """

    def __init__(self, directory: Path, *, rank: int = 0, size: int = 1) -> None:
        self.directory = directory
        self.rank = rank
        self.size = size
        self._num_missing = 0

    def begin(self) -> None:
        """Remove what an earlier start left unfinished; called once, before the processes are started."""
        for pattern in (_STOPPED, _MISSING.format(rank="*"), ".*.tmp"):
            for path in self.directory.glob(pattern):
                path.unlink()

    def takes(self, batch: int) -> bool:
        """True when this process labels the batch of this number."""
        return batch % self.size == self.rank

    def add_missing(self, count: int) -> int:
        """Count labels that are missing in this attempt; returns the count over all processes."""
        self._num_missing += count
        if self.size == 1:
            return self._num_missing
        if count:
            self.directory.mkdir(parents=True, exist_ok=True)
            atomic_write(self.directory / _MISSING.format(rank=self.rank), str(self._num_missing))
        others = [self.directory / _MISSING.format(rank=rank) for rank in range(self.size) if rank != self.rank]
        return self._num_missing + sum(int(path.read_text()) for path in others if path.exists())

    def stop(self, reason: str) -> None:
        """Let every process stop before its next batch."""
        if self.stopped_because() is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            atomic_write(self.directory / _STOPPED, reason)

    def stopped_because(self) -> str | None:
        """Why they stop; None while they go on."""
        path = self.directory / _STOPPED
        return path.read_text() if path.exists() else None
