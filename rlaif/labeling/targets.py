"""What a loss learns from labels: ``label.targets``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlaif.errors import ConfigError
from rlaif.functional.labels import Targets, learned_target
from rlaif.labeling.missing import missing_by_reason, reasons_in_words
from rlaif.types import Preference


def learned_labels(labels: Sequence[Preference], targets: Targets) -> list[Preference]:
    """Labels with what a loss learns from each in the place of P(first); missing ones stay missing.

    Args:
        labels: As they were given.
        targets: Probabilities, or the preferred responses alone.

    Raises:
        ConfigError: Every label is missing.
    """
    if all(label.p_first is None for label in labels):
        reasons = reasons_in_words(missing_by_reason(labels))
        raise ConfigError(f"labels: all {len(labels)} are missing ({reasons}), so there is nothing to learn from")
    return [
        label if label.p_first is None else replace(label, p_first=learned_target(label.p_first, targets))
        for label in labels
    ]
