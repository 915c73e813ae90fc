"""Directories of builds that did not finish: found and removed, unless a process is at work in them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from rlaif.artifacts.store import Store, store_error

SUFFIX = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A partial directory in the store, left by a build that was killed or stopped by an error."""

    directory: Path
    """``<name>-<fingerprint>.partial/``."""
    size_bytes: int
    """Of all files in it."""
    written_at: float
    """Time of the last write to a file in it, in seconds since 1970."""

    @property
    def artefact(self) -> str:
        """``<name>-<fingerprint>``."""
        return self.directory.name.removesuffix(SUFFIX)


def unfinished(store: Store) -> list[Partial]:
    """Partial directories that no process is building, by name. Their run, started again, continues from them."""
    found = (path for path in sorted(store.root.glob(f"*{SUFFIX}")) if path.is_dir())
    return [_measure(path) for path in found if not _is_locked(store, path)]


def remove(store: Store, partial: Partial) -> bool:
    """Remove a partial directory, unless a process has begun to build there by now.

    Returns:
        False when it was left alone.

    Raises:
        StoreError: It cannot be removed.
    """
    lock = store.lock(partial.artefact)
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(partial.directory)
    except Timeout:
        return False
    except OSError as error:
        raise store_error(partial.directory, error) from error
    return True


def _is_locked(store: Store, path: Path) -> bool:
    lock = store.lock(path.name.removesuffix(SUFFIX))
    lock_file = Path(lock.lock_file)
    if not lock_file.exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _measure(path: Path) -> Partial:
    stats = [file.lstat() for file in (path, *path.rglob("*"))]
    return Partial(
        directory=path,
        size_bytes=sum(stat.st_size for stat in stats),
        written_at=max(stat.st_mtime for stat in stats),
    )
