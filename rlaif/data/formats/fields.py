"""Values of a row: texts, objects, numbers and preferences, each checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rlaif.data.formats.base import OddRowError
from rlaif.data.formats.encodings import UnknownPreferenceError, decoder
from rlaif.data.transcripts import TurnError, transcript
from rlaif.errors import DataError

PROBABILITY = decoder("p_first", "preference")
"""Reads a probability that the first response is better."""


def text_of(values: Mapping[str, object], key: str) -> str:
    """The text under a key.

    Raises:
        OddRowError: The key is absent or empty.
        DataError: The value has another type; the caller adds the place.
    """
    value = values.get(key)
    if value is None:
        raise OddRowError("no text", f"{key} is null")
    if not isinstance(value, str):
        raise DataError(f"{key} is {value!r:.40}; expected a text")
    return value


def fields_of(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The object under a key.

    Raises:
        DataError: The value is no object.
    """
    value = values[key]
    if not isinstance(value, Mapping):
        raise DataError(f"{key} is {value!r:.40}; expected an object")
    return value


def side_of(values: Mapping[str, object], key: str, *, ends_with_response: bool = False) -> str:
    """A text, or the text of a list of messages, of which a response keeps its outer white space."""
    value = values[key]
    if not isinstance(value, list):
        return text_of(values, key)
    try:
        return transcript(value, ends_with_response=ends_with_response)
    except TurnError as error:
        raise OddRowError("unknown message", f"{key}: {error}") from None


def number_of(values: Mapping[str, object], key: str) -> float | None:
    """The number under a key; None where the key is absent or empty.

    Raises:
        OddRowError: The value is no finite number.
    """
    value = values.get(key)
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise OddRowError(f"{key} is no number", repr(value)) from None
    if not math.isfinite(number):
        raise OddRowError(f"{key} is no number", repr(value))
    return number


def weight_of(values: Mapping[str, object], key: str) -> float:
    """The weight under a key, at least 0; 1 where the key is absent.

    Raises:
        OddRowError: The value is no number, or negative.
    """
    weight = number_of(values, key)
    if weight is not None and weight < 0.0:
        raise OddRowError("no weight", f"{key}={weight:g}")
    return 1.0 if weight is None else weight


def decoded(decode: Callable[[object], float | None], values: Mapping[str, object], key: str) -> float | None:
    """The preference under a key as P(first).

    Args:
        decode: From a value to P(first) in [0, 1], None for a missing one.
        values: The row.
        key: Of the preference.

    Raises:
        OddRowError: The encoding does not know the value.
    """
    try:
        return decode(values[key])
    except UnknownPreferenceError as error:
        raise OddRowError("unknown preference", f"{key}: {error}") from None
