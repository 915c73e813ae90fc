"""Requests to servers that refuse some fields or take others: what is sent, and what a preset of each server sends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, engine, ok, prompt, said
from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.conf_files import conf_dir
from rlaif.config.check import compose
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.errors import ConfigError, EngineError
from rlaif.models.load import load_tokenizer
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Sampling

SAMPLING = Sampling(max_new_tokens=7, temperature=0.5, top_k=40, top_p=0.9, stop=("\n",), seed=3)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    return FakeServer(lambda body: ok(said("1\nmore"))).listen(monkeypatch)


class TestOmit:
    def test_named_fields_are_in_no_request(self, server: FakeServer) -> None:
        names = ["temperature", "seed", "stop", "max_tokens", "logprobs", "top_p", "top_k"]
        asked = engine(scoring="votes", num_votes=1, omit=names, extra={"reasoning_effort": "low"})
        (text,) = asked.generate([prompt("a")], SAMPLING)
        asked.score([prompt("b")], ("1", "2"))
        rest = {"model": "m", "reasoning_effort": "low"}
        assert server.asked == [rest | {"prompt": "a"}, rest | {"prompt": "b"}]
        assert (text.text, text.finished) == ("1", True), "a text is cut at its stop all the same"

    def test_the_limit_goes_by_either_name(self, server: FakeServer) -> None:
        asked = engine(api="chat", omit=["max_tokens"], token_limit_key="max_completion_tokens")
        asked.generate([prompt()], SAMPLING)
        assert not {"max_tokens", "max_completion_tokens"} & server.asked[0].keys()

    def test_a_text_that_runs_on_to_the_limit_is_whole_up_to_its_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeServer(lambda body: ok(said("whole\ncut", finish_reason="length"))).listen(monkeypatch)
        (text,) = engine(omit=["stop"]).generate([prompt()], SAMPLING)
        assert (text.text, text.finished) == ("whole", True)

    def test_it_is_part_of_the_identity_and_the_default_is_none(self) -> None:
        others = [
            engine(omit=["seed"]),
            engine(omit=["seed", "stop"]),
            engine(chat_template_kwargs={"enable_thinking": False}, api="chat"),
            engine(api="chat"),
            engine(scoring="votes", guided_choice=True, choice_field="regex"),
            engine(scoring="votes", choice_field="regex"),
        ]
        assert len({engine().identity, *(other.identity for other in others)}) == 7
        assert engine(omit=["stop", "seed"]).identity == others[1].identity
        assert engine(scoring="votes").identity == others[5].identity, "a field that is not used changes nothing"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"omit": ["temprature"]}, "omit=[temprature]: may name temperature, seed"),
        ({"omit": ["logprobs"]}, "omit=[logprobs]: scoring=top_logprobs reads them"),
        ({"guided_choice": True, "choice_field": "regex"}, "guided_choice=true: is for votes"),
        ({"guided_choice": True, "scoring": "votes"}, "guided_choice=true: needs labeler.engine.choice_field"),
        ({"choice_field": "json"}, "choice_field=json: allowed are guided_choice, structured_outputs, regex, grammar"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs: no chat template is used"),
        # vLLM 0.32 takes such a request and writes its own default of 16 tokens.
        (
            {"token_limit_key": "max_completion_tokens"},
            "token_limit_key=max_completion_tokens: /completions has no such",
        ),
        ({"extra": {"stream": True}}, "extra.stream: replies are read whole; may only be false"),
        ({"extra": {"n": 2}}, "extra.n: is set by the engine itself"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        OpenAIEngine("m", **options)
    (told,) = refused.value.problems
    assert told.startswith(f"labeler.engine.{problem}")


def test_a_server_that_streams_by_default_can_be_told_not_to(server: FakeServer) -> None:
    engine(extra={"stream": False}).score([prompt()], ("1", "2"))
    assert server.asked[0]["stream"] is False


@pytest.mark.parametrize(
    ("choice_field", "sent"),
    [
        ("guided_choice", {"guided_choice": ["1", "2."]}),
        ("structured_outputs", {"structured_outputs": {"choice": ["1", "2."]}}),
        ("regex", {"regex": "1|2\\."}),
        ("grammar", {"grammar": 'root ::= "1" | "2."'}),
    ],
)
def test_votes_are_limited_to_the_options(choice_field: str, sent: dict[str, Any], server: FakeServer) -> None:
    options = {"scoring": "votes", "num_votes": 1, "choice_field": choice_field}
    engine(**options, guided_choice=True).score([prompt()], ("1", "2."))
    engine(**options).score([prompt()], ("1", "2."))
    guided, free = server.asked
    assert {name: guided[name] for name in guided.keys() - free.keys()} == sent


TEMPLATE = "{% if no_thinking %}<s>{% endif %}{{ messages[0].content }}</s>"


class TestTokenizer:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return make_tiny_model(tmp_path_factory.mktemp("tiny"))

    @pytest.mark.parametrize("files", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
    def test_a_folder_needs_no_more_than_the_tokenizers_files(
        self, folder: Path, files: list[str], server: FakeServer, tmp_path: Path
    ) -> None:
        for file in files:
            shutil.copy(folder / file, tmp_path)
        engine(tokenizer=str(tmp_path)).score([prompt("Which?")], ("1", "2"))
        ids = server.asked[0]["prompt"]
        assert str(load_tokenizer(str(folder)).decode(ids)).endswith("Which?")

    def test_a_broken_one_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(EngineError, match=rf"labeler\.engine\.tokenizer={tmp_path}: its tokenizer cannot be read"):
            engine(tokenizer=str(tmp_path)).num_tokens("a")

    def test_chat_template_kwargs_go_into_the_frame(self, folder: Path, server: FakeServer, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "own")
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (tmp_path / "own" / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
        bos, eos = (load_tokenizer(str(folder)).convert_tokens_to_ids(token) for token in ("<s>", "</s>"))
        options = {"tokenizer": str(tmp_path / "own"), "chat_template": "model"}
        engine(**options).score([prompt()], ("1", "2"))
        engine(**options, chat_template_kwargs={"no_thinking": True}).score([prompt()], ("1", "2"))
        (_, *without), (first, *_, last) = server.asked[0]["prompt"], server.asked[1]["prompt"]
        assert (first, last) == (bos, eos) and server.asked[1]["prompt"][1:] == server.asked[0]["prompt"]
        assert "chat_template_kwargs" not in server.asked[1] and without

    def test_in_a_chat_they_are_sent(self, server: FakeServer) -> None:
        engine(api="chat", chat_template_kwargs={"enable_thinking": False}).generate([prompt()], SAMPLING)
        assert server.asked[0]["chat_template_kwargs"] == {"enable_thinking": False}


class TestPresets:
    @pytest.mark.parametrize(
        ("preset", "url", "chosen"),
        [
            ("vllm", "http://localhost:8000/v1", {"choice_field": "structured_outputs", "api": "completions"}),
            ("sglang", "http://localhost:30000/v1", {"choice_field": "regex"}),
            ("llamacpp", "http://localhost:8080/v1", {"choice_field": "grammar", "accept_model": "*"}),
            ("ollama", "http://localhost:11434/v1", {"api": "chat", "supports_top_k": False}),
        ],
    )
    def test_a_server_by_its_name(self, preset: str, url: str, chosen: dict[str, Any]) -> None:
        cfg = compose((f"labeler/engine={preset}", "labeler.engine.model=m", "labeler.engine.max_retries=2"))
        node = OmegaConf.to_container(cfg.labeler.engine, resolve=True)
        assert isinstance(node, dict)
        assert node["url"] == url and {name: node[name] for name in chosen} == chosen
        openai = OmegaConf.load(conf_dir() / "labeler" / "engine" / "openai.yaml")
        assert node.keys() == openai.keys(), "a preset inherits every option"
        asked = instantiate(node)
        assert isinstance(asked, OpenAIEngine) and asked.connection.url == url and asked.connection.max_retries == 2

    def test_vllm_names_tokens_by_id_where_ids_are_sent(self, server: FakeServer, tmp_path: Path) -> None:
        judge = ("labeler/engine@evaluation.judge.engine=vllm", "evaluation.judge.engine.model=m")
        cfg = compose((*judge, "evaluation.judge.engine.url=http://server.test/v1"))
        node = cfg.evaluation.judge.engine
        instantiate(node).score([prompt()], ("1", "2"))
        folder = make_tiny_model(tmp_path)
        instantiate(node, tokenizer=str(folder)).score([prompt()], ("1", "2"))
        assert "return_tokens_as_token_ids" not in server.asked[0]
        assert server.asked[1]["return_tokens_as_token_ids"] is True
