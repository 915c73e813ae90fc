"""The message of a chat reply: its text, its reasoning, its refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.reasoning import joined
from rlaif.types import as_unicode

_TEXT_PARTS = ("text", "output_text")
_REASONING_PARTS = ("thinking", "reasoning", "reasoning_content", "reasoning_text", "redacted_thinking", "thought")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""``reasoning_content`` of vLLM, SGLang, llama.cpp and DeepSeek; ``reasoning`` of newer vLLM, OpenRouter and Ollama."""
_TEXT_FIELDS = ("text", "thinking", "reasoning", "content", "summary")
_MOST_NESTED = 5
"""Lists and objects in one another; what lies deeper is not looked for."""
_MAX_NAME = 40


class Message(NamedTuple):
    """What a chat reply says."""

    text: str | None
    """What counts, parts joined; None where the message holds no text."""
    reasoning: str = ""
    """What the server tells of the model's reasoning, apart from the text."""
    refusal: str = ""
    """The model's own refusal."""


def read_message(message: Mapping[str, Any]) -> Message:
    """Read the ``message`` of a choice, whose content is a text or a list of parts.

    Raises:
        RequestFailed: ``wrong shape: …`` where the content is neither, or holds a part that is no text.

    >>> parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "1"}]
    >>> read_message({"content": parts})
    Message(text='1', reasoning='Hm.', refusal='')
    """
    content = message.get("content")
    told = [_words(message.get(name)) for name in _REASONING_FIELDS]
    if not any(told):
        told = [_words(message.get("reasoning_details"))]
    refusal = _words(message.get("refusal")) or ("refused" if message.get("refusal") else "")
    if content is None or isinstance(content, str):
        text = None if content is None else as_unicode(content)
        return Message(text, joined(*told), refusal)
    if not isinstance(content, list):
        raise RequestFailed("wrong shape: no text")
    parts = [_part(part) for part in content]
    text = "".join(part.text or "" for part in parts)
    return Message(text, joined(*told, *(part.reasoning for part in parts)), refusal or _first_refusal(parts))


def _part(part: object) -> Message:
    if isinstance(part, str):
        return Message(as_unicode(part))
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXT_PARTS and isinstance(part, dict) and isinstance(part.get("text"), str):
        return Message(as_unicode(part["text"]))
    if kind in _REASONING_PARTS:
        return Message("", _words(part))
    if kind == "refusal" and isinstance(part, dict):
        return Message("", "", _words(part.get("refusal")) or "refused")
    raise RequestFailed(f"wrong shape: a content part {str(kind)[:_MAX_NAME]}")


def _first_refusal(parts: list[Message]) -> str:
    return next((part.refusal for part in parts if part.refusal), "")


def _words(value: object) -> str:
    """The texts of a field or a part, whichever way a server nests them; empty for what holds none."""
    return as_unicode("\n".join(_texts(value, _MOST_NESTED)))


def _texts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict) and depth > 0:
        items = value if isinstance(value, list) else [value.get(name) for name in _TEXT_FIELDS]
        for item in items:
            yield from _texts(item, depth - 1)
