"""Messages of the forms that people have, as turns: role/content, from/value, parts, tool calls, transcripts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rlaif.data.formats.base import OddRowError
from rlaif.data.formats.paths import as_list
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Role, Turn, turns_in

_NAMES: Mapping[Role, str] = {
    "user": "user human prompter student instructor",
    "assistant": "assistant gpt chatgpt bing bard bot chatbot model ai claude function_call tool_call",
    "system": "system developer",
    "tool": "tool function observation environment ipython tool_response",
}
ROLES: Mapping[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split()}
"""Names of roles in data sets, in small letters, and what they are."""
ROLE_KEYS = ("role", "from", "speaker", "author")
"""Keys of a message that name its role."""
_TEXT_KEYS = ("content", "value", "text", "parts", "message", "refusal")
_CALL_KEYS = ("tool_calls", "function_call")
THINKING = ("reasoning_content", "thinking", "reasoning", "thought", "thoughts", "reasoning_details")
"""Keys of messages under which data sets keep what a model thought before its answer."""
_TRANSCRIPT = re.compile(r"\s*Human:")
_LAST_MARK = re.compile(r"\s*Assistant:[^\S\n]*\Z")


def is_message(value: object) -> bool:
    """True for an object with a role and a text."""
    return (
        isinstance(value, Mapping)
        and any(isinstance(value.get(key), str) for key in ROLE_KEYS)
        and any(key in value for key in (*_TEXT_KEYS, *_CALL_KEYS))
    )


def messages_in(value: object, *, in_json: bool = True) -> list[Any] | None:
    """The messages of a value: a list of them or one alone, with ``in_json`` also as JSON text; None for all else."""
    if isinstance(value, str) and in_json:
        value = _decoded(value)
    if is_message(value):
        return [value]
    items = as_list(value)
    return items if items and all(is_message(item) for item in items) else None


def turns_of(messages: list[Any], roles: Mapping[str, Role]) -> tuple[Turn, ...]:
    """Messages as turns; the text of the last one is as written, the others' without outer white space.

    Args:
        messages: What :func:`messages_in` gives.
        roles: Names of roles besides :data:`ROLES`.

    Raises:
        OddRowError: A role is unknown, or a part is no text.
    """
    said = [message for message in messages if message.get("channel") != "analysis"] or messages
    turns = [_turn(message, roles) for message in said]
    return tuple(Turn(turn.role, turn.text.strip()) for turn in turns[:-1]) + tuple(turns[-1:])


def is_transcript(text: str) -> bool:
    """True for a text with the turn marks of Anthropic HH: it begins with a human turn and holds an assistant's.

    >>> is_transcript("Human: Hi\\n\\nAssistant:"), is_transcript("Human: resources need a plan.")
    (True, False)
    """
    if text.startswith(HUMAN_TURN):
        return True
    return _TRANSCRIPT.match(text) is not None and ASSISTANT_TURN in text


def canonical_transcript(text: str) -> str:
    """A transcript that begins with ``"\\n\\nHuman:"`` and, where its last mark is empty, ends with that mark.

    >>> canonical_transcript("Human: Hi\\n\\nAssistant: ")
    '\\n\\nHuman: Hi\\n\\nAssistant:'
    """
    text = text if text.startswith(HUMAN_TURN) else "\n\n" + text.lstrip()
    return _LAST_MARK.sub(ASSISTANT_TURN, text)


def prompt_transcript(text: str) -> str:
    """A transcript up to the assistant's turn, which it gets where it ends with a human turn.

    Raises:
        OddRowError: It ends with a turn of the assistant that is not empty.
    """
    text = canonical_transcript(text)
    if text.endswith(ASSISTANT_TURN):
        return text
    if turns_in(text)[-1].role == "assistant":
        raise OddRowError("prompt ends with an assistant turn", repr(text[-40:]))
    return text.rstrip() + ASSISTANT_TURN


def text_of(value: object, name: str) -> str:
    """A text, or a number as its text.

    Args:
        value: What the row holds.
        name: Of the value, for messages.

    Raises:
        OddRowError: There is no text.
    """
    if value is None:
        raise OddRowError("no text", f"{name} is null")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise OddRowError("no text", f"{name} is {_kind(value)}")
    return value if isinstance(value, str) else str(value)


def _turn(message: Mapping[str, Any], roles: Mapping[str, Role]) -> Turn:
    name = next(message[key] for key in ROLE_KEYS if isinstance(message.get(key), str))
    role = roles.get(name.casefold()) or ROLES.get(name.casefold())
    if role is None:
        raise OddRowError(
            "unknown role", f"{name!r:.40}; name it in a layout of your own as YAML, roles: {{{name}: user}}"
        )
    key = next((key for key in _TEXT_KEYS if message.get(key) is not None), None)
    text = "" if key is None else content_text(message[key], f"{name}'s {key}")
    calls = next((message[key] for key in _CALL_KEYS if message.get(key)), None)
    if calls:
        text = "\n".join(filter(None, [text, json.dumps(calls, ensure_ascii=False, default=str)]))
    if key is None and not text:
        raise OddRowError("no text", f"a message of {name} is empty")
    return Turn(role, text)


def _kind(value: object) -> str:
    items = as_list(value)
    return f"{value!r:.40}" if items is None else f"a list of {len(items)}"


def content_text(value: object, name: str) -> str:
    """A content, as of a message: a text, or parts with texts, which are joined.

    Raises:
        OddRowError: There is no text, or a part is none.
    """
    items = [value] if isinstance(value, Mapping) else as_list(value)
    if items is None:
        return text_of(value, name)
    texts = []
    for item in items:
        if is_thought(item):
            continue
        text = item.get("text") if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            kind = item.get("type", "of another kind") if isinstance(item, Mapping) else repr(item)[:40]
            raise OddRowError("a part that is no text", f"{name}: {kind}")
        texts.append(text)
    return "".join(texts)


def is_thought(part: object) -> bool:
    """True for a part or a message that holds what a model thought (Anthropic, Gemini, OpenAI's harmony format)."""
    if not isinstance(part, Mapping):
        return False
    kinds = ("thinking", "redacted_thinking", "reasoning")
    return part.get("type") in kinds or part.get("thought") is True or part.get("channel") == "analysis"


def _decoded(text: str) -> object:
    """The value of a text that is a JSON object or list; None for every other text."""
    if not text.lstrip().startswith(("[{", "[\n", '{"', "[ {")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
