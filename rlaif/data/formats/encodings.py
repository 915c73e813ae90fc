"""Encodings of the preference in one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.data.formats.language import Label
from rlaif.data.formats.paths import ValuePath
from rlaif.data.formats.words import COMMON_WORDS, word_map
from rlaif.errors import ConfigError

ENCODINGS = ("p_first", "p_second", "index0", "index1", "words")


def label_of_encoding(
    encoding: str | Mapping[str, float] | Sequence[Sequence[object]] | None, at: ValuePath, option: str
) -> Label:
    """The label in a column, as a user names its encoding.

    Args:
        encoding: ``p_first`` or ``p_second`` (a probability), ``index0`` (0 the first, 1 the second), ``index1``
            (1 the first, 2 the second, soft between, 0 a draw: AlpacaEval's scale), ``words`` (first, second, tie and
            others that people write), or the column's own words with their probabilities, as a mapping or as a list of
            pairs: ``[[model_a, 1], [model_b, 0], [skip, null]]``.
        at: The column.
        option: Its name as typed, e.g. ``labeler.preference``.

    Raises:
        ConfigError: There is no such encoding, or a word's value is no probability.
    """
    match encoding:
        case "p_first":
            return Label(kind="scale", at=at, scale=(1.0, 0.0))
        case "p_second":
            return Label(kind="scale", at=at, scale=(0.0, 1.0))
        case "index0":
            return Label(kind="words", at=at, words={"0": 1.0, "1": 0.0})
        case "index1":
            return Label(kind="scale", at=at, scale=(1.0, 2.0), ties=(0.0,))
        case "words":
            return Label(kind="words", at=at, words=COMMON_WORDS)
    if isinstance(encoding, str) or encoding is None:
        raise ConfigError(
            f"{option}={encoding}: allowed are {', '.join(ENCODINGS)}, or the column's own words with their"
            f" P(first is better), e.g. {option}='[[left, 1], [right, 0]]'"
        )
    try:
        return Label(kind="words", at=at, words=word_map(encoding))
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
