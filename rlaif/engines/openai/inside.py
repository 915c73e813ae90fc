"""Failures told inside a reply of HTTP 200: a gateway's error, a half reply, another number of choices than one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rlaif.engines.openai.failures import OWN_API, RequestFailed, told_failure
from rlaif.engines.openai.finish import STOP
from rlaif.engines.openai.provider_words import provider_words

_BROKEN_OFF = frozenset({"abort", "error", "cancelled", "canceled", "network_error", "insufficient_system_resource"})
"""Finish reasons of a reply that the server did not write to its end."""
_FINISHED = ("finish_reason", "native_finish_reason")
"""The second is that of the provider behind OpenRouter, which says ``stop`` for what it does not know."""
_SAID = ("text", "content", "reasoning_content", "reasoning", "refusal", "tool_calls")
_OF_OWN_API = frozenset({"stop_type", "generation_settings", "done", "generated_text", "meta_info"})
"""Fields of llama-server, Ollama, Text Generation Inference and SGLang outside of ``/v1``."""
_LASTING = re.compile(r"invalid|unsupported|not[ _]found|authentication|permission|unauthorized", re.IGNORECASE)
NOTHING_WRITTEN = "empty reply of 0 tokens"
_NO_ENDPOINT = re.compile(r"unexpected endpoint", re.IGNORECASE)
"""LM Studio answers a path that it does not have with HTTP 200."""
_LIMITED = re.compile(r"rate[ _]?limit|too many requests", re.IGNORECASE)


def failure_inside(payload: object) -> RequestFailed | None:
    """The failure that a reply of HTTP 200 tells; None where it holds one whole choice.

    The number in ``code`` (or ``status``, ``status_code``) counts as an HTTP status. Without one, an error counts as
    the server's (500), unless its words say that asking again gives the same (400).

    >>> failure = failure_inside({"error": {"message": "Provider is busy", "code": 503}})
    >>> failure.reason, failure.detail, failure.retryable
    ('error 503 in a reply', 'Provider is busy 503', True)
    """
    if not isinstance(payload, dict):
        return RequestFailed("wrong shape: the reply", retryable=True)
    choices = payload.get("choices")
    if "choices" not in payload and not _OF_OWN_API.isdisjoint(payload):
        return RequestFailed(OWN_API)
    if payload.get("error") or not isinstance(choices, list) or not choices:
        return _error(payload) or RequestFailed("wrong shape: no choices", retryable=True)
    if len(choices) != 1:
        return RequestFailed(f"wrong shape: {len(choices)} choices", retryable=True)
    choice = choices[0] if isinstance(choices[0], dict) else {}
    if choice.get("error"):
        return _error(choice)
    for reason in (str(choice.get(name)).lower() for name in _FINISHED):
        if reason in _BROKEN_OFF:
            return RequestFailed(f"reply broken off: {reason}", retryable=True)
    return RequestFailed(NOTHING_WRITTEN, retryable=True) if _wrote_nothing(payload, choice) else None


def _wrote_nothing(payload: Mapping[str, Any], choice: Mapping[str, Any]) -> bool:
    """True for a finished reply without text of which the server counts no token: a provider behind a gateway failed.

    A model that answers with its end token alone has written one.
    """
    usage, message = payload.get("usage"), choice.get("message")
    said = {**choice, **(message if isinstance(message, dict) else {})}
    counts_none = isinstance(usage, dict) and usage.get("completion_tokens") == 0
    is_empty = not choice.get("logprobs") and not any(said.get(name) for name in _SAID)
    return counts_none and is_empty and choice.get("finish_reason") == STOP


def _error(payload: Mapping[str, Any]) -> RequestFailed | None:
    error = payload.get("error") or payload.get("base_resp")
    if not error and (payload.get("object") == "error" or any(payload.get(name) for name in ("detail", "message"))):
        error = payload
    if not error:
        return None
    words = provider_words(json.dumps(error))
    status = _status(error, words)
    return told_failure(status, f"error {status} in a reply", words)


def _status(error: object, words: str) -> int:
    if isinstance(error, dict):
        for name in ("code", "status", "status_code", "http_code"):
            value = str(error.get(name, ""))
            if value.isdecimal() and 400 <= int(value) <= 599:
                return int(value)
    if _NO_ENDPOINT.search(words):
        return 404
    if _LIMITED.search(words):
        return 429
    return 400 if _LASTING.search(words) else 500
