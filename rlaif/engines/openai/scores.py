"""Log-probabilities of whole options from a server's likeliest next tokens, or from an echoed prompt.

A server returns the k likeliest next tokens only. A token outside them has a probability between 0 and
``min(lowest of the k, 1 - sum of the k)``: the estimate is the middle of that interval, and the option is marked as
*bounded*. No estimate is below ``LOWEST``, so that no label is exactly 0 or 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rlaif.engines.openai.failures import RequestFailed
from rlaif.engines.openai.likeliest import Alternative
from rlaif.engines.openai.pieces import TOKEN_ID
from rlaif.errors import ConfigError

LOWEST = 1e-12
"""Smallest probability of an option that is reported."""
AMBIGUOUS = 0.01
"""Largest probability of a token "1" that may also begin "10" with which the two still count as distinguishable."""
_ROUNDING = 1e-9
_HALF = math.log(2.0)
_LOG_LOWEST = math.log(LOWEST)
_WORD = re.compile(r" ?\w+|\s|[^\w\s]")
_ANOTHER_TEXT = "echo of another text than was sent"
_PART_OF_CHARACTER = re.compile(r"bytes:(?:\\x[0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class OptionEstimate:
    """The log-probability of one option, exact or bounded."""

    logprob: float
    bounded: bool = False
    """True when only an interval is known; ``logprob`` is then that of its middle."""


Target = str | tuple[int, ...]
"""An option as text, or as token ids where the tokenizer is known."""
Ask = Callable[[Target], Awaitable[list[Alternative]]]
"""The likeliest next tokens after the prompt and a beginning of an option."""


def terminated(options: Sequence[str]) -> list[str]:
    """Options with a closing newline when one begins another ("1" and "10"), else as they are.

    >>> terminated(["1", "2"]), terminated(["1", "10"])
    (['1', '2'], ['1\\n', '10\\n'])
    """
    begins = any(a != b and b.startswith(a) for a in options for b in options)
    return [f"{option}\n" for option in options] if begins else list(options)


def log_outside(alternatives: Sequence[Alternative]) -> float:
    """Log of the largest probability that a token outside the returned ones can have.

    >>> round(math.exp(log_outside([Alternative("1", math.log(0.7)), Alternative("2", math.log(0.25))])), 4)
    0.05
    """
    rest = 1.0 - math.fsum(math.exp(item.logprob) for item in alternatives)
    return min(min(item.logprob for item in alternatives), math.log(max(rest, _ROUNDING)))


async def walk_options(ask: Ask, targets: Sequence[Target], decode: Callable[[int], str]) -> list[OptionEstimate]:
    """Log-probability of each whole option, following those that take several tokens.

    After the prompt, an option is continued by the longest returned token that its rest begins with (with a
    tokenizer: by the option's own next token); while something is left of it, the server is asked again with what
    was read so far appended to the prompt. Options that share a beginning share the question.

    Args:
        ask: Asks the server.
        targets: The options; none is a beginning of another.
        decode: Text of one token id, where targets are token ids.

    Raises:
        RequestFailed: From ``ask``, or the model writes a space before its answer.
    """
    estimates: dict[int, OptionEstimate] = {}
    open_ends: list[tuple[Target, float, list[int]]] = [(targets[0][:0], 0.0, list(range(len(targets))))]
    while open_ends:
        read, logprob, indices = open_ends.pop()
        alternatives = await ask(read)
        if not read:
            _check_spelling(targets, alternatives)
        outside = OptionEstimate(logprob + log_outside(alternatives) - _HALF, bounded=True)
        longer: dict[Target, tuple[float, list[int]]] = {}
        for index in indices:
            rest = targets[index][len(read) :]
            length, step = _longest(rest, alternatives, decode)
            if length == 0:
                estimates[index] = outside
            elif length == len(rest):
                estimates[index] = OptionEstimate(logprob + step)
            else:
                longer.setdefault(targets[index][: len(read) + length], (logprob + step, []))[1].append(index)
        open_ends += [(piece, total, group) for piece, (total, group) in longer.items()]
    return [estimates[index] for index in range(len(targets))]


def num_beginnings(targets: Sequence[Target]) -> int:
    """Number of requests of :func:`walk_options` where every token is among the likeliest: one per prefix of an option.

    Args:
        targets: The options; one that is a text is taken to be written word by word, each with the space before it,
            as most tokenizers write short words and numbers.

    >>> num_beginnings(["1", "2"]), num_beginnings(["1\\n", "10\\n"]), num_beginnings(["1 2", "2 1"])
    (1, 3, 3)
    >>> num_beginnings([(5, 6), (5, 7)])
    2
    """
    written = [tuple(_WORD.findall(target)) if isinstance(target, str) else target for target in targets]
    return len({tokens[:length] for tokens in written for length in range(len(tokens))})


def match_options(alternatives: Sequence[Alternative], options: Sequence[str]) -> list[OptionEstimate]:
    """Log-probability of each option as one token of a chat reply.

    Tokens that differ from an option in surrounding white space (" 1") or, for a word, in upper and lower case ("Yes")
    are the same answer: their probabilities add up. A chat cannot be continued, so where a longer option ("10") is not
    among the tokens and one that begins it ("1") is, the two share that token's probability: both are bounded when it
    is below ``AMBIGUOUS``.

    Raises:
        RequestFailed: The shared probability is larger, so the options cannot be distinguished.
    """
    outside = math.exp(log_outside(alternatives))
    mass = [math.fsum(math.exp(p) for token, p in alternatives if _spells(token, option)) for option in options]
    low, high = list(mass), [p or outside for p in mass]
    for index, option in enumerate(options):
        for other, shorter in enumerate(options):
            if mass[index] == 0.0 and mass[other] > 0.0 and other != index and option.startswith(shorter):
                if mass[other] >= AMBIGUOUS:
                    raise RequestFailed(f"one token does not distinguish {shorter!r} from {option!r}", of_server=False)
                low[other] = 0.0
                high[index] += mass[other]
    return [
        OptionEstimate(_log(p)) if p > 0.0 and p == q else OptionEstimate(_log((p + q) / 2.0), bounded=True)
        for p, q in zip(low, high, strict=True)
    ]


def check_one_word(options: Sequence[str]) -> None:
    """Refuse answers that a chat, which tells its first token alone, can never be seen to give (a ranking).

    Raises:
        ConfigError: An option is of several words.
    """
    for option in options:
        if len(option.split()) > 1:
            raise ConfigError(
                f"labeler.engine.scoring=top_logprobs: a chat tells its first token alone, and the answer {option!r} "
                "takes several; take labeler.engine.scoring=votes, or labeler.engine.api=completions"
            )


def echoed_option(echoed: Sequence[Alternative], prompt: Target, option: Target) -> OptionEstimate:
    """Log-probability of an option at the end of an echoed prompt.

    Args:
        echoed: Tokens of prompt and option.
        prompt: The prompt alone.
        option: Text or token ids, as the prompt.

    Raises:
        RequestFailed: A token holds the end of the prompt and the beginning of the option, or the server echoed
            another text or another number of tokens than it was sent.
    """
    names = [token for token, _ in echoed]
    if isinstance(prompt, tuple) and isinstance(option, tuple):
        if len(echoed) != len(prompt) + len(option):
            raise RequestFailed("wrong shape: echoed tokens")
        if names[0].startswith(TOKEN_ID) and names != [f"{TOKEN_ID}{token}" for token in prompt + option]:
            raise RequestFailed(_ANOTHER_TEXT, of_server=False, of_setup=True)
        return OptionEstimate(math.fsum(item.logprob for item in echoed[len(prompt) :]))
    assert isinstance(prompt, str) and isinstance(option, str)
    text, total = "", 0.0
    for token, logprob in reversed(echoed):
        text, total = token + text, total + logprob
        if text == option:
            if not _letters("".join(names)).endswith(_letters(prompt + option)):
                raise RequestFailed(_ANOTHER_TEXT, of_server=False, of_setup=True)
            return OptionEstimate(total)
        if not option.endswith(text):
            break
    raise RequestFailed("option and prompt share a token", of_server=False)


def reported(estimates: Sequence[OptionEstimate]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Log-probabilities, none below that of ``LOWEST``, and the indices of those that are bounded."""
    logprobs = tuple(max(item.logprob, _LOG_LOWEST) for item in estimates)
    return logprobs, tuple(index for index, item in enumerate(estimates) if item.bounded)


def _longest(rest: Target, alternatives: Sequence[Alternative], decode: Callable[[int], str]) -> tuple[int, float]:
    """Length of the rest of an option that one token covers, and its log-prob; (0, 0.0) when no token fits."""
    if not isinstance(rest, str):
        # Where a server answers in ids, a token that prints like the option's own is another token.
        in_ids = any(token.startswith(TOKEN_ID) for token, _ in alternatives)
        name = f"{TOKEN_ID}{rest[0]}" if in_ids else decode(rest[0])
        return next(((1, p) for token, p in alternatives if token == name), (0, 0.0))
    fitting = [(len(token), p) for token, p in alternatives if token and rest.startswith(token)]
    return max(fitting, default=(0, 0.0))


def _spells(token: str, option: str) -> bool:
    written = token.strip()
    return written == option or (len(option) > 1 and written.casefold() == option.casefold())


def _check_spelling(targets: Sequence[Target], alternatives: Sequence[Alternative]) -> None:
    """Refuse a distribution in which the answer stands after a space: what is left for the options is noise."""
    texts = [target for target in targets if isinstance(target, str)]
    counted = math.fsum(math.exp(p) for token, p in alternatives if token and any(t.startswith(token) for t in texts))
    spaced = math.fsum(math.exp(p) for token, p in alternatives if token[:1] == " " and token.lstrip(" ") in texts)
    if spaced > counted:
        raise RequestFailed("an option after a space is likelier than the options themselves", of_server=False)


def _letters(text: str) -> str:
    """The letters and digits of ASCII: what every server echoes alike, whole characters or not."""
    return "".join(filter(str.isalnum, _PART_OF_CHARACTER.sub("", text).encode("ascii", "ignore").decode()))


def _log(probability: float) -> float:
    return math.log(max(probability, LOWEST))
