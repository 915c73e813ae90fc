"""Reasoning apart from the answer: think blocks in the text of a model.

The marks are those that the chat templates of open models and the reasoning parsers of vLLM, SGLang and llama.cpp
know: ``<think>`` (DeepSeek R1, Qwen, GLM, Granite 3.3, …), ``<thinking>``, ``<thought>`` (EXAONE Deep),
``<reasoning>``, ``<scratchpad>`` and names made with these (``<seed:think>`` of Seed-OSS, ``<internal_thought>``),
``[THINK]`` (Mistral), ``<|begin_of_thought|>`` (OpenThinker), ``<|START_THINKING|>`` (Cohere), ``<|inner_prefix|>``
(Apertus), ``<|channel>`` (Gemma 4), ``<unused94>`` (MedGemma), ``◁think▷`` (Kimi), ``[BEGIN FINAL RESPONSE]`` after the
reasoning (Apriel), Granite 3.2's sentences, and the channels of gpt-oss (https://github.com/openai/harmony,
docs/format.md).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = (
    r"(?:[a-z]+[:_-]){0,3}(?:think|thinking|thoughts?|reason|reasoning|antthinking|scratchpad|monologue)"
    r"(?:[:_-][a-z]+){0,3}"
)
_NEVER = r"(?!)"
"""Of marks that templates alone write."""
_MARKS = (
    (rf"<{_NAMES}(?:\s[^<>]*)?(?<!/)>", rf"</{_NAMES}\s*>"),
    (r"\[think\]", r"\[/think\]"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|start_thinking\|>", r"<\|end_thinking\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<\|channel>(?:thought)?", r"<channel\|>"),
    (r"<unused94>(?:thought)?", r"<unused95>"),
    (r"◁think▷", r"◁/think▷"),
    (_NEVER, r"\[begin final response\]"),
    (r"(?<!\S)here(?:'s|’s| is) my thought process:", r"here(?:'s|’s| is) my response:"),
)
"""Opening and closing mark of a block, in small letters."""
_OPENS = re.compile("|".join(f"(?P<m{index}>{opens})" for index, (opens, _) in enumerate(_MARKS)), re.IGNORECASE)
_CLOSES = {f"m{index}": re.compile(closes, re.IGNORECASE) for index, (_, closes) in enumerate(_MARKS)}
_ANY_CLOSE = re.compile("|".join(closes for _, closes in _MARKS[:-1]), re.IGNORECASE)
"""Those that may stand alone; the last pair are words that any text may hold."""
_EMPTY = re.compile(rf"<{_NAMES}\s*/>", re.IGNORECASE)
_WRAPPED = re.compile(
    r"<(?P<tag>answer|response|output|solution)>(.*?)(?:</(?P=tag)>)?"
    r"|<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>)?"
    r"|<\|START_RESPONSE\|>(.*?)(?:<\|END_RESPONSE\|>)?"
    r"|(.*?)\[END FINAL RESPONSE\]",
    re.DOTALL,
)
"""What some models put around the answer that follows their reasoning."""
_CHANNEL_TOKEN = re.compile(r"<\|(start|end|return|call|channel|message|constrain)\|>")
_CHANNELS = ("analysis", "commentary", "final")
_BARE_FINAL = "assistantfinal"
"""``<|start|>assistant<|channel|>final<|message|>`` of gpt-oss, where the server drops special tokens."""
_BARE_ANALYSIS = re.compile(r"\Aanalysis(?=[A-Z\"“'])")


class Parted(NamedTuple):
    """A model's text in two parts."""

    text: str
    """What counts: the text outside of think blocks; unchanged where there are none."""
    reasoning: str
    """Evidence only: the blocks' content, without their marks."""
    is_closed: bool = True
    """False when a block has no end, so that the text may be missing what comes after it."""


