"""A policy's prompts in its own chat template: the same ids in SFT, reward model, policy and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from rlaif.chat_format import ChatFormat
from rlaif.data.base import TaskData
from rlaif.data.batches.examples import pair_examples, prompt_ids, response_ids, sft_examples
from rlaif.data.transcripts import transcript_of
from rlaif.errors import ConfigError, EngineError
from rlaif.models.classifier_text import ClassifierText
from rlaif.models.load import ModelSpec, load_tokenizer, model_identity
from rlaif.models.saving import save_folder
from rlaif.pipeline.stage import Work
from rlaif.rollouts.responses import policy_prompt_ids
from rlaif.stages.data import DataStage
from rlaif.tasks.base import Dialogue, Summarization, get_task
from rlaif.testing.tiny import make_tiny_model, tiny_tokenizer
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt, Turn

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
TURNS = (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", "Why <|im_end|>?"))
DIALOGUE = Prompt(task="dialogue", text=transcript_of(TURNS), turns=TURNS)


def tokenizer_with(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def test_turns_become_messages_with_their_roles_as_the_library_writes_them() -> None:
    tokenizer = tokenizer_with(CHATML)
    turns = (*TURNS[:-1], Turn("user", "Why?"))
    prompt = Prompt(task="dialogue", text=transcript_of(turns), turns=turns)
    (ids,) = prompt_ids(PromptTokenizer(tokenizer), Dialogue(), [prompt])
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    assert ids == tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    (transcript,) = prompt_ids(
        PromptTokenizer(tokenizer), Dialogue(), [Prompt(task="dialogue", text="\n\nHuman: Hi\n\nAssistant:")]
    )
    user = [{"role": "user", "content": "Hi"}]
    assert transcript == tokenizer.apply_chat_template(user, add_generation_prompt=True, return_dict=False)


def test_a_post_is_one_message_of_the_user() -> None:
    pieces = PromptTokenizer(tokenizer_with(CHATML))
    (ids,) = prompt_ids(pieces, Summarization(), [Prompt(task="summarization", text="A post.")])
    assert pieces.tokenizer.decode(ids) == "<|im_start|>user\nA post.\n\nTL;DR:<|im_end|>\n<|im_start|>assistant\n"


def test_texts_cannot_write_marks_of_the_template() -> None:
    pieces = PromptTokenizer(tokenizer_with(CHATML))
    ids = pieces.policy_ids(DIALOGUE.text, TURNS)
    assert ids.count(pieces.tokenizer.convert_tokens_to_ids("<|im_end|>")) == len(TURNS)


def test_all_readers_of_a_prompt_read_the_same_ids() -> None:
    tokenizer, task = tokenizer_with(CHATML), Dialogue()
    pieces = PromptTokenizer(tokenizer)
    expected = pieces.policy_ids(DIALOGUE.text, TURNS)
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    (sft,) = sft_examples([Demonstration(prompt=DIALOGUE, response="So.")], task, tokenizer, 200).examples
    assert list(sft.input_ids) == expected + pieces.data_ids("So.") + end
    assert sft.num_prompt_tokens == len(expected)
    pair = Comparison(prompt=DIALOGUE, first=Completion(text="So."), second=Completion(text="No.", finished=False))
    (both,) = pair_examples([Preference(comparison=pair, p_first=1.0)], task, tokenizer, 200).examples
    assert both.first_ids == sft.input_ids
    assert list(both.second_ids) == expected + pieces.data_ids("No.")
    assert ClassifierText(tokenizer, max_length=200, task=task)(DIALOGUE, pair.first).ids == list(sft.input_ids)
    assert policy_prompt_ids(pieces, task, [DIALOGUE], 200) == [expected]


def test_a_template_without_system_or_repeated_roles_gets_joined_turns() -> None:
    pieces = PromptTokenizer(tokenizer_with(NO_SYSTEM))
    ids = pieces.policy_ids("", (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("user", "you")))
    assert pieces.tokenizer.decode(ids) == "[INST] Be brief.\n\nHi\n\nyou [/INST]"
    assert pieces.tokenizer.decode(response_ids(pieces, "Yes.")) == " Yes.</s>"
    with pytest.raises(EngineError, match=r"model\.chat_template=model: the template refuses the turns assistant"):
        pieces.policy_ids("", (Turn("assistant", "Hi"),))


def test_a_cut_prompt_keeps_its_beginning() -> None:
    pieces = PromptTokenizer(tokenizer_with(CHATML))
    ids = pieces.policy_ids("\n\nHuman: " + "word " * 50 + "\n\nAssistant:")
    cut = pieces.cut(ids, 40)
    assert len(cut) == 40 and cut[-25:] == ids[-25:]
    text = pieces.tokenizer.decode(cut)
    assert text.startswith("<|im_start|>user\n") and text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert pieces.cut(ids, len(ids)) == ids and pieces.cut(ids, 2) == ids[-2:]
    plain = PromptTokenizer(tokenizer_with(None))
    assert plain.cut([7, 8, 9], 2) == [8, 9]
    begun = PromptTokenizer(tokenizer_with(None))
    begun.before_ids = [1]
    assert begun.cut([1, 7, 8, 9], 3) == [1, 8, 9]


def test_a_cut_prompt_keeps_its_system_turn_as_far_as_there_is_room() -> None:
    pieces = PromptTokenizer(tokenizer_with(CHATML))
    long = "word " * 50
    turns = (Turn("system", "Be brief."), Turn("user", long), Turn("assistant", long), Turn("user", long))
    ids = pieces.policy_ids("", turns)
    begin = pieces.policy_ids("", (Turn("system", "Be brief."), Turn("user", "")))
    num_before = len(begin) - len(pieces.trusted_ids("<|im_end|>\n<|im_start|>assistant\n"))
    kept = pieces.cut(ids, num_before + 30)
    assert kept == begin[:num_before] + ids[-30:]
    assert pieces.tokenizer.decode(kept).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    without_room = pieces.cut(ids, num_before)
    assert len(without_room) == num_before and pieces.tokenizer.decode(without_room).startswith("<|im_start|>user\n")
    begun = pieces.cut(pieces.policy_ids("", (Turn("assistant", long), Turn("user", long))), 30)
    assert pieces.tokenizer.decode(begun).startswith("<|im_start|>user\n")


LLAMA = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


@pytest.mark.parametrize("opens", [("user", "assistant", "user"), ("system", "user")])
def test_a_cut_dialogue_keeps_its_begin_token_whoever_opens_it(opens: tuple[str, ...]) -> None:
    tokenizer = tokenizer_with(LLAMA)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    pieces = PromptTokenizer(tokenizer)
    turns = [Turn(role, "word " * 20) for role in opens]
    ids = pieces.policy_ids("", turns)
    cut = pieces.cut(ids, 30)
    assert len(cut) == 30 and cut[0] == ids[0] == tokenizer.bos_token_id and cut[-20:] == ids[-20:]
    text = ClassifierText(tokenizer, "chat", max_length=40, task=get_task("dialogue"))
    prompt = Prompt(task="dialogue", text="x", turns=tuple(turns))
    read = text(prompt, Completion(text="Yes"))
    assert len(read.ids) == 40 and read.ids[0] == tokenizer.bos_token_id


def test_without_a_template_prompts_are_plain_text() -> None:
    pieces = PromptTokenizer(tokenizer_with(None))
    assert pieces.tokenizer.decode(pieces.policy_ids(DIALOGUE.text, TURNS)) == DIALOGUE.text
    assert pieces.tokenizer.decode(response_ids(pieces, "Yes.")) == " Yes.</s>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tiny_model(tmp_path / "chat")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    tokenizer.save_pretrained(tmp_path / "chat")
    return tmp_path / "chat"


def test_the_option_leaves_the_template_out_or_asks_for_it(folder: Path, tmp_path: Path) -> None:
    from rlaif.models.load import load_causal_lm

    none = ModelSpec(str(folder), chat_template="none")
    assert load_tokenizer(str(folder)).chat_template and load_tokenizer(none).chat_template is None
    save_folder(load_causal_lm(none), load_tokenizer(none), tmp_path / "trained")
    assert load_tokenizer(str(tmp_path / "trained")).chat_template is None
    assert len({model_identity(ModelSpec(str(folder), chat_template=name)) for name in ("auto", "model")}) == 1
    assert model_identity(none) != model_identity(str(folder))
    plain = make_tiny_model(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"model\.chat_template=model: the tokenizer of .*plain has no chat template"):
        load_tokenizer(ModelSpec(str(plain), chat_template="model"))
    with pytest.raises(ConfigError, match=r"model\.chat_template=chat: allowed are auto, model, none"):
        ModelSpec("pocket:S", chat_template="chat")  # type: ignore[arg-type]


class _Source:
    pairs = "policy"
    identity = "fixed"

    def __init__(self, *prompts: Prompt) -> None:
        self.prompts = prompts

    def load(self, task: object, count_tokens: Callable[[str], int]) -> TaskData:
        return TaskData(
            demonstrations=[],
            label_prompts=list(self.prompts),
            policy_prompts=[],
            eval_prompts=[],
            preferences=[],
            eval_preferences=[],
        )


def told_by(folder: str, option: str, *prompts: Prompt) -> tuple[str, list[str]]:
    stage = DataStage(_Source(*prompts), Dialogue(), ModelSpec(folder, chat_template=option))  # type: ignore[arg-type]
    work = Work(step="data", directory=Path(), inputs={}, seed=0)
    data = stage.load(work)
    work = Work(step="data", directory=Path(), inputs={}, seed=0, result=data)
    told = stage.told(work)
    assert told.sections[0].text == told.notes[0]  # type: ignore[attr-defined]
    return told.notes[0], list(stage.problems(work))


def test_a_run_says_which_form_its_prompts_have_and_what_the_template_refuses(folder: Path, tmp_path: Path) -> None:
    assert told_by(str(folder), "auto", DIALOGUE) == (f"prompts are messages in the chat template of {folder}", [])
    assert told_by(str(folder), "none", DIALOGUE)[0] == "prompts are plain text (model.chat_template=none)"
    assert told_by("pocket:S", "auto")[0] == "prompts are messages in the chat template of pocket:S"
    plain = str(make_tiny_model(tmp_path / "plain"))
    assert told_by(plain, "auto")[0] == f"prompts are plain text ({plain} has no chat template)"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_SYSTEM
    tokenizer.save_pretrained(folder)
    begins = Prompt(task="dialogue", text="", turns=(Turn("assistant", "Hi"), Turn("user", "Hi")))
    _, (problem,) = told_by(str(folder), "auto", DIALOGUE, begins)
    assert problem.startswith("model.chat_template=model: the template refuses the turns assistant, user: ")
    assert problem.endswith("type model.chat_template=none for plain text")


def test_white_space_that_a_template_writes_before_a_response_belongs_to_it() -> None:
    tokenizer = tokenizer_with(NO_SYSTEM)
    assert ChatFormat(tokenizer).before_response == " "
    thinks = CHATML.replace(
        "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
    )
    assert ChatFormat(tokenizer_with(thinks)).before_response == ""
