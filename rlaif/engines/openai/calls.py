"""Many questions on their way at once: one client in one event loop, each answer handed over as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rlaif.engines.base import Answer
from rlaif.engines.openai.client import Client, Connection
from rlaif.engines.openai.failures import CIRCUIT_OPEN
from rlaif.engines.openai.loop import LoopThread
from rlaif.outcome import Generation, OptionScores

AnswerT = TypeVar("AnswerT", OptionScores, Generation)


class Calls:
    """Asks a server many questions at once and waits for their answers.

    Args:
        connection: Where to and how hard.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._client: Client | None = None
        self._loop: LoopThread | None = None

    @property
    def client(self) -> Client:
        """The client, made in the loop of the first call."""
        if self._client is None:
            self._client = Client(self.connection)
        return self._client

    @property
    def retried(self) -> dict[str, int]:
        """Attempts that failed and were made again, by reason."""
        return {} if self._client is None else dict(self._client.retried)

    def run(
        self,
        questions: Sequence[Callable[[], Awaitable[AnswerT]]],
        on_answer: Callable[[int, Answer], None] | None = None,
    ) -> list[AnswerT]:
        """The answers in order.

        Args:
            questions: Each asks through :attr:`client`.
            on_answer: Gets every answer as it arrives; those that were not sent are left out.

        Raises:
            GateStopped: The server was given up.
            KeyboardInterrupt: Ctrl-C or SIGTERM, after the answers to requests that were sent.
            ConfigError: The key is not in the environment.
        """
        if not questions:
            return []
        if self._loop is None:
            self._loop = LoopThread()
        try:
            return self._loop.run(self._ask_all(questions, on_answer), on_interrupt=lambda: self.client.close())
        except KeyboardInterrupt:
            self._client = None  # it sends nothing any more
            raise

    async def _ask_all(
        self,
        questions: Sequence[Callable[[], Awaitable[AnswerT]]],
        on_answer: Callable[[int, Answer], None] | None,
    ) -> list[AnswerT]:
        breaker = self.client.breaker
        self.client.questions.clear()
        self.connection.key()
        breaker.stop_if_open()

        # A question may take several requests (votes): those that are begun are ended before others begin, so that an
        # interrupt or an outage finds few that are half paid for.
        places = asyncio.Semaphore(self.connection.max_concurrency)

        async def hand_over(position: int, question: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
            async with places:
                answer = await question()
            was_asked = answer.missing != CIRCUIT_OPEN or answer.num_prompt_tokens > 0
            if on_answer is not None and was_asked:
                on_answer(position, answer)
            return answer

        tasks = [asyncio.create_task(hand_over(*numbered)) for numbered in enumerate(questions)]
        self.client.questions.update(tasks)
        try:
            answers = await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            if sent := self.client.sent.intersection(tasks):  # paid already: their answers are kept
                await asyncio.wait(sent)
            raise
        finally:
            for task in tasks:
                task.cancel()
        breaker.stop_if_open()
        return answers

    def __getstate__(self) -> dict[str, object]:
        """The connection alone: a copy in another process opens its own."""
        return self.__dict__ | {"_client": None, "_loop": None}
