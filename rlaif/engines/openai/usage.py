"""Tokens that a server bills: as it counts them, or our own count where it does not say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlaif.engines.openai.replies import told_usage
from rlaif.naming import as_typed
from rlaif.outcome import Billing

_DETAILS = ("cached_tokens", "prompt_cache_hit_tokens")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Usage:
    """Tokens of one question, over all its requests."""

    num_prompt_tokens: int = 0
    num_reply_tokens: int = 0
    """With the tokens that a model reasons in."""
    num_reused_prompt_tokens: int = 0
    """Of those read, what the server had read before (its prefix cache)."""
    num_wasted_prompt_tokens: int = 0
    """Read for replies that failed and were asked again."""
    num_wasted_reply_tokens: int = 0
    num_retries: int = 0
    reasoning: str = ""
    """What the model thought before its votes."""

    def retry(self) -> None:
        """Count an attempt that is made again."""
        self.num_retries += 1

    def waste(self, other: Usage) -> None:
        """Count the tokens of a reply that may be asked again: they are none of the answer's."""
        self.num_wasted_prompt_tokens += other.num_prompt_tokens
        self.num_wasted_reply_tokens += other.num_reply_tokens

    def take(self, other: Usage) -> None:
        """Count the tokens of a reply that is used, or of no use for good."""
        self.num_prompt_tokens += other.num_prompt_tokens
        self.num_reply_tokens += other.num_reply_tokens
        self.num_reused_prompt_tokens += other.num_reused_prompt_tokens

    @property
    def billing(self) -> Billing:
        """What is billed besides the answer's own tokens."""
        return Billing(
            num_reused_prompt_tokens=self.num_reused_prompt_tokens,
            num_wasted_prompt_tokens=self.num_wasted_prompt_tokens,
            num_wasted_reply_tokens=self.num_wasted_reply_tokens,
            num_retries=self.num_retries,
        )


class UsageReader:
    """Reads the usage of replies; says once where a server does not tell it.

    Args:
        count: Tokens of a text.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self.count = count
        self._said = False

    def read(self, payload: object, num_sent: int) -> Usage:
        """Tokens of one reply.

        Args:
            payload: The reply's JSON.
            num_sent: Tokens of the question by our own count.
        """
        if not isinstance(payload, dict):
            return Usage()
        read, written = told_usage(payload)
        written = max(written, _rest(payload, read))
        own = self.count(_written(payload)) if written == 0 else 0
        if payload.get("choices") and (read == 0 or own > 0):
            self._say()
            read, written = read or num_sent, written or own
        return Usage(
            num_prompt_tokens=read, num_reply_tokens=written, num_reused_prompt_tokens=min(read, _reused(payload))
        )

    def _say(self) -> None:
        if not self._said:
            self._said = True
            told = "the server tells no usage: tokens are counted here (labeler.engine.tokenizer, or 4 bytes each)"
            log.warning(as_typed(told))


def _rest(payload: Mapping[str, Any], read: int) -> int:
    """Tokens of the total that were not read: some servers leave reasoning out of ``completion_tokens``."""
    total, _ = told_usage({"usage": {"prompt_tokens": _usage(payload).get("total_tokens")}})
    return max(0, total - read) if read else 0


def _reused(payload: Mapping[str, Any]) -> int:
    usage = _usage(payload)
    details = usage.get("prompt_tokens_details")
    told = {**usage, **(details if isinstance(details, dict) else {})}
    return max(told_usage({"usage": {"prompt_tokens": told.get(name)}})[0] for name in _DETAILS)


def _usage(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = payload.get("usage")
    return usage if isinstance(usage, dict) else {}


def _written(payload: Mapping[str, Any]) -> str:
    """All text of the first choice."""
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    fields = {**choice, **(message if isinstance(message, dict) else {})}
    texts = [fields.get(name) for name in ("text", "content", "reasoning_content", "reasoning")]
    return "".join(text if isinstance(text, str) else str(text or "") for text in texts)
