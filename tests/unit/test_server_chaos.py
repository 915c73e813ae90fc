"""A server that fails three calls in ten, each in a way that can be seen: the labels are those of a clean server."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from fake_server import FakeServer, engine, error, ok, said

from rlaif.data.preferences_io import write_preferences
from rlaif.engines.answer_cache import LocalAnswerCache
from rlaif.engines.spending import Ledger
from rlaif.labelers.pairwise import ChainOfThoughtLabeler
from rlaif.labeling.cost import in_words
from rlaif.labeling.wrapping import wrap_engines
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Preference, Prompt

RATE = 0.3
PAIRS = [
    Comparison(
        prompt=Prompt(task="summarization", text=f"Post {number}."),
        first=Completion(text=f"One {number}."),
        second=Completion(text="Another."),
    )
    for number in range(5)
]


def clean(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a prompt: the same each time."""
    return said(f"Because {sha256(body['prompt'].encode()).hexdigest()[:9]}", read=len(body["prompt"]), written=2)


def raw(content: bytes, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, content=content, headers=headers)


def raised(failure: Exception) -> httpx2.Response:
    raise failure


FAULTS = {
    "429": lambda body: error(429, "slow down"),
    "500": lambda body: error(500, "oops"),
    "503 with Retry-After": lambda body: httpx2.Response(503, headers={"Retry-After": "0"}),
    "dropped connection": lambda body: raised(httpx2.RemoteProtocolError("gone")),
    "cannot connect": lambda body: raised(httpx2.ConnectError("refused")),
    "timeout": lambda body: raised(httpx2.ReadTimeout("slow")),
    "truncated JSON": lambda body: raw(json.dumps(clean(body)).encode()[:-9]),
    "200 with an error": lambda body: ok({"error": {"message": "busy", "code": 503}, "usage": clean(body)["usage"]}),
    "no choice": lambda body: ok(clean(body) | {"choices": []}),
    "two choices": lambda body: ok(clean(body) | {"choices": 2 * clean(body)["choices"]}),
    "half a reply": lambda body: ok(said("Beca", read=len(body["prompt"]), written=1, finish_reason="abort")),
    "empty body": lambda body: raw(b""),
    "a page": lambda body: raw(b"<html>Bad gateway</html>", **{"content-type": "text/html"}),
}


class Chaos(FakeServer):
    """Fails in ways drawn from a seed; counts what it billed and which prompts it has answered."""

    def __init__(self, seed: int) -> None:
        super().__init__(self._answer)
        self.random = Random(seed)
        self.failed: list[str] = []
        self.answered: list[str] = []
        self.billed = [0, 0]

    def _answer(self, body: dict[str, Any]) -> httpx2.Response:
        fault = self.random.choice(list(FAULTS)) if self.random.random() < RATE else None
        if fault is None:
            self.answered.append(f"{body['max_tokens']} {body['prompt']}")
            response = ok(clean(body))
        else:
            self.failed.append(fault)
            response = FAULTS[fault](body)
        self._bill(response)
        return response

    def _bill(self, response: httpx2.Response) -> None:
        try:
            usage = json.loads(response.content).get("usage") or {}
        except ValueError:  # a client cannot see what a broken reply cost
            return
        self.billed[0] += usage.get("prompt_tokens", 0)
        self.billed[1] += usage.get("completion_tokens", 0)


def labels(directory: Path, ledger: Ledger) -> list[Preference]:
    judge = ChainOfThoughtLabeler(JudgePrompts(), engine(max_retries=60, max_concurrency=3), max_rationale_tokens=9)
    asked = wrap_engines(judge, cache=LocalAnswerCache(directory / "answers.sqlite"), ledger=ledger)
    return asked.label(PAIRS)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The label table of a clean server."""
    directory = tmp_path_factory.mktemp("clean")
    with pytest.MonkeyPatch.context() as patch:
        FakeServer(lambda body: ok(clean(body))).listen(patch)
        found = labels(directory, Ledger())
    assert all(label.missing is None for label in found) and len({label.p_first for label in found}) == len(PAIRS)
    write_preferences(directory / "labels.parquet", found)
    return (directory / "labels.parquet").read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_the_labels_are_those_of_a_clean_server(
    seed: int, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ledger = Chaos(seed).listen(monkeypatch), Ledger()
    found = labels(tmp_path, ledger)
    write_preferences(tmp_path / "labels.parquet", found)
    assert (tmp_path / "labels.parquet").read_bytes() == expected
    assert len(server.answered) == len(set(server.answered)) == 4 * len(PAIRS), "no accepted answer is asked again"
    assert server.failed, "this seed fails nothing"
    total = ledger.total()
    assert [total.num_prompt_tokens, total.num_reply_tokens] == server.billed
    assert (total.num_questions, total.num_retried) == (4 * len(PAIRS), len(server.failed))
    assert f"{len(server.failed)} failed requests made again" in in_words(total, None)
    again, later = Chaos(seed).listen(monkeypatch), Ledger()
    assert labels(tmp_path, later) == found and again.asked == [] and later.total().num_questions == 0


def test_every_fault_is_drawn_and_every_one_alone_is_overcome(
    expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in FAULTS:
        monkeypatch.setitem(globals(), "FAULTS", {fault: FAULTS[fault]})
        Chaos(7).listen(monkeypatch)
        (tmp_path / fault).mkdir()
        write_preferences(tmp_path / "labels.parquet", labels(tmp_path / fault, Ledger()))
        assert (tmp_path / "labels.parquet").read_bytes() == expected, fault
        monkeypatch.undo()


def test_a_well_formed_wrong_verdict_cannot_be_seen_and_counts_as_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted: set[str] = set()

    def lie(body: dict[str, Any]) -> httpx2.Response:
        reply = clean(body)
        if body["max_tokens"] == 1 and "Post 3." in body["prompt"]:
            (top,) = reply["choices"][0]["logprobs"]["top_logprobs"]
            reply["choices"][0]["logprobs"]["top_logprobs"] = [{"1": top["2"], "2": top["1"]}]
            planted.add(body["prompt"])
        return ok(reply)

    FakeServer(lambda body: ok(clean(body))).listen(monkeypatch)
    honest = labels(tmp_path / "honest", Ledger())
    FakeServer(lie).listen(monkeypatch)
    found = labels(tmp_path / "lying", Ledger())
    changed = [
        judgment.prompt
        for before, after in zip(honest, found, strict=True)
        for judgment, other in zip(before.judgments, after.judgments, strict=True)
        if judgment.p_slot1 != other.p_slot1
    ]
    assert len(changed) == len(planted) == 2
    assert all(label.missing is None for label in found)
