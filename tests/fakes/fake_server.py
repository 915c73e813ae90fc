"""A server without a network: an ``openai`` engine's client is given a transport that calls a function."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from typing import Any, Self

import httpx2
import pytest

from rlaif.engines.openai.client import Client
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.types import Segment, StructuredPrompt

Handler = Callable[[dict[str, Any]], httpx2.Response]
URL = "http://server.test/v1"


class _Wire(httpx2.AsyncByteStream):
    """A body that has not been read yet."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


class FakeServer:
    """Answers by a function of the request's body, remembers what it was asked, and adds up what it bills."""

    def __init__(self, answer: Handler) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def handle(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        response = self.answer(body)
        return httpx2.Response(response.status_code, headers=response.headers, stream=_Wire(response.content))

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> Self:
        """Have every client that is made from now on ask this server."""
        transport = httpx2.MockTransport(self.handle)
        monkeypatch.setattr("rlaif.engines.openai.calls.Client", partial(Client, transport=transport))
        return self


def engine(**options: Any) -> OpenAIEngine:
    """An engine of model ``m`` that does not wait."""
    return OpenAIEngine("m", url=URL, **{"max_retries": 0, "first_backoff_s": 1e-9, "max_backoff_s": 1e-6} | options)


def prompt(text: str = "Which?") -> StructuredPrompt:
    """A prompt of one segment."""
    return StructuredPrompt(segments=(Segment(text=text),))


def said(text: str = "1", *, read: int = 11, written: int = 3, **choice: Any) -> dict[str, Any]:
    """A reply of ``/completions`` that says a text, and would have said 1 with a probability drawn from it."""
    p_first = 0.05 + 0.9 * int.from_bytes(sha256(text.encode()).digest()[:4]) / 2**32
    logprobs = {"top_logprobs": [{"1": math.log(p_first), "2": math.log(0.999 - p_first)}]}
    return {
        "model": "m",
        "choices": [{"text": text, "finish_reason": "stop", "logprobs": logprobs} | choice],
        "usage": {"prompt_tokens": read, "completion_tokens": written},
    }


def ok(reply: object, **headers: str) -> httpx2.Response:
    """HTTP 200 with JSON."""
    return httpx2.Response(200, json=reply, headers=headers)


def error(status: int, message: str, **fields: Any) -> httpx2.Response:
    """An error as OpenAI writes it."""
    return httpx2.Response(status, json={"error": {"message": message} | fields})
