"""The files of finished labels: the table, counts, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.labeling.missing import MissingLimit
from rlaif.labeling.sharded import ShardedLabeling
from rlaif.labeling.summary import summarize_labels
from rlaif.types import Preference

LABELS, SUMMARY, COST = "labels.parquet", "summary.json", "cost.json"
"""``cost.json`` holds seconds and money, which depend on clock and machine; the others depend on the input alone."""


class LabelSetWriter(Protocol):
    """Makes a data set of a label table, in the same directory."""

    def write(self, table: Path, provenance: Mapping[str, object]) -> None:
        """Write the data set.

        Args:
            table: The label table, with its counts in the same directory.
            provenance: How the labels were made, as plain values.
        """
        ...


def write_labels(
    labeling: ShardedLabeling, directory: Path, writer: LabelSetWriter, provenance: Mapping[str, object]
) -> None:
    """Write what all processes labeled, and remove the shards.

    Args:
        labeling: All its shards are finished.
        directory: Gets :data:`LABELS`, :data:`SUMMARY`, :data:`COST` and the data set.
        writer: Makes the data set.
        provenance: How the labels were made, for the data set.

    Raises:
        GateStopped: A process was stopped, or too many labels are missing.
    """
    run = labeling.finished()
    write_preferences(directory / LABELS, run)
    summary = summarize_labels(run)
    first = next(iter(run))
    judged = {"num_judged": labeling.plan.num_distinct, "num_judged_missing": sum(run.missing.values())}
    author = {"labeler": first.labeler, "source": first.source}
    _write_json(directory / SUMMARY, {**asdict(summary), **judged, **author})
    _write_json(directory / COST, labeling.asking.cost_figures(summary.n - summary.num_missing))
    writer.write(directory / LABELS, provenance)
    labeling.asking.close(remove=True)


def read_labels(directory: Path) -> list[Preference]:
    """The labels of a finished directory, in the order of the plan."""
    return read_preferences(directory / LABELS)


def check_missing(directory: Path, max_missing_rate: float) -> None:
    """Hold finished labels, which an earlier run may have accepted, against this run's limit.

    Args:
        directory: Of the labels.
        max_missing_rate: Share in [0, 1].

    Raises:
        GateStopped: More labels are missing.
    """
    summary, limit = json.loads((directory / SUMMARY).read_text()), MissingLimit(max_missing_rate)
    if not limit.allows(summary["num_judged_missing"], summary["num_judged"]):
        to_do = (
            f"These labels were accepted under another limit and are kept in {directory}: delete that directory and "
            "start again to ask for the missing ones (answers of a model come from the label cache)."
        )
        raise limit.error(summary["missing"], summary["n"], summary["n"], to_do)


def labels_in_words(directory: Path) -> str:
    """One line about finished labels."""
    summary = json.loads((directory / SUMMARY).read_text())
    missing, failed = sum(summary["missing"].values()), sum(summary["failed_judgments"].values())
    line = f"{summary['n']:,} pairs by {summary['labeler'].split(':')[0] or summary['source']}, {missing} missing"
    line += f", {failed} questions without an answer" if failed else ""
    silent = summary.get("silent_members", {})  # labels of earlier versions do not tell them
    return line + "".join(f", {count:,} without a verdict of {name}" for name, count in silent.items())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
