"""Replies of OpenAI-compatible servers, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rlaif.engines.openai.failures import NO_LOGPROBS, RequestFailed
from rlaif.engines.openai.finish import CONTENT_FILTER, LENGTH, REFUSAL, STOP, read_finish_reason
from rlaif.engines.openai.likeliest import (
    FIRST_IS_REASONING,
    TOLERANCE,
    Alternative,
    next_tokens,
    read_logprob,
    read_table,
)
from rlaif.engines.openai.messages import Message, read_message
from rlaif.engines.openai.pieces import plain
from rlaif.engines.reasoning import has_reasoning
from rlaif.types import as_unicode

__all__ = ["Alternative", "Reply", "answering", "echoed_tokens", "next_tokens", "read_reply", "told_usage"]

EMPTY = "empty reply"
_MAX_NAME = 60
_MOST_TOKENS = 10_000_000
"""No model reads or writes more in one request: a larger count is a mistake, and is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One choice of one reply, from either endpoint."""

    text: str
    finish_reason: str
    """``stop``, ``length``, ``content_filter`` or ``refusal``, whatever the server calls it."""
    refused: bool
    """True when the reply is a content filter's or the model's own refusal."""
    logprobs: object
    """As sent; read by :func:`next_tokens` or :func:`echoed_tokens`."""
    num_prompt_tokens: int
    num_reply_tokens: int
    reasoning: str = ""
    """What the server tells of the model's reasoning, apart from the text."""


def read_reply(payload: object, *, model: str, accept_model: str | None, opened: str = "") -> Reply:
    """Check a reply of ``/completions`` or ``/chat/completions``.

    Args:
        payload: The reply's JSON.
        model: The model that was asked.
        accept_model: Shell pattern of the names that the reply may carry; None means ``model`` exactly.
        opened: The mark of a think block that the prompt left open: the text begins inside of it.

    Raises:
        RequestFailed: ``wrong model …``, ``wrong shape: …``, or ``reply broken off: …``.
    """
    answer = _object(payload, "the reply")
    named = answer.get("model")
    name = as_unicode(named) if isinstance(named, str) else "(none)"
    expected = name == model if accept_model is None else fnmatchcase(name, accept_model)
    if not expected:
        raise RequestFailed(f"wrong model {name[:_MAX_NAME]}")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise RequestFailed("wrong shape: no choices")
    choice = _object(choices[0], "a choice")
    finish_reason = read_finish_reason(choice.get("finish_reason"), choice.get("native_finish_reason"))
    message = _message(choice)
    num_read, num_written = told_usage(payload)
    return Reply(
        text=opened + (message.text or ""),
        reasoning=message.reasoning,
        finish_reason=finish_reason,
        refused=finish_reason in (CONTENT_FILTER, REFUSAL) or bool(message.refusal),
        logprobs=choice.get("logprobs"),
        num_prompt_tokens=num_read,
        num_reply_tokens=num_written,
    )


def _message(choice: Mapping[str, Any]) -> Message:
    """The message of a chat, or the text of a completion."""
    if "message" in choice:
        return read_message(_object(choice["message"], "the message"))
    text = choice.get("text")
    if not isinstance(text, str):
        raise RequestFailed("wrong shape: no text")
    return Message(as_unicode(text))


def answering(reply: Reply) -> Reply:
    """A reply whose first token may be an answer option.

    Raises:
        RequestFailed: It begins with reasoning, in a think block or in a field of its own, or has no token at all: the
            model ended it at once.
    """
    if reply.reasoning or has_reasoning(reply.text):
        raise RequestFailed(FIRST_IS_REASONING, of_server=False)
    if reply.finish_reason == STOP and not reply.text and not _tells_tokens(reply.logprobs):
        raise RequestFailed(EMPTY, of_server=False)
    return reply


def _tells_tokens(logprobs: object) -> bool:
    return isinstance(logprobs, dict) and any(logprobs.values())


def told_usage(payload: object) -> tuple[int, int]:
    """Tokens read and written, as the server counts them in any reply; 0 where it gives no valid number."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    return _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")


def echoed_tokens(logprobs: object, num_written: int) -> list[Alternative]:
    """The tokens of an echoed prompt; its first token has no log-prob and counts as 0.

    One token was written greedily after the prompt, so it must be the likeliest of its own alternatives. That
    shows a server which pairs tokens with the distributions after them (llama-cpp-python does, 0.3 at least).

    Args:
        logprobs: As sent, for the prompt and one token more.
        num_written: Tokens that the server says it wrote.

    Raises:
        RequestFailed: The server did not echo, or what it sent are no log-probabilities of these tokens.
    """
    if not isinstance(logprobs, dict):
        raise RequestFailed(NO_LOGPROBS)
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or not tokens:
        raise RequestFailed(NO_LOGPROBS)
    if len(tokens) != len(values) or not all(isinstance(token, str) for token in tokens):
        raise RequestFailed("wrong shape: tokens")
    echoed = [
        Alternative(plain(token), 0.0 if value is None and index == 0 else read_logprob(value))
        for index, (token, value) in enumerate(zip(tokens, values, strict=True))
    ]
    top = logprobs.get("top_logprobs")
    if not isinstance(top, list) or len(top) != len(tokens):
        raise RequestFailed(NO_LOGPROBS)
    if num_written != 1:
        raise RequestFailed("echo without the token after it")
    if any(item.logprob > echoed[-1].logprob + TOLERANCE for item in read_table(top[-1])):
        raise RequestFailed("echo pairs log-probs with other tokens")
    return echoed[:-1]


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RequestFailed(f"wrong shape: {what}")
    return value


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= _MOST_TOKENS else 0


def written(reply: Reply) -> Reply:
    """A reply that holds text, or was cut before it: by then a model whose reasoning is not told was still thinking."""
    if not given(reply).text.strip() and not reply.reasoning and reply.finish_reason != LENGTH:
        raise RequestFailed(EMPTY, of_server=False)
    return reply


def given(reply: Reply) -> Reply:
    """A reply that is no refusal."""
    if reply.refused:
        by = "content filter" if reply.finish_reason == "content_filter" else "by the model"
        raise RequestFailed(f"refused: {by}", of_server=False)
    return reply


def echo_of(reply: Reply) -> list[Alternative]:
    """The echoed tokens of a reply that is no refusal."""
    return echoed_tokens(given(reply).logprobs, reply.num_reply_tokens)
