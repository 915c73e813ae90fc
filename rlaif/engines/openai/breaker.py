"""A circuit breaker: after too many failed requests the rest of the plan is not sent."""

from __future__ import annotations

import asyncio

from rlaif.engines.openai.failures import CIRCUIT_OPEN, RequestFailed
from rlaif.errors import GateStopped


class CircuitBreaker:
    """Opens, and stays open, after a number of failed requests in a row, each counted after its own retries.

    Args:
        url: Named in the message.
        break_after: Failed requests in a row.
    """

    def __init__(self, url: str, break_after: int) -> None:
        self.url = url
        self.break_after = break_after
        self.num_failed_in_a_row = 0
        self.last: RequestFailed | None = None
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """True once too many requests in a row have failed."""
        return self._opened.is_set()

    def answered(self) -> None:
        """Count a request with an answer."""
        self.num_failed_in_a_row = 0

    def failed(self, failure: RequestFailed) -> None:
        """Count a request that failed after its retries."""
        if not failure.of_server or self.is_open:
            return
        if self.would_open(failure):
            self._opened.set()
        self.num_failed_in_a_row += 1
        self.last = failure

    def would_open(self, failure: RequestFailed) -> bool:
        """True where one more failure of this kind opens it."""
        return failure.of_server and not self.is_open and self.num_failed_in_a_row + 1 >= self.break_after

    def check(self) -> None:
        """Let a request pass.

        Raises:
            RequestFailed: The circuit is open.
        """
        if self.is_open:
            raise RequestFailed(CIRCUIT_OPEN)

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the circuit opens."""
        try:
            await asyncio.wait_for(self._opened.wait(), seconds)
        except TimeoutError:
            return

    def stop_if_open(self) -> None:
        """Stop the run where the server was given up.

        Raises:
            GateStopped: The circuit is open.
        """
        if not self.is_open or self.last is None:
            return
        raise GateStopped(
            f"labeler.engine.break_after={self.break_after}: that many requests in a row to {self.url} failed, the "
            f"last one with: {self.last.in_words}. Answers so far are kept: mend the server or the options and start "
            "again to go on."
        )
