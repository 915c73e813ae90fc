"""Transcripts with other turn marks or line ends than Anthropic HH's, as transcripts with those."""

from __future__ import annotations

import re
from itertools import cycle

from rlaif.types import ASSISTANT_TURN, HUMAN_TURN

_FAMILIES = (
    (r"Human:", r"(?:Assistant|AI):"),
    (r"(?:User|USER):", r"(?:Assistant|ASSISTANT|AI|Bot):"),
    (r"###[ ]?(?:Human|User|Instruction):?", r"###[ ]?(?:Assistant|Response):?"),
    (r"<\|user\|>", r"<\|assistant\|>"),
    (r"<human>:", r"<bot>:"),
    (r"<extra_id_1>User", r"<extra_id_1>Assistant"),
)
_MARKS = [re.compile(rf"^[ \t]*(?:({human})|({assistant}))", re.MULTILINE) for human, assistant in _FAMILIES]

_JOINED = re.compile(r"(?<=[^\n])(?=### (?:Human|Assistant):)")
"""Places of marks that Guanaco writes directly behind the text before them."""
_OF_HELPSTEER = re.compile(r"\s*<extra_id_1>(User|Assistant)[ \t]*\n?")
"""Marks between the turns of a HelpSteer prompt, whose first turn, the user's, has none."""


def with_outer_marks(prompt: str) -> str:
    """A prompt of several turns with HelpSteer's marks, with a mark of its first turn and of the one to come.

    >>> with_outer_marks("c#\\n<extra_id_1>Assistant\\nYes?\\n<extra_id_1>User\\nWhy?").splitlines()[::2]
    ['<extra_id_1>User', '<extra_id_1>Assistant', '<extra_id_1>User', '<extra_id_1>Assistant']
    >>> with_outer_marks("c#")
    'c#'
    """
    first, *rest = _OF_HELPSTEER.split(prompt)
    if not first.strip() or rest[::2] != ["Assistant", "User"] * (len(rest) // 4):
        return prompt
    turns = ["User", first, *rest, "Assistant", ""] if rest else []
    marked = (f"<extra_id_1>{role}\n{text}" for role, text in zip(turns[::2], turns[1::2], strict=True))
    return "\n".join(marked) or prompt


def with_line_ends(text: str) -> str:
    """A text with Windows line ends, where it begins with a turn mark, with those of Unix.

    >>> with_line_ends("Human: Hi\\r\\n\\r\\nAssistant:"), with_line_ends("a\\r\\nb")
    ('Human: Hi\\n\\nAssistant:', 'a\\r\\nb')
    """
    return text.replace("\r\n", "\n") if "\r\n" in text and text.lstrip().startswith("Human:") else text


def with_hh_marks(text: str) -> str | None:
    """A transcript whose turns begin lines with other marks, such as ``### Human:``; None where a text is none.

    A transcript begins with a person's mark, its marks alternate, and the last one is the assistant's.

    >>> with_hh_marks("User: Hi\\nAssistant:"), with_hh_marks("User: Hi\\nAssistant: Yes?\\nUser: Why?")
    ('\\n\\nHuman: Hi\\n\\nAssistant:', None)
    """
    text = text.replace("\r\n", "\n").strip()
    text = _JOINED.sub("\n", text) if text.startswith("### Human:") else text
    return next((found for marks in _MARKS if (found := _converted(text, marks)) is not None), None)


def ends_open(transcript: str) -> bool:
    """True when a transcript ends with the assistant's mark, as a prompt does."""
    return transcript.endswith(ASSISTANT_TURN)


def _converted(text: str, marks: re.Pattern[str]) -> str | None:
    found = list(marks.finditer(text))
    are_human = [mark[1] is not None for mark in found]
    if not found or found[0].start() != 0 or len(found) % 2:
        return None
    if any(is_human != expected for is_human, expected in zip(are_human, cycle((True, False)), strict=False)):
        return None
    ends = [*(mark.start() for mark in found[1:]), len(text)]
    parts = [text[mark.end() : end].strip() for mark, end in zip(found, ends, strict=True)]
    turns = [HUMAN_TURN if is_human else ASSISTANT_TURN for is_human in are_human]
    return "".join(f"{turn} {part}".rstrip() for turn, part in zip(turns, parts, strict=True))
