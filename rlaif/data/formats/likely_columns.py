"""Which columns of a file are likely what a layout reads under other names, as the options to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from rlaif.data.files.rows import Row
from rlaif.data.formats.base import LabeledPair, OtherTaskError
from rlaif.data.formats.encodings import label_of_encoding
from rlaif.data.formats.language import Layout, common_word, folded
from rlaif.data.formats.layouts import layout_named
from rlaif.data.formats.paths import path_of
from rlaif.data.formats.rows import LayoutReader

_WORDS: Mapping[str, str] = {
    "prompt": """prompt question instruction query input user human user_prompt user_input user_message request task
        problem post title context source article document text conversation messages""",
    "chosen": """chosen accepted accept preferred win winner winning better best good positive pos favored upvoted
        pass""",
    "rejected": """rejected reject dispreferred non_preferred not_preferred unpreferred lose loser losing lost worse
        worst bad negative neg unfavored downvoted fail""",
    "preference": """preference preferred winner label choice chosen better best verdict vote annotation judgment
        judgement decision result human_label human_preference overall_preference pref answer""",
    "completion": "completion response output answer reply generation model_output text",
    "label": "label rating thumb thumbs feedback liked like is_good good desirable vote score",
    "part": """response answer output completion text summary candidate reply message generation option model""",
}
"""What people call a thing, the likeliest first."""
_SIDES = (("1", "2"), ("a", "b"), ("0", "1"), ("first", "second"), ("left", "right"), ("one", "two"), ("x", "y"))
_PARTS = ("", *_WORDS["part"].split())
PREFERENCES = {"index0": "0 is taken for the first; if 1 is, p_first instead of index0"}
"""What to know about an encoding that the values do not show."""


class Likely(NamedTuple):
    """Options that read a file."""

    layout: str
    columns: Mapping[str, str]
    """The file's names by the layout's, where they differ."""
    preference: str = ""
    """Encoding of the preference; empty where the layout says it."""

    @property
    def richness(self) -> int:
        """Of the layout."""
        return layout_named(self.layout, "format").richness

    @property
    def note(self) -> str:
        """What a user must know of the options."""
        note = PREFERENCES.get(self.preference, "")
        return f" ({note})" if note else ""

    def options(self, group: str) -> str:
        """The options as they are typed after ``rlaif-run``."""
        names = ", ".join(f"{name}: {_quoted(column)}" for name, column in self.columns.items())
        typed = [f"{group}.format={self.layout}"]
        typed += [shlex.quote(f"{group}.columns={{{names}}}")] if names else []
        typed += [f"{group}.preference={self.preference}"] if self.preference else []
        return " ".join(typed) + self.note


def likely_options(rows: Sequence[Row]) -> Likely | None:
    """The first reading of rows under other names of columns that uses at least four of five rows; None without one."""
    if not rows:
        return None
    for likely in _candidates(rows):
        layout = layout_named(likely.layout, "format")
        if likely.preference:
            label = label_of_encoding(likely.preference, path_of("preference"), "preference")
            layout = Layout(name=layout.name, prompt=layout.prompt, responses=layout.responses, labels=(label,))
        if _reads(layout, [Row(row.place, _renamed(row.values, likely.columns)) for row in rows]):
            return Likely(
                likely.layout, {ours: own for ours, own in likely.columns.items() if ours != own}, likely.preference
            )
    return None


def _candidates(rows: Sequence[Row]) -> Iterator[Likely]:
    names = list(rows[0].values)
    prompt = _named(names, "prompt")
    chosen, rejected = _response(names, "chosen"), _response(names, "rejected")
    asked = {"prompt": prompt} if prompt else {}
    if chosen and rejected and len({chosen, rejected, prompt}) == 3:
        yield Likely("chosen_rejected", {**asked, "chosen": chosen, "rejected": rejected})
    for first, second in _sides(names) if prompt else ():
        sides = {"prompt": prompt, "first": first, "second": second}
        preference, encoding = _preference([name for name in names if name not in sides.values()], rows)
        if encoding:
            yield Likely("table", {**sides, "preference": preference}, encoding)
        elif not preference:
            yield Likely("pairs", sides)
    completion = _named([name for name in names if name != prompt], "completion")
    label = _named([name for name in names if name not in (prompt, completion)], "label")
    if prompt and completion and label:
        yield Likely("kto", {"prompt": prompt, "completion": completion, "label": label})
    elif prompt and completion:
        yield Likely("prompt_completion", {"prompt": prompt, "completion": completion})


def _preference(names: Sequence[str], rows: Sequence[Row]) -> tuple[str, str]:
    """The column of the preference and its encoding; the encoding is empty where nobody can say it."""
    named = _named(names, "preference")
    found = {name: _encoding([row.values.get(name) for row in rows]) for name in names}
    if named:
        return named, found[named]
    return next(((name, "words") for name in names if found[name] == "words"), ("", ""))


def _encoding(values: Sequence[object]) -> str:
    words = {folded(value) for value in values if value not in (None, "")}
    if words and all(common_word(word) is not False for word in words):
        return "words"
    known = (("index0", {"0", "1"}), ("index1", {"1", "2", "1.5"}))
    return next((name for name, allowed in known if words and words <= allowed), "")


def _named(names: Sequence[str], wanted: str) -> str:
    """The column that means a thing: by the order of its words, without case, spaces and marks."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[_plain(word)] for word in _WORDS[wanted].split() if _plain(word) in plain), "")


def _response(names: Sequence[str], wanted: str) -> str:
    """The column of a better or a worse response, whose name may say response, answer, … too."""
    plain = {_plain(name): name for name in reversed(names)}
    parts = [("", after) for after in _PARTS] + [(before, "") for before in _PARTS]
    for word, (before, after) in product(_WORDS[wanted].split(), parts):
        if (found := f"{before}{_plain(word)}{after}") in plain:
            return plain[found]
    return ""


def _sides(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Two columns whose names differ in 1 and 2, a and b, …"""
    plain = {_plain(name): name for name in reversed(names)}
    for word, (left, right), after in product(_PARTS, _SIDES, _PARTS):
        first, second = f"{word}{left}{after}", f"{word}{right}{after}"
        if first in plain and second in plain:
            yield plain[first], plain[second]


def _reads(layout: Layout, rows: Sequence[Row]) -> bool:
    """True where a layout uses most rows, and its responses are texts that differ from row to row."""
    read = list(LayoutReader(layout).read(rows))
    records = [record for row in read for record in row.records]
    odd = sum(row.odd is not None and not isinstance(row.odd, OtherTaskError) for row in read)
    pairs = [record for record in records if isinstance(record, LabeledPair)]
    words = {folded(text) for pair in pairs for text in (pair.first, pair.second)}
    return bool(records) and odd <= 0.2 * len(read) and not (words and all(common_word(w) is not False for w in words))


def _renamed(values: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    kept = {name: value for name, value in values.items() if name not in columns.values()}
    return {**kept, **{name: values[column] for name, column in columns.items() if column in values}}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
