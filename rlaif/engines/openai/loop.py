"""One event loop in a thread of its own, so that a call that is not async can have many requests on their way."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
GRACE_S = 20.0
"""Seconds for requests that were sent before an interrupt."""


class LoopThread:
    """Runs coroutines from any thread, also from one that has a running loop of its own (a notebook)."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        threading.Thread(target=self.loop.run_forever, name="rlaif-openai", daemon=True).start()
        weakref.finalize(self, self.loop.call_soon_threadsafe, self.loop.stop)

    def run(self, coroutine: Coroutine[Any, Any, T], *, on_interrupt: Callable[[], None] = lambda: None) -> T:
        """Wait for a coroutine's result; an interrupt here cancels it there.

        Args:
            coroutine: What to wait for.
            on_interrupt: Called in the loop after Ctrl-C or SIGTERM: asks the coroutine to end by itself. It has
                :data:`GRACE_S` seconds; a second interrupt cancels it at once.
        """
        future: Future[T] = Future()
        try:
            # In here: an interrupt may come while the loop works and the call that began it has not returned.
            self.loop.call_soon_threadsafe(self._begin, coroutine, future)
            return future.result()
        except KeyboardInterrupt:
            self.loop.call_soon_threadsafe(on_interrupt)
            wait([future], timeout=GRACE_S)
            raise
        finally:
            future.cancel()

    def _begin(self, coroutine: Coroutine[Any, Any, T], future: Future[T]) -> None:
        """Run a coroutine in the loop, and give its outcome to a future of the caller's; called in the loop."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_hand_over, future))
        future.add_done_callback(lambda done: done.cancelled() and self.loop.call_soon_threadsafe(task.cancel))


def _hand_over(future: Future[T], task: asyncio.Task[T]) -> None:
    """Give a task's outcome to a future, and wake whoever waits for it, also where one of them was cancelled."""
    if task.cancelled():
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    error = task.exception()
    if error is None:
        future.set_result(task.result())
    else:
        future.set_exception(error)
