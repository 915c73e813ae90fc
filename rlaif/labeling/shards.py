"""Finished batches of labels on disk: each a file that is complete or absent."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlaif.artifacts import atomic_write
from rlaif.artifacts.store import store_error
from rlaif.engines.answers import is_refusal
from rlaif.errors import StoreError
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.types import Comparison, Preference, Rating

_LEVEL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """Counts of a finished batch, from the first line of its file."""

    num_labels: int
    missing: dict[str, int]
    """Labels that were not obtained, by reason."""
    num_failed: int
    """Labels with a question that got no answer: they are asked again at the next start."""

    @classmethod
    def of(cls, preferences: Sequence[Preference]) -> BatchOutcome:
        """The outcome of a batch of labels."""
        missing = Counter(preference.missing for preference in preferences if preference.missing is not None)
        return cls(
            num_labels=len(preferences), missing=dict(missing), num_failed=sum(map(failed_without_answer, preferences))
        )


def failed_without_answer(label: Preference | Rating) -> bool:
    """True when a question got no answer, so that asking again may give another label.

    Such a label may exist all the same: a panel goes on without a member, self-consistency without a sample.
    """
    failed = any(judgment.missing is not None and not judgment.unreadable for judgment in label.judgments)
    return failed or (label.missing is not None and not label.judgments)


def was_refused(preference: Preference) -> bool:
    """True when a server refused one of the prompts, or found it too long."""
    return any(is_refusal(judgment.missing) for judgment in preference.judgments)


def write_shard(path: Path, plan: str, preferences: Sequence[Preference]) -> BatchOutcome:
    """Write a batch of labels durably: after a power cut the file is whole or not there.

    Args:
        path: A ``.json.gz`` file, its folder made when missing; an existing file is replaced in one step.
        plan: Content hash of the work that the labels are part of.
        preferences: The labels in the order of the batch; their comparisons are not written.

    Returns:
        What :func:`read_outcome` gives for this file.

    Raises:
        StoreError: The disk is full or the folder cannot be written.
    """
    outcome = BatchOutcome.of(preferences)
    counts = {"num_labels": outcome.num_labels, "missing": outcome.missing, "num_failed": outcome.num_failed}
    lines = [json.dumps({"plan": plan, **counts}), *map(preference_to_json, preferences)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise store_error(path.parent, error) from error
    atomic_write(path, gzip.compress("\n".join(lines).encode(), _LEVEL, mtime=0))
    return outcome


def read_outcome(path: Path, plan: str) -> BatchOutcome | None:
    """The counts of a finished batch, without reading its labels; None when it was never finished.

    Raises:
        StoreError: The file is damaged or belongs to another plan.
    """
    if not path.exists():
        return None
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            header = json.loads(file.readline())
        written_for = header.pop("plan")
        outcome = BatchOutcome(**header)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise _damaged(path, error) from error
    if written_for != plan:
        raise StoreError(
            f"{path.parent}: holds labels of another plan (other comparisons, labeler or label.batch_size); "
            "use another folder or delete this one"
        )
    return outcome


def read_shard(path: Path, plan: str, comparisons: Sequence[Comparison]) -> list[Preference] | None:
    """Read a batch back; None when it was never finished.

    Args:
        path: As in :func:`write_shard`.
        plan: The plan that the file must belong to.
        comparisons: The batch.

    Raises:
        StoreError: The file is damaged or belongs to another plan.
    """
    if read_outcome(path, plan) is None:
        return None
    try:
        _, *lines = gzip.decompress(path.read_bytes()).decode("ascii").split("\n")
        return [preference_from_json(comparison, line) for comparison, line in zip(comparisons, lines, strict=True)]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: damaged ({error}); delete this file and its batch is labeled again")
