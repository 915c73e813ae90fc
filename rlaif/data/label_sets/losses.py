"""What another tool's format cannot hold of a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rlaif.types import Preference

P = "p between 0 and 1, written as a hard label"
ORDER = "which response came first"
WEIGHT = "weight other than 1"
CONFIDENCE = "confidence"
EVIDENCE = "evidence (judge prompts and replies)"
WRITERS = "who wrote the responses"
SOURCE = "source of the label"
LABELER = "name of the labeler"

_HELD: Mapping[str, Callable[[Preference], bool]] = {
    P: lambda label: label.p_first not in (0.0, 0.5, 1.0),
    ORDER: lambda label: True,
    WEIGHT: lambda label: label.weight != 1.0,
    CONFIDENCE: lambda label: label.confidence is not None,
    EVIDENCE: lambda label: bool(label.judgments),
    WRITERS: lambda label: bool(label.comparison.first.source or label.comparison.second.source),
    SOURCE: lambda label: bool(label.source),
    LABELER: lambda label: bool(label.labeler),
}
"""Whether a label has the thing."""

LOST = {
    "trl": (ORDER, CONFIDENCE, EVIDENCE, WRITERS, LABELER),
    "distilabel": (WEIGHT, CONFIDENCE, EVIDENCE, SOURCE),
    "alpaca_eval": (WEIGHT, CONFIDENCE, EVIDENCE, SOURCE),
    "openai": (P, ORDER, WEIGHT, CONFIDENCE, EVIDENCE, WRITERS, SOURCE, LABELER),
}
"""By format, what it has no place for."""


def lost(label: Preference, format: str) -> list[str]:
    """What of a label a format has no place for.

    Args:
        label: Any.
        format: A key of :data:`LOST`.
    """
    return [thing for thing in LOST[format] if _HELD[thing](label)]
