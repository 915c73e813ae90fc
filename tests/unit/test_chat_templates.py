"""Local chat models: arguments of their template, think blocks that it opens, whole messages as rationales."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif.engines.base import is_chat
from rlaif.engines.chat_templates import check_scorable, message_text, opened_reasoning
from rlaif.engines.openai.engine import OpenAIEngine
from rlaif.engines.reasoning import split_reasoning
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError
from rlaif.labelers.pairwise import ChainOfThoughtLabeler
from rlaif.labelers.pointwise import ChainOfThoughtScoreLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.outcome import Generation
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model, tiny_tokenizer
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Sampling, Segment, StructuredPrompt

TURN = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
QWEN_3 = TURN + (
    "{% if add_generation_prompt %}<s>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""As Qwen 3's: its block is empty where thinking is off, and the model opens one itself where it is on."""
QWEN_35 = TURN + (
    "{% if add_generation_prompt %}<s>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)
"""Opens the block itself, as DeepSeek R1's and the thinking models of Qwen do."""
DEEPSEEK_R1 = TURN + "{% if add_generation_prompt %}<s>assistant<think>\n{% endif %}"
PROMPT = StructuredPrompt(segments=(Segment(text="Better="),))
OFF = {"enable_thinking": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One tiny model under three chat templates."""
    places = {}
    for name, template in (("qwen 3", QWEN_3), ("qwen 3.5", QWEN_35), ("deepseek r1", DEEPSEEK_R1)):
        folder = make_tiny_model(tmp_path_factory.mktemp("tiny"))
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        places[name] = str(folder)
    return places


def engine(folder: str, **options: Any) -> TransformersEngine:
    return TransformersEngine(folder, chat_template="model", **options)


def test_arguments_reach_the_template_and_the_identity(folders: dict[str, str]) -> None:
    plain, off = engine(folders["qwen 3"]), engine(folders["qwen 3"], chat_template_kwargs=OFF)
    decode = plain.load().prompts.tokenizer.decode
    assert decode(plain.token_ids(PROMPT)) == "<s>user: Better=</s><s>assistant\n"
    assert decode(off.token_ids(PROMPT)) == "<s>user: Better=</s><s>assistant\n<think>\n\n</think>\n\n"
    assert plain.identity != off.identity
    assert plain.identity == engine(folders["qwen 3"], chat_template_kwargs={}).identity
    assert plain.score([PROMPT], ("1", "2"))[0].logprobs != off.score([PROMPT], ("1", "2"))[0].logprobs


def test_a_template_that_opens_a_think_block_is_refused_for_scoring(folders: dict[str, str]) -> None:
    expected = r"chat_template=model: .*ends every prompt with <think>.*; take "
    with pytest.raises(
        ConfigError, match=expected + r"labeler\.engine\.chat_template_kwargs=\{enable_thinking: false\}, or"
    ):
        engine(folders["qwen 3.5"]).score([PROMPT], ("1", "2"))
    assert engine(folders["qwen 3.5"], chat_template_kwargs=OFF).score([PROMPT], ("1", "2"))[0].logprobs is not None
    with pytest.raises(ConfigError, match=expected + r"serve it .*labeler\.engine\.scoring=votes"):
        engine(folders["deepseek r1"]).score([PROMPT], ("1", "2"))


def test_arguments_of_a_chat_go_to_the_server() -> None:
    server = OpenAIEngine("m", api="chat", chat_template_kwargs=OFF, extra={"min_p": 0.1})
    assert server.asking.body({}, 1) == {"model": "m", "max_tokens": 1, "min_p": 0.1, "chat_template_kwargs": OFF}
    by_extra = OpenAIEngine("m", api="chat", extra={"min_p": 0.1, "chat_template_kwargs": OFF})
    assert server.identity == by_extra.identity != OpenAIEngine("m", api="chat", extra={"min_p": 0.1}).identity
    with pytest.raises(ConfigError, match="chat_template_kwargs: no chat template is used"):
        OpenAIEngine("m", chat_template_kwargs=OFF)


def test_what_is_written_inside_of_an_opened_block_begins_with_its_mark(folders: dict[str, str]) -> None:
    (written,) = engine(folders["deepseek r1"]).generate([PROMPT], Sampling(max_new_tokens=3))
    assert written.text.startswith("<think>") and not split_reasoning(written.text).is_closed
    (off,) = engine(folders["qwen 3.5"], chat_template_kwargs=OFF).generate([PROMPT], Sampling(max_new_tokens=3))
    assert "<think>" not in off.text


def test_a_server_whose_template_is_rendered_here(folders: dict[str, str]) -> None:
    server = OpenAIEngine("m", url="http://127.0.0.1:9/v1", tokenizer=folders["deepseek r1"], chat_template="model")
    with pytest.raises(ConfigError, match=r"<think>.*; take labeler\.engine\.scoring=votes"):
        server.score([PROMPT], ("1", "2"))
    options: dict[str, Any] = {"tokenizer": folders["qwen 3"], "chat_template": "model"}
    plain, off = OpenAIEngine("m", **options), OpenAIEngine("m", **options, chat_template_kwargs=OFF)
    assert plain.rendered(PROMPT) != off.rendered(PROMPT) and plain.identity != off.identity
    assert "chat_template_kwargs" not in off.asking.body({}, 1), "the server's own template is not used"
    with pytest.raises(ConfigError, match=r"extra\.chat_template_kwargs: take labeler\.engine\.chat_template_kwargs"):
        OpenAIEngine("m", tokenizer=folders["qwen 3"], chat_template="model", extra={"chat_template_kwargs": OFF})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"chat_template_kwargs": OFF, "chat_template": "none"},
            "chat_template_kwargs: needs labeler.engine.chat_template=auto or model",
        ),
        (
            {"chat_template": "model", "chat_template_kwargs": {"tokenize": True}},
            "chat_template_kwargs.tokenize: is set by the engine itself",
        ),
    ],
)
def test_arguments_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        TransformersEngine(**options)
    assert error.value.problems == [f"labeler.engine.{problem}"]


def test_an_argument_that_the_template_ignores_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"chat_template_kwargs\.thinking: .*no variable of that name; it reads enable_thinking"
    ):
        engine(folders["qwen 3"], chat_template_kwargs={"thinking": False}).load()


def test_special_tokens_that_mark_reasoning_stay_in_a_message() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]", "<|im_end|>"]})
    prompts = PromptTokenizer(tokenizer)
    ids = prompts.trusted_ids("[THINK]Hm, 2.[/THINK]Response 1<|im_end|></s>")
    assert message_text(prompts, ids) == "[THINK]Hm, 2.[/THINK]Response 1"
    assert split_reasoning(message_text(prompts, ids)).text == "Response 1"
    plain = prompts.data_ids("Response 1")
    assert message_text(prompts, plain) == prompts.decode(plain) == "Response 1"


def test_without_a_template_nothing_is_open() -> None:
    prompts = PromptTokenizer(tiny_tokenizer())
    assert opened_reasoning(prompts) == ""
    check_scorable(prompts, {}, "")


class Chatting(ScriptedEngine):
    """A chat or not, that remembers how it was sampled."""

    def __init__(self, *, is_chat: bool) -> None:
        super().__init__({"": "1"})
        self.is_chat = is_chat
        self.samplings: list[Sampling] = []

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        self.samplings.append(sampling)
        return [Generation(text="Heading:\n\nBoth.") for _ in prompts]


@pytest.mark.parametrize("labeler", [ChainOfThoughtLabeler, ChainOfThoughtScoreLabeler, SelfConsistencyLabeler])
def test_the_form_of_a_rationale_follows_from_the_engine_and_changes_the_identity(labeler: Any) -> None:
    talks, continues, plain = Chatting(is_chat=True), Chatting(is_chat=False), ScriptedEngine({"": "1"})
    labels = [labeler(JudgePrompts(), asked).label(sample_comparisons()[:1]) for asked in (talks, continues)]
    assert {sampling.stop for sampling in talks.samplings} == {()}
    assert {sampling.stop for sampling in continues.samplings} == {("\n",)}
    assert all(judgment.reply == "Heading:\n\nBoth." for label in labels[0] for judgment in label.judgments)
    identities = [labeler(JudgePrompts(), asked).identity for asked in (talks, continues, plain)]
    assert identities[0] != identities[1] == identities[2]


def test_local_engines_say_whether_they_chat(folders: dict[str, str]) -> None:
    assert is_chat(engine(folders["qwen 3"]))
    assert not is_chat(TransformersEngine(folders["qwen 3"], chat_template="none"))


def test_prompts_take_the_models_template_where_it_has_one(folders: dict[str, str], tmp_path: Path) -> None:
    chats, plain = TransformersEngine(folders["qwen 3"]), TransformersEngine(str(make_tiny_model(tmp_path)))
    assert is_chat(chats) and chats.token_ids(PROMPT) == engine(folders["qwen 3"]).token_ids(PROMPT)
    assert chats.identity == engine(folders["qwen 3"]).identity
    assert not is_chat(plain) and plain.identity == TransformersEngine(str(tmp_path), chat_template="none").identity
    assert plain.token_ids(PROMPT) == TransformersEngine(str(tmp_path), chat_template="none").token_ids(PROMPT)
    assert not is_chat(TransformersEngine("pocket:S"))
