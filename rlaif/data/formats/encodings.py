"""Encodings of the preference in a column of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from rlaif.errors import ConfigError

WORDS = {"first": 1.0, "second": 0.0, "tie": 0.5}


class UnknownPreferenceError(ValueError):
    """A value that the encoding gives no meaning to."""


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnknownPreferenceError(f"{value!r:.40} is no number")
    try:
        return float(value)
    except ValueError:
        raise UnknownPreferenceError(f"{value!r:.40} is no number") from None


def _between(low: float, high: float, value: object) -> float:
    number = _number(value)
    if not low <= number <= high:
        raise UnknownPreferenceError(f"{number:g} is not between {low:g} and {high:g}")
    return (number - low) / (high - low)


def _p_first(value: object) -> float:
    return _between(0.0, 1.0, value)


def _p_second(value: object) -> float:
    return 1.0 - _between(0.0, 1.0, value)


def _index0(value: object) -> float:
    number = _number(value)
    if number not in (0.0, 1.0):
        raise UnknownPreferenceError(f"{number:g} is neither 0 nor 1")
    return 1.0 - number


def _index1(value: object) -> float:
    """AlpacaEval's scale: 1 the first, 2 the second, 1.5 and 0 a draw, and values between for soft labels.

    Source: tatsu-lab/alpaca_eval, ``src/alpaca_eval/metrics/helpers.py``.
    """
    number = _number(value)
    return 0.5 if number == 0.0 else 1.0 - _between(1.0, 2.0, number)


def _word(words: Mapping[str, float], value: object) -> float:
    if str(value) not in words:
        raise UnknownPreferenceError(f"{value!r:.40} is none of {', '.join(words)}")
    return words[str(value)]


ENCODINGS: dict[str, Callable[[object], float]] = {
    "p_first": _p_first,
    "p_second": _p_second,
    "index0": _index0,
    "index1": _index1,
    "words": partial(_word, WORDS),
}


@dataclass(frozen=True)
class Decoder:
    """Turns a cell into P(first is better); an empty cell is no label.

    Args (fields):
        encoding: One of :data:`ENCODINGS`; without effect where ``words`` are given.
        words: The column's own words with their probabilities.
    """

    encoding: str = "p_first"
    words: Mapping[str, float] | None = None

    def __call__(self, value: object) -> float | None:
        """A probability in [0, 1], or None.

        Raises:
            UnknownPreferenceError: The cell holds something else.
        """
        if value is None or value == "":
            return None
        return ENCODINGS[self.encoding](value) if self.words is None else _word(self.words, value)


def decoder(encoding: str | Mapping[str, float], option: str) -> Decoder:
    """The decoder that a user names.

    Args:
        encoding: ``p_first`` or ``p_second`` (a probability), ``index0`` (0 the first, 1 the second), ``index1``
            (1 the first, 2 the second, soft between, 0 a draw), ``words`` (``first``, ``second``, ``tie``), or a
            mapping of the column's own words to probabilities.
        option: Its name as typed, e.g. ``labeler.preference``.

    Raises:
        ConfigError: There is no such encoding, or a mapping's value is no probability.

    >>> decoder("index1", "labeler.preference")(1.25)
    0.75
    >>> decoder({"model_a": 1, "model_b": 0}, "labeler.preference")("model_b")
    0.0
    """
    if isinstance(encoding, str):
        if encoding not in ENCODINGS:
            raise ConfigError(
                f"{option}={encoding}: allowed are {', '.join(ENCODINGS)}, or the column's own words with their"
                f" P(first is better), e.g. {option}='{{left: 1, right: 0}}'"
            )
        return Decoder(encoding)
    words = {str(word): float(p_first) for word, p_first in encoding.items()}
    problems = [f"{option}.{word}={p:g}: must be between 0 and 1" for word, p in words.items() if not 0 <= p <= 1]
    if problems or not words:
        raise ConfigError(problems or f"{option}={{}}: give at least one word")
    return Decoder(words=words)
