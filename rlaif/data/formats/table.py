"""A table: prompt, two responses and a preference in named columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rlaif.data.formats.base import COLUMNS, OPTIONAL_COLUMNS, Decode, LabeledPair, Layout, OddRowError, label_of
from rlaif.data.formats.fields import PROBABILITY, decoded, number_of, text_of, weight_of
from rlaif.types import HUMAN_TURN


def parse_table(
    values: Mapping[str, object],
    *,
    columns: Mapping[str, str] = COLUMNS,
    decode: Decode = PROBABILITY,
) -> LabeledPair:
    """A prompt, two responses and a preference in named columns; an empty preference is no label.

    Args:
        values: The row.
        columns: Names of columns, as in :data:`COLUMNS`.
        decode: What turns the preference into P(first is better).
    """
    prompt, first, second = (text_of(values, columns[name]) for name in ("prompt", "first", "second"))
    if not prompt.strip():
        raise OddRowError("empty prompt")
    with label_of(prompt, first, second):
        return LabeledPair(
            prompt=prompt,
            first=first,
            second=second,
            p_first=decoded(decode, values, columns["preference"]),
            confidence=number_of(values, columns["confidence"]),
            weight=weight_of(values, columns["weight"]),
            is_instruction=not prompt.startswith(HUMAN_TURN),
        )


def table_layout(columns: Mapping[str, str] = COLUMNS, decode: Decode = PROBABILITY) -> Layout:
    """The layout of a table with these columns.

    Args:
        columns: Names of columns, as in :data:`~rlaif.data.formats.base.COLUMNS`.
        decode: What turns the preference into P(first is better).
    """
    keys = tuple(columns[name] for name in COLUMNS if name not in OPTIONAL_COLUMNS)
    parse = partial(parse_table, columns=columns, decode=decode)
    return Layout(parse, (keys,), has_confidence=True, with_columns=table_layout)


LAYOUT = table_layout()
