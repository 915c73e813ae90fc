"""What a server bills is what the ledger says, and never more than "at most" of the estimate."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fake_server import FakeServer, engine, ok, prompt, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlaif.engines.answer_cache import AnswerPlace, LocalAnswerCache
from rlaif.engines.base import Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.engines.openai.options import load_prompt_tokenizer
from rlaif.engines.spending import Ledger, Spending
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.people import People
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.labeling.cost import Prices, cost_figures
from rlaif.labeling.estimate import estimate_labels
from rlaif.labeling.wrapping import wrap_engines
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Prompt, Sampling


class TestUsage:
    """OpenAI's, DeepSeek's and xAI's replies count the same thing in different fields."""

    @pytest.mark.parametrize(
        ("usage", "read", "reused", "written"),
        [
            ({"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}, 100, 0, 7),
            (
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 64},
                    "completion_tokens_details": {"reasoning_tokens": 45},
                },
                100,
                64,
                50,
            ),
            ({"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 80}, 100, 80, 5),
            (
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 5,
                    "total_tokens": 150,
                    "completion_tokens_details": {"reasoning_tokens": 45},
                },
                100,
                0,
                50,
            ),
        ],
        ids=["plain", "reasoning is part of the completion", "a cache of its own", "reasoning is left out"],
    )
    def test_it_is_read(
        self, usage: dict[str, Any], read: int, reused: int, written: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FakeServer(lambda body: ok(said() | {"usage": usage})).listen(monkeypatch)
        ledger = Ledger()
        CachedEngine(engine(), ledger=ledger).generate([prompt()], Sampling(max_new_tokens=60))
        total = ledger.total()
        counted = (total.num_prompt_tokens, total.num_reused_prompt_tokens, total.num_reply_tokens)
        assert counted == (read, reused, written)

    @pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}])
    def test_without_it_tokens_are_counted_here_and_that_is_said_once(
        self, usage: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        FakeServer(lambda body: ok(said("x" * 40) | {"usage": usage})).listen(monkeypatch)
        asked, ledger = engine(), Ledger()
        texts = CachedEngine(asked, ledger=ledger).generate([prompt("a" * 87), prompt("b" * 87)], SAMPLING)
        # Four bytes count as a token.
        assert (ledger.total().num_prompt_tokens, ledger.total().num_reply_tokens) == (2 * 22, 2 * 10)
        assert texts[0].num_reply_tokens == 10
        assert caplog.text.count("the server tells no usage") == 1

    def test_a_tokenizer_counts_exactly(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        folder = str(make_tiny_model(tmp_path / "tiny"))
        server = FakeServer(lambda body: ok(said("12345") | {"usage": None})).listen(monkeypatch)
        (text,) = engine(tokenizer=folder).generate([prompt("How many?")], SAMPLING)
        assert (text.num_prompt_tokens, text.num_reply_tokens) == (len(server.asked[0]["prompt"]), 5)


SAMPLING = Sampling(max_new_tokens=60)


class TestPrices:
    def test_cached_input_has_a_price_of_its_own(self) -> None:
        spent = Spending(num_prompt_tokens=1_000_000, num_reused_prompt_tokens=600_000, num_reply_tokens=10_000)
        prices = {"usd_per_million_input_tokens": 2.5, "usd_per_million_output_tokens": 10.0}
        assert Prices(**prices).usd(spent) == pytest.approx(2.5 + 0.1)
        assert Prices(**prices, usd_per_million_cached_input_tokens=1.25).usd(spent) == pytest.approx(
            0.4 * 2.5 + 0.6 * 1.25 + 0.1
        )
        assert Prices(**prices, usd_per_million_cached_input_tokens=0.0).usd(spent) == pytest.approx(1.0 + 0.1)

    def test_the_ledger_carries_it_to_the_figures(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 64}}
        FakeServer(lambda body: ok(said() | {"usage": usage})).listen(monkeypatch)
        ledger = Ledger(tmp_path)
        CachedEngine(engine(), ledger=ledger).score([prompt("a"), prompt("b")], ("1", "2"))
        prices = Prices(usd_per_million_input_tokens=10.0, usd_per_million_cached_input_tokens=1.0)
        figures = cost_figures(Ledger(tmp_path), prices, num_labels=1)
        assert figures["num_reused_prompt_tokens"] == 128
        assert figures["usd"] == pytest.approx((2 * 36 * 10.0 + 128 * 1.0) / 1e6)


PAIRS = [
    Comparison(
        prompt=Prompt(task="summarization", text=f"Post {number} says something."),
        first=Completion(text="It says something."),
        second=Completion(text=f"Post {number}."),
    )
    for number in range(3)
]


def test_a_label_tells_what_its_votes_were_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeServer(lambda body: ok(said("1", written=450))).listen(monkeypatch)
    judge = PairwiseLabeler(JudgePrompts(), engine(scoring="votes", num_votes=4, max_vote_tokens=500))
    (label,) = judge.label(PAIRS[:1])
    assert [judgment.num_reply_tokens for judgment in label.judgments] == [4 * 450, 4 * 450]


def estimate(judge: Labeler, directory: Path, reply_tokens: int | None = None) -> tuple[Spending, Spending]:
    answers = AnswerPlace("local", directory)
    found = estimate_labels(judge, PAIRS, People(), answers, batch_size=2, reply_tokens=reply_tokens)
    return found.expected, found.at_most


@pytest.mark.parametrize(("reply_tokens", "written"), [(None, 500), (90, 90), (9000, 500)])
def test_votes_are_estimated_at_their_length(reply_tokens: int | None, written: int, tmp_path: Path) -> None:
    judge = PairwiseLabeler(JudgePrompts(), engine(scoring="votes", num_votes=8, max_vote_tokens=500))
    expected, at_most = estimate(judge, tmp_path, reply_tokens)
    assert expected.num_reply_tokens == 6 * 8 * written
    assert at_most.num_reply_tokens == 6 * 8 * 500


class Longest(FakeServer):
    """Writes every answer as long as it may, counts tokens of a prompt that comes as ids, and bills both."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.billed = [0, 0]

    def _answer(self, body: dict[str, Any]) -> httpx2.Response:
        read, written = len(body["prompt"]), body["max_tokens"]
        self.billed[0] += read
        self.billed[1] += written
        top = {str(number): -2.5 for number in range(1, 10)} | {"\n": -2.6, "0": -2.7}
        text = "x" * written if "logprobs" not in body and body.get("temperature") == 0.0 else "1"
        return ok(said(text, read=read, written=written, logprobs={"top_logprobs": [top]}))


def labelers(asked: Engine, rationale_tokens: int) -> dict[str, Any]:
    prompts = JudgePrompts()
    return {
        "pairwise": PairwiseLabeler(prompts, asked),
        "cot_pairwise": ChainOfThoughtLabeler(prompts, asked, max_rationale_tokens=rationale_tokens),
        "scorer": ScoreLabeler(prompts, asked),
    }


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("tiny")))


load_once = cache(load_prompt_tokenizer)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["pairwise", "cot_pairwise", "scorer"]),
    scoring=st.sampled_from(["top_logprobs", "votes"]),
    num_votes=st.integers(1, 5),
    max_vote_tokens=st.integers(1, 40),
    rationale_tokens=st.integers(1, 30),
    num_pairs=st.integers(1, 3),
)
def test_no_bill_is_higher_than_at_most_and_it_is_the_ledgers(
    tokenizer: str,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    scoring: str,
    num_votes: int,
    max_vote_tokens: int,
    rationale_tokens: int,
    num_pairs: int,
) -> None:
    directory, ledger = tmp_path_factory.mktemp("plan"), Ledger()
    options = {"scoring": scoring, "num_votes": num_votes, "max_vote_tokens": max_vote_tokens, "tokenizer": tokenizer}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "rlaif.engines.openai.requests.load_prompt_tokenizer", lambda name, template, _: load_once(name, template)
        )
        server = Longest().listen(patch)
        asked: OpenAIEngine = engine(**options)
        found = estimate_labels(
            labelers(asked, rationale_tokens)[name],
            PAIRS[:num_pairs],
            People(),
            AnswerPlace("local", directory),
            batch_size=2,
        )
        assert server.asked == []
        judge = labelers(engine(**options), rationale_tokens)[name]
        wrap_engines(judge, cache=LocalAnswerCache(directory / "own.sqlite"), ledger=ledger).label(PAIRS[:num_pairs])
    total = ledger.total()
    assert [total.num_prompt_tokens, total.num_reply_tokens] == server.billed
    assert total.num_questions <= found.at_most.num_questions
    assert server.billed[0] <= found.at_most.num_prompt_tokens
    assert server.billed[1] <= found.at_most.num_reply_tokens
    prices = Prices(usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=3.0)
    billed, most = prices.usd(total), prices.usd(found.at_most)
    assert billed is not None and most is not None and billed <= most
