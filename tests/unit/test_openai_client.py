"""The client of OpenAI-compatible servers on a clock of its own: retries, limits, time-outs, breaker, redaction."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import logging
import selectors
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, tzinfo
from email.utils import formatdate
from typing import Any, TypeVar

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.engines.openai.client import Client, Connection
from rlaif.engines.openai.failures import RequestFailed, redacted, status_failure
from rlaif.errors import ConfigError, GateStopped

T = TypeVar("T")
URL = "http://server.test/v1"
KEY = "sk-planted/0123456789"

Handler = Callable[[httpx2.Request], Any]


class Body(httpx2.AsyncByteStream):
    """A body that is read from the wire; with ``cut``, the connection breaks after it."""

    def __init__(self, content: bytes, *, cut: bool = False) -> None:
        self.content = content
        self.cut = cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content
        if self.cut:
            raise httpx2.ReadError("cut")


def reply(status: int = 200, body: object = b"", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=names, stream=Body(content))


GOOD = reply(200, {"fine": True})


class _NoWait(selectors.SelectSelector):
    def __init__(self, loop: FakeClock) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self.loop.now += timeout or 0.0
        return super().select(0)


class FakeClock(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time and moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return self.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=FakeClock) as runner:
        return runner.run(coroutine)


def now() -> float:
    return asyncio.get_running_loop().time()


def connection(**changes: Any) -> Connection:
    options: dict[str, Any] = {
        "url": URL,
        "key_env": None,
        "max_concurrency": 4,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "connect_timeout_s": 5.0,
        "read_timeout_s": 20.0,
        "total_timeout_s": 60.0,
        "max_retries": 3,
        "first_backoff_s": 1.0,
        "max_backoff_s": 30.0,
        "break_after": 5,
        "max_response_bytes": 2000,
    }
    return Connection(**options | changes)


def client(handler: Handler, **changes: Any) -> Client:
    return Client(connection(**changes), httpx2.MockTransport(handler))


def answers(*responses: httpx2.Response | Exception) -> Handler:
    """One response after the other; the last one stays."""
    left = list(responses)

    async def handler(request: httpx2.Request) -> httpx2.Response:
        response = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(response, Exception):
            raise response
        return httpx2.Response(response.status_code, headers=response.headers, stream=response.stream)

    return handler


async def ask(asked: Client, num_tokens: int = 0) -> object:
    return await asked.post("/completions", {"prompt": "x"}, lambda payload: payload, num_tokens=num_tokens)


async def outcome(asked: Client) -> object:
    """The answer, or the reason why there is none."""
    try:
        return await ask(asked)
    except RequestFailed as failure:
        return failure.reason


FINAL = {
    "http 429": reply(429),
    "http 500": reply(500, b"oops"),
    "timeout": httpx2.ReadTimeout("slow"),
    "connection cut": httpx2.RemoteProtocolError("gone"),
    "cannot connect": httpx2.ConnectError("refused"),
    "invalid json": reply(200, b"<html>"),
}
ONCE = {
    "http 400": reply(400),
    "http 401": reply(401),
    "http 307": reply(307, location="http://elsewhere.test/"),
    "reply of more than 2000 bytes": reply(200, b" " * 2001),
    "wrong shape: a stream": reply(200, b'data: {"choices": []}\n\ndata: [DONE]\n\n'),
    "wrong shape: a compressed reply": reply(200, b"\x0b\x02", content_encoding="br"),
}


@pytest.mark.parametrize("reason", FINAL)
def test_what_may_pass_is_asked_again_and_then_missing(reason: str) -> None:
    async def scenario() -> None:
        passing = client(answers(FINAL[reason], FINAL[reason], GOOD))
        assert await outcome(passing) == {"fine": True}
        assert passing.retried == {reason: 2}
        lasting = client(answers(FINAL[reason]))
        assert await outcome(lasting) == reason
        assert lasting.retried == {reason: 3}

    run(scenario())


@pytest.mark.parametrize("reason", ONCE)
def test_what_does_not_pass_is_asked_once(reason: str) -> None:
    async def scenario() -> None:
        asked = client(answers(ONCE[reason], GOOD))
        assert await outcome(asked) == reason
        assert asked.retried == {}

    run(scenario())


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000 + "x", '{"a": ' + "9" * 5000 + "}", "\xff\xfe\x00"])
def test_json_that_cannot_be_read(text: str) -> None:
    asked = client(answers(reply(200, text.encode("latin-1"))), max_retries=0, max_response_bytes=1_000_000)
    assert run(outcome(asked)) == "invalid json"


@pytest.mark.parametrize("status", [200, 201])
def test_every_status_of_success_has_an_answer(status: int) -> None:
    """Frameworks of gateways answer a POST with 201."""
    assert run(outcome(client(answers(reply(status, {"fine": True})), max_retries=0))) == {"fine": True}


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_gateway_that_compresses_unasked_is_read(pack: Callable[[bytes], bytes]) -> None:
    def told(status: int, body: bytes) -> object:
        packed = reply(status, pack(body), content_encoding="gzip" if pack is gzip.compress else "deflate")
        return run(outcome(client(answers(packed), max_retries=0)))

    assert told(200, b'{"fine": true}') == {"fine": True}
    assert told(200, b'{"fine": "' + b" " * 10**6 + b'"}') == "reply of more than 2000 bytes"
    assert told(400, b'{"error": {"message": "maximum context length is 10"}}') == "prompt too long"


def test_a_compressed_reply_without_its_end_is_a_cut_connection() -> None:
    half = reply(200, gzip.compress(b'{"fine": true}')[:-9], content_encoding="gzip")
    assert run(outcome(client(answers(half), max_retries=0))) == "connection cut"


def test_a_body_that_breaks_off_is_a_cut_connection() -> None:
    async def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Body(b'{"half', cut=True))

    assert run(outcome(client(handler, max_retries=0))) == "connection cut"


def test_a_server_that_never_ends_times_out_in_total() -> None:
    async def handler(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(1e9)
        return GOOD

    async def scenario() -> None:
        assert await outcome(client(handler, max_retries=0)) == "timeout"
        assert now() == pytest.approx(60.0, abs=0.1)

    run(scenario())


def test_waits_grow_and_stay_below_their_limits() -> None:
    times: list[float] = []

    async def handler(request: httpx2.Request) -> httpx2.Response:
        times.append(now())
        return reply(500)

    run(outcome(client(handler, max_retries=8, first_backoff_s=1.0, max_backoff_s=30.0)))
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) == 8
    for number, wait in enumerate(waits):
        assert wait <= min(30.0, 2.0**number) + 0.01
    assert len(set(waits)) > 1


@pytest.mark.parametrize("header", ["7", "date"])
def test_retry_after_is_waited_for(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = formatdate(1e9 + 7.0, usegmt=True) if header == "date" else header

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls.fromtimestamp(1e9, tz)

    monkeypatch.setattr("rlaif.engines.openai.failures.datetime", Clock)

    async def scenario() -> None:
        asked = client(answers(reply(429, retry_after=value), GOOD))
        assert await outcome(asked) == {"fine": True}
        assert 7.0 <= now() <= 8.1

    run(scenario())


@pytest.mark.parametrize("header", ["3600", "9" * 400], ids=["an hour", "400 digits"])
def test_a_wait_longer_than_allowed_is_not_waited_for(header: str) -> None:
    async def scenario() -> None:
        asked = client(answers(reply(429, retry_after=header), GOOD))
        assert await outcome(asked) == "http 429"
        assert now() < 1.0

    run(scenario())


@pytest.mark.parametrize(
    "header",
    [
        "soon",
        "-5",
        "inf",
        "nan",
        "1e400",
        "\u00b2",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT",
        f"Mon, 01 Jan 2026 {'9' * 20}:00:00 GMT",
        "Mon, 31 Feb 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +999999999999",
        "0",
        "Mon, 01 Jan 2024 00:00:00 GMT",
    ],
)
def test_an_unreadable_retry_after_is_no_wait(header: str) -> None:
    """And neither is one of 0 seconds or a past date, which a busy server sends: the growing waits hold."""
    assert status_failure(429, {"retry-after": header}, "").retry_after_s is None


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "20s"}, 20.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "0", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "0"}, None),
    ],
)
def test_fractions_and_milliseconds_of_a_wait_are_read(headers: dict[str, str], wait_s: float | None) -> None:
    assert status_failure(429, headers, "").retry_after_s == wait_s


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,5} Jan [0-9]{1,12} [0-9:]{1,12} [+-][0-9]{1,6}"))
def test_no_retry_after_breaks_the_run(header: str) -> None:
    wait_s = status_failure(429, {"retry-after": header}, "").retry_after_s
    assert wait_s is None or wait_s >= 0.0


def test_requests_per_minute_are_spaced_evenly() -> None:
    times: list[float] = []

    async def handler(request: httpx2.Request) -> httpx2.Response:
        times.append(now())
        return reply(200, {})

    async def scenario() -> None:
        asked = client(handler, requests_per_minute=30.0)
        await asyncio.gather(*(ask(asked) for _ in range(10)))

    run(scenario())
    assert len(times) == 10
    assert all(after - before >= 1.99 for before, after in itertools.pairwise(times))
    assert times[-1] == pytest.approx(18.0, abs=0.1)


def test_tokens_per_minute_hold_also_for_a_prompt_larger_than_the_window() -> None:
    async def scenario() -> None:
        asked = client(answers(GOOD), tokens_per_minute=600.0)
        for _ in range(3):
            await ask(asked, num_tokens=250)
        # 750 tokens at 10 a second, less the 100 that the first ten seconds may hold at once
        assert now() == pytest.approx(65.0, abs=0.5)

    run(scenario())


def test_no_more_requests_than_allowed_are_on_their_way() -> None:
    running = most = 0

    async def handler(request: httpx2.Request) -> httpx2.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1
        return reply(200, {})

    async def scenario() -> None:
        asked = client(handler, max_concurrency=3)
        await asyncio.gather(*(ask(asked) for _ in range(12)))
        assert now() == pytest.approx(4.0, abs=0.1)

    run(scenario())
    assert most == 3


class TestBreaker:
    def test_it_opens_after_failures_in_a_row_and_names_url_and_reason(self) -> None:
        num_asked = 0

        async def handler(request: httpx2.Request) -> httpx2.Response:
            nonlocal num_asked
            num_asked += 1
            return reply(401, {"error": {"message": "no such account"}})

        async def scenario() -> None:
            asked = client(handler, break_after=5, max_concurrency=2)
            reasons = await asyncio.gather(*(outcome(asked) for _ in range(100)))
            assert reasons.count("circuit open") == 100 - num_asked
            assert set(reasons) == {"http 401", "circuit open"}
            with pytest.raises(GateStopped, match=r"labeler\.engine\.break_after=5: .*server\.test.*http 401.*account"):
                asked.breaker.stop_if_open()

        run(scenario())
        assert 5 <= num_asked <= 6

    def test_an_answer_in_between_starts_the_count_again(self) -> None:
        turns = [reply(400)] * 4 + [GOOD]

        async def scenario() -> None:
            asked = client(answers(*turns * 5), break_after=5)
            for _ in range(25):
                await outcome(asked)
            asked.breaker.stop_if_open()

        run(scenario())

    def test_a_waiting_retry_ends_when_it_opens(self) -> None:
        async def handler(request: httpx2.Request) -> httpx2.Response:
            long = b"slow" in request.content
            return reply(503, retry_after="30") if long else reply(400)

        async def scenario() -> None:
            asked = client(handler, break_after=3)
            waiting = asyncio.create_task(asked.post("/x", {"prompt": "slow"}, lambda payload: payload))
            await asyncio.sleep(1.0)
            for _ in range(3):
                await outcome(asked)
            with pytest.raises(RequestFailed, match="http 503"):
                await waiting
            with pytest.raises(RequestFailed, match="circuit open"):
                await asked.post("/x", {}, lambda payload: payload)
            assert now() < 5.0

        run(scenario())

    def test_a_refusal_is_no_failure_of_the_server(self) -> None:
        def refuse(payload: object) -> object:
            raise RequestFailed("refused: content filter", of_server=False)

        async def scenario() -> None:
            asked = client(answers(GOOD), break_after=1)
            for _ in range(3):
                with pytest.raises(RequestFailed, match="refused"):
                    await asked.post("/x", {}, refuse)
            asked.breaker.stop_if_open()

        run(scenario())


class TestKey:
    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("A_KEY", KEY)

    def test_it_is_sent(self) -> None:
        sent = []

        async def handler(request: httpx2.Request) -> httpx2.Response:
            sent.append(request.headers["authorization"])
            return reply(200, {})

        run(ask(client(handler, key_env="A_KEY")))
        assert sent == [f"Bearer {KEY}"]

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps({"error": f"bad key {KEY}"}),
            json.dumps({"error": f"bad key {KEY}"}).replace("/", "\\/"),
            f"<html>{KEY}</html>",
            "x" * (4096 - 10) + KEY + "x" * 100,
        ],
        ids=["json", "escaped", "html", "cut"],
    )
    def test_an_echo_of_it_is_redacted(self, body: str, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> str:
            asked = client(answers(reply(400, body.encode())), key_env="A_KEY", break_after=1)
            assert await outcome(asked) == "http 400"
            with pytest.raises(GateStopped) as stopped:
                asked.breaker.stop_if_open()
            return str(stopped.value)

        with caplog.at_level(logging.DEBUG):
            message = run(scenario())
        for text in (message, caplog.text):
            assert "http 400" in text
            assert KEY[:9] not in text

    def test_an_echo_in_an_answer_is_redacted(self) -> None:
        echo = reply(200, {"model": KEY, "choices": [{"text": f"say {KEY}", KEY: 1}]})
        found = run(ask(client(answers(echo), key_env="A_KEY")))
        assert found == {"model": "[key]", "choices": [{"text": "say [key]", KEY: 1}]}

    def test_a_missing_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("A_KEY")
        with pytest.raises(ConfigError, match=r"labeler\.engine\.key_env=A_KEY: .* not set"):
            run(ask(client(answers(GOOD), key_env="A_KEY")))

    def test_a_variable_of_two_lines_is_refused_and_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("A_KEY", f"{KEY}\nother")
        with pytest.raises(ConfigError, match="one line") as error:
            connection(key_env="A_KEY").key()
        assert KEY not in str(error.value)

    def test_fields_that_hold_it_in_their_names_stay_apart(self) -> None:
        top = {f"a{KEY}": -1.0, f"{KEY}": -2.0, "[key]": -3.0}
        assert redacted({"top_logprobs": [top]}, KEY) == {"top_logprobs": [top]}

    @pytest.mark.parametrize("key", ["a", "1", "sk", "none", "EMPTY"])
    def test_a_word_is_no_secret(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("A_KEY", key)
        good = {"choices": [{"text": "1", "logprobs": {"top_logprobs": [{"1": -0.1}]}}], "task": "EMPTY, none, sk"}
        assert run(ask(client(answers(reply(200, good)), key_env="A_KEY"))) == good
        failure = RequestFailed("")

        async def scenario() -> None:
            nonlocal failure
            asked = client(answers(reply(400, b"task a1: none of sk is EMPTY")), key_env="A_KEY")
            with pytest.raises(RequestFailed) as raised:
                await ask(asked)
            failure = raised.value

        run(scenario())
        assert failure.detail == "task a1: none of sk is EMPTY"

    def test_nothing_to_redact(self) -> None:
        assert redacted({"a": [1, None, "x"]}, None) == {"a": [1, None, "x"]}


def test_the_log_names_each_kind_of_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        asked = client(answers(reply(400, b"unknown field top_k")), break_after=100)
        for _ in range(5):
            await outcome(asked)

    run(scenario())
    told = f"{URL}: http 400 (unknown field top_k): labeler.engine.omit=[top_k]"
    assert [record.getMessage() for record in caplog.records] == [told]
