"""Reasons of failed requests to a server, in a few stable words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from rlaif.engines.openai.hints import CUT_REPLY, LIMITS_REPLY, REASONING_CUT, hint, names_an_option
from rlaif.engines.openai.provider_words import about, provider_words

CIRCUIT_OPEN = "circuit open"
NO_LOGPROBS = "no log-probs in the reply"
OWN_API = "wrong shape: a reply of the server's own API"
TOO_LONG = "prompt too long"
FILTERED = "refused: content filter"
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_OF_EVERY_PROMPT = frozenset({401, 402, 404, 405, 408, 409, 425, 429, 502, 503, 504, 529})
"""HTTP statuses that say nothing about one prompt; 529 is Anthropic's for an overloaded server."""
_MAX_DETAIL = 300
_NOT_OF_LOAD = ("cannot connect", "connection cut", "invalid json", "wrong shape", "reply broken off")
LEAST_SECRET = 8
"""Characters of the shortest key that is taken for a secret."""


class RequestFailed(Exception):
    """One request has no usable answer.

    Args:
        reason: Short and stable, so that failures can be counted by it: ``http 429``, ``timeout``, ``connection cut``,
            ``cannot connect``, ``invalid json``, ``wrong shape: …``, ``nan log-prob``, ``infinite log-prob``,
            ``positive log-prob``, ``no log-probs in the reply``, ``wrong model m``, ``reply of more than N bytes``,
            ``error 429 in a reply``, ``circuit open``; of one prompt: ``prompt too long``, ``refused: …``.
        detail: What the server said about it, without the key; for the log only.
        retryable: True where asking again may help.
        retry_after_s: Seconds that the server asks to wait; None where it does not say, or says 0.
        of_server: False where the server works and this one prompt has no answer (a refusal): the circuit breaker
            does not count it, and asking again would give the same, unless ``of_setup``.
        may_be_of_prompt: True where the provider's words do not tell whether it refuses this prompt or every one.
        of_setup: True where this prompt has an answer once the server is set up otherwise (a longer context).
    """

    def __init__(
        self,
        reason: str,
        *,
        detail: str = "",
        retryable: bool = False,
        retry_after_s: float | None = None,
        of_server: bool = True,
        may_be_of_prompt: bool = False,
        of_setup: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = " ".join(detail.split())[:_MAX_DETAIL]
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.of_server = of_server
        self.may_be_of_prompt = may_be_of_prompt
        self.of_setup = of_setup
        self.url = ""
        """Base url that was asked, for the hint."""

    @property
    def is_final(self) -> bool:
        """True where asking this prompt again would give the same."""
        return not self.of_server and not self.of_setup

    @property
    def in_words(self) -> str:
        """The reason with what the server said and, where one is known, what to do.

        >>> RequestFailed("http 500").in_words, RequestFailed("wrong shape: tokens", detail="a b").in_words
        ('http 500', 'wrong shape: tokens (a b)')
        """
        detail = f" ({self.detail})" if self.detail else ""
        to_do = hint(self.reason, self.detail, self.url)
        return f"{self.reason}{detail}{': ' if to_do else ''}{to_do}"

    @property
    def may_pass(self) -> bool:
        """True where another attempt may be answered, by a server that can be reached."""
        return self.retryable and self.reason != "cannot connect"

    @property
    def is_of_load(self) -> bool:
        """True where the server may answer at another time. One whose replies are none, or cut, speaks otherwise."""
        return self.retryable and not self.reason.startswith(_NOT_OF_LOAD)

    @property
    def of_this_prompt(self) -> RequestFailed:
        """The same failure once the server is known to answer another prompt of the same form."""
        return RequestFailed(f"refused: {self.reason}", detail=self.detail, of_server=False)


def status_failure(status: int, headers: Mapping[str, str], body: str) -> RequestFailed:
    """The failure that an HTTP status other than of success means, with the provider's words.

    A prompt that is refused or too long is known by the words (providers send 400, 403, 413, 422, 429 or 500 with
    them), or by 413 alone.

    >>> failure = status_failure(429, {"retry-after": "7"}, "slow down")
    >>> failure.reason, failure.retryable, failure.retry_after_s
    ('http 429', True, 7.0)
    >>> failure = status_failure(400, {}, '{"error": {"message": "maximum context length is 4096 tokens"}}')
    >>> failure.reason, failure.of_server
    ('prompt too long', False)
    """
    milliseconds = _number(headers.get("retry-after-ms", "")) or 0.0  # OpenAI, Azure
    # A wait of 0 (Azure says so of a full minute, and a past date means it) would take the growing waits away.
    after = milliseconds / 1e3 or _seconds(headers.get("retry-after", "")) or None
    place = headers.get("location", "") if 300 <= status < 400 else ""
    words = f"redirects to {place}" if place else provider_words(body)
    return told_failure(status, f"http {status}", words, after)


def told_failure(status: int, reason: str, words: str, retry_after_s: float | None = None) -> RequestFailed:
    """The failure that a status and a provider's words mean.

    Args:
        status: Of HTTP, or the same number told inside a reply.
        reason: What to call it where it is no prompt's failure.
        words: The provider's.
        retry_after_s: Seconds that the server asks to wait.
    """
    meant = "unknown" if status in _OF_EVERY_PROMPT - {429} else about(words, is_rate_limit=status == 429)
    names_option = names_an_option(words)
    if CUT_REPLY.search(words):
        return RequestFailed(REASONING_CUT, detail=words, of_server=False)
    if (meant == "too long" and not LIMITS_REPLY.search(words)) or (status == 413 and meant == "unknown"):
        return RequestFailed(TOO_LONG, detail=words, of_server=False)
    if meant == "filtered" and not names_option and status != 429:
        return RequestFailed(FILTERED, detail=words, of_server=False)
    return RequestFailed(
        reason,
        detail=words,
        retryable=meant != "account" and (status in _RETRIED_STATUSES or status >= 500),
        retry_after_s=retry_after_s,
        may_be_of_prompt=meant == "unknown"
        and not names_option
        and 400 <= status < 500
        and status not in _OF_EVERY_PROMPT,
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


def _number(text: str) -> float | None:
    """A number of at least 0; None for every other text."""
    if text.strip().isdecimal():
        return float(text)  # infinite for hundreds of digits: longer than any wait that is allowed
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


def _seconds(retry_after: str) -> float | None:
    """``Retry-After`` is a number of seconds or a date (RFC 9110, 10.2.3); gateways write fractions, and ``20s``."""
    if (seconds := _number(retry_after.strip().removesuffix("s"))) is not None:
        return seconds
    try:
        until = parsedate_to_datetime(retry_after).astimezone(UTC)
    except (ValueError, OverflowError):  # no date, or none that a calendar holds
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
