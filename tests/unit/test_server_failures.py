"""A failure belongs to the prompt, to the request's options or to the server: told apart by what providers reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fake_server import FakeServer, engine, error, ok, prompt, said

from rlaif.engines.answer_cache import LocalAnswerCache, MemoryAnswerCache
from rlaif.engines.answers import pack, unpack
from rlaif.engines.cached import CachedEngine
from rlaif.engines.openai.failures import OWN_API, status_failure
from rlaif.engines.openai.hints import hint
from rlaif.engines.openai.inside import failure_inside
from rlaif.engines.openai.likeliest import BY_NUMBER
from rlaif.engines.openai.replies import read_reply
from rlaif.engines.spending import Ledger
from rlaif.errors import GateStopped
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labeling.label_run import label_comparisons, label_part
from rlaif.labeling.plan import LabelPlan
from rlaif.labeling.team import Team
from rlaif.labeling.wrapping import wrap_engines
from rlaif.naming import named_as
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Prompt, Sampling

TOO_LONG, FILTERED = "prompt too long", "refused: content filter"

OF_THE_PROMPT = [
    (400, "This model's maximum context length is 4097 tokens. Your messages resulted in 5000 tokens.", TOO_LONG),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", TOO_LONG),
    (400, "the request exceeds the available context size. try increasing the context size", TOO_LONG),
    (400, "The input (5003 tokens) is longer than the model's context length (4096 tokens).", TOO_LONG),
    (400, "prompt is too long: 210000 tokens > 200000 maximum", TOO_LONG),
    (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", TOO_LONG),
    (400, "The input token count (1100000) exceeds the maximum number of tokens allowed (1048575).", TOO_LONG),
    (422, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens", TOO_LONG),
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", TOO_LONG),
    (500, "Requested tokens (5000) exceed context window of 4096", TOO_LONG),
    (400, "too many tokens: the prompt cannot exceed 4081 tokens, received 5000", TOO_LONG),
    (413, "Payload Too Large", TOO_LONG),
    (400, "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", FILTERED),
    (403, "Your chosen model requires moderation and your input was flagged for violence", FILTERED),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", FILTERED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "reason"), OF_THE_PROMPT)
def test_a_prompt_that_is_refused_is_no_failure_of_the_server(status: int, message: str, reason: str) -> None:
    failure = status_failure(status, {}, error(status, message).text)
    assert (failure.reason, failure.of_server, failure.retryable) == (reason, False, False)


@pytest.mark.parametrize(
    ("status", "message", "retryable"),
    [
        (429, "Rate limit reached for gpt-4o. Add a payment method at https://example.test/account/billing.", True),
        (429, "You exceeded your current quota, please retry in 33s.", True),
        (429, "Too many tokens, please wait before trying again.", True),
        (429, "Tokens per minute limit exceeded - too many tokens processed.", True),
        (500, "ThrottlingException: Too many tokens per day, please wait before trying again.", True),
        (503, "The model is overloaded. Please try again later.", True),
        (503, "The model content-safety-8b is overloaded.", True),
        (401, "Incorrect API key provided; see our content policy.", False),
        (400, "Your credit balance is too low to access this API.", False),
        (400, "Billing hard limit has been reached", False),
        (404, "The model `gpt-5` does not exist", False),
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model.", False),
    ],
)
def test_what_every_prompt_would_meet_counts_for_the_breaker(status: int, message: str, retryable: bool) -> None:
    failure = status_failure(status, {}, error(status, message).text)
    assert (failure.reason, failure.of_server, failure.retryable) == (f"http {status}", True, retryable)
    assert not failure.may_be_of_prompt


def test_a_quota_that_is_spent_is_not_asked_again() -> None:
    body = error(429, "You exceeded your current quota.", code="insufficient_quota").text
    assert not status_failure(429, {}, body).retryable


def test_words_of_the_prompt_that_an_error_repeats_say_nothing() -> None:
    detail = [{"type": "value_error", "loc": ["body", "n"], "msg": "bad value", "input": "the maximum context length"}]
    failure = status_failure(422, {}, httpx2.Response(422, json={"detail": detail}).text)
    assert (failure.reason, failure.detail, failure.may_be_of_prompt) == (
        "http 422",
        "bad value value_error body n",
        True,
    )


@pytest.mark.parametrize(
    ("status", "message", "to_type"),
    [
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "token_limit_key=max_completion_tokens",
        ),
        (
            400,
            "max_tokens=3000 cannot be greater than max_model_len=2048. Please request fewer output tokens.",
            "max_vote_tokens",
        ),
        (400, "max_tokens is too large: 100000. This model supports at most 16384 tokens.", "max_vote_tokens"),
        (400, "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
         "`context_window` for this model", "max_vote_tokens"),
        (400, "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens", "max_vote_tokens"),
        (400, "The plain HTTP request was sent to HTTPS port", "url=https://"),
        (
            400,
            "Unsupported value: 'temperature' does not support 0 with this model. "
            "Only the default (1) value is supported.",
            "omit=[temperature]",
        ),
        (400, "Unsupported parameter: 'stop' is not supported with this model.", "omit=[stop]"),
        (400, "`temperature` must be strictly positive", "omit=[temperature]"),
        (400, "Unrecognized request argument supplied: top_k", "omit=[top_k]"),
        (400, "'logprobs' is not supported with this model", "scoring=votes"),
        (400, "This model does not support logprobs.", "scoring=votes"),
        (400, "Requested sample logprobs of 30, which is greater than max allowed: 20", "top_logprobs=20"),
        (400, "Invalid value for 'top_logprobs': must be less than or equal to 5.", "top_logprobs=5"),
        (400, "top_logprobs must be between 0 and 20", "top_logprobs=20"),
        (400, "Only no echo is supported", "scoring=top_logprobs"),
        (404, "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use "
         "v1/chat/completions?", "api=chat"),
        (400, "The model does not support Chat Completions API", "api=completions"),
        (400, "default chat template is no longer allowed, so you must provide a chat template", "api=completions"),
        (404, "The model `judge` does not exist.", "model must be one of the names"),
        (404, "model 'judge' not found, try pulling it first", "model must be one of the names"),
        (422, "Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 20", "top_logprobs=5"),
        (404, "The API deployment for this resource does not exist.", "model must be the name of a deployment"),
        (404, "Not Found", "url=http://server.test/v1: the base url"),
        (401, "no", "key_env must name"),
    ],
)  # fmt: skip
def test_a_refused_option_is_named_as_it_is_typed(status: int, message: str, to_type: str) -> None:
    failure = status_failure(status, {}, error(status, message).text)
    failure.url = "http://server.test"
    assert f"labeler.engine.{to_type}" in failure.in_words and failure.of_server and failure.reason == f"http {status}"
    extra = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 3}]
    assert "labeler.engine.omit=[seed]" in status_failure(422, {}, str(httpx2.Response(422, json=extra).text)).in_words


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        ("wrong model gpt-4o-2024-08-06", "accept_model='gpt-4o-2024-08-06'"),
        ("no option among the 20 likeliest tokens", "top_logprobs"),
        ("none of 8 votes could be read", "max_vote_tokens"),
        ("none of 8 votes could be read: reply cut at 16 tokens", "guided_choice=true"),
        ("no log-probs in the reply", "scoring=votes"),
        ("no log-probs in the reply", "scoring=top_logprobs"),  # llama-server takes no notice of echo
        ("wrong shape: a stream", "extra={stream: false}"),
        (BY_NUMBER, "scoring=votes"),
        ("written token is not the likeliest", "extra={repeat_penalty:1.0}"),
        ("likeliest tokens took one another's place", "tokenizer=FOLDER"),
        ("one token does not distinguish '1' from '10'", "scoring=votes"),
        ("an option after a space is likelier than the options themselves", "api=chat"),
        ("prompt too long: the context has 1,024", "model with a longer context"),
    ],
)
def test_a_reason_without_words_has_its_hint(reason: str, option: str) -> None:
    assert f"labeler.engine.{option}" in hint(reason)


def test_a_prompt_that_leaves_no_room_for_the_reply_is_told_with_the_replys_limit() -> None:
    """vLLM's and OpenAI's words for a prompt and a limit of new tokens that are too long together."""
    words = (
        "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 2048 "
        "tokens and your request has 127 input tokens (2000 > 2048 - 127)."
    )
    failure = status_failure(400, {}, words)
    assert failure.reason == TOO_LONG and not failure.of_server
    assert "labeler.max_rationale_tokens" in failure.in_words and "longer context" in failure.in_words
    short = status_failure(400, {}, "This model's maximum context length is 2048 tokens, your prompt has 5000.")
    assert "labeler.max_rationale_tokens" not in short.in_words


def test_logs_name_the_options_of_the_judge_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FakeServer(lambda body: error(400, "Unsupported parameter: 'seed'.")).listen(monkeypatch)
    with named_as("policy.watch.judge"), named_as("labeler"):
        engine(supports_top_k=False).generate([prompt()], Sampling(max_new_tokens=3, top_k=4))
    assert "policy.watch.judge.engine.supports_top_k=false: " in caplog.text
    assert "policy.watch.judge.engine.omit=[seed]" in caplog.text and "labeler.engine" not in caplog.text


def test_a_redirect_is_told_with_its_place() -> None:
    failure = status_failure(308, {"location": "https://server.test/v1/completions"}, "")
    assert failure.in_words.startswith("http 308 (redirects to https://server.test/v1/completions): redirects are not")
    assert "labeler.engine.url" in failure.in_words and not failure.retryable


def test_the_url_of_azure_ends_otherwise() -> None:
    url = "https://mine.openai.azure.com/openai/deployments/judge"
    assert hint("http 404", "Resource not found", url).startswith(
        "labeler.engine.url=https://mine.openai.azure.com/openai/v1: "
    )


class TestReasoningCut:
    """OpenAI tells with HTTP 400 that a model had not ended its reasoning at the limit."""

    CUT = error(400, "Could not finish the message because max_tokens or model output limit was reached.")

    def votes(self, monkeypatch: pytest.MonkeyPatch, *replies: httpx2.Response) -> OptionScores:
        given = iter(replies)
        FakeServer(lambda body: next(given)).listen(monkeypatch)
        return engine(scoring="votes", num_votes=len(replies), max_vote_tokens=99).score([prompt()], ("1", "2"))[0]

    def test_it_is_told_with_the_limit_to_raise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeServer(lambda body: self.CUT).listen(monkeypatch)
        (answer,) = engine().generate([prompt()], Sampling(max_new_tokens=9))
        assert answer.missing == "reasoning cut at the token limit" and answer.is_final
        assert hint(answer.missing).startswith("labeler.max_rationale_tokens")

    def test_of_several_votes_it_is_one_without_a_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.votes(monkeypatch, ok(said("1")), self.CUT, ok(said("1"))).missing is None
        reason = "none of 2 votes could be read: reasoning cut at 99 tokens"
        assert self.votes(monkeypatch, self.CUT, self.CUT).missing == reason


def test_https_to_a_server_without_it_is_told_as_that() -> None:
    words = "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"
    assert hint("cannot connect", words, "https://localhost:8000/v1").startswith("labeler.engine.url=http://")


def test_a_reply_of_the_servers_own_api_is_told_with_the_url_to_type() -> None:
    """llama-server answers /completions without /v1 in a form of its own, with HTTP 200."""
    told = hint(OWN_API, "", "http://localhost:8080")
    assert told.startswith("labeler.engine.url=http://localhost:8080/v1: ")


class TestInsideAReply:
    @pytest.mark.parametrize(
        ("payload", "reason", "retryable", "of_server"),
        [
            ({"error": {"message": "busy", "code": 503}}, "error 503 in a reply", True, True),
            ({"error": {"message": "slow down", "code": 429}}, "error 429 in a reply", True, True),
            ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "error 429 in a reply", True, True),
            ({"error": {"message": "Provider returned error"}}, "error 500 in a reply", True, True),
            ({"error": "the backend is gone"}, "error 500 in a reply", True, True),
            ({"error": {"message": "invalid model", "code": 400}}, "error 400 in a reply", False, True),
            ({"error": "Unexpected endpoint or method. (POST /completions)"}, "error 404 in a reply", False, True),
            ({"object": "error", "message": "no such thing", "code": 404}, "error 404 in a reply", False, True),
            ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "error 429 in a reply", True, True),
            ({"error": {"message": "maximum context length is 10", "code": 400}}, TOO_LONG, False, False),
            ({"error": {"message": "moderation", "code": 403}}, FILTERED, False, False),
            ({"choices": [{"error": {"message": "gone", "code": 502}}]}, "error 502 in a reply", True, True),
            ({"choices": []}, "wrong shape: no choices", True, True),
            ({"content": " 1", "stop": True, "stop_type": "limit", "tokens_predicted": 1}, OWN_API, False, True),
            ({"model": "m", "response": "1", "done": True}, OWN_API, False, True),
            ({"model": "m", "message": {"role": "assistant", "content": "1"}, "done": True}, OWN_API, False, True),
            ({"text": "1", "meta_info": {"finish_reason": {"type": "stop"}}}, OWN_API, False, True),
            ({"generated_text": "1"}, OWN_API, False, True),
            ({"choices": [{}, {}]}, "wrong shape: 2 choices", True, True),
            ({"choices": [{"finish_reason": "abort"}]}, "reply broken off: abort", True, True),
            (
                {"choices": [{"text": "Half", "finish_reason": "stop", "native_finish_reason": "network_error"}]},
                "reply broken off: network_error",
                True,
                True,
            ),
            (
                {
                    "choices": [{"message": {"content": None}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 56, "completion_tokens": 0},
                },
                "empty reply of 0 tokens",
                True,
                True,
            ),
            ([1], "wrong shape: the reply", True, True),
        ],
    )
    def test_it_is_told_as_its_code_says(self, payload: object, reason: str, retryable: bool, of_server: bool) -> None:
        failure = failure_inside(payload)
        assert failure is not None
        assert (failure.reason, failure.retryable, failure.of_server) == (reason, retryable, of_server)

    def test_a_whole_reply_is_none(self) -> None:
        assert failure_inside(said()) is None
        assert failure_inside(said() | {"error": None}) is None

    @pytest.mark.parametrize("said_by", [{"refusal": "No."}, {"content": "1"}, {"reasoning": "Hm."}])
    def test_a_reply_that_says_something_is_whole_however_its_tokens_are_counted(self, said_by: dict[str, str]) -> None:
        choice = {"message": {"content": None} | said_by, "finish_reason": "stop"}
        assert failure_inside({"choices": [choice], "usage": {"completion_tokens": 0}}) is None
        assert (
            failure_inside({"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 1}})
            is None
        )

    def test_a_gateways_stop_is_what_its_provider_says_it_is(self) -> None:
        def finished(native: str | None) -> str:
            reply = said(native_finish_reason=native)
            return read_reply(reply, model="m", accept_model=None).finish_reason

        assert [finished(native) for native in ("MAX_TOKENS", "SAFETY", "completed", None)] == [
            "length",
            "content_filter",
            "stop",
            "stop",
        ]

    def test_a_reply_that_no_model_wrote_is_asked_again_and_never_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nothing = said("", written=0, logprobs=None)
        server = FakeServer(lambda body: ok(nothing if len(server.asked) % 2 else said("Fine."))).listen(monkeypatch)
        (answer,) = engine(max_retries=1).generate([prompt()], Sampling(max_new_tokens=9))
        assert (answer.text, answer.missing, len(server.asked)) == ("Fine.", None, 2)
        FakeServer(lambda body: ok(nothing)).listen(monkeypatch)
        (answer,) = engine(max_retries=1).generate([prompt()], Sampling(max_new_tokens=9))
        assert answer.missing == "empty reply of 0 tokens" and not answer.is_final

    def test_the_providers_words_are_told_and_it_is_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        replies = iter([{"error": {"message": "Upstream is busy", "code": 503}}, said()])
        server = FakeServer(lambda body: ok(next(replies))).listen(monkeypatch)
        assert engine(max_retries=1).score([prompt()], ("1", "2"))[0].missing is None
        assert len(server.asked) == 2
        FakeServer(lambda body: ok({"error": {"message": "No such model: m", "code": 404}})).listen(monkeypatch)
        with pytest.raises(GateStopped, match=r"error 404 in a reply \(No such model: m 404\).*labeler\.engine\.model"):
            engine(break_after=1).score([prompt()], ("1", "2"))


def refusing(bad: str, response: httpx2.Response) -> FakeServer:
    return FakeServer(lambda body: response if bad in str(body["prompt"]) else ok(said(str(body["prompt"]))))


UNCLEAR = error(422, "Unprocessable")


class TestBreaker:
    @pytest.mark.parametrize("response", [error(400, "content_filter"), error(413, ""), UNCLEAR])
    def test_refused_prompts_in_a_row_do_not_stop_the_run(
        self, response: httpx2.Response, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusing("bad", response).listen(monkeypatch)
        asked = engine(break_after=2, max_concurrency=1)
        scores = asked.score([prompt(f"bad {number}") for number in range(9)], ("1", "2"))
        assert all(score.missing and score.is_final for score in scores)

    def test_unclear_words_are_held_against_another_prompt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = refusing("bad", UNCLEAR).listen(monkeypatch)
        (score,) = engine().score([prompt("bad")], ("1", "2"))
        assert (score.missing, score.is_final, len(server.asked)) == ("refused: http 422", True, 2)
        refusing("", UNCLEAR).listen(monkeypatch)
        with pytest.raises(GateStopped, match="http 422"):
            engine(break_after=2, max_concurrency=1).score([prompt(str(number)) for number in range(4)], ("1", "2"))

    def test_a_server_that_is_down_still_stops_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = refusing("", error(500, "oops")).listen(monkeypatch)
        with pytest.raises(GateStopped, match="break_after=3"):
            engine(break_after=3, max_concurrency=1).score([prompt(str(number)) for number in range(9)], ("1", "2"))
        assert len(server.asked) == 4  # the last of them with a short prompt


class TestAskedOnce:
    def test_a_final_failure_is_kept_and_not_asked_again(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server = refusing("bad", error(400, "content_filter")).listen(monkeypatch)
        prompts, sampling = [prompt("good"), prompt("bad")], Sampling(max_new_tokens=3)
        ledger = Ledger()
        first = CachedEngine(engine(), LocalAnswerCache(tmp_path / "a.sqlite"), ledger=ledger)
        before = first.score(prompts, ("1", "2")), first.generate(prompts, sampling)
        assert (len(server.asked), ledger.total().num_questions) == (4, 4)
        later = Ledger()
        again = CachedEngine(engine(), LocalAnswerCache(tmp_path / "a.sqlite"), ledger=later)
        assert (again.score(prompts, ("1", "2")), again.generate(prompts, sampling)) == before
        assert (len(server.asked), later.total().num_cached) == (4, 4)

    def test_until_the_user_says_so_and_then_the_answer_stays(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        cache = LocalAnswerCache(tmp_path / "a.sqlite")
        refusing("bad", error(400, "maximum context length is 10")).listen(monkeypatch)
        assert CachedEngine(engine(), cache).score([prompt("bad")], ("1", "2"))[0].missing == TOO_LONG
        longer = FakeServer(lambda body: ok(said())).listen(monkeypatch)
        assert CachedEngine(engine(), cache).score([prompt("bad")], ("1", "2"))[0].missing == TOO_LONG
        asked = CachedEngine(engine(), cache, ask_refused_again=True)
        (score,) = asked.score([prompt("bad")], ("1", "2"))
        assert score.missing is None and len(longer.asked) == 1
        assert CachedEngine(engine(), cache).score([prompt("bad")], ("1", "2")) == [score]

    def test_a_failure_that_may_pass_is_never_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server, cache = refusing("bad", error(503, "busy")).listen(monkeypatch), MemoryAnswerCache()
        for _ in range(2):
            assert CachedEngine(engine(), cache).score([prompt("bad")], ("1", "2"))[0].missing == "http 503"
        assert len(server.asked) == 2

    @pytest.mark.parametrize("kind", [OptionScores, Generation])
    def test_it_survives_as_bytes(self, kind: Any) -> None:
        own: dict[str, Any] = {"logprobs": None} if kind is OptionScores else {"finished": False}
        failed = kind(missing="refused: by the model", is_final=True, num_prompt_tokens=7, num_counted_tokens=2, **own)
        assert unpack(pack(failed)) == failed


def pairs(*texts: str) -> list[Comparison]:
    return [
        Comparison(
            prompt=Prompt(task="summarization", text=text), first=Completion(text="a"), second=Completion(text="b")
        )
        for text in texts
    ]


class TestRestart:
    """Answered prompts come from the cache: after a restart the refused ones are always in a row."""

    TEXTS = (*(f"good {number}" for number in range(6)), *(f"bad {number}" for number in range(6)))

    def labeler(self, cache: LocalAnswerCache, **options: Any) -> PairwiseLabeler:
        judge = PairwiseLabeler(JudgePrompts(), engine(break_after=2, max_concurrency=1))
        return wrap_engines(judge, cache=cache, ledger=Ledger(), **options)

    def test_it_ends_and_asks_for_no_refused_prompt_again(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        server = refusing("bad", error(400, "content_filter")).listen(monkeypatch)
        cache, plan = LocalAnswerCache(tmp_path / "a.sqlite"), pairs(*self.TEXTS)
        for number in range(2):
            run = label_comparisons(
                self.labeler(cache), plan, tmp_path / f"labels{number}", batch_size=4, max_missing_rate=1.0
            )
            assert run.missing == {FILTERED: 6} and len(server.asked) == 24
        assert all(judgment.unreadable for label in run for judgment in label.judgments if label.missing)

    @pytest.mark.parametrize("response", [error(500, "list index out of range"), ok({"model": "m", "choices": []})])
    def test_prompts_that_a_server_fails_on_do_not_stop_a_later_start(
        self, response: httpx2.Response, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """They may pass, so they are asked again, and are then in a row."""
        refusing("bad", response).listen(monkeypatch)
        cache, plan = LocalAnswerCache(tmp_path / "a.sqlite"), pairs(*self.TEXTS)
        for number in range(2):
            run = label_comparisons(self.labeler(cache), plan, tmp_path / f"labels{number}", max_missing_rate=1.0)
            assert sum(run.missing.values()) == 6 and len(run) == 12
            assert not any(judgment.unreadable for label in run for judgment in label.judgments)

    def test_too_many_are_told_as_nothing_left_to_ask(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server = refusing("bad", error(400, "content_filter")).listen(monkeypatch)
        cache, plan = LocalAnswerCache(tmp_path / "a.sqlite"), pairs(*self.TEXTS)
        for _ in range(2):
            with pytest.raises(GateStopped) as stopped:
                label_comparisons(self.labeler(cache), plan, tmp_path / "labels", max_missing_rate=0.2)
            assert "nothing is left to ask" in str(stopped.value)
            assert "label.ask_refused_again=true" in str(stopped.value)
            assert len(server.asked) == 24

    def test_finished_batches_ask_for_refused_ones_where_the_user_says_so(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        refusing("bad", error(400, "content_filter")).listen(monkeypatch)
        cache, plan = LocalAnswerCache(tmp_path / "a.sqlite"), LabelPlan(pairs(*self.TEXTS), 4)
        team = Team(tmp_path / "labels")
        team.begin()
        label_part(self.labeler(cache), plan, team, max_missing_rate=1.0)
        server = FakeServer(lambda body: ok(said())).listen(monkeypatch)
        judge, team = self.labeler(cache, ask_refused_again=True), Team(tmp_path / "labels")
        label_part(judge, plan, team, max_missing_rate=0.0, ask_refused_again=True)
        assert len(server.asked) == 12
