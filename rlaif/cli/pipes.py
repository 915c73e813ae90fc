"""Output that outlives its reader: ``rlaif-labels show RUN | head -1`` is no error.

``head`` closes the pipe when it has read enough, and the next write fails with ``BrokenPipeError``. The commands drop
what they would still print and go on to their own exit code: a run in ``rlaif-run | head`` is not stopped half-way.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import Any, TextIO


class _PipeOrNothing(io.FileIO):
    """A pipe's writing end that becomes ``/dev/null`` when the reader has closed it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def ignore_closed_pipes() -> None:
    """Make writing to standard output and standard error safe where they are pipes."""
    sys.stdout = _outliving(sys.stdout)
    sys.stderr = _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    """The stream itself unless it writes to a pipe or a socket."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # closed, or no file of the operating system
        return stream
    if not isinstance(stream, io.TextIOWrapper) or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_PipeOrNothing(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
