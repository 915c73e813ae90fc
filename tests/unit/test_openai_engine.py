"""The ``openai`` engine against a small server in this process."""

from __future__ import annotations

import json
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.conf_files import conf_dir
from rlaif.data.label_sets.show import label_lines
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.engines.answer_cache import LocalAnswerCache, MemoryAnswerCache
from rlaif.engines.base import AnswersOneByOne, LimitsRequests, is_chat
from rlaif.engines.cached import CachedEngine
from rlaif.engines.dry import DryEngine, MeasuringEngine
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.engines.openai.hints import hint
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger
from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.ranking import answers
from rlaif.labelers.rationale import Rationales
from rlaif.labeling.cost import Budget, Prices
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.labeling.wrapping import wrap_engines
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.conformance import check_labeler
from rlaif.testing.engine_contract import check_engine
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Preference, Prompt, Sampling, Segment, StructuredPrompt

KEY = "sk-planted-0123456789"
Answer = Callable[[dict[str, Any]], tuple[int, object]]


class Server:
    """Answers by a function of the request's body and remembers what was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body: (200, completion({"1": 0.7, "2": 0.2}))
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.url = ""


def completion(top: dict[str, float], text: str = "1", **choice: Any) -> dict[str, Any]:
    logprobs = {"top_logprobs": [{token: math.log(p) for token, p in top.items()}]}
    return {
        "model": "m",
        "choices": [{"text": text, "finish_reason": "stop", "logprobs": logprobs} | choice],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
    }


def chat(text: str | None = "1", **message: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "choices": [{"message": {"content": text} | message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    fake = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append(body)
            fake.paths.append(self.path)
            status, reply = fake.answer(body)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        fake.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
        yield fake
        listener.shutdown()
        thread.join()


def engine(server: Server, **options: Any) -> OpenAIEngine:
    return OpenAIEngine("m", url=server.url, **{"max_retries": 0} | options)


def prompt(text: str = "Which?", data: str = "") -> StructuredPrompt:
    return StructuredPrompt(segments=(Segment(text=text), Segment(text=data, is_data=True)))


class TestRequests:
    def test_completions(self, server: Server) -> None:
        (score,) = engine(server).score([prompt()], ("1", "2"))
        assert score.logprobs == pytest.approx((math.log(0.7), math.log(0.2)))
        assert (score.bounded, score.num_prompt_tokens) == ((), 11)
        assert server.paths == ["/v1/completions"]
        assert server.asked == [{"model": "m", "prompt": "Which?", "max_tokens": 1, "temperature": 0.0, "logprobs": 20}]

    def test_chat_with_a_system_message(self, server: Server) -> None:
        top = [{"token": " 1", "logprob": math.log(0.5)}, {"token": "1", "logprob": math.log(0.25)}]
        reply = chat()
        reply["choices"][0]["logprobs"] = {"content": [{"token": " 1", "logprob": -0.7, "top_logprobs": top}]}
        server.answer = lambda body: (200, reply)
        asked = engine(server, api="chat", system="Judge.", top_logprobs=2, token_limit_key="max_completion_tokens")
        (score,) = asked.score([prompt()], ("1", "2"))
        assert score.logprobs == pytest.approx((math.log(0.75), math.log(0.125)))
        assert score.bounded == (1,)
        assert server.paths == ["/v1/chat/completions"]
        messages = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}]
        assert server.asked[0]["messages"] == messages
        assert server.asked[0]["logprobs"] is True and server.asked[0]["top_logprobs"] == 2
        assert server.asked[0]["max_completion_tokens"] == 1 and "max_tokens" not in server.asked[0]

    def test_sampling_is_mapped(self, server: Server) -> None:
        server.answer = lambda body: (200, completion({"1": 0.5}, text=" thoughts END more"))
        sampling = Sampling(max_new_tokens=7, temperature=0.5, top_k=40, top_p=0.9, stop=("END",), seed=3)
        written = engine(server, extra={"min_p": 0.1}).generate([prompt("a"), prompt("b"), prompt("a")], sampling)
        assert [item.text for item in written] == [" thoughts "] * 3
        assert written[0].finished and written[0].num_reply_tokens == 3 and written[0].num_prompt_tokens == 11
        by_prompt = {body["prompt"]: body for body in server.asked}
        body = by_prompt["a"]
        seeds = [asked["seed"] for asked in server.asked if asked["prompt"] == "a"]
        assert seeds[0] == seeds[1] != by_prompt["b"]["seed"]
        assert 0 <= body.pop("seed") < 2**31
        assert body == {
            "model": "m",
            "prompt": "a",
            "max_tokens": 7,
            "temperature": 0.5,
            "top_k": 40,
            "top_p": 0.9,
            "stop": ["END"],
            "min_p": 0.1,
        }

    def test_top_k_that_is_left_out_is_said(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        asked = engine(server, supports_top_k=False)
        for _ in range(2):
            asked.generate([prompt()], Sampling(max_new_tokens=1, top_k=40))
        assert "top_k" not in server.asked[0]
        assert caplog.text.count("sampling goes without top_k=40") == 1

    def test_one_and_ten_take_follow_ups(self, server: Server) -> None:
        tables = {"": {"1": 0.6, "2": 0.3}, "1": {"\n": 0.5, "0": 0.4}, "10": {"\n": 0.8}, "2": {"\n": 0.9}}
        server.answer = lambda body: (200, completion(tables[body["prompt"].removeprefix("Rate=")]))
        (score,) = engine(server).score([prompt("Rate=")], ("1", "2", "10"))
        assert score.logprobs == pytest.approx([math.log(p) for p in (0.3, 0.27, 0.192)])
        assert score.num_prompt_tokens == 44

    def test_echo(self, server: Server) -> None:
        def echo(body: dict[str, Any]) -> tuple[int, object]:
            option = body["prompt"][-1]
            logprobs = {
                "tokens": ["Which", "?", option, "!"],
                "token_logprobs": [None, -1.0, -0.25 * int(option), -0.1],
                "top_logprobs": [None, {"?": -1.0}, {"1": -0.25}, {"!": -0.1}],
            }
            reply = completion({"1": 1.0}, logprobs=logprobs)
            reply["usage"]["completion_tokens"] = 1
            return 200, reply

        server.answer = echo
        (score,) = engine(server, scoring="echo").score([prompt()], ("1", "2"))
        assert score.logprobs == (-0.25, -0.5)
        assert all(body["echo"] and body["max_tokens"] == 1 for body in server.asked)

    def test_votes(self, server: Server) -> None:
        replies = iter(["1", "2.", "1", "maybe"])
        server.answer = lambda body: (200, completion({}, text=next(replies), logprobs=None))
        asked = engine(server, scoring="votes", num_votes=4, vote_temperature=0.7, max_concurrency=1)
        (score,) = asked.score([prompt()], ("1", "2"))
        assert score.logprobs == pytest.approx((math.log(0.75 * 2.5 / 4), math.log(0.75 * 1.5 / 4)))
        assert len({body["seed"] for body in server.asked}) == 4
        assert {body["temperature"] for body in server.asked} == {0.7}
        assert all("logprobs" not in body for body in server.asked)

    def test_no_prompts_ask_nothing(self, server: Server) -> None:
        assert engine(server).score([], ("1", "2")) == []
        assert engine(server).generate([], Sampling(max_new_tokens=1)) == []
        assert server.asked == []

    def test_a_lone_surrogate_becomes_a_question_mark(self, server: Server) -> None:
        (score,) = engine(server).score([prompt("x\ud800")], ("1", "2"))
        assert score.missing is None and server.asked[0]["prompt"] == "x?"


class TestTokenIds:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return make_tiny_model(tmp_path_factory.mktemp("tiny"))

    def test_data_holds_no_special_token(self, server: Server, folder: Path) -> None:
        from rlaif.models.load import ModelSpec, load_tokenizer

        tokenizer = load_tokenizer(ModelSpec(str(folder)))
        asked = engine(server, tokenizer=str(folder))
        asked.score([prompt("Which?</s>", "no</s><pad>")], ("1", "2"))
        ids = server.asked[0]["prompt"]
        assert ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.pad_token_id not in ids
        assert tokenizer.decode(ids).endswith("Which?</s>no</s><pad>")

    def test_follow_ups_append_ids(self, server: Server, folder: Path) -> None:
        answered = iter([{"1": 0.5, "2": 0.25}, {"\n": 0.5, "0": 0.25}, {"\n": 0.5}, {"\n": 0.5}])
        server.answer = lambda body: (200, completion(next(answered)))
        asked = engine(server, tokenizer=str(folder), max_concurrency=1)
        (score,) = asked.score([prompt()], ("1", "10"))
        assert score.logprobs == pytest.approx((math.log(0.25), math.log(0.0625)))
        first, *later = [body["prompt"] for body in server.asked]
        assert all(ids[: len(first)] == first and len(ids) > len(first) for ids in later)

    def test_the_tokenizer_counts_and_is_part_of_the_identity(self, server: Server, folder: Path) -> None:
        with_ids, with_text = engine(server, tokenizer=str(folder)), engine(server)
        assert with_text.num_tokens("12345") == 2
        assert with_ids.num_tokens("12345") == 5
        assert with_ids.identity != with_text.identity
        assert json.loads(with_ids.rendered(prompt()))["prompt"][0] != "W"

    def test_a_reply_to_a_template_that_opens_a_think_block_begins_inside_of_it(
        self, server: Server, tmp_path: Path
    ) -> None:
        from rlaif.testing.tiny import tiny_tokenizer

        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}<s>assistant<think>\n"
        tokenizer.save_pretrained(make_tiny_model(tmp_path))
        server.answer = lambda body: (200, completion({}, text="The answer is 1.", logprobs=None))
        asked = engine(server, tokenizer=str(tmp_path), chat_template="model", scoring="votes", num_votes=2)
        (score,) = asked.score([prompt()], ("1", "2"))
        assert score.missing == "none of 2 votes could be read: reasoning without an end"
        (written,) = asked.generate([prompt()], Sampling(max_new_tokens=9))
        assert written.text == "<think>The answer is 1."

    def test_a_folder_that_is_not_there_is_named(self, server: Server) -> None:
        asked = engine(server, tokenizer="/no/such/folder")
        with pytest.raises(ConfigError, match=r"labeler\.engine\.tokenizer=/no/such/folder"):
            asked.score([prompt()], ("1", "2"))


class TestMissing:
    def test_one_failure_does_not_touch_its_neighbours(self, server: Server) -> None:
        good = server.answer
        server.answer = lambda body: (500, {"error": "x"}) if "bad" in body["prompt"] else good(body)
        scores = engine(server).score([prompt("a"), prompt("bad"), prompt("c")], ("1", "2"))
        assert [score.missing for score in scores] == [None, "http 500", None]

    def test_no_option_among_the_tokens(self, server: Server) -> None:
        server.answer = lambda body: (200, completion({"x": 0.5, "y": 0.4}))
        (score,) = engine(server).score([prompt()], ("1", "2"))
        assert score.missing == "no option among the 20 likeliest tokens" and score.num_prompt_tokens == 11

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (chat(None, refusal="I cannot."), "refused: by the model"),
            (chat(""), "empty reply"),
            (chat(" \n"), "empty reply"),
            ({**chat(), "choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}, None),
        ],
    )
    def test_nothing_written(self, server: Server, reply: object, reason: str | None) -> None:
        server.answer = lambda body: (200, reply)
        (written,) = engine(server, api="chat").generate([prompt()], Sampling(max_new_tokens=5))
        assert written.missing == (reason or "refused: content filter")
        assert not written.finished and written.text == ""

    @pytest.mark.parametrize("options", [{}, {"scoring": "echo"}, {"api": "chat"}])
    def test_a_refusal_to_judge(self, server: Server, options: dict[str, Any]) -> None:
        choice = {"text": "", "message": {"content": ""}, "finish_reason": "content_filter"}
        server.answer = lambda body: (200, {"model": "m", "choices": [choice]})
        asked = engine(server, break_after=1, **options)
        for _ in range(2):
            assert asked.score([prompt()], ("1", "2"))[0].missing == "refused: content filter"

    def test_cut_at_the_limit(self, server: Server) -> None:
        server.answer = lambda body: (200, completion({}, text="long", finish_reason="length", logprobs=None))
        (written,) = engine(server).generate([prompt()], Sampling(max_new_tokens=5))
        assert written.missing is None and not written.finished

    @pytest.mark.parametrize("content", ["", None])
    def test_a_model_that_thinks_untold_up_to_the_limit(self, server: Server, content: str | None) -> None:
        """gpt-5 and Gemini: the limit counts their reasoning, of which the reply holds nothing."""
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "length"}
        server.answer = lambda body: (200, {"model": "m", "choices": [choice]})
        asked = engine(server, api="chat")
        (written,) = asked.generate([prompt()], Sampling(max_new_tokens=5))
        assert written.missing is None and not written.finished and written.text == ""
        (rationale,) = Rationales(5).write(asked, [prompt()], ["given"])
        assert rationale.missing == "rationale cut at 5 tokens"
        assert hint(rationale.missing).startswith("labeler.max_rationale_tokens")

    def test_unreadable_votes(self, server: Server) -> None:
        server.answer = lambda body: (200, completion({}, text="hm", logprobs=None))
        (score,) = engine(server, scoring="votes", num_votes=3).score([prompt()], ("1", "2"))
        assert score.missing == "none of 3 votes could be read"

    def test_a_failed_vote_is_asked_again_another_time(self, server: Server) -> None:
        statuses = iter([200, 503, 200])
        server.answer = lambda body: (next(statuses), completion({}, text="1", logprobs=None))
        (score,) = engine(server, scoring="votes", num_votes=3).score([prompt()], ("1", "2"))
        assert score.missing == "http 503"

    def test_after_failures_in_a_row_the_call_stops_the_run(self, server: Server) -> None:
        server.answer = lambda body: (404, {"error": {"message": "no model m"}})
        asked = engine(server, break_after=3, max_concurrency=1)
        for _ in range(2):
            with pytest.raises(GateStopped, match=r"break_after=3.*127\.0\.0\.1.*http 404 .*no model m"):
                asked.score([prompt(str(number)) for number in range(5)], ("1", "2"))
        assert len(server.asked) == 3

    @pytest.mark.parametrize(
        ("status", "option"), [(401, "labeler.engine.key_env"), (403, "labeler.engine.key_env"), (200, "scoring=votes")]
    )
    def test_the_message_names_the_option_to_set(self, server: Server, status: int, option: str) -> None:
        server.answer = lambda body: (status, completion({}, text="1", logprobs=None))
        with pytest.raises(GateStopped, match=option):
            engine(server, break_after=1).score([prompt()], ("1", "2"))

    def test_what_was_not_sent_is_not_counted_and_what_came_before_is_kept(self, server: Server) -> None:
        statuses = iter([200, 500, 500, 500, 500])
        server.answer = lambda body: (next(statuses), completion({"1": 0.6, "2": 0.4}))
        ledger, cache = Ledger(), MemoryAnswerCache()
        asked = CachedEngine(engine(server, break_after=3, max_retries=0, max_concurrency=1), cache, ledger=ledger)
        with pytest.raises(GateStopped, match="break_after=3"):
            asked.score([prompt(str(number)) for number in range(64)], ("1", "2"))
        assert ledger.total().num_questions == 4
        assert len(server.asked) == 5  # the last with a short prompt, before the server is given up
        server.answer, later = lambda body: (200, completion({"1": 0.6, "2": 0.4})), Ledger()
        CachedEngine(engine(server), cache, ledger=later).score([prompt("0"), prompt("1")], ("1", "2"))
        assert (later.total().num_cached, later.total().num_questions) == (1, 1)

    def test_nobody_listens(self) -> None:
        asked = OpenAIEngine("m", url="http://127.0.0.1:9/v1", max_retries=0)
        (score,) = asked.score([prompt()], ("1", "2"))
        assert score.missing == "cannot connect"

    @pytest.mark.parametrize(
        ("choice", "reason"),
        [
            ({"finish_reason": "content_filter"}, "refused: content filter"),
            ({"logprobs": None}, "no log-probs in the reply"),
            ({"finish_reason": None}, "wrong shape: no finish_reason"),
        ],
    )
    def test_a_budget_ends_a_server_that_bills_and_gives_nothing(
        self, server: Server, choice: dict[str, Any], reason: str, tmp_path: Path
    ) -> None:
        server.answer = lambda body: (200, completion({"1": 0.5}, **choice))
        ledger, budget = Ledger(tmp_path / "spent"), Budget(max_tokens=2 * (11 + 3) + 1)
        asked = CachedEngine(engine(server), LocalAnswerCache(tmp_path / "a.sqlite"), ledger=ledger)
        for number in range(2):
            budget.check(ledger, Prices(), tmp_path)
            assert asked.score([prompt(str(number))], ("1", "2"))[0].missing == reason
        assert asked.generate([prompt("2")], Sampling(max_new_tokens=5))[0].missing in (reason, None)
        total = ledger.total()
        assert (total.num_questions, total.num_prompt_tokens, total.num_reply_tokens) == (3, 3 * 11, 3 * 3)
        with pytest.raises(GateStopped, match=r"budget\.max_tokens=29"):
            budget.check(ledger, Prices(), tmp_path)

    def test_every_vote_counts_with_what_it_wrote(self, server: Server) -> None:
        server.answer = lambda body: (200, completion({}, text="1", logprobs=None))
        ledger = Ledger()
        asked = CachedEngine(engine(server, scoring="votes", num_votes=3), ledger=ledger)
        asked.score([prompt()], ("1", "2"))
        assert (ledger.total().num_prompt_tokens, ledger.total().num_reply_tokens) == (3 * 11, 3 * 3)

    def test_a_hostile_reply_is_kept_and_written_or_missing(self, server: Server, tmp_path: Path) -> None:
        """From the wire to the label table, with an answer cache between."""

        def answer(body: Any) -> tuple[int, object]:
            if body["max_tokens"] > 1:
                return 200, completion({}, text="half \ud83d") | {"usage": {"prompt_tokens": 10**12}}
            logprob = -(10**400) if "odd" in body["prompt"] else -0.7
            top = [{"1": logprob, "2": -0.8, "\ud800": -9.0}]
            return 200, completion({}, logprobs={"top_logprobs": top}) | {"usage": {"prompt_tokens": -1}}

        server.answer = answer
        pairs = [
            Comparison(
                prompt=Prompt(task="summarization", text=text), first=Completion(text="a"), second=Completion(text="b")
            )
            for text in ("A post.", "An odd post.")
        ]
        labeler = ChainOfThoughtLabeler(JudgePrompts(), engine(server), max_rationale_tokens=9)
        cached = wrap_engines(labeler, cache=LocalAnswerCache(tmp_path / "answers.sqlite"), ledger=Ledger(tmp_path))
        labels = [cached.label(pairs) for _ in range(2)][1]
        assert [label.missing for label in labels] == [None, "infinite log-prob"]
        assert labels[0].judgments[0].reply == "half ?"
        write_preferences(tmp_path / "labels.parquet", labels)
        assert read_preferences(tmp_path / "labels.parquet") == labels


class TestMessages:
    """A chat answers with whole messages; what it thinks is apart."""

    RATIONALE = "Here is a comparison of the two responses:\n\n1. Clarity: both.\n2. Plan: the first alone."

    @pytest.fixture
    def pairs(self) -> list[Comparison]:
        return [
            Comparison(
                prompt=Prompt(task="dialogue", text=f"\n\nHuman: {text}\n\nAssistant:"),
                first=Completion(text="yes"),
                second=Completion(text="no"),
            )
            for text in ("Hi", "Ho")
        ]

    @staticmethod
    def judging(rationale: dict[str, Any]) -> Answer:
        """A chat that writes this rationale, cut at a stop string as servers do, and then answers "1"."""

        def answer(body: dict[str, Any]) -> tuple[int, object]:
            scored = {"token": "1", "logprob": math.log(0.8)}
            if body["max_tokens"] == 1:
                reply = chat("1")
                logprobs = {"content": [scored | {"top_logprobs": [scored, {"token": "2", "logprob": math.log(0.1)}]}]}
                reply["choices"][0]["logprobs"] = logprobs
                return 200, reply
            message = {"message": {"content": "", **rationale["message"]}}
            for stop in body.get("stop", []):
                message["message"]["content"] = message["message"]["content"].split(stop)[0]
            reply = chat()
            reply["choices"][0] |= message | {"finish_reason": rationale.get("finish_reason", "stop")}
            return 200, reply

        return answer

    def label(self, server: Server, pairs: list[Comparison], message: dict[str, Any], **choice: Any) -> Preference:
        server.answer = self.judging({"message": message, **choice})
        labeler = ChainOfThoughtLabeler(JudgePrompts(), engine(server, api="chat"), max_rationale_tokens=99)
        return wrap_engines(labeler, cache=MemoryAnswerCache(), ledger=Ledger()).label(pairs)[0]

    def test_the_whole_message_is_the_rationale(self, server: Server, pairs: list[Comparison]) -> None:
        label = self.label(server, pairs, {"content": self.RATIONALE})
        assert [item.reply for item in label.judgments] == [self.RATIONALE] * 2
        assert all("stop" not in body for body in server.asked)
        second = [body["messages"] for body in server.asked if body["max_tokens"] == 1]
        assert all(len(messages) == 1 and messages[0]["role"] == "user" for messages in second)
        assert all(messages[0]["content"].endswith(f"{self.RATIONALE}\nBetter Response=") for messages in second)

    def test_a_completion_is_one_paragraph_as_before(self, server: Server, pairs: list[Comparison]) -> None:
        server.answer = lambda body: (200, completion({"1": 0.7, "2": 0.2}, text=" It is short."))
        ChainOfThoughtLabeler(JudgePrompts(), engine(server)).label(pairs)
        assert {str(body.get("stop")) for body in server.asked if body["max_tokens"] > 1} == {"['\\n']"}

    @pytest.mark.parametrize(
        "message",
        [
            {"content": f"<think>\nThe second? The answer is 2.\n</think>\n\n{RATIONALE}"},
            {"content": f"The second? The answer is 2.\n</think>\n\n{RATIONALE}"},
            {"content": RATIONALE, "reasoning_content": "The second? The answer is 2."},
            {"content": RATIONALE, "reasoning": "The second? The answer is 2."},
        ],
    )
    def test_what_it_thinks_is_evidence_alone(
        self, server: Server, pairs: list[Comparison], message: dict[str, Any], tmp_path: Path
    ) -> None:
        label = self.label(server, pairs, message)
        assert [item.reply for item in label.judgments] == [self.RATIONALE] * 2
        assert [item.reasoning for item in label.judgments] == ["The second? The answer is 2."] * 2
        assert not any("The answer is 2" in json.dumps(body) for body in server.asked)
        assert label.judgments[0].num_reply_tokens == 3 + 3, "what it thinks is billed"
        write_preferences(tmp_path / "labels.parquet", [label])
        assert read_preferences(tmp_path / "labels.parquet") == [label]
        assert preference_from_json(label.comparison, preference_to_json(label)) == label
        lines = list(label_lines(label, 0))
        assert lines[lines.index("--- reasoning, which does not count (28 characters) ---") + 1].endswith("is 2.")

    @pytest.mark.parametrize(
        ("message", "finish_reason", "missing"),
        [
            ({"content": "<think>Hm. 1"}, "length", "reasoning cut at 99 tokens"),
            ({"content": "", "reasoning_content": "Hm. 1"}, "length", "reasoning cut at 99 tokens"),
            ({"content": None, "reasoning": "Hm. 1"}, "length", "reasoning cut at 99 tokens"),
            ({"content": "It is"}, "length", "rationale cut at 99 tokens"),
            ({"content": "<think>Hm.</think>It is"}, "length", "rationale cut at 99 tokens"),
            ({"content": "<think>Hm. 1"}, "stop", "reasoning without an end"),
            ({"content": "<think>Hm. 1</think>"}, "stop", "no rationale after the reasoning"),
            ({"content": "", "reasoning_content": "Hm. 1"}, "stop", "no rationale after the reasoning"),
        ],
    )
    def test_reasoning_without_a_rationale_is_missing(
        self, server: Server, pairs: list[Comparison], message: dict[str, Any], finish_reason: str, missing: str
    ) -> None:
        label = self.label(server, pairs, {"content": None, **message}, finish_reason=finish_reason)
        assert label.missing == missing
        assert all(item.unreadable and item.num_reply_tokens == 3 for item in label.judgments)
        if "rationale cut" not in missing:
            assert all(item.reply == "" and item.reasoning == "Hm. 1" for item in label.judgments)

    def test_votes_after_reasoning(self, server: Server) -> None:
        messages = iter([{"content": "<think>1?</think>**2**"}, {"content": "Response 2", "reasoning_content": "1?"}])
        server.answer = lambda body: (200, chat(**next(messages)))
        (score,) = engine(server, api="chat", scoring="votes", num_votes=2, max_concurrency=1).score(
            [prompt()], ("1", "2")
        )
        assert score.logprobs == pytest.approx((math.log(0.5 / 3), math.log(2.5 / 3)))
        assert (score.reasoning, score.num_reply_tokens) == ("[vote 1] 1?\n\n[vote 2] 1?", 6)

    def test_votes_that_were_cut_while_thinking(self, server: Server) -> None:
        reply = chat(None, reasoning_content="It is 1")
        reply["choices"][0]["finish_reason"] = "length"
        server.answer = lambda body: (200, reply)
        (score,) = engine(server, api="chat", scoring="votes", num_votes=3).score([prompt()], ("1", "2"))
        assert score.missing == "none of 3 votes could be read: reasoning cut at 16 tokens"
        assert "It is 1" in score.reasoning

    def test_the_end_of_the_prompt_and_its_question_are_known_to_votes(self, server: Server) -> None:
        server.answer = lambda body: (200, chat("Response 2 is better."))
        asked = engine(server, api="chat", scoring="votes", num_votes=2)
        worse = StructuredPrompt(segments=(Segment(text="Which?\nSchlechter="),), asks_for_worse=True)
        assert asked.score([worse], ("1", "2"))[0].missing == "none of 2 votes could be read"
        server.answer = lambda body: (200, chat("Schlechter=2"))
        (score,) = asked.score([worse], ("1", "2"))
        assert score.logprobs is not None and score.logprobs[1] > score.logprobs[0]

    @pytest.mark.parametrize("message", [{"content": "<think>"}, {"content": "", "reasoning_content": "1"}])
    def test_a_first_token_of_reasoning_is_no_answer(self, server: Server, message: dict[str, Any]) -> None:
        reply = chat(**message)
        token = {"token": "1", "logprob": -0.1}
        reply["choices"][0]["logprobs"] = {"content": [token | {"top_logprobs": [token]}]}
        server.answer = lambda body: (200, reply)
        (score,) = engine(server, api="chat").score([prompt()], ("1", "2"))
        assert score.missing is not None and "scoring=votes" in score.missing

    def test_content_in_parts(self, server: Server) -> None:
        parts = [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "It is"},
            {"type": "text", "text": " short."},
        ]
        server.answer = lambda body: (200, chat(parts))  # type: ignore[arg-type]
        (written,) = engine(server, api="chat").generate([prompt()], Sampling(max_new_tokens=9))
        assert (written.text, written.reasoning) == ("It is short.", "Hm.")

    def test_engines_in_front_say_that_it_is_a_chat(self, server: Server, pairs: list[Comparison]) -> None:
        talks = engine(server, api="chat")
        for wrapped in (talks, CachedEngine(talks), DryEngine(CachedEngine(talks)), MeasuringEngine(talks)):
            assert is_chat(wrapped)
        assert not is_chat(CachedEngine(engine(server))) and not is_chat(ScriptedEngine())
        assert is_chat(engine(server, tokenizer="x", chat_template="model"))
        server.answer = self.judging({"message": {"content": self.RATIONALE}})
        labeler = ChainOfThoughtLabeler(JudgePrompts(), talks)
        assert wrap_engines(labeler, ledger=Ledger()).label(pairs)[0].judgments[0].reply == self.RATIONALE


class TestContract:
    def test_it_keeps_the_contract_of_engines(self, server: Server) -> None:
        assert [result for result in check_engine(engine(server)) if not result.passed] == []

    def test_a_labeler_on_it_keeps_the_contract(self, server: Server) -> None:
        labeler = PairwiseLabeler(JudgePrompts(), engine(server))
        assert [result for result in check_labeler(labeler, sample_comparisons()) if not result.passed] == []

    @pytest.mark.parametrize(
        ("options", "scored", "num_reads"),
        [
            ({}, ("1", "2"), 1),
            ({}, ("1", "2", "10"), 4),
            ({}, answers(2), 1 + 2),
            ({}, answers(4), 1 + 4 + 4 * 3 + 4 * 3 * 2),
            ({"api": "chat"}, ("1", "2", "10"), 1),
            ({"scoring": "echo"}, answers(3), 6),
            ({"scoring": "echo"}, ("1", "2"), 2),
            ({"scoring": "votes", "num_votes": 5}, ("1", "2"), 5),
        ],
    )
    def test_requests_per_prompt(
        self, server: Server, options: dict[str, Any], scored: tuple[str, ...], num_reads: int
    ) -> None:
        assert engine(server, **options).num_reads(scored) == num_reads

    def test_answers_are_handed_over_one_by_one(self, server: Server) -> None:
        asked = engine(server)
        assert isinstance(asked, AnswersOneByOne) and isinstance(asked, LimitsRequests)
        arrived = {}
        asked.on_answer = lambda position, answer: arrived.update({position: answer})
        scores = asked.score([prompt("a"), prompt("b")], ("1", "2"))
        assert [arrived[0], arrived[1]] == scores

    def test_what_a_listener_raises_ends_the_call(self, server: Server) -> None:
        def refuse(position: int, answer: object) -> None:
            raise OSError("disk full")

        asked = engine(server)
        asked.on_answer = refuse
        with pytest.raises(OSError, match="disk full"):
            asked.score([prompt("a"), prompt("b")], ("1", "2"))

    def test_identity(self, server: Server) -> None:
        base = engine(server)
        assert OpenAIEngine("m", url="http://elsewhere:1/v1", key_env="A_KEY", max_retries=9).identity == base.identity
        different = [
            OpenAIEngine("other", url=server.url),
            engine(server, revision="2026-11"),
            engine(server, api="chat"),
            engine(server, scoring="votes"),
            engine(server, top_logprobs=5),
            engine(server, extra={"min_p": 0.1}),
        ]
        assert len({base.identity, *(item.identity for item in different)}) == 7

    def test_pickled_after_use_it_answers(self, server: Server) -> None:
        asked = engine(server)
        scores = asked.score([prompt()], ("1", "2"))
        copy = pickle.loads(pickle.dumps(asked))
        assert copy.identity == asked.identity and copy.score([prompt()], ("1", "2")) == scores

    def test_the_shipped_yaml(self, server: Server) -> None:
        node = OmegaConf.load(conf_dir() / "labeler" / "engine" / "openai.yaml")
        node = OmegaConf.merge(node, {"model": "m", "url": server.url, "extra": {"min_p": 0.1}})
        asked = instantiate(node)
        assert asked.identity == engine(server, extra={"min_p": 0.1}).identity
        assert asked.score([prompt()], ("1", "2"))[0].missing is None
        assert server.asked[0]["min_p"] == 0.1

    def test_the_key_is_nowhere(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("A_KEY", KEY)
        server.answer = lambda body: (200, completion({}, text=f"the key is {KEY}", logprobs=None))
        asked = engine(server, key_env="A_KEY")
        (written,) = asked.generate([prompt()], Sampling(max_new_tokens=9))
        assert written.text == "the key is [key]"
        for text in (repr(vars(asked)), repr(asked), pickle.dumps(asked).decode("latin-1"), asked.identity):
            assert KEY not in text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": ""}, "model=: must be"),
        ({"url": "localhost:8000"}, "url=localhost:8000: must be like http"),
        ({"url": "http://user:secret@host/v1"}, "url: takes no user, password or query"),
        ({"url": "http://host/v1?key=secret"}, "url: takes no user, password or query"),
        ({"url": "https://a.openai.azure.com/openai?api-version=2024-10-21"}, "url: takes no query; Azure needs no"),
        ({"url": "http://host/v1/completions"}, "url=http://host/v1/completions: must be the base url"),
        ({"api": "responses"}, "api=responses: allowed are completions, chat"),
        ({"scoring": "guess"}, "scoring=guess: allowed are"),
        ({"scoring": "echo", "api": "chat"}, "scoring=echo: a chat echoes no prompt"),
        ({"system": "x"}, "system: needs labeler.engine.api=chat"),
        ({"tokenizer": "x", "api": "chat"}, "tokenizer: a chat takes no token ids"),
        ({"chat_template": "model"}, "chat_template=model: needs labeler.engine.tokenizer"),
        ({"num_votes": 0}, "num_votes=0: must be at least 1"),
        ({"max_retries": -1}, "max_retries=-1: must be at least 0"),
        ({"requests_per_minute": 0.0}, "requests_per_minute=0: must be a finite number above 0"),
        ({"total_timeout_s": math.inf}, "total_timeout_s=inf: must be a finite number above 0"),
        ({"key_env": "sk-secret"}, "key_env: must be the name of an environment variable"),
        ({"extra": {"model": "x"}}, "extra.model: is set by the engine itself"),
        ({"extra": {"x": object()}}, "extra: must be JSON"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        OpenAIEngine(**{"model": "m"} | options)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"labeler.engine.{problem}".split(":")[0])
    assert problem in error.value.problems[0]
    assert "secret" not in error.value.problems[0]
