"""Ctrl-C and SIGTERM while a server is asked: what was sent is answered and kept, and nothing more is sent."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from functools import partial

import httpx2
import pytest
from fake_server import FakeServer, engine, ok, prompt, said

from rlaif.engines.base import Answer
from rlaif.engines.openai.client import Client
from rlaif.interruption import Terminated, exit_code, raise_on_sigterm


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_replies_to_requests_that_were_sent_are_kept(signum: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(lambda body: ok(said()))

    async def slowly(request: httpx2.Request) -> httpx2.Response:
        response = await server.handle(request)
        if len(server.asked) == 6:  # four are on their way
            threading.Timer(0.05, os.kill, (os.getpid(), signum)).start()
        await asyncio.sleep(0.3 if len(server.asked) > 2 else 0.0)
        return response

    monkeypatch.setattr("rlaif.engines.openai.calls.Client", partial(Client, transport=httpx2.MockTransport(slowly)))
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
    time.sleep(0.05)
    assert len(server.asked) == 6, "nothing is sent after the end"
    assert len(asking.score([prompt("again")], ["1", "2"])) == 1, "a notebook may ask again"
