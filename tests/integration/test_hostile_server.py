"""A server that fails in every way: nothing is lost, nothing is guessed, every failure is counted by its reason.

What the server does to a prompt is drawn from the prompt alone, so the counts are known before the first request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from rlaif.data.preferences_io import read_preferences
from rlaif.engines.base import Answer
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.types import Sampling, Segment, StructuredPrompt

if TYPE_CHECKING:
    from conftest import Command

NUM_REQUESTS = 10_000
KEY = "sk-planted-0123456789-ABCDEF"
MAX_BYTES = 100_000
HUGE = 10_000_000
TIMEOUT_S = 6.0
MAX_RETRIES = 2
OPTIONS = ("1", "2")

REASONS = {
    "429": "http 429",
    "500": "http 500",
    "hang": "timeout",
    "cut": "connection cut",
    "json": "invalid json",
    "nan": "nan log-prob",
    "model": "wrong model somebody-else",
    "huge": f"reply of more than {MAX_BYTES} bytes",
}
PASSING = ("429", "500", "cut", "json")
"""Failures that are tried again and that cost no time."""
SHARES = {"good": 0.70, "429": 0.05, "500": 0.05, "cut": 0.05, "json": 0.04, "nan": 0.04, "model": 0.04, "huge": 0.025,
          "hang": 0.005}  # fmt: skip


@dataclass(frozen=True)
class Fate:
    """What the server does to one prompt."""

    before: tuple[str, ...]
    """Failures of the first attempts."""
    then: str
    """What comes of every later attempt."""
    p_first: float

    def act(self, attempt: int) -> str:
        return self.before[attempt] if attempt < len(self.before) else self.then


def fate(prompt: str) -> Fate:
    random = Random(f"hostile {prompt}")
    then = random.choices(list(SHARES), weights=list(SHARES.values()))[0]
    before = (random.choice(PASSING),) if random.random() < 0.15 else ()
    return Fate(before, then, random.uniform(0.05, 0.95))


@dataclass
class Hostile:
    """The server's side of the account."""

    url: str = ""
    attempts: Counter[str] = field(default_factory=Counter)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, object]]:
    """The key that was sent, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
    key = next((line.split(" ")[-1] for line in head.splitlines() if line.lower().startswith("authorization")), "")
    return key, json.loads(await reader.readexactly(int(headers["content-length"])))


def http(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(prompt: str, key: str, *, model: str = "m", nan: bool = False) -> bytes:
    p_first = fate(prompt).p_first
    top = {"1": math.nan if nan else math.log(p_first), "2": math.log(0.99 - 0.99 * p_first)}
    choice = {"text": f"because {key}", "finish_reason": "stop", "logprobs": {"top_logprobs": [top]}}
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    return json.dumps({"model": model, "choices": [choice], "usage": usage, "debug": key}).encode()


def whole_reply(act: str, prompt: str, key: str) -> bytes:
    if act in ("429", "500"):
        echo = json.dumps({"error": {"message": f"who sent {key}?"}}).encode()
        return http(int(act), echo, "Retry-After: 0")
    if act == "json":
        return http(200, answer(prompt, key)[:-9])
    return http(200, answer(prompt, key, nan=act == "nan", model="somebody-else" if act == "model" else "m"))


async def serve(hostile: Hostile, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            key, body = await read_request(reader)
            prompt = str(body["prompt"])
            act = fate(prompt).act(hostile.attempts[prompt])
            hostile.attempts[prompt] += 1
            if act == "hang":
                await asyncio.sleep(3600)
            elif act == "cut":
                writer.write(http(200, answer(prompt, key)[:40], length=4000))
                return
            elif act == "huge":
                writer.write(http(200, b" " * MAX_BYTES, length=HUGE))
                for _ in range(HUGE // MAX_BYTES - 1):
                    await writer.drain()
                    writer.write(b" " * MAX_BYTES)
            else:
                writer.write(whole_reply(act, prompt, key))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


@contextmanager
def hostile_server() -> Iterator[Hostile]:
    """A server in a thread of this process."""
    hostile, loop = Hostile(), asyncio.new_event_loop()

    async def start() -> None:
        listener = await asyncio.start_server(lambda *ends: serve(hostile, *ends), "127.0.0.1", 0, backlog=512)
        hostile.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield hostile
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.set_exception_handler(lambda loop, context: None)  # hanging replies are cancelled
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setenv("HOSTILE_KEY", KEY)
    with hostile_server() as server:
        yield server


def engine(hostile: Hostile, *, total_timeout_s: float = TIMEOUT_S) -> OpenAIEngine:
    return OpenAIEngine(
        "m",
        url=hostile.url,
        key_env="HOSTILE_KEY",
        max_concurrency=32,
        total_timeout_s=total_timeout_s,
        max_retries=MAX_RETRIES,
        first_backoff_s=0.01,
        max_backoff_s=0.05,
        break_after=NUM_REQUESTS,
        max_response_bytes=MAX_BYTES,
    )


def prompts(count: int) -> list[StructuredPrompt]:
    return [StructuredPrompt(segments=(Segment(text=f"prompt {number}"),)) for number in range(count)]


def expected_reason(prompt: StructuredPrompt) -> str | None:
    return REASONS.get(fate(prompt.text).then)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_requests(hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    asked = prompts(NUM_REQUESTS)
    planted = Counter(expected_reason(prompt) for prompt in asked)
    arrived: dict[int, Answer] = {}
    judge = engine(hostile)
    judge.on_answer = arrived.__setitem__
    with caplog.at_level(logging.INFO):
        scores = judge.score(asked, OPTIONS)

    counts = Counter(score.missing for score in scores)
    print("\nanswered:", counts[None], "of", NUM_REQUESTS)
    for reason, count in sorted((str(reason), count) for reason, count in counts.items() if reason is not None):
        print(f"missing: {count:5d} {reason}")
    print("made again:", judge.retried, "attempts:", hostile.attempts.total())

    assert [score.missing for score in scores] == [expected_reason(prompt) for prompt in asked]
    assert counts == planted and all(planted[reason] > 20 for reason in REASONS.values())
    assert [arrived[position] for position in range(NUM_REQUESTS)] == scores
    assert set(hostile.attempts) == {prompt.text for prompt in asked}
    for prompt, score in zip(asked, scores, strict=True):
        p_first = fate(prompt.text).p_first
        if score.missing is None:
            assert score.logprobs == (math.log(p_first), math.log(0.99 - 0.99 * p_first))
            assert score.bounded == () and score.num_prompt_tokens == 7
        else:
            assert score.logprobs is None
    assert KEY not in caplog.text and KEY not in repr(scores)


def test_a_few_requests_of_every_kind(hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    """The same on one prompt for each way to fail, and on text."""
    found: dict[str, StructuredPrompt] = {}
    for prompt in prompts(2000):
        found.setdefault(fate(prompt.text).then, prompt)
    assert set(found) == set(SHARES)
    judge = engine(hostile, total_timeout_s=2.0)
    caplog.set_level(logging.DEBUG)
    scores = judge.score(list(found.values()), OPTIONS)
    assert [score.missing for score in scores] == [REASONS.get(act) for act in found]
    asked = [found[act] for act in ("good", "429", "json", "model")]
    texts = judge.generate(asked, Sampling(max_new_tokens=5))
    assert [text.missing for text in texts] == [None, "http 429", "invalid json", "wrong model somebody-else"]
    assert texts[0].text == "because [key]"
    assert len(caplog.records) > 50 and KEY not in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_keeps_the_key_out_of_everything(command: Command, hostile: Hostile) -> None:
    """Labels from the hostile server through the command: its files and its output hold no key."""
    run = command.run(
        "labels",
        "pipeline=label",
        "labeler/engine=openai",
        "labeler.engine.model=m",
        f"labeler.engine.url={hostile.url}",
        "labeler.engine.key_env=HOSTILE_KEY",
        "labeler.engine.max_retries=1",
        "labeler.engine.first_backoff_s=0.01",
        f"labeler.engine.total_timeout_s={TIMEOUT_S}",
        f"labeler.engine.max_response_bytes={MAX_BYTES}",
        "label.max_missing_rate=1.0",
        "hydra.verbose=true",
    )
    assert run.code == 0, run.stdout + run.stderr
    labels = read_preferences(run.directory / "labels" / "labels.parquet")
    reasons = {reason for label in labels if label.missing for reason in label.missing.split("; ")}
    assert any(label.missing is None for label in labels)
    assert reasons and reasons <= set(REASONS.values())
    assert KEY not in run.stdout + run.stderr
    files = [path for path in command.home.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_refuses_everybody_stops_the_run(
    command: Command, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act in SHARES:
        monkeypatch.setitem(SHARES, act, float(act == "500"))
    run = command.run(
        "refused",
        "pipeline=label",
        "labeler/engine=openai",
        "labeler.engine.model=m",
        f"labeler.engine.url={hostile.url}",
        "labeler.engine.max_retries=0",
        "labeler.engine.break_after=5",
        "labeler.engine.revision=not the one before",
        "label.max_missing_rate=1.0",
    )
    assert run.code == 3, run.stdout + run.stderr
    said = " ".join(run.stderr.split())
    assert f"labeler.engine.break_after=5: that many requests in a row to {hostile.url} failed" in said
    assert "http 500" in said


def test_a_run_without_its_key_says_so_before_it_starts(command: Command) -> None:
    run = command.run(
        "keyless", "labeler/engine=openai", "labeler.engine.model=m", "labeler.engine.key_env=NO_SUCH_KEY"
    )
    assert run.code == 2
    assert "labeler.engine.key_env=NO_SUCH_KEY: this environment variable is not set" in run.stderr
