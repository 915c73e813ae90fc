"""One event loop in a thread of its own, so that a call that is not async can have many requests on their way."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from typing import Any, TypeVar

T = TypeVar("T")
GRACE_S = 20.0
"""Seconds for requests that were sent before an interrupt."""


class LoopThread:
    """Runs coroutines from any thread, also from one that has a running loop of its own (a notebook)."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="rlaif-openai", daemon=True).start()
        weakref.finalize(self, self.loop.call_soon_threadsafe, self.loop.stop)

    def run(self, coroutine: Coroutine[Any, Any, T], *, on_interrupt: Callable[[], None] = lambda: None) -> T:
        """Wait for a coroutine's result; an interrupt here cancels it there.

        Args:
            coroutine: What to wait for.
            on_interrupt: Called in the loop after Ctrl-C or SIGTERM: asks the coroutine to end by itself. It has
                :data:`GRACE_S` seconds; a second interrupt cancels it at once.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            self.loop.call_soon_threadsafe(on_interrupt)
            wait([future], timeout=GRACE_S)
            raise
        finally:
            future.cancel()
