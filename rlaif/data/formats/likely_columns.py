"""Which columns of a file are likely what a layout reads under other names, as the options to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from rlaif.data.files.rows import Row
from rlaif.data.formats.base import OtherTaskError, responses_of
from rlaif.data.formats.encodings import label_of_encoding
from rlaif.data.formats.language import Layout
from rlaif.data.formats.layouts import layout_named
from rlaif.data.formats.paths import path_of
from rlaif.data.formats.rows import LayoutReader
from rlaif.data.formats.score_columns import different, words_of
from rlaif.data.formats.words import common_word, folded

_WORDS: Mapping[str, str] = {
    "prompt": """prompt question instruction query input user human user_prompt user_input text_input user_message
        request task problem post title context source article document text conversation messages""",
    "chosen": """chosen accepted accept preferred win winner winning better best good positive pos favored upvoted
        pass""",
    "rejected": """rejected reject dispreferred unpreferred unchosen unaccepted lose loser losing lost worse worst bad
        negative neg unfavored downvoted fail""",
    "preference": """preference preferred winner label choice chosen better best verdict vote annotation judgment
        judgement decision result human_label human_preference overall_preference pref answer""",
    "completion": """completion response output answer reply generation model_output model_response model_answer ideal
        target summary highlights text""",
    "label": """label rating thumb thumbs feedback liked like is_good good desirable vote score is_safe safe is_correct
        correct is_preferred if_chosen""",
}
"""What people call a thing, the likeliest first."""
_SIDES = (("1", "2"), ("a", "b"), ("0", "1"), ("first", "second"), ("left", "right"), ("one", "two"), ("x", "y"))
_BESIDE = """score rating reward grade model id source name tokens length len type label rank url time logps"""
_NO_RESPONSE = frozenset(_BESIDE.split())
"""Words of columns that stand beside responses."""
_BEFORE = re.compile(r"^(input|output|answer|golden)[:.]", re.IGNORECASE)
"""What annotation platforms put before a column's name."""
_NOT = re.compile(r"(non|not|un)[\W_]*(?=preferred|chosen|accepted)", re.IGNORECASE)
_LIKE_A_LABEL = re.compile(r"(preference|rating|score|label|winner|choice|better|vote|verdict|rank)", re.IGNORECASE)
_COMMANDS = frozenset(("accept", "reject", "ignore"))
MOST_ODD = 0.2
"""Largest share of rows that a reading may be unable to use."""
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
    asked = {"prompt": prompt} if prompt else {}
    orders = tuple(product(_WORDS["chosen"].split(), _WORDS["rejected"].split()))
    for chosen, rejected in _sides([name for name in names if name != prompt], rows, orders):
        yield Likely("chosen_rejected", {**asked, "chosen": chosen, "rejected": rejected})
        yield Likely("chosen_rejected_lists", {**asked, "chosen": chosen, "rejected": rejected})
    for first, second in _sides(names, rows, _SIDES) if prompt else ():
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
    words = [name for name in names if found[name] == "words"]
    unclear = [name for name in names if _LIKE_A_LABEL.search(name)]
    if len(words) == 1:
        return words[0], "words"
    return next(iter([*words, *unclear]), ""), ""


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


def _sides(names: Sequence[str], rows: Sequence[Row], words: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Two columns whose names differ in one of the pairs of words, the longest texts first."""
    found = [
        (first, second)
        for first in names
        for second in names
        if tuple(different(_spoken(first), _spoken(second))) in words and not _is_beside(first, second)
    ]
    yield from sorted(found, key=lambda pair: -sum(len(str(row.values.get(name))) for row in rows for name in pair))


def _is_beside(first: str, second: str) -> bool:
    """True for columns that stand beside responses, such as score_a or response_a_source."""
    shared = [word for word, other in zip(words_of(first), words_of(second), strict=False) if word == other]
    return bool(shared) and shared[-1] in _NO_RESPONSE


def _spoken(name: str) -> str:
    return _NOT.sub("un", _BEFORE.sub("", name))


def _reads(layout: Layout, rows: Sequence[Row]) -> bool:
    """True where a layout uses most rows, and its responses are no words of a label."""
    read = list(LayoutReader(layout).read(rows))
    records = [record for row in read for record in row.records]
    odd = sum(row.odd is not None and not isinstance(row.odd, OtherTaskError) for row in read)
    texts = {folded(text) for record in records for text in responses_of(record)}
    are_words = all(common_word(text) is not False or text in _COMMANDS for text in texts)
    return bool(texts) and odd <= MOST_ODD * len(read) and not are_words


def _renamed(values: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    kept = {name: value for name, value in values.items() if name not in columns.values()}
    return {**kept, **{name: values[column] for name, column in columns.items() if column in values}}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", _BEFORE.sub("", name)).casefold()


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
