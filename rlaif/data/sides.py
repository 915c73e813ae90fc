"""The two sides of a split: which of the records that were read train, and which are held out."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rlaif.data.large import Packed, Selected
from rlaif.data.repeated import plain
from rlaif.types import Demonstration, Preference, Prompt, content_id


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRecord:
    """A record as a run keeps it."""

    prompt: Prompt
    start: str
    """Hash of the conversation's beginning: prompts of one conversation belong together."""
    begins_held_out: bool
    """The side that the beginning of the conversation falls on."""
    pair: Preference | None = None
    response: str | None = None
    """The response that came alone."""

    @property
    def demonstrated(self) -> str | None:
        """The response that came alone, or the preferred one; None where neither is preferred."""
        if self.pair is None or self.pair.p_first is None or self.pair.p_first == 0.5:
            return self.response
        return (self.pair.comparison.first if self.pair.p_first > 0.5 else self.pair.comparison.second).text


class SplitRecords:
    """Records with the little that decides where each belongs: the records themselves may be packed.

    Args:
        records: They grow no more.
    """

    def __init__(self, records: Packed[ReadRecord]) -> None:
        self.records = records
        self._prompt_ids, self._starts, self.texts = array("Q"), array("Q"), array("Q")
        self._begins_held_out, self._has_pair, self._demonstrates = bytearray(), bytearray(), bytearray()
        for record in records:
            self._prompt_ids.append(int(record.prompt.id, 16))
            self._starts.append(int(record.start, 16))
            self.texts.append(text_number(record.prompt))
            self._begins_held_out.append(record.begins_held_out)
            self._has_pair.append(record.pair is not None)
            self._demonstrates.append(record.demonstrated is not None)

    @property
    def held_out_texts(self) -> set[int]:
        """Of the prompts whose conversations are held out, each on this side wherever else it stands."""
        return {text for text, held in zip(self.texts, self._begins_held_out, strict=True) if held}

    def where(self, texts: Container[int], *, inside: bool) -> array[int]:
        """Rows whose prompts have one of these texts, or none."""
        return array("q", (row for row, text in enumerate(self.texts) if (text in texts) == inside))

    def starts(self, rows: Iterable[int]) -> dict[int, int]:
        """By the number of a prompt's id, the number of its conversation's beginning."""
        return {self._prompt_ids[row]: self._starts[row] for row in rows}

    def prompts(self, rows: Iterable[int]) -> Sequence[Prompt]:
        """The prompts of the rows, each once."""
        return Selected(self.records, array("q", self._first_rows(rows)), _prompt_of)

    def pairs(self, rows: Iterable[int]) -> Sequence[Preference]:
        """The pairs among the rows."""
        return Selected(self.records, array("q", (row for row in rows if self._has_pair[row])), pair_of)

    def demonstrations(self, rows: Iterable[int]) -> Sequence[Demonstration]:
        """The demonstrations among the rows."""
        return Selected(self.records, array("q", (row for row in rows if self._demonstrates[row])), _demonstration_of)

    def _first_rows(self, rows: Iterable[int]) -> Iterator[int]:
        seen = set()
        for row in rows:
            if self._prompt_ids[row] not in seen:
                seen.add(self._prompt_ids[row])
                yield row


def text_number(prompt: Prompt) -> int:
    """A number of a prompt's text as texts are compared: to a split, prompts with equal numbers are one prompt."""
    return int(content_id(plain(prompt.text)), 16)


def pair_of(record: ReadRecord) -> Preference:
    """The pair of a record that has one."""
    assert record.pair is not None
    return record.pair


def _prompt_of(record: ReadRecord) -> Prompt:
    return record.prompt


def _demonstration_of(record: ReadRecord) -> Demonstration:
    assert record.demonstrated is not None
    return Demonstration(prompt=record.prompt, response=record.demonstrated)
