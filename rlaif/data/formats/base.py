"""Shared by readers of files: the records that a row becomes, and a row that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from rlaif.data.transcripts import instruction_text, transcript_of, with_turns
from rlaif.errors import ConfigError
from rlaif.types import Prompt, Turn, content_id, turns_in

UNLABELED = "no label in the data"
"""Reason of a missing label whose row has no preference."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


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
        self.p_first: float | None = None
        """The label, where it could be read and the pair is odd."""
        self.prompt = ""
        """The prompt of such a pair."""
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
    """A row that belongs to another task or split: left out and counted, but not as a defect of the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What every record of a file has: the prompt."""

    prompt: str
    """Starts with a human turn where the file has turns; else what one person asked."""
    turns: tuple[Turn, ...] = ()
    """The prompt as messages with roles, up to the assistant's next turn; empty when the text contains them all."""
    is_instruction: bool = False
    """True when ``prompt`` is what one person asked, without turns."""

    def prompt_for(self, continues_dialogue: bool) -> str:
        """The prompt's text for a task: an instruction gets turns where the policy continues a dialogue."""
        return with_turns(self.prompt) if self.is_instruction and continues_dialogue else self.prompt

    def as_prompt(self, task: str, *, cue: str) -> Prompt:
        """The prompt as a record of a run; its turns are kept where they say more than the text.

        Args:
            task: Name of the task.
            cue: What the task writes behind a prompt, and is taken off the end of one that has it; empty where the
                task's policy continues a dialogue.
        """
        turns = self.turns or ((Turn("user", self.prompt.strip()),) if self.is_instruction else ())
        if cue and turns and all(turn.role in ("system", "user") for turn in turns):
            turns = (*turns[:-1], replace(turns[-1], text=_without(cue, turns[-1].text)))
            text = _without(cue, self.prompt) if self.is_instruction else instruction_text(turns)
            own = turns if turns != (Turn("user", text.strip()),) else ()
            return Prompt(task=task, text=text, turns=own)
        text = self.prompt_for(not cue)
        return Prompt(task=task, text=text, turns=turns if turns and turns != turns_in(text) else ())


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledPair(Record):
    """Two responses to one prompt."""

    first: str
    """As written, without only the space that separates it from the prompt in formats that write both as one text."""
    second: str
    p_first: float | None
    """In [0, 1]; None where the row has no label."""
    confidence: float | None = None
    weight: float = 1.0
    first_source: str = "dataset"
    """Writer of the first response."""
    second_source: str = "dataset"


@dataclass(frozen=True, kw_only=True, slots=True)
class SingleResponse(Record):
    """A prompt with one response: a demonstration."""

    response: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BarePrompt(Record):
    """A prompt without a response."""


class ReadRow(NamedTuple):
    """What one row, or one group of rows, became."""

    place: str
    """``file:line``."""
    records: tuple[Record, ...]
    odd: OddRowError | None = None
    """Why there are no records."""
    values: Mapping[str, object] = {}
    """The row itself; of a group its first one."""


def _without(cue: str, text: str) -> str:
    """A prompt without the words behind it that its task writes itself.

    >>> _without("TL;DR:", "A post.\\nTL;DR: "), _without("TL;DR:", "A post. ")
    ('A post.', 'A post. ')
    """
    plain, end = text.rstrip(), cue.strip()
    return plain.removesuffix(end).rstrip() if end and plain.endswith(end) else text


def responses_of(record: Record) -> list[str]:
    """The responses of a record."""
    if isinstance(record, LabeledPair):
        return [record.first, record.second]
    return [record.response] if isinstance(record, SingleResponse) else []


def record_of(turns: tuple[Turn, ...]) -> Mapping[str, object]:
    """The fields of :class:`Record` for a prompt that is given as turns.

    >>> record_of((Turn("user", "Hi"),))["prompt"]
    'Hi'
    """
    if len(turns) == 1 and turns[0].role == "user":
        text = turns[0].text
        return {"prompt": text, "is_instruction": True}
    text = transcript_of(turns)
    return {"prompt": text, "turns": turns if turns != turns_in(text) else ()}


def chosen_and_rejected(prompt: str, chosen: str, rejected: str) -> tuple[str, str, bool]:
    """The order of a pair that does not depend on which response was chosen.

    The order is drawn from the trimmed texts, so that it is the same in every run and when a file is turned around.

    Returns:
        First, second, and whether the first is the chosen one.

    >>> turned, first, second = chosen_and_rejected("p", "b", "a"), *chosen_and_rejected("p", "a", "b")[:2]
    >>> turned[:2] == (first, second)
    True
    """
    first, second = sorted((chosen, rejected), key=str.strip)
    if int(content_id("candidate order", prompt, first.strip(), second.strip()), 16) % 2:
        first, second = second, first
    return first, second, first == chosen


def check_pair(pair: LabeledPair) -> None:
    """Refuse a pair that no reader can use.

    Raises:
        OddRowError: A text is not Unicode, or both responses are the same.
    """
    check_unicode(pair.prompt, pair.first, pair.second)
    if pair.first.strip() == pair.second.strip():
        odd = OddRowError("equal responses")
        odd.p_first, odd.prompt = pair.p_first, pair.prompt
        raise odd


def check_unicode(*texts: str) -> None:
    """Refuse texts with half a character.

    Raises:
        OddRowError: A text is not Unicode.
    """
    for text in texts:
        if _HALF_CHARACTER.search(text):
            raise OddRowError("broken Unicode")


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
