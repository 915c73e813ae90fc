"""Ctrl-C and SIGTERM: both stop a run like an exception, so that what is finished is kept and can be gone on from."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them."""


class Terminated(KeyboardInterrupt):
    """SIGTERM asked the process to end."""


def interruption(signum: int) -> KeyboardInterrupt:
    """The exception of SIGINT or SIGTERM."""
    return Terminated() if signum == signal.SIGTERM else KeyboardInterrupt()


def exit_code(error: KeyboardInterrupt) -> int:
    """The exit code of a process that such an exception ended."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


def raise_on_sigterm() -> None:
    """Let SIGTERM raise :class:`Terminated` in the main thread from now on, where it would end the process at once."""

    def received(signum: int, frame: FrameType | None) -> Any:
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, received)
