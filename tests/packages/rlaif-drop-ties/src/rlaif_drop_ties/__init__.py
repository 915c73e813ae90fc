"""A stage between labeling and reward model: it drops pairs whose label is near one half."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.preferences_io import write_preferences
from rlaif.errors import ConfigError
from rlaif.labeling.results import LABELS, read_labels
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads


class DropTiesStage(Stage):
    """Leaves the labels that are at least a margin away from one half; missing labels stay missing.

    Args:
        margin: Smallest distance of a label from one half, in [0, 0.5).

    Raises:
        ConfigError: The margin is out of range.
    """

    def __init__(self, margin: float) -> None:
        if not 0.0 <= margin < 0.5:
            raise ConfigError(f"drop_ties.margin={margin}: must be at least 0 and below 0.5")
        self.margin = margin

    def reads(self) -> Mapping[str, Reads]:
        """The labels of the nearest earlier step."""
        return {"labels": Reads(kind="labels")}

    def leaves(self) -> frozenset[str]:
        """Labels, but not raw labels: evaluations measure those of the labeler."""
        return frozenset({"labels"})

    def build(self, work: Work) -> None:
        """Write the labels that stay."""
        labels = read_labels(work.path("labels"))
        kept = [label for label in labels if label.p_first is None or abs(label.p_first - 0.5) >= self.margin]
        write_preferences(work.directory / LABELS, kept)

    def told(self, work: Work) -> Told:
        """Number of labels that stay."""
        return Told(line=f"{len(read_labels(work.directory)):,} labels left", link=work.step)
