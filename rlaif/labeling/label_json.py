"""Labels as JSON, without a change of a single bit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rlaif.types import Comparison, Judgment, Preference

RECORD_FORMAT = 1
"""Raised when a field of a label changes its meaning or goes away."""


def preference_to_json(preference: Preference) -> str:
    """Write a label, without the texts of its comparison.

    Floats are written with the fewest digits that read back to the same double, and minus
    infinity as ``-Infinity``, which Python's JSON reads back.
    """
    record = {
        field.name: getattr(preference, field.name)
        for field in dataclasses.fields(preference)
        if field.name not in ("comparison", "judgments")
    }
    record["judgments"] = [dataclasses.asdict(judgment) for judgment in preference.judgments]
    return json.dumps(record, ensure_ascii=True, sort_keys=True, default=_own_number)


def _own_number(value: Any) -> object:
    """Python's own number for one of numpy or torch, which a labeler may have scored with."""
    if not hasattr(value, "item"):
        raise TypeError(f"a label holds a {type(value).__name__}, which is no text and no number")
    return value.item()


def preference_from_json(comparison: Comparison, text: str) -> Preference:
    """Put a label that :func:`preference_to_json` wrote back on its comparison.

    Args:
        comparison: The pair that was labeled: equal prompt and responses, hence equal ``id``.
        text: What was written.

    Returns:
        A label equal to the one that was written, if the comparison is.
    """
    record: dict[str, Any] = json.loads(text)
    record["judgments"] = tuple(_judgment(item) for item in record["judgments"])
    return Preference(comparison=comparison, **record)


def _judgment(item: dict[str, Any]) -> Judgment:
    tuples = {name: tuple(item[name]) for name in ("option_logprobs", "options") if item.get(name) is not None}
    return Judgment(**{**item, **tuples})
