"""Reasons of failed requests to a server, in a few stable words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

CIRCUIT_OPEN = "circuit open"
NO_LOGPROBS = "no log-probs in the reply"
_KEY_HINT = "labeler.engine.key_env must name the environment variable that holds a key of this server"
_HINTS = {
    "http 401": _KEY_HINT,
    "http 403": _KEY_HINT,
    NO_LOGPROBS: "labeler.engine.scoring=votes does without them",
}
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_MAX_DETAIL = 300
LEAST_SECRET = 8
"""Characters of the shortest key that is taken for a secret."""


class RequestFailed(Exception):
    """One request has no usable answer.

    Args:
        reason: Short and stable, so that failures can be counted by it: ``http 429``, ``timeout``, ``connection cut``,
            ``cannot connect``, ``invalid json``, ``wrong shape: …``, ``nan log-prob``, ``infinite log-prob``,
            ``positive log-prob``, ``no log-probs in the reply``, ``wrong model m``, ``reply of more than N bytes``,
            ``circuit open``.
        detail: What the server said about it, without the key; for the log only.
        retryable: True where asking again may help.
        retry_after_s: Seconds that the server asks to wait; None where it does not say.
        of_server: False where the server works and this one prompt has no answer (a refusal): the circuit breaker
            does not count it.
    """

    def __init__(
        self,
        reason: str,
        *,
        detail: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
        of_server: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = " ".join(detail.split())[:_MAX_DETAIL]
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.of_server = of_server

    @property
    def in_words(self) -> str:
        """The reason with what the server said and, where one is known, what to do.

        >>> RequestFailed("http 500").in_words, RequestFailed("wrong shape: tokens", detail="a b").in_words
        ('http 500', 'wrong shape: tokens (a b)')
        """
        detail = f" ({self.detail})" if self.detail else ""
        hint = f": {_HINTS[self.reason]}" if self.reason in _HINTS else ""
        return f"{self.reason}{detail}{hint}"


def status_failure(status: int, headers: Mapping[str, str], detail: str) -> RequestFailed:
    """The failure that an HTTP status other than 200 means.

    >>> failure = status_failure(429, {"retry-after": "7"}, "slow down")
    >>> failure.reason, failure.retryable, failure.retry_after_s
    ('http 429', True, 7.0)
    """
    return RequestFailed(
        f"http {status}",
        detail=detail,
        retryable=status in _RETRIED_STATUSES or status >= 500,
        retry_after_s=_seconds(headers.get("retry-after", "")),
    )


def redacted(value: object, key: str | None) -> object:
    """JSON with a key taken out of every text, where the server echoes it.

    Names of fields are left alone, or two could become one: no field's name is kept anywhere.

    Args:
        value: What ``json.loads`` gave, or a text.
        key: Below ``LEAST_SECRET`` characters it is no secret (``EMPTY``, ``none``: what servers take that ask for no
            key) but a word that any text may hold, and stays; None is no key.

    >>> redacted({"error": "bad key s3cret-key!"}, "s3cret-key")
    {'error': 'bad key [key]!'}
    >>> redacted({"text": "EMPTY"}, "EMPTY")
    {'text': 'EMPTY'}
    """
    if key is None or len(key) < LEAST_SECRET:
        return value
    if isinstance(value, str):
        return value.replace(key, "[key]")
    if isinstance(value, list):
        return [redacted(item, key) for item in value]
    if isinstance(value, dict):
        return {name: redacted(item, key) for name, item in value.items()}
    return value


def _seconds(retry_after: str) -> float | None:
    """``Retry-After`` is a number of seconds or a date (RFC 9110, 10.2.3)."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after).astimezone(UTC)
    except (ValueError, OverflowError):  # no date, or none that a calendar holds
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
