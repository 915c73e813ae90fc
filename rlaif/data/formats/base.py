"""Shared by readers of labeled pairs: a parsed row, a row that cannot be used, a layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from rlaif.data.transcripts import with_turns
from rlaif.errors import ConfigError
from rlaif.types import content_id

COLUMNS = {
    name: name if name != "preference" else "p_first"
    for name in ("prompt", "first", "second", "preference", "confidence", "weight")
}
"""What a row of ``table`` holds, and the column it stands in unless ``columns`` says otherwise; the last two may be
absent."""
OPTIONAL_COLUMNS = ("confidence", "weight")
UNLABELED = "no label in the data"
"""Reason of a missing label whose row has no preference."""


class OddRowError(Exception):
    """A row that is well-formed but cannot be used.

    Args:
        reason: A few words under which such rows are counted.
        detail: What is odd about this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.pair: tuple[str, str, str] | None = None
        """Prompt and both responses, where they could be read and the rest of the row is odd."""
        super().__init__(f"{reason} ({detail})" if detail else reason)


@contextmanager
def label_of(prompt: str, first: str, second: str) -> Iterator[None]:
    """Read the label of a row; an :class:`OddRowError` is raised again with the source of the label."""
    try:
        yield
    except OddRowError as odd:
        odd.pair = (prompt, first, second)
        raise


class OtherTaskError(OddRowError):
    """A row that belongs to another task: left out and counted, but not as a defect of the data."""


@dataclass(frozen=True, kw_only=True)
class LabeledPair:
    """One row, parsed."""

    prompt: str
    """Starts with a human turn where the format has turns."""
    first: str
    """As written, without only the space that separates it from the prompt in formats that write both as one text."""
    second: str
    p_first: float | None
    """In [0, 1]; None where the row has no label."""
    confidence: float | None = None
    weight: float = 1.0
    is_instruction: bool = False
    """True when ``prompt`` is what one person asked, without turns."""
    first_source: str = "dataset"
    """Writer of the first response."""
    second_source: str = "dataset"

    def prompt_for(self, continues_dialogue: bool) -> str:
        """The prompt for a task: an instruction gets turns where the policy continues a dialogue."""
        return with_turns(self.prompt) if self.is_instruction and continues_dialogue else self.prompt


Parse = Callable[[Mapping[str, object]], LabeledPair]
Decode = Callable[[object], float | None]


class Layout(NamedTuple):
    """A published or named layout of rows with its reader. Registered in the group ``rlaif.layouts``."""

    parse: Parse
    """Reads one row; raises :class:`OddRowError` or :class:`~rlaif.errors.DataError`."""
    keys: tuple[tuple[str, ...], ...]
    """The keys that a row needs: one of these sets."""
    has_confidence: bool = False
    """True when rows have a confidence of the person."""
    with_columns: Callable[[Mapping[str, str], Decode], Layout] | None = None
    """Gives the same layout for columns of other names and another encoding of the preference; None where the layout
    fixes both."""


def chosen_and_rejected(prompt: str, chosen: str, rejected: str, confidence: float | None = None) -> LabeledPair:
    """A hard label as a pair whose order does not depend on which one was chosen.

    The order is drawn from the trimmed texts, so that it is the same in every run and when a file is turned around.

    >>> pair, turned = chosen_and_rejected("p", "a", "b"), chosen_and_rejected("p", "b", "a")
    >>> (pair.first, pair.p_first) == (turned.first, 1 - turned.p_first)
    True
    """
    first, second = sorted((chosen, rejected), key=str.strip)
    if int(content_id("candidate order", prompt, first.strip(), second.strip()), 16) % 2:
        first, second = second, first
    p_first = 1.0 if first == chosen else 0.0
    return LabeledPair(prompt=prompt, first=first, second=second, p_first=p_first, confidence=confidence)


def check_pair(pair: LabeledPair) -> None:
    """Refuse a pair that no reader can use.

    Raises:
        OddRowError: A text is not Unicode, or both responses are the same.
    """
    for text in (pair.prompt, pair.first, pair.second):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise OddRowError("broken Unicode")
    if pair.first.strip() == pair.second.strip():
        raise OddRowError("equal responses")


def check_choices(group: str, **choices: tuple[str, tuple[str, ...]]) -> None:
    """Check options that take one of a few words.

    Raises:
        ConfigError: All options with another value, each with what is allowed.
    """
    problems = [
        f"{group}.{name}={value}: allowed are {', '.join(allowed)}"
        for name, (value, allowed) in choices.items()
        if value not in allowed
    ]
    if problems:
        raise ConfigError(problems)
