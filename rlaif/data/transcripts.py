"""Dialogues as one text with turns (as Anthropic HH writes them), and as lists of messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Prompt, Turn, turns_in

_MARKS: Mapping[str, str] = {
    "system": "\n\nSystem:",
    "user": HUMAN_TURN,
    "assistant": ASSISTANT_TURN,
    "tool": "\n\nTool:",
}


def with_turns(instruction: str) -> str:
    """A dialogue of one human turn that the assistant answers.

    >>> with_turns("Hi ")
    '\\n\\nHuman: Hi\\n\\nAssistant:'
    """
    return f"{HUMAN_TURN} {instruction.strip()}{ASSISTANT_TURN}"


def transcript_of(turns: Iterable[Turn]) -> str:
    """Turns as one text that ends with the assistant's mark; system and tool turns have marks of their own.

    >>> transcript_of([Turn("system", "Be brief."), Turn("user", "Hi")])
    '\\n\\nSystem: Be brief.\\n\\nHuman: Hi\\n\\nAssistant:'
    """
    return "".join(f"{_MARKS[turn.role]} {turn.text}" for turn in turns) + ASSISTANT_TURN


def instruction_text(turns: Iterable[Turn]) -> str:
    """System text and instruction as one text without marks, for tasks without a dialogue."""
    return "\n\n".join(turn.text for turn in turns)


def instruction_in(text: str) -> str:
    """The human turn of a transcript with one turn; every other text unchanged.

    >>> instruction_in(with_turns("Hi")), instruction_in("A post.")
    ('Hi', 'A post.')
    """
    if not text.startswith(HUMAN_TURN) or not text.endswith(ASSISTANT_TURN):
        return text
    inner = text[len(HUMAN_TURN) : len(text) - len(ASSISTANT_TURN)]
    return text if HUMAN_TURN in inner or ASSISTANT_TURN in inner else inner.strip()


def instruction_of(prompt: Prompt) -> str:
    """The human turn of a prompt with one turn; the text of every other prompt.

    >>> instruction_of(Prompt(task="dialogue", text=with_turns("Hi")))
    'Hi'
    """
    if prompt.has_own_turns and [turn.role for turn in prompt.turns] == ["user"]:
        return prompt.turns[0].text
    return instruction_in(prompt.text)


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """The turns of a prompt up to the assistant's; a prompt without turns is one message of the user.

    >>> messages(Prompt(task="dialogue", text="\\n\\nHuman: Hi\\n\\nAssistant:"))
    [{'role': 'user', 'content': 'Hi'}]
    """
    return [{"role": turn.role, "content": turn.text} for turn in prompt.turns or turns_in(prompt.text)]


def latest_turns(prompt: Prompt) -> Iterator[Prompt]:
    """The prompt, then the prompt without its oldest exchanges, each beginning with a human turn; system turns stay.

    >>> prompt = Prompt(task="dialogue", text="\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant:")
    >>> [shorter.text for shorter in latest_turns(prompt)][1:]
    ['\\n\\nHuman: c\\n\\nAssistant:']
    """
    yield prompt
    if not prompt.has_own_turns:
        starts = [match.start() for match in re.finditer(HUMAN_TURN, prompt.text) if match.start() > 0]
        yield from (replace(prompt, text=prompt.text[start:]) for start in starts)
        return
    system = tuple(turn for turn in prompt.turns if turn.role == "system")
    others = [turn for turn in prompt.turns if turn.role != "system"]
    starts = [index for index, turn in enumerate(others) if turn.role == "user" and index > 0]
    for start in starts:
        turns = (*system, *others[start:])
        text = transcript_of(turns)
        yield replace(prompt, text=text, turns=turns if turns != turns_in(text) else ())
