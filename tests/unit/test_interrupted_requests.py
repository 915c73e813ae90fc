"""Ctrl-C and SIGTERM while a server is asked: what was sent is answered and kept, and nothing more is sent."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial

import httpx2
import pytest
from fake_server import FakeServer, engine, error, ok, prompt, said

from rlaif.engines.base import Answer
from rlaif.engines.openai.client import Client
from rlaif.errors import GateStopped
from rlaif.interruption import Terminated, exit_code, raise_on_sigterm


class WatchedClient(Client):
    """Tells when it is closed."""

    closed = threading.Event()

    def close(self) -> None:
        super().close()
        self.closed.set()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_replies_to_requests_that_were_sent_are_kept(signum: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests are answered at once; four are on their way when the signal comes, and are answered after it."""
    server, closed = FakeServer(lambda body: ok(said())), WatchedClient.closed
    closed.clear()

    async def slowly(request: httpx2.Request) -> httpx2.Response:
        response = await server.handle(request)
        number = len(server.asked)
        if number == 6:
            os.kill(os.getpid(), signum)
        while number > 2 and not closed.is_set():
            await asyncio.sleep(0.01)
        return response

    transport = httpx2.MockTransport(slowly)
    monkeypatch.setattr("rlaif.engines.openai.calls.Client", partial(WatchedClient, transport=transport))
    kept: dict[int, Answer] = {}
    asking = engine(max_concurrency=4)
    asking.on_answer = kept.__setitem__
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_on_sigterm()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            asking.score([prompt(str(number)) for number in range(40)], ["1", "2"])
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert isinstance(caught.value, Terminated) == (signum == signal.SIGTERM)
    assert exit_code(caught.value) == 128 + signum
    assert len(server.asked) == 6
    assert len(kept) == 6, "every request that was sent has an answer"
    assert all(answer.missing is None for answer in kept.values())
    assert len(asking.score([prompt("again")], ["1", "2"])) == 1, "a notebook may ask again"


def test_questions_of_several_requests_are_ended_before_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes that were paid for before a server goes down are whole answers, but for those on their way."""
    server = FakeServer(lambda body: ok(said("1")) if len(server.asked) <= 40 else error(500, "down"))

    async def slowly(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.001)
        return await server.handle(request)

    monkeypatch.setattr("rlaif.engines.openai.calls.Client", partial(Client, transport=httpx2.MockTransport(slowly)))
    kept: dict[int, Answer] = {}
    asking = engine(scoring="votes", num_votes=4, max_concurrency=2, break_after=1)
    asking.on_answer = kept.__setitem__
    with pytest.raises(GateStopped):
        asking.score([prompt(str(number)) for number in range(16)], ["1", "2"])
    assert sum(answer.missing is None for answer in kept.values()) >= 9