def split_reasoning(text: str) -> Parted:
    """Take the think blocks out of a text.

    What stands before a closing mark that nothing opened is reasoning: the chat template opened it.

    >>> split_reasoning("<think>\\nHm.\\n</think>\\n\\n1")
    Parted(text='1', reasoning='Hm.', is_closed=True)
    >>> split_reasoning("Hm.</think>1").text, split_reasoning("<think>Hm, 1").is_closed, split_reasoning("1\\n")
    ('1', False, Parted(text='1\\n', reasoning='', is_closed=True))
    """
    if "<|channel|>" in text or "<|message|>" in text:
        return _split_channels(text)
    if _BARE_FINAL in text or _BARE_ANALYSIS.match(text):
        return _split_bare_channels(text)
    if not (_OPENS.search(text) or _ANY_CLOSE.search(text) or _EMPTY.search(text)):
        return Parted(text, "")
    return _split_blocks(text)


def has_reasoning(text: str) -> bool:
    """True for a text with a think block, whole or begun."""
    parted = split_reasoning(text)
    return bool(parted.reasoning) or parted.text != text or not parted.is_closed


def joined(*reasonings: str) -> str:
    """Pieces of reasoning as one text; empty and equal ones once."""
    return "\n\n".join(dict.fromkeys(filter(None, (reasoning.strip() for reasoning in reasonings))))


def open_mark(text: str) -> str:
    """The mark of the think block that a text leaves open, empty where it leaves none open.

    >>> open_mark("<|im_start|>assistant\\n<think>\\n"), open_mark("<think>\\n\\n</think>\\n\\n")
    ('<think>', '')
    """
    position = 0
    while opened := _OPENS.search(text, position):
        closed = _CLOSES[opened.lastgroup or ""].search(text, opened.end())
        if closed is None:
            return opened[0]
        position = closed.end()
    return ""


def is_reasoning_mark(token: str) -> bool:
    """True for a token that is a mark of reasoning, or one of a channel.

    >>> is_reasoning_mark("[/THINK]"), is_reasoning_mark("<|channel|>"), is_reasoning_mark("</s>")
    (True, True, False)
    """
    return any(pattern.fullmatch(token) for pattern in (_OPENS, _ANY_CLOSE, _CHANNEL_TOKEN))


def _split_blocks(text: str) -> Parted:
    text = _EMPTY.sub("", text)
    outside, position = "", 0
    blocks: list[str] = []
    while opened := _OPENS.search(text, position):
        outside += text[position : opened.start()]
        closed = _CLOSES[opened.lastgroup or ""].search(text, opened.end())
        if closed is None:
            return Parted(outside.strip(), joined(*blocks, text[opened.end() :]), is_closed=False)
        blocks.append(text[opened.end() : closed.start()])
        position = closed.end()
    outside += text[position:]
    *earlier, answer = _ANY_CLOSE.split(outside)
    return Parted(_unwrapped(answer), joined(*blocks, *earlier))


def _unwrapped(answer: str) -> str:
    found = _WRAPPED.fullmatch(answer.strip())
    return answer.strip() if found is None else next(text for text in found.groups()[1:] if text is not None).strip()


def _split_channels(text: str) -> Parted:
    """The messages of gpt-oss: ``final`` and text outside of any message count, other channels are reasoning."""
    before, *pieces = _CHANNEL_TOKEN.split(text)
    counts: list[str] = []
    # The prompt may end with the channel's token, so that the text begins with its name.
    channel = before.strip() if before.strip() in _CHANNELS else ""
    reasoning, is_closed = ["" if channel else before], True
    for token, piece in zip(pieces[::2], pieces[1::2], strict=True):
        if token == "start":
            channel = ""
        elif token == "channel":
            channel = (piece.split() or [""])[0]
        elif token == "message":
            is_closed = channel in ("", "final")
            (counts if is_closed else reasoning).append(piece)
        elif token in ("end", "return", "call"):
            is_closed = True
            counts.append(piece)
    return Parted("".join(counts).strip(), joined(*reasoning), is_closed)


def _split_bare_channels(text: str) -> Parted:
    reasoning, final, answer = _BARE_ANALYSIS.sub("", text, count=1).rpartition(_BARE_FINAL)
    return Parted(answer.strip(), joined(reasoning)) if final else Parted("", joined(answer), is_closed=False)
