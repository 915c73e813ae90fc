"""Finished batches of labels on disk: each a file that is complete or absent."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlaif.errors import StoreError
from rlaif.labelers.records import preference_from_json, preference_to_json
from rlaif.types import Comparison, Preference


def write_shard(path: Path, plan: str, preferences: Sequence[Preference]) -> None:
    """Write labels durably: after a power cut the file is whole or not there.

    Args:
        path: A ``.json.gz`` file, its folder made when missing; what stands there is replaced in one step.
        plan: Content hash of the work that the labels are part of.
        preferences: The labels; their comparisons are kept by id only.

    Raises:
        StoreError: The disk is full or the folder cannot be written.
    """
    lines = [json.dumps({"plan": plan})]
    lines += [f"{preference.comparison.id} {preference_to_json(preference)}" for preference in preferences]
    unfinished = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(gzip.compress("\n".join(lines).encode(), mtime=0))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot keep a batch of labels ({error}); make room or permissions and start again, "
            "finished batches are kept"
        ) from error


def read_shard(path: Path, plan: str, comparisons: Mapping[str, Comparison]) -> dict[str, Preference] | None:
    """Read labels back, by comparison id; None when this batch was never finished.

    Args:
        path: As in :func:`write_shard`.
        plan: The plan that the file must belong to.
        comparisons: The plan's comparisons by id.

    Raises:
        StoreError: The file is damaged or belongs to another plan.
    """
    if not path.exists():
        return None
    try:
        header, *lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        written_for = json.loads(header)["plan"]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete this file and its batch is labeled again") from error
    if written_for != plan:
        raise StoreError(
            f"{path.parent}: holds labels of another plan (other comparisons, labeler or label.batch_size); "
            "use another folder or delete this one"
        )
    records = (line.split(" ", 1) for line in lines)
    return {key: preference_from_json(comparisons[key], text) for key, text in records}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
