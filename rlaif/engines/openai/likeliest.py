"""The likeliest next tokens of a reply, held against the token that the reply wrote.

Two tokens of a vocabulary may print alike ("1" after a space and without it). In a table that maps texts to
log-probabilities the later takes the earlier's place, and a judge that says "1" at 0.93 reads as 0.0004. So the token
that was written must have its own log-probability there; at temperature 0 it must be the likeliest; and a mapping that
lacks some of the tokens that were asked for, with probability to spare, has lost them. Entries of a list that print
alike are one answer: their probabilities add up. A table that leaves the written token out is completed by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlaif.engines.openai.failures import NO_LOGPROBS, RequestFailed
from rlaif.engines.openai.pieces import TOKEN_ID, plain, text_of
from rlaif.engines.reasoning import is_reasoning_mark

TOLERANCE = 1e-3
"""Rounding of float32 log-probs, and of their sum as probabilities."""
_SAME = 0.02
"""Difference of log-probs below which two are the same number: servers round to two digits and compute in half
precision."""
_FEW = 5
"""As many tokens every server tells where it is asked for them (OpenAI's limit in completions)."""
_NEVER = -9999.0
"""The OpenAI API's value for a token whose log-prob it leaves out."""

FIRST_IS_REASONING = "reasoning comes before the answer (labeler.engine.scoring=votes reads whole messages)"
"""Reason of a prompt whose answer cannot be scored, as the first token belongs to a think block."""

BY_NUMBER = "wrong shape: tokens by their numbers"
"""Of older servers of mlx-lm: in such a table "2" is the token of that number (often the end token), and no answer."""


class Alternative(NamedTuple):
    """One candidate for the next token."""

    token: str
    logprob: float


def next_tokens(
    logprobs: object, *, num_asked: int | None = None, greedy: bool = True, text: str = ""
) -> list[Alternative]:
    """The likeliest first tokens of a reply, in either form in which servers send them.

    Legacy completions: ``{"tokens": […], "token_logprobs": […], "top_logprobs": [{token: logprob}]}``; chat, and some
    servers' completions: ``{"content": [{"token": …, "logprob": …, "top_logprobs": [{"token": …, "logprob": …}]}]}``.
    Tokens without probability are left out.

    Args:
        logprobs: As sent.
        num_asked: Tokens that were asked for; None does not hold the table's length against it.
        greedy: The reply was written at temperature 0 and without a constraint: its first token is the likeliest.
        text: Of the reply: it begins with the token that was written; empty compares nothing.

    Returns:
        Each text once.

    Raises:
        RequestFailed: There are none, they are no log-probabilities, they contradict the token that was written, or
            that token opens a think block (a server that parses reasoning leaves it out of the text).
    """
    table, written = _first_place(logprobs)
    if written is not None and is_reasoning_mark(written[0].strip()):
        raise RequestFailed(FIRST_IS_REASONING, of_server=False)
    alternatives = read_table(table)
    if not alternatives:
        raise RequestFailed(NO_LOGPROBS)
    if written is not None:
        alternatives = _with_written(alternatives, *written)
    total = math.fsum(math.exp(item.logprob) for item in alternatives)
    if total > 1.0 + TOLERANCE:
        raise RequestFailed("log-probs add up to more than 1")
    if written is not None:
        _check_text(written[0], text)
        _check_written(alternatives, *written, greedy=greedy)
    if isinstance(table, dict) and num_asked is not None:
        _check_length(len(table), num_asked, 1.0 - total)
    return _each_text_once(alternatives)


def read_table(top: object) -> list[Alternative]:
    """One place's alternatives as they were sent, those without probability left out.

    Raises:
        RequestFailed: They are no tokens with log-probabilities.
    """
    if isinstance(top, dict):
        pairs: list[tuple[str, object]] = [(plain(token), value) for token, value in top.items()]
    elif isinstance(top, list):
        items = [_object(item, "a token") for item in top]
        pairs = [(text_of(item), item.get("logprob")) for item in items]
    else:
        raise RequestFailed("wrong shape: top_logprobs")
    read = [Alternative(token, read_logprob(value)) for token, value in pairs]
    return [item for item in read if item.logprob > _NEVER]


def read_logprob(value: object) -> float:
    """A log-probability, at most 0.

    Raises:
        RequestFailed: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestFailed("wrong shape: a log-prob")
    try:
        logprob = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        raise RequestFailed("infinite log-prob") from None
    if math.isnan(logprob):
        raise RequestFailed("nan log-prob")
    if math.isinf(logprob):
        raise RequestFailed("infinite log-prob")
    if logprob > TOLERANCE:
        raise RequestFailed("positive log-prob")
    return min(logprob, 0.0)


def _first_place(logprobs: object) -> tuple[object, tuple[str, float | None] | None]:
    """The table of the first place, and the token written there with its own log-prob, where they are told."""
    if not isinstance(logprobs, dict):
        raise RequestFailed(NO_LOGPROBS)
    top, content = logprobs.get("top_logprobs"), logprobs.get("content")
    if isinstance(content, list) and content:
        first = _object(content[0], "a token")
        item: Mapping[str, object] = first
        top = [first.get("top_logprobs")]
    else:
        item = {"token": _first(logprobs.get("tokens")), "logprob": _first(logprobs.get("token_logprobs"))}
    if not isinstance(top, list) or not top or not top[0]:
        raise RequestFailed(NO_LOGPROBS)
    if isinstance(item.get("token"), int):
        raise RequestFailed(BY_NUMBER)
    if not isinstance(item.get("token"), str):
        return top[0], None
    own = item.get("logprob")
    logprob = None if own is None else read_logprob(own)
    return top[0], (text_of(item), None if logprob is not None and logprob <= _NEVER else logprob)


def _with_written(alternatives: list[Alternative], token: str, own: float | None) -> list[Alternative]:
    """The alternatives and the written token, which LMDeploy's chats tell beside the table alone.

    A token of the table that has its probability, and its text but for white space, is the same under another name.
    """
    is_told = any(item.token == token for item in alternatives)
    is_named_otherwise = own is not None and any(
        item.token.strip() == token.strip() and abs(item.logprob - own) <= _SAME for item in alternatives
    )
    if own is None or is_told or is_named_otherwise:
        return alternatives
    return [*alternatives, Alternative(token, own)]


def _check_text(token: str, text: str) -> None:
    """Refuse log-probs of another place than the text's first: of a mark that the text leaves out, or of the prompt."""
    named, said = _letters(token), _letters(text)
    if named and said and not token.startswith(TOKEN_ID) and not said.startswith(named[: len(said)]):
        raise RequestFailed("log-probs of another text", detail=f"{token!r} in the log-probs, {text[:20]!r} written")


def _letters(text: str) -> str:
    """Letters and digits of ASCII: what a server writes alike in a text and in the name of a token."""
    return "".join(letter for letter in text if letter.isascii() and letter.isalnum())


def _check_written(alternatives: Sequence[Alternative], token: str, own: float | None, *, greedy: bool) -> None:
    alike = [item.logprob for item in alternatives if item.token == token]
    if own is not None and alike and not any(abs(logprob - own) <= _SAME for logprob in alike):
        told = f"{token!r} at {math.exp(own):.4g}, in the table at {', '.join(f'{math.exp(p):.4g}' for p in alike)}"
        raise RequestFailed("written token contradicts the likeliest tokens", detail=told)
    likeliest = max(alternatives, key=lambda item: item.logprob)
    if greedy and (not alike or max(alike) < likeliest.logprob - _SAME):
        told = f"{token!r} was written at temperature 0, {likeliest.token!r} leads the table"
        raise RequestFailed("written token is not the likeliest", detail=told)


def _check_length(num_told: int, num_asked: int, rest: float) -> None:
    """Refuse a mapping that has lost tokens; with half of many or less it comes from a server that tells fewer."""
    if num_told < num_asked and (num_asked <= _FEW or num_asked < 2 * num_told) and rest > TOLERANCE:
        told = f"{num_told} of {num_asked} tokens, {rest:.4g} of the probability unaccounted for"
        raise RequestFailed("likeliest tokens took one another's place", detail=told)


def _each_text_once(alternatives: Sequence[Alternative]) -> list[Alternative]:
    by_text: dict[str, list[float]] = {}
    for token, logprob in alternatives:
        by_text.setdefault(token, []).append(logprob)
    return [Alternative(token, _log_sum(logprobs)) for token, logprobs in by_text.items()]


def _log_sum(logprobs: Sequence[float]) -> float:
    if len(logprobs) == 1:
        return logprobs[0]
    return min(0.0, math.log(max(math.fsum(map(math.exp, logprobs)), math.ulp(0.0))))


def _first(values: object) -> object:
    return values[0] if isinstance(values, list) and values else None


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RequestFailed(f"wrong shape: {what}")
    return value
