"""Signs that rows were read wrong: each has a name, and a run stops at it unless ``data.accept`` names it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rlaif.data.formats.base import LabeledPair, Record, SingleResponse
from rlaif.data.formats.language import folded

SHARE = 0.2
"""Of the rows looked at, from which a sign counts."""
NUM_ROWS = 1000
"""Rows that are looked at, from the first on."""
_ROLE = re.compile(
    r"\s*(\*\*)?(Human|User|Assistant|AI|Bot|System|Prompter|<\|[a-z_]+\|>)(\*\*)?\s*[:\n>|]|\s*<\|im_start\|>"
)
_LIST = re.compile(r"""\s*(\[\s*[\[{'"]|\{\s*['"](role|from|content|value)['"]|array\(\[)""")
_LABELS = re.compile(
    r"(?i)(winner|label|labels|preference|preferred|choice|chosen|better|verdict|vote|votes|rank|ranking|ratings?|scores?"
    r"|(score|rating|rank)s?_?\w+|\w*(winner|preference|preferred)\w*)"
)
_CONTEXTS = ("system", "system_prompt", "input", "context", "history", "instruction", "conversation", "messages")

SIGNS: Mapping[str, str] = {
    "role_in_response": "responses begin with a role such as Human: or Assistant:, so they are whole dialogues",
    "prompt_in_response": "responses begin with their own prompt",
    "serialized_list": "texts are lists written as text, e.g. [{'role': …}]; write the file as JSON lines or Parquet",
    "zero_one": "the preference is 0 or 1, and nothing says which of them means the first response",
    "unread_label": "a column looks like a label and was not read",
    "unread_context": "a column that usually belongs to the prompt was not read",
}
"""Name of each sign, and what it is."""


class Sign(NamedTuple):
    """A sign that counts."""

    name: str
    detail: str
    """How many rows, or which columns."""


@dataclass
class SignCounter:
    """Looks at rows and their records.

    Args (fields):
        read_columns: Columns that the layout reads.
        preference: Column of the preference whose encoding nobody declared; empty where it is known.
    """

    read_columns: frozenset[str]
    preference: str = ""
    is_guessed: bool = True
    """True when nobody named the layout: columns that it does not read may then be a sign."""
    num_rows: int = field(default=0, init=False)
    counts: Counter[str] = field(default_factory=Counter, init=False)
    unread: dict[str, str] = field(default_factory=dict, init=False)
    """Column to the sign that it is."""

    def add(self, values: Mapping[str, object], records: Sequence[Record]) -> None:
        """Count one row."""
        self.num_rows += 1
        self.counts.update({sign for record in records for sign in _of_record(record)})
        if self.preference and folded(values.get(self.preference)) in ("0", "1"):
            self.counts["zero_one"] += 1
        labeled = any(isinstance(record, LabeledPair) and record.p_first is not None for record in records)
        for column in set(values) - self.read_columns - set(self.unread) if self.is_guessed else ():
            sign = _of_column(column, values[column], labeled)
            if sign is not None:
                self.unread[column] = sign

    def found(self, accepted: Iterable[str]) -> Iterator[Sign]:
        """Signs that count and that nobody accepted."""
        accepted = set(accepted)
        for name, count in self.counts.items():
            if count >= SHARE * self.num_rows and name not in accepted:
                yield Sign(name, f"{count:,} of the first {self.num_rows:,} rows")
        for name in sorted(set(self.unread.values()) - accepted):
            columns = ", ".join(sorted(column for column, sign in self.unread.items() if sign == name))
            yield Sign(name, columns)


def sign_messages(signs: Iterable[Sign], group: str) -> list[str]:
    """What to tell a user, one line per sign."""
    return [
        f"{sign.name}: {SIGNS[sign.name]} ({sign.detail}); {_todo(sign, group)}, or go on with"
        f" {group}.accept=[{sign.name}]"
        for sign in signs
    ]


def _todo(sign: Sign, group: str) -> str:
    match sign.name:
        case "zero_one":
            return f"say {group}.preference=index0 (0 is the first) or {group}.preference=p_first (1 is the first)"
        case "unread_label" | "unread_context":
            return f"name a layout that reads it ({group}.format), or write one as YAML"
        case _:
            return f"see whether {group}.format names the right layout"


def _of_record(record: Record) -> Iterator[str]:
    responses = [record.first, record.second] if isinstance(record, LabeledPair) else []
    responses += [record.response] if isinstance(record, SingleResponse) else []
    asked = (record.turns[-1].text if record.turns else record.prompt).strip()
    for response in responses:
        if _ROLE.match(response):
            yield "role_in_response"
        if len(asked) > 20 and response.lstrip().startswith(asked):
            yield "prompt_in_response"
    if any(_LIST.match(text) and text.rstrip().endswith(("]", "}", ")")) for text in (record.prompt, *responses)):
        yield "serialized_list"


def _of_column(column: str, value: object, labeled: bool) -> str | None:
    if value is None or value in ("", []):
        return None
    if not labeled and _LABELS.fullmatch(column) and not isinstance(value, Mapping):
        return "unread_label"
    is_text = isinstance(value, str | list) and bool(str(value).strip())
    return "unread_context" if column in _CONTEXTS and is_text else None
