"""Dialogues as one text with turns (as Anthropic HH writes them), and as lists of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Prompt, turns_in

_TURNS = {"user": HUMAN_TURN, "assistant": ASSISTANT_TURN}


class TurnError(ValueError):
    """A message that a text with turns has no place for."""


def with_turns(instruction: str) -> str:
    """A dialogue of one human turn that the assistant answers.

    >>> with_turns("Hi ")
    '\\n\\nHuman: Hi\\n\\nAssistant:'
    """
    return f"{HUMAN_TURN} {instruction.strip()}{ASSISTANT_TURN}"


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


def transcript(messages: Sequence[object], *, ends_with_response: bool = False) -> str:
    """Messages of user and assistant as one text.

    Args:
        messages: ``{"role": "user" | "assistant", "content": text}`` each.
        ends_with_response: The last message is a response, which keeps its outer white space.

    Raises:
        TurnError: Another role (a system message has no place in a text with turns), or no text.
    """
    parts = []
    for number, message in enumerate(messages, 1):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in _TURNS:
            raise TurnError(f"role {role!r}; there are user and assistant")
        if not isinstance(content, str):
            raise TurnError(f"content {content!r:.40}; expected a text")
        is_response = ends_with_response and number == len(messages)
        parts.append(f"{_TURNS[role]} {content if is_response else content.strip()}")
    return "".join(parts)


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """The turns of a prompt up to the assistant's; a prompt without turns is one message of the user.

    >>> messages(Prompt(task="dialogue", text="\\n\\nHuman: Hi\\n\\nAssistant:"))
    [{'role': 'user', 'content': 'Hi'}]
    """
    return [{"role": turn.role, "content": turn.text} for turn in prompt.turns or turns_in(prompt.text)]
