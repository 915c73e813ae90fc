"""Dialogues as one text with turns (as Anthropic HH writes them), and as lists of messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

HUMAN_TURN = "\n\nHuman:"
ASSISTANT_TURN = "\n\nAssistant:"

_TURNS = {"user": HUMAN_TURN, "assistant": ASSISTANT_TURN}
_ROLES = {turn: role for role, turn in _TURNS.items()}


class TurnError(ValueError):
    """A message that a text with turns has no place for."""


def with_turns(instruction: str) -> str:
    """What one person asks, as a dialogue that the assistant answers.

    >>> with_turns("Hi ")
    '\\n\\nHuman: Hi\\n\\nAssistant:'
    """
    return f"{HUMAN_TURN} {instruction.strip()}{ASSISTANT_TURN}"


def instruction_of(prompt: str) -> str:
    """What the person asks where a dialogue has one turn; every other prompt as it is.

    >>> instruction_of(with_turns("Hi")), instruction_of("A post.")
    ('Hi', 'A post.')
    """
    if not prompt.startswith(HUMAN_TURN) or not prompt.endswith(ASSISTANT_TURN):
        return prompt
    inner = prompt[len(HUMAN_TURN) : len(prompt) - len(ASSISTANT_TURN)]
    return prompt if HUMAN_TURN in inner or ASSISTANT_TURN in inner else inner.strip()


def transcript(messages: Sequence[object]) -> str:
    """Messages of user and assistant as one text.

    Args:
        messages: ``{"role": "user" | "assistant", "content": text}`` each.

    Raises:
        TurnError: Another role (a system message has no place in a text with turns), or no text.
    """
    parts = []
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in _TURNS:
            raise TurnError(f"role {role!r}; there are user and assistant")
        if not isinstance(content, str):
            raise TurnError(f"content {content!r:.40}; expected a text")
        parts.append(f"{_TURNS[role]} {content.strip()}")
    return "".join(parts)


def messages(prompt: str) -> list[dict[str, str]]:
    """The turns of a prompt up to the assistant's; a prompt without turns is one message of the user.

    >>> messages("\\n\\nHuman: Hi\\n\\nAssistant:")
    [{'role': 'user', 'content': 'Hi'}]
    """
    if not prompt.startswith(HUMAN_TURN):
        return [{"role": "user", "content": prompt}]
    pieces = re.split(f"({HUMAN_TURN}|{ASSISTANT_TURN})", prompt.removesuffix(ASSISTANT_TURN))[1:]
    return [
        {"role": _ROLES[turn], "content": content.strip()}
        for turn, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
