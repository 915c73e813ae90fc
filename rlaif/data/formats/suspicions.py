"""Signs that rows were read wrong: each has a name, and a run stops at it unless ``data.accept`` names it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rlaif.data.formats.base import LabeledPair, Record, responses_of
from rlaif.data.formats.language import Layout
from rlaif.data.formats.messages import ROLE_KEYS, is_message
from rlaif.data.formats.paths import as_list
from rlaif.data.formats.score_columns import different, score_agrees, words_of
from rlaif.data.formats.words import common_word, folded

SHARE = 0.2
"""Of the rows looked at, from which a sign counts."""
NUM_ROWS = 1000
"""Rows that are looked at, from the first on."""
_ROLE = re.compile(
    r"\s*(\*\*)?(Human|User|Assistant|AI|Bot|System|Prompter|HUMAN|USER|ASSISTANT|<\|[a-z_]+\|>)(\*\*)?\s*[:\n>|]|\s*<\|im_start\|>"
)
_LIST = re.compile(r"""\s*(\[\s*[\[{'"]|\{\s*['"](role|from|content|value)['"]|array\(\[)""")
_LABELS = re.compile(
    r"(?i)(.*[\W_])?(winner|wins?|labels?|preference|preferred|prefers?|pref|choice|chosen|chosen_id|better|best|verdict|votes?"
    r"|rank|ranking|ratings?|scores?|rewards?|majority|selected|gold|ground_truth|decision|outcome|judge?ment|overall"
    r"|comparison|correct|kto_tag|is_safe|accept)([\W_].*)?|(score|rating|rank)\w|(annotator|annotation|rater|judge)[\W_]?\d+"
)
_PROMPT_PARTS = """
    system system_prompt system_message sys_prompt input context context_messages history chat_history
    conversation_history dialog_history dialogue_history dialogue previous_turns instruction conversation messages
    document passage article background premise source_text prefix persona constraints tools images image
    image_path image_url img video audio initial_reason_steps
"""
_MANY = "answers responses completions generations outputs candidates options choices replies samples"
_LISTS = frozenset(_MANY.split())
"""Columns that hold several responses of a row."""
_ANSWERS = frozenset((*_MANY.split(), "answer", "response", "completion", "output", "reply", "pos", "neg"))
_CHECKED = "reference expected gold golden ground truth correct final target format type id length"
_GIVEN = frozenset(_CHECKED.split())
"""Words of columns that hold what an answer is checked against, or what is known of it: prompts may have them."""
_CONTEXTS = frozenset(_PROMPT_PARTS.split())
_MARKS = re.compile(
    r"<\|(im_start|im_end|start_header_id|eot_id|user|assistant)\|>|\[/?INST\]|<extra_id_\d+>"
    r"|### (Response|Instruction):|<(start|end)_of_turn>|</s>|<\|end(oftext)?\|>"
)
_OWN_MARKS = re.compile(
    r"(?i:\s*(System|User|Human|Prompter|Question|Q):.*\n\s*(Assistant|AI|Bot|GPT|Answer|A):\s*)"
    r"|\s*(User|USER|Human|HUMAN):.*",
    re.DOTALL,
)
"""A prompt that ends with a mark for the assistant, in other words than those of Anthropic HH, or begins with one for
the user."""

_NOTHING = ("", "[]", "{}", "null")
"""Values, and JSON texts of them, that hold nothing."""
_TIES = ("status", "is_tie", "tie", "tied")
"""Columns that may say that a row is a tie."""
TIE = "tie_in_row"
"""Sign of ties; where too few rows have it to count, these rows are left out."""
SIGNS: Mapping[str, str] = {
    "role_in_response": "responses begin with a role such as Human: or Assistant:, so they are whole dialogues",
    "prompt_in_response": "responses begin with their own prompt",
    "serialized_list": "texts are lists written as text, e.g. [{'role': …}]; write the file as JSON lines or Parquet",
    "zero_one": "the preference is 0 or 1, and nothing says which of them means the first response",
    "unread_label": "a column looks like a label and was not read",
    "unread_responses": "other columns look like responses or their label, and were not read",
    "unread_context": "a column that usually belongs to the prompt was not read",
    "no_label": "the layout reads a label, and no row has one",
    "scores_against_order": "scores, ranks or a verdict beside the responses prefer the one that is read as the worse",
    "words_as_responses": "both responses are words such as A and B, so they may be the label",
    TIE: "rows say that they are ties (is_tie, status), and one response is read as the better one",
    "template_marks": "texts hold marks of turns (Human:, <|im_start|>), which are put around them once more",
}
"""Name of each sign, and what it is."""


class Sign(NamedTuple):
    """A sign that counts."""

    name: str
    detail: str
    """How many rows, or which columns."""
    where: str = ""
    """Of ties the condition that leaves them out, of a preference the layout to name with its encoding."""


@dataclass
class SignCounter:
    """Looks at rows and their records.

    Args (fields):
        layout: What is read.
        preference: Column of the preference whose encoding nobody declared; empty where it is known.
    """

    layout: Layout
    preference: str = ""
    is_guessed: bool = True
    """True when nobody named the layout: columns that it does not read may then be a sign."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The file's names of columns by the layout's, where they differ."""
    num_rows: int = field(default=0, init=False)
    num_pairs: int = field(default=0, init=False)
    num_labeled: int = field(default=0, init=False)
    num_scored: int = field(default=0, init=False)
    """Rows with scores beside the label that prefer one response; ties are none of them."""
    num_contradicted: int = field(default=0, init=False)
    """Those whose scores prefer the other response."""
    preferences: set[str] = field(default_factory=set, init=False)
    """Values of the preference column whose encoding nobody declared."""
    counts: Counter[str] = field(default_factory=Counter, init=False)
    unread: dict[str, str] = field(default_factory=dict, init=False)
    """Column to the sign that it is."""
    no_ties: dict[str, dict[str, None]] = field(default_factory=dict, init=False)
    """Columns that may say that a row is a tie, with their other values."""

    def add(self, values: Mapping[str, object], records: Sequence[Record]) -> None:
        """Count one row."""
        self.num_rows += 1
        signs = {sign for record in records for sign in _of_record(record)}
        if any(label.kind != "order" for label in self.layout.labels):  # the label stands elsewhere in the row
            signs.discard("words_as_responses")
        self.counts.update(signs)
        if self.preference and values.get(self.preference) is not None:
            self.preferences.add(folded(values[self.preference]))
        labeled = any(isinstance(record, LabeledPair) and record.p_first is not None for record in records)
        self.counts[TIE] += is_undecided_tie(values, records)
        for name in (name for name in _TIES if name in values and not _says_tie(name, values[name])):
            self.no_ties.setdefault(name, {})[folded(values[name])] = None
        is_pair = any(isinstance(record, LabeledPair) for record in records)
        self.num_pairs += is_pair
        self.num_labeled += labeled
        agrees = score_agrees(self.layout, values, list(records), self.renamed)
        self.num_scored += agrees is not None
        self.num_contradicted += agrees is False
        unread = _unread(self.layout, values) - set(self.unread) if self.is_guessed else set()
        responses = [path.column_in(values) for path in self.layout.responses.paths] if is_pair else []
        for column in unread:
            is_prompt = bool(records) and not any(map(responses_of, records))
            sign = _of_column(column, values[column], labeled=labeled, is_pair=is_pair, is_prompt=is_prompt)
            if sign is None and values[column] and _is_further(column, responses):
                sign = "unread_responses"
            if sign is not None and not (sign == "unread_context" and _is_in(values[column], records)):
                self.unread[column] = sign

    def found(self, accepted: Iterable[str]) -> Iterator[Sign]:
        """Signs that count and that nobody accepted."""
        accepted = set(accepted)
        if self.preferences and self.preferences <= {"0", "1"} and "zero_one" not in accepted:
            named = "" if self.layout.name == "table" else self.layout.name
            yield Sign("zero_one", f"{self.preference}: {', '.join(sorted(self.preferences))}", named)
        if (
            self.is_guessed
            and self.layout.labels
            and self.num_pairs
            and not self.num_labeled
            and "no_label" not in accepted
        ):
            yield Sign("no_label", f"{self.num_pairs:,} pairs, read as {self.layout.name}")
        contradicted = self.num_contradicted
        if contradicted and contradicted >= SHARE * self.num_scored and "scores_against_order" not in accepted:
            yield Sign("scores_against_order", f"{contradicted:,} of {self.num_scored:,} rows whose scores differ")
        for name, count in self.counts.items():
            if count and count >= SHARE * self.num_rows and name not in accepted:
                yield Sign(name, f"{count:,} of the first {self.num_rows:,} rows", self._without_ties)
        for name in sorted(set(self.unread.values()) - accepted):
            columns = ", ".join(sorted(column for column, sign in self.unread.items() if sign == name))
            yield Sign(name, columns)

    @property
    def _without_ties(self) -> str:
        return ", ".join(f"{name}: [{', '.join(others)}]" for name, others in self.no_ties.items())


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
            named = f"{group}.format={sign.where} with " if sign.where else ""
            first, one = f"{group}.preference=index0 (0 is the first)", f"{group}.preference=p_first (1 is the first)"
            return f"say {named}{first} or {one}"
        case "no_label":
            return f"see where the label is, or take {group}.format=pairs for pairs without one"
        case "scores_against_order":
            return f"name the other column as the better one ({group}.columns) if the scores are right"
        case "tie_in_row":
            return f"leave them out with {group}.where='{{{sign.where or 'is_tie: [false]'}}}'"
        case "unread_label" | "unread_context" | "unread_responses":
            return f"name a layout that reads it ({group}.format), or write one as YAML"
        case _:
            return f"see whether {group}.format names the right layout"


def _unread(layout: Layout, values: Mapping[str, object]) -> set[str]:
    """Columns that are not read; ``a.b`` belongs to ``a``, as flat tables write it."""
    read = layout.read_in(values)
    parts = tuple(f"{name}." for name in read if name)
    return {name for name in values if name not in read and not name.startswith(parts)}


def _of_record(record: Record) -> Iterator[str]:
    responses = responses_of(record)
    are_words = len(responses) == 2 and all(isinstance(common_word(folded(text)), float) for text in responses)
    if are_words and record.is_instruction:  # the end of a transcript is a response, however short
        yield "words_as_responses"
    asked = (record.turns[-1].text if record.turns else record.prompt).strip()
    for response in responses:
        if _ROLE.match(response):
            yield "role_in_response"
        if len(asked) > 20 and response.lstrip().startswith(asked):
            yield "prompt_in_response"
    own_marks = record.is_instruction and _OWN_MARKS.fullmatch(record.prompt)
    if own_marks or any(_MARKS.search(text) for text in (asked, *responses)):
        yield "template_marks"
    if any(_LIST.match(text) and text.rstrip().endswith(("]", "}", ")")) for text in (record.prompt, *responses)):
        yield "serialized_list"


def is_undecided_tie(values: Mapping[str, object], records: Iterable[Record]) -> bool:
    """True where a row says that it is a tie, and was read as a preference of one response."""
    says_tie = any(_says_tie(name, values.get(name)) for name in _TIES)
    return says_tie and any(isinstance(record, LabeledPair) and record.p_first in (0.0, 1.0) for record in records)


def _says_tie(column: str, value: object) -> bool:
    return folded(value) in (("tie",) if column == "status" else ("true", "1", "yes", "tie"))


def _of_column(column: str, value: object, *, labeled: bool, is_pair: bool, is_prompt: bool) -> str | None:
    if value is None or str(value).strip() in _NOTHING:
        return None
    if not labeled and _LABELS.fullmatch(column) and not isinstance(value, Mapping):
        return "unread_label"
    if is_pair and not labeled and _are_verdicts(as_list(value) or [value]):
        return "unread_label"
    if is_prompt and _GIVEN.isdisjoint(words_of(column)) and _ANSWERS & set(words_of(column)) and value:
        return "unread_responses"
    if not is_pair and _LISTS & set(words_of(column)) and len(as_list(value) or []) > 1:
        return "unread_responses"
    is_text = isinstance(value, str | list | Mapping) and bool(str(value).strip())
    return "unread_context" if column in _CONTEXTS and is_text else None


def _is_further(column: str, responses: Sequence[str]) -> bool:
    """True for a column that is named as those of two responses are, with another number or letter.

    >>> _is_further("answer_3", ["answer_1", "answer_2"]), _is_further("answer_a_model", ["answer_a", "answer_b"])
    (True, False)
    """
    words = [different(column, name) for name in responses]
    return len(words) == 2 and all(pair and all(word.isdigit() or len(word) == 1 for word in pair) for pair in words)


def _are_verdicts(values: Sequence[object]) -> bool:
    """True where every value is a word for the better response, as of several raters."""
    return all(isinstance(value, str) and isinstance(common_word(folded(value)), float) for value in values)


def _is_in(value: object, records: Sequence[Record]) -> bool:
    """True where all texts of a value stand in what was read: another column says the same."""
    read = "\n".join(text for record in records for text in (record.prompt, *responses_of(record)))
    return all(text.strip() in read for text in _texts(value)) and bool(records)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if is_message(value):
            value = {key: item for key, item in value.items() if key not in ROLE_KEYS}
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    else:
        for item in as_list(value) or []:
            yield from _texts(item)
