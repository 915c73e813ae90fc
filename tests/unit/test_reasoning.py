"""Think blocks as models and servers write them: what counts, and what is evidence only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.engines.answers import pack, unpack
from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.openai.messages import Message, read_message
from rlaif.engines.reasoning import has_reasoning, is_reasoning_mark, joined, open_mark, split_reasoning
from rlaif.outcome import Generation, OptionScores

BLOCKS = (
    ("<think>\n", "\n</think>\n\n"),  # DeepSeek R1, Qwen 3, GLM 4.5, …
    ("<think>", "</think>"),
    ("<THINK>", "</THINK>"),
    ("<thinking>\n", "</thinking>\n"),
    ("<thought>\n", "\n</thought>\n"),  # EXAONE Deep
    ("<Thought>", "</Thought>"),  # Marco-o1
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<longcat_think>\n", "\n</longcat_think>\n"),
    ("<antThinking>", "</antThinking>"),
    ("<scratchpad>\n", "\n</scratchpad>\n"),
    ("<internal_thought>", "</internal_thought>"),
    ("<thinking-process>", "</thinking-process>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ('<think type="long">', "</think>"),
    ("[THINK]", "[/THINK]"),  # Mistral
    ("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"),  # OpenThinker, Sky-T1
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere Command A Reasoning
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|channel>thought\n", "<channel|>"),  # Gemma 4
    ("<unused94>thought\n", "<unused95>"),  # MedGemma
    ("◁think▷", "◁/think▷"),  # Kimi
    ("Here is my thought process:", "Here is my response:"),  # Granite 3.2
    ("Here's my thought process:\n", "Here's my response:\n"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),  # gpt-oss
    ("analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss behind llama.cpp without a reasoning format
    ("<|start|>assistant<|channel|>commentary<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis", "assistantfinal"),  # gpt-oss behind a server that drops special tokens
)
TEXT = st.text(alphabet=st.characters(exclude_characters="<>[]|◁▷", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(("opens", "closes"), BLOCKS)
def test_a_block_is_apart_from_the_answer(opens: str, closes: str) -> None:
    parted = split_reasoning(f"{opens}We compare: 2 is better.{closes}Both are short.\n\n1")
    assert (parted.text, parted.reasoning) == ("Both are short.\n\n1", "We compare: 2 is better.")
    assert parted.is_closed


@pytest.mark.parametrize(("opens", "closes"), BLOCKS)
def test_a_block_without_an_end_holds_everything_after_it(opens: str, closes: str) -> None:
    parted = split_reasoning(f"{opens}We compare: the answer is 2")
    assert (parted.text, parted.is_closed) == ("", False)
    assert "the answer is 2" in parted.reasoning


@pytest.mark.parametrize(
    "closes", ["</think>", "[/THINK]", "</thinking>", "◁/think▷", "<|END_THINKING|>", "</seed:think>"]
)
def test_the_template_may_have_opened_the_block(closes: str) -> None:
    assert split_reasoning(f"Hm, 2.\n{closes}\n\n1") == ("1", "Hm, 2.", True)


def test_a_final_response_ends_the_steps_before_it() -> None:
    """Apriel, whose template opens its steps."""
    text = "A is clearer.\n[BEGIN FINAL RESPONSE]\n1\n[END FINAL RESPONSE]\n"
    assert split_reasoning(text) == ("1", "A is clearer.", True)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think>1<think>b</think>", "1"),
        ("<think>the <think> tag</think>1", "1"),
        ("<think>a<think>b</think>c</think>1", "1"),
        ("<think/>1", "1"),
        ("<think></think>\n\n1", "1"),
        ("<think>a</think><answer>1</answer>", "1"),  # Hunyuan A13B
        ("<think>a</think><response>1</response>", "1"),  # Granite 3.3
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>1<|end_of_solution|>", "1"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>1<|END_RESPONSE|>", "1"),
        ("<|channel|>final<|message|>1<|return|>", "1"),
        ("thoughts<|end|><|start|>assistant<|channel|>final<|message|>1", "1"),
    ],
)
def test_what_counts(text: str, answer: str) -> None:
    assert split_reasoning(text)[::2] == (answer, True)


def test_the_example_of_the_harmony_format() -> None:
    """docs/format.md of openai/harmony, "Example 1"."""
    text = (
        '<|channel|>analysis<|message|>User asks: "What is 2 + 2?" Simple arithmetic. Provide answer.<|end|>'
        "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>"
    )
    parted = split_reasoning(text)
    assert parted.text == "2 + 2 = 4."
    assert parted.reasoning == 'User asks: "What is 2 + 2?" Simple arithmetic. Provide answer.'


@pytest.mark.parametrize(
    "text",
    [
        "1\n",
        "  I think that response 1 is better.\n",
        "analysis: it is short",
        "a < b > c [think about it] </p>",
        "Here is my response: 1",
        "<thinker>no mark</thinker>",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert split_reasoning(text) == (text, "", True)
    assert not has_reasoning(text)


@given(thought=TEXT, answer=TEXT)
def test_nothing_of_a_block_is_in_the_answer_and_nothing_else_is_lost(thought: str, answer: str) -> None:
    assert split_reasoning(answer).text == answer or "assistantfinal" in answer or answer.startswith("analysis")
    parted = split_reasoning(f"<think>{thought}</think>{answer}")
    assert (parted.text, parted.reasoning) == (answer.strip(), thought.strip())


def test_marks_that_stay_open() -> None:
    assert open_mark("<|im_start|>assistant\n<think>\n") == "<think>"  # Qwen 3 Thinking, DeepSeek R1
    assert open_mark("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ""  # Qwen 3 with enable_thinking=false
    assert open_mark("<think></think><seed:think>") == "<seed:think>"
    assert open_mark("<|start|>assistant") == ""
    assert [is_reasoning_mark(token) for token in ("[THINK]", "<|message|>", "</think>", "<|im_end|>", "think")] == [
        *(True, True, True),
        *(False, False),
    ]


def test_reasoning_is_joined_once() -> None:
    assert joined("a", " ", "a\n", "b") == "a\n\nb"


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ({"content": "1", "reasoning_content": "Hm."}, ("1", "Hm.")),  # DeepSeek, vLLM, SGLang, llama.cpp
        ({"content": "1", "reasoning": "Hm."}, ("1", "Hm.")),  # OpenRouter, Ollama, newer vLLM
        ({"content": "1", "reasoning_content": "Hm.", "reasoning": "Hm."}, ("1", "Hm.")),
        ({"content": "1", "reasoning_content": None}, ("1", "")),
        ({"content": None, "reasoning_content": "Hm"}, (None, "Hm")),
        (
            {"content": "1", "reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
            ("1", "Hm."),
        ),
        (
            {"content": [{"type": "text", "text": "Response 1 "}, {"type": "text", "text": "wins."}]},
            ("Response 1 wins.", ""),
        ),
        ({"content": [{"type": "output_text", "text": "1"}]}, ("1", "")),
        ({"content": ["1", "0"]}, ("10", "")),
        ({"content": []}, ("", "")),
        (  # Mistral's reasoning models
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
                    {"type": "text", "text": "1"},
                ]
            },
            ("1", "Hm."),
        ),
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "1"}]}, ("1", "Hm.")),
        (
            {"content": [{"type": "reasoning", "summary": [{"text": "Hm."}]}, {"type": "text", "text": "1"}]},
            ("1", "Hm."),
        ),
    ],
)
def test_messages(message: dict[str, object], read: tuple[str | None, str]) -> None:
    assert read_message(message)[:2] == read


def test_refusals_in_messages() -> None:
    assert read_message({"content": None, "refusal": "I cannot."}) == Message(None, "", "I cannot.")
    assert read_message({"content": [{"type": "refusal", "refusal": "I cannot."}]}) == Message("", "", "I cannot.")


@pytest.mark.parametrize(
    "content", [1, {"text": "1"}, [{"type": "image_url", "image_url": {}}], [1], [{"type": "text"}]]
)
def test_content_that_is_no_text_is_refused(content: object) -> None:
    with pytest.raises(RequestFailed, match="wrong shape"):
        read_message({"content": content})


def test_a_deeply_nested_field_is_no_reasoning() -> None:
    nested: object = "deep"
    for _ in range(500):
        nested = [nested]
    assert read_message({"content": "1", "reasoning": nested}) == Message("1")


def test_reasoning_is_kept_with_an_answer_and_others_are_the_bytes_of_before() -> None:
    written = Generation(text="a", token_ids=(1, 2), reasoning="Hm. \ud83d")
    scored = OptionScores(logprobs=(-0.5, -1.0), bounded=(1,), num_counted_tokens=40, reasoning="Hm.")
    assert unpack(pack(written)) == written and unpack(pack(scored)) == scored
    plain = Generation(text="a", token_ids=(1, 2))
    assert pack(plain)[0] == 2 and pack(written).endswith(pack(plain))
    assert unpack(pack(plain)) == plain
    with pytest.raises(ValueError, match="not an answer"):
        unpack(pack(written)[:9])
