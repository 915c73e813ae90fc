"""What a provider's error says: its words taken from JSON, and whether they are about the prompt or the account."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

About = Literal["filtered", "too long", "account", "unknown"]

_TOLD = ("message", "msg", "detail", "details", "error", "code", "type", "param", "status", "status_msg", "loc", "raw")
"""Fields that hold the provider's own words; others (``input``) may repeat the prompt."""
_MAX_WORDS = 40
_ACCOUNT = re.compile(
    r"insufficient[ _](quota|balance|credit|fund)|billing[ _](hard|not|limit)|credit balance|payment required|"
    r"account .{0,40}(deactivated|suspended|disabled)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|(maximum|max) (model|sequence|prompt|input|context) ?(length|len)|"
    r"(prompt|input|request|message|text|string)s?( is| are|:)? (too (long|large)|longer than)|max_model_len|"
    r"string_above_max_length|input token count|`?inputs`? (tokens|must have less)|"
    r"reduce the length|exceeds? .{0,30}(number of tokens|token limit|context)",
    re.IGNORECASE,
)
_MANY_TOKENS = re.compile(r"too many (input |prompt )?tokens", re.IGNORECASE)
_OF_RATE = re.compile(r"thrott|please wait|per[ _](minute|day)|rate[ _]?limit|quota", re.IGNORECASE)
"""With these, too many tokens are those of a minute or a day (Bedrock, Cerebras)."""
_FILTERED = re.compile(
    r"content[ _-]?(filter|policy|management)|responsible ?ai|safety|moderation|was flagged|prohibited[ _]content|"
    r"data_inspection_failed|invalid_prompt|(sensitive|inappropriate|unsafe) (word|content|information)",
    re.IGNORECASE,
)


def provider_words(body: str) -> str:
    """The words of an error body: of JSON its messages, codes and types; of anything else the whole text.

    >>> provider_words('{"error": {"message": "No such model.", "code": 404, "input": "my prompt"}}')
    'No such model. 404'
    >>> provider_words("<html>Bad gateway</html>")
    '<html>Bad gateway</html>'
    """
    try:
        words = list(_words(json.loads(body)))
    except (ValueError, RecursionError):
        return body
    return " ".join(dict.fromkeys(words[:_MAX_WORDS])) or body


def about(words: str, *, is_rate_limit: bool = False) -> About:
    """What an error is about, as far as its words tell.

    Args:
        words: The provider's.
        is_rate_limit: True for the status of a rate limit.

    >>> about("This model's maximum context length is 4096 tokens"), about("Your credit balance is too low")
    ('too long', 'account')
    """
    if _ACCOUNT.search(words):
        return "account"
    of_prompt = _MANY_TOKENS.search(words) and not (is_rate_limit or _OF_RATE.search(words))
    if of_prompt or _TOO_LONG.search(words):
        return "too long"
    return "filtered" if _FILTERED.search(words) else "unknown"


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name in sorted(value.keys() & set(_TOLD), key=_TOLD.index):
            yield from _words(value[name])
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):  # a gateway passes another's JSON on as text
        yield provider_words(value)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
