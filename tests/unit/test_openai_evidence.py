"""The ``openai`` engine and servers whose replies contradict themselves or the question."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rlaif.engines.answer_cache import MemoryAnswerCache
from rlaif.engines.cached import CachedEngine
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.labelers.answer_mass import answer_mass
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.prompts.judge import JudgePrompts
from rlaif.rewards.base import RewardResources
from rlaif.rewards.labeler import LabelerReward
from rlaif.tasks.base import get_task
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Sampling, Segment, StructuredPrompt

Body = dict[str, Any]


class Server:
    """Answers by a function of the request's body."""

    def __init__(self) -> None:
        self.answer: Callable[[Body], Body] = lambda body: completion({"1": 0.7, "2": 0.2})
        self.asked: list[Body] = []


def completion(top: dict[str, float], text: str = "1", *, num_read: int = 11, **choice: Any) -> Body:
    logprobs = {"top_logprobs": [{token: math.log(p) for token, p in top.items()}]}
    return {
        "model": "m",
        "choices": [{"text": text, "finish_reason": "length", "logprobs": logprobs} | choice],
        "usage": {"prompt_tokens": num_read, "completion_tokens": 1},
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    fake, real = Server(), httpx2.AsyncClient

    def respond(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        fake.asked.append(body)
        return httpx2.Response(200, stream=_Whole(json.dumps(fake.answer(body)).encode()))

    monkeypatch.setattr(httpx2, "AsyncClient", lambda **options: real(transport=httpx2.MockTransport(respond)))
    return fake


class _Whole(httpx2.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> Any:
        yield self.content


def engine(**options: Any) -> OpenAIEngine:
    return OpenAIEngine("m", **{"max_retries": 0, "first_backoff_s": 0.001} | options)


def prompt(text: str = "Which?") -> StructuredPrompt:
    return StructuredPrompt(segments=(Segment(text=text),))


class TestAnswerMass:
    def test_of_the_likeliest_tokens(self, server: Server) -> None:
        (scores,) = engine().score([prompt()], ("1", "2"))
        assert answer_mass(scores) == pytest.approx(0.9)

    def test_a_bounded_answer_counts_nothing(self, server: Server) -> None:
        server.answer = lambda body: completion({"1": 0.7, "x": 0.2})
        (scores,) = engine().score([prompt()], ("1", "2"))
        assert scores.bounded == (1,) and answer_mass(scores) == pytest.approx(0.7)

    def test_of_an_echo(self, server: Server) -> None:
        def echo(body: Body) -> Body:
            option = body["prompt"][-1]
            logprobs = {
                "tokens": ["Which", "?", option, "!"],
                "token_logprobs": [None, -1.0, math.log(0.25 * int(option)), -0.1],
                "top_logprobs": [None, {"?": -1.0}, {"2": -0.6}, {"!": -0.1}],
            }
            return completion({}, logprobs=logprobs)

        server.answer = echo
        (scores,) = engine(scoring="echo").score([prompt()], ("1", "2"))
        assert answer_mass(scores) == pytest.approx(0.75)

    def test_of_votes_it_is_the_share_that_could_be_read(self, server: Server) -> None:
        server.answer = lambda body: completion({}, logprobs=None)
        cached = CachedEngine(engine(scoring="votes", num_votes=2), MemoryAnswerCache())
        for _ in range(2):
            (scores,) = cached.score([prompt()], ("1", "2"))
            assert scores.shares and answer_mass(scores) == pytest.approx(1.0)
        assert len(server.asked) == 2
        replies = iter(["1", "It is a tie.", "It is a tie.", "It is a tie."] * 2 * len(sample_comparisons()))
        server.answer = lambda body: completion({}, text=next(replies), logprobs=None)
        asked = engine(scoring="votes", num_votes=4, max_concurrency=1)
        for minimum, is_missing in ((0.25, False), (0.26, True)):
            replies = iter(["1", "It is a tie.", "It is a tie.", "It is a tie."] * 2 * len(sample_comparisons()))
            labels = PairwiseLabeler(JudgePrompts(), asked, min_answer_mass=minimum).label(sample_comparisons())
            assert {label.missing is not None for label in labels} == {is_missing}

    def test_noise_is_no_judgement(self, server: Server) -> None:
        """As measured on a judge that wants to say something else: "1" at 1e-8, "2" at 2e-7."""
        top = {"I": 0.7, "Both": 0.2, "The": 0.0999, "2": 2e-7, "1": 1e-8}
        server.answer = lambda body: completion(top, "I")
        pairs = sample_comparisons()
        cached = CachedEngine(engine(), MemoryAnswerCache())
        labels = PairwiseLabeler(JudgePrompts(), cached).label(pairs)
        assert {label.missing for label in labels} == {"answer mass below labeler.min_answer_mass=1e-06"}
        assert {label.p_first for label in labels} == {None}
        evidence = labels[0].judgments[0]
        assert evidence.missing == "answer mass 2.1e-07 below labeler.min_answer_mass=1e-06"
        assert evidence.answer_mass == pytest.approx(2.1e-7) and evidence.unreadable
        asked = len(server.asked)
        accepted = PairwiseLabeler(JudgePrompts(), cached, min_answer_mass=0.0).label(pairs)
        assert all(label.missing is None for label in accepted) and len(server.asked) == asked

    def test_a_reward_of_noise_is_no_reward(self, server: Server, tmp_path: Path) -> None:
        pairs = sample_comparisons()
        noise = pairs[0].first.trimmed

        def answer(body: Body) -> Body:
            mass = 1e-4 if noise in body["prompt"] else 0.9
            tables = (
                {"\n": 0.999} if body["prompt"].endswith(tuple("123456789")) else {"7": 0.9 * mass, "8": 0.1 * mass}
            )
            return completion(tables | {"x": 1e-3 if "\n" in tables else 1.0 - mass})

        server.answer = answer
        labeler: Any = ScoreLabeler(JudgePrompts(), engine(), min_answer_mass=0.01)
        resources = RewardResources(
            task=get_task(pairs[0].prompt.task),
            inputs={},
            directory=tmp_path,
            samples=lambda: ([], []),
            references=dict,
            asking=lambda rater: rater,
        )
        reward = LabelerReward(labeler, max_missing_rate=0.5).prepare(resources)
        batch = reward([pairs[0].prompt] * 2, [pairs[0].first, pairs[0].second])
        assert batch.scored_mask_B.tolist() == [False, True]
        assert batch.values_B[1].item() == pytest.approx((7.1 - 1) / 9 * 2 - 1, abs=0.01)


class TestContradictions:
    def test_a_mapping_that_lost_a_token_gives_no_label(self, server: Server) -> None:
        """Two tokens print as "1": the one that was written has 0.93, the table tells the other's 0.0004."""
        logprobs = {
            "tokens": ["1"],
            "token_logprobs": [math.log(0.93)],
            "top_logprobs": [{"2": math.log(0.05), "1": math.log(0.0004)}],
        }
        server.answer = lambda body: completion({}, logprobs=logprobs)
        (scores,) = engine().score([prompt()], ("1", "2"))
        assert scores.logprobs is None and scores.missing == "written token contradicts the likeliest tokens"

    def test_with_a_tokenizer_the_server_is_asked_for_ids(self, server: Server, tiny: Path) -> None:
        asked = engine(tokenizer=str(tiny))
        one, two = (asked.asking.targets(["1", "2"])[index][0] for index in (0, 1))
        table = {f"token_id:{one}": 0.93, "token_id:99999": 0.0004, f"token_id:{two}": 0.05}
        server.answer = lambda body: completion(table)
        (scores,) = asked.score([prompt()], ("1", "2"))
        assert scores.logprobs == pytest.approx((math.log(0.93), math.log(0.05)))
        assert server.asked[0]["return_tokens_as_token_ids"] is True
        assert "return_tokens_as_token_ids" not in (engine().score([prompt()], ("1", "2")), server.asked[-1])[1]

    @pytest.mark.parametrize("text", ["2", "2 is better", "Yes"])
    def test_log_probs_of_another_place_than_the_texts_first(self, server: Server, text: str) -> None:
        top = {"tokens": ["1"], "token_logprobs": [math.log(0.7)], "top_logprobs": [{"1": math.log(0.7), "2": -2.0}]}
        server.answer = lambda body: completion({"1": 0.7}, text, logprobs=top)
        (score,) = engine(top_logprobs=2).score([prompt()], ("1", "2"))
        assert (score.logprobs, score.missing) == (None, "log-probs of another text")

    @pytest.mark.parametrize(("token", "text"), [(" 1", "1"), ("▁1", " 1"), ("1", "1 is"), ("1", ""), ("1", "\ufffd")])
    def test_a_text_that_begins_with_the_token_is_no_contradiction(self, server: Server, token: str, text: str) -> None:
        top = {
            "tokens": [token],
            "token_logprobs": [math.log(0.7)],
            "top_logprobs": [{token: math.log(0.7), "2": -2.0}],
        }
        server.answer = lambda body: completion({"1": 0.7}, text, logprobs=top)
        (score,) = engine(top_logprobs=2).score([prompt()], ("1", "2"))
        if token == "1":
            assert score.missing is None and score.logprobs is not None
        else:
            assert score.missing == "an option after a space is likelier than the options themselves"

    def test_a_constraint_may_write_another_token_than_the_likeliest(self, server: Server) -> None:
        logprobs = {
            "tokens": ["1"],
            "token_logprobs": [math.log(0.2)],
            "top_logprobs": [{"I": math.log(0.7), "1": math.log(0.2), "2": math.log(0.05)}],
        }
        server.answer = lambda body: completion({}, logprobs=logprobs)
        (free,) = engine().score([prompt()], ("1", "2"))
        assert free.missing == "written token is not the likeliest"
        (sampled,) = engine(top_logprobs=2, omit=["temperature"]).score([prompt()], ("1", "2"))
        assert sampled.missing is None, "no temperature was sent, so that the server samples"
        (guided,) = engine(extra={"guided_choice": ["1", "2"]}).score([prompt()], ("1", "2"))
        assert guided.logprobs == pytest.approx((math.log(0.2), math.log(0.05)))

    @pytest.mark.parametrize("reason", ["abort", "error", "cancelled", None, "some_new_word"])
    def test_half_a_reply_is_asked_again_and_never_kept(self, server: Server, reason: str | None) -> None:
        reasons = iter([reason, "stop"])
        server.answer = lambda body: completion({}, "A thought.", finish_reason=next(reasons), logprobs=None)
        sampling = Sampling(max_new_tokens=9)
        (written,) = engine(max_retries=1).generate([prompt()], sampling)
        assert written.missing is None and written.finished and len(server.asked) == 2
        server.answer = lambda body: completion({}, "A tho", finish_reason=reason, logprobs=None)
        cached = CachedEngine(engine(), MemoryAnswerCache())
        for count in (3, 4):
            (written,) = cached.generate([prompt()], sampling)
            assert written.text == "" and str(reason or "no finish_reason") in str(written.missing)
            assert len(server.asked) == count

    def test_an_anthropic_gateways_limit_is_a_limit(self, server: Server) -> None:
        server.answer = lambda body: completion({}, "A tho", finish_reason="max_tokens", logprobs=None)
        (written,) = engine().generate([prompt()], Sampling(max_new_tokens=2))
        assert written.missing is None and not written.finished


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


class TestPromptLengths:
    """A server whose context is smaller than the prompt answers to a part of it."""

    LONG = prompt("word " * 1000)

    def test_token_ids_that_were_not_read(self, server: Server, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
        asked = engine(tokenizer=str(tiny), break_after=1)
        num_sent = len(asked.asking.prompt(self.LONG))
        server.answer = lambda body: completion({"1": 0.7, "2": 0.2}, num_read=min(len(body["prompt"]), 500))
        scores = asked.score([self.LONG, prompt("short"), self.LONG], ("1", "2"))
        told = f"server read 500 of {num_sent:,} prompt tokens"
        assert [score.missing for score in scores] == [told, None, told]
        assert asked.generate([self.LONG], Sampling(max_new_tokens=3))[0].missing == told
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert f"of 2 prompts (500 of {num_sent:,}" in warning
        for option in ("--ctx-size", "num_ctx", "OLLAMA_CONTEXT_LENGTH", "--max-model-len", "--context-length"):
            assert option in warning

    @pytest.mark.parametrize("more", [0, 1, 30, -8])
    def test_what_a_server_adds_or_does_not_count(self, server: Server, tiny: Path, more: int) -> None:
        server.answer = lambda body: completion({"1": 0.7, "2": 0.2}, num_read=len(body["prompt"]) + more)
        assert engine(tokenizer=str(tiny)).score([self.LONG], ("1", "2"))[0].missing is None

    def test_untold_is_not_short(self, server: Server, tiny: Path) -> None:
        server.answer = lambda body: completion({"1": 0.7, "2": 0.2}, num_read=0)
        assert engine(tokenizer=str(tiny)).score([self.LONG], ("1", "2"))[0].missing is None

    def test_a_label_counts_them_as_one_reason(self, server: Server, tiny: Path) -> None:
        lengths = iter(range(20, 1000))
        server.answer = lambda body: completion({"1": 0.7, "2": 0.2}, num_read=next(lengths))
        labels = PairwiseLabeler(JudgePrompts(), engine(tokenizer=str(tiny))).label(sample_comparisons())
        assert {label.missing for label in labels} == {"server read fewer prompt tokens than it was sent"}
        assert not any(judgment.unreadable for label in labels for judgment in label.judgments)

    @pytest.mark.parametrize("api", ["completions", "chat"])
    def test_without_a_tokenizer_words_are_a_lower_bound(
        self, server: Server, caplog: pytest.LogCaptureFixture, api: str
    ) -> None:
        reply = completion({}, "A thought.", num_read=500, logprobs=None)
        reply["choices"][0] |= {"message": {"content": "A thought."}, "finish_reason": "stop"}
        server.answer = lambda body: reply
        asked, sampling = engine(api=api), Sampling(max_new_tokens=3)
        assert [text.missing for text in asked.generate([self.LONG, prompt(), self.LONG], sampling)] == [None] * 3
        asked.generate([self.LONG], sampling)
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "of 2 prompts (500 of at least 1,000, by their words" in warning

    def test_a_text_that_fits_is_not_warned_about(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        server.answer = lambda body: completion({"1": 0.7, "2": 0.2}, num_read=1000)
        engine().score([self.LONG], ("1", "2"))
        assert caplog.records == []
