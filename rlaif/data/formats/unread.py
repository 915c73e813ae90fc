"""What rows hold and a layout does not read, in words: a user sees it beside the first pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlaif.data.files.rows import Row
from rlaif.data.formats.language import Layout
from rlaif.data.formats.messages import THINKING, is_message, is_thought
from rlaif.data.formats.paths import as_list


def unread_lines(layout: Layout, rows: Sequence[Row]) -> Iterator[str]:
    """One line for columns that are not read, and one for what models thought.

    Thinking is no part of a response: a judge compares the answers, as it does where a model is asked directly.
    """
    columns = dict.fromkeys(name for row in rows for name in row.values if name not in layout.read_in(row.values))
    if columns:
        yield f"columns that are not read: {', '.join(columns)}"
    found = [set(_thinking(row.values)) for row in rows]
    if num_thinking := sum(map(bool, found)):
        keys = ", ".join(sorted(set().union(*found)))
        yield (
            f"what a model thought ({keys} of messages) in {num_thinking:,} of the first {len(rows):,} rows is left"
            " out: it is no part of a prompt or a response"
        )


def _thinking(value: object) -> Iterator[str]:
    """Keys of the messages in a value that hold thinking; "thinking" for parts and messages that are nothing else."""
    if is_thought(value):
        yield "thinking"
    if isinstance(value, Mapping) and is_message(value):
        yield from (key for key in THINKING if value.get(key))
    for item in value.values() if isinstance(value, Mapping) else as_list(value) or []:
        yield from _thinking(item)
