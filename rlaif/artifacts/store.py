"""A directory of finished artefacts that runs and sweeps share."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from rlaif.errors import RlaifError, StoreError

log = logging.getLogger(__name__)

RECORDED_LIBRARIES = ("rlaif", "torch", "transformers", "lightning", "tokenizers", "datasets", "pyarrow")
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
FULL_BELOW_BYTES = 1 << 20


class Store:
    """Artefacts by name and fingerprint: built once, then only read.

    An artefact is the directory ``<root>/<name>-<fingerprint>/``. It appears there in one rename when it is
    complete; until then its files are in ``<name>-<fingerprint>.partial/``, where a build that was killed
    finds them again.

    Args:
        root: The option ``store.dir``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def path(self, name: str, fingerprint: str) -> Path:
        """The artefact's directory, whether it exists or not."""
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or not re.fullmatch(r"[0-9a-f]{16,64}", fingerprint):
            raise ValueError(f"Store: {name!r} and {fingerprint!r} do not name an artefact")
        return self.root / f"{name}-{fingerprint}"

    def complete(self, name: str, fingerprint: str) -> Path | None:
        """The artefact's directory, or None when it is not (yet) complete."""
        path = self.path(name, fingerprint)
        return path if path.is_dir() else None

    def lock(self, artefact: str) -> FileLock:
        """The lock that a process holds while it builds an artefact.

        Args:
            artefact: ``<name>-<fingerprint>``.
        """
        return FileLock(self.root / ".locks" / f"{artefact}.lock")

    def build(
        self,
        name: str,
        fingerprint: str,
        build: Callable[[Path], Mapping[str, object] | None],
        *,
        meta: Mapping[str, object] | None = None,
        on_wait: Callable[[str], None] = log.info,
    ) -> Path:
        """The artefact's directory, which is built first if it does not exist.

        Args:
            name: Letters, digits and underscores, e.g. ``reward_model``.
            fingerprint: From :func:`rlaif.artifacts.fingerprint`.
            build: Writes the artefact into the directory that it is given; what a killed build left there
                is still there, and the function goes on from it. What it returns is added to ``meta.json``.
            meta: More provenance for ``meta.json`` (device, command, ...).
            on_wait: Called once with a sentence when another process is building the same artefact.

        Returns:
            The complete directory. It holds a ``meta.json`` with ``seconds`` summed over restarts, dates and
            library versions; everything else depends on the fingerprint alone.

        Raises:
            StoreError: The store cannot be written, or the disk is full.
        """
        path = self.path(name, fingerprint)
        if path.is_dir():
            return path
        partial = path.with_name(path.name + ".partial")
        with self._lock(path, on_wait):
            if path.is_dir():
                return path
            with self._explained(partial):
                partial.mkdir(parents=True, exist_ok=True)
            record = _Record(partial, name=name, fingerprint=fingerprint, meta=meta or {})
            with self._explained(partial):
                record.start()
            try:
                with self._explained_build(partial):
                    record.fixed.update(build(partial) or {})
            finally:
                record.stop()
            with self._explained(partial):
                record.finish()
                _fsync_tree(partial)
                partial.rename(path)
                _fsync(self.root)
        return path

    @contextmanager
    def _lock(self, path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
        locks = self.root / ".locks"
        with self._explained(locks):
            locks.mkdir(parents=True, exist_ok=True)
            lock = self.lock(path.name)
            owner = locks / f"{path.name}.owner"
            try:
                lock.acquire(timeout=0)
            except Timeout:
                who = owner.read_text().strip() if owner.exists() else "another process"
                on_wait(f"{path.name}: waiting for {who}, which is building it; its result will be used")
                lock.acquire()
        try:
            with self._explained(locks):
                owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def _explained(self, where: Path) -> Iterator[None]:
        """Turn our own failed write into an error that says where and what to do."""
        try:
            yield
        except OSError as error:
            raise store_error(where, error) from error

    @contextmanager
    def _explained_build(self, partial: Path) -> Iterator[None]:
        """The same for a build function, whose other errors pass: they are not about the store."""
        try:
            yield
        except RlaifError:
            raise
        except Exception as error:
            is_full = shutil.disk_usage(partial).free < FULL_BELOW_BYTES
            if isinstance(error, OSError):
                is_ours = str(error.filename).startswith(str(self.root))
                if error.errno in _DISK_FULL or (error.errno in _NO_ACCESS and is_ours):
                    raise store_error(partial, error) from error
            if is_full:  # libraries report a full disk as errors of their own
                raise store_error(partial, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
            raise


def store_error(where: Path, error: OSError) -> StoreError:
    """Say which directory cannot be written and what to do."""
    if error.errno in _DISK_FULL:
        what = f"{where}: the disk is full"
        todo = "free some space there, or set store.dir (or RLAIF_STORE) to a directory on another disk"
    elif error.errno in _NO_ACCESS:
        what = f"{where}: not writable ({error.strerror})"
        todo = "change its permissions, or set store.dir (or RLAIF_STORE) to a directory that you can write"
    else:
        what = f"{where}: cannot be written ({error})"
        todo = "set store.dir (or RLAIF_STORE) to a directory that you can write"
    return StoreError(f"{what}: {todo}; start again to go on: what was finished before is kept")


class _Record:
    """Keeps ``meta.json`` in a directory under construction.

    An attempt that was killed could not write when it ended: it counts until its last write.
    """

    def __init__(self, partial: Path, *, name: str, fingerprint: str, meta: Mapping[str, object]) -> None:
        self.partial = partial
        self.file = partial / "meta.json"
        self.fixed: dict[str, object] = {
            "name": name,
            "fingerprint": fingerprint,
            "libraries": _library_versions(),
            **meta,
        }
        self.attempts: list[dict[str, float]] = []

    def start(self) -> None:
        for leftover in self.partial.rglob(".*.tmp"):
            leftover.unlink()
        if self.file.exists():
            self.attempts = json.loads(self.file.read_text())["attempts"]
            if "end" not in self.attempts[-1]:
                last_write = max(entry.stat().st_mtime for entry in self.partial.rglob("*"))
                self.attempts[-1]["end"] = max(last_write, self.attempts[-1]["start"])
        self.attempts.append({"start": time.time()})
        self._write()

    def stop(self) -> None:
        self.attempts[-1]["end"] = time.time()
        try:
            self._write()
        except OSError as error:
            log.warning("%s: %s", self.file, error)

    def finish(self) -> None:
        self._write()

    def _write(self) -> None:
        seconds = sum(attempt["end"] - attempt["start"] for attempt in self.attempts if "end" in attempt)
        dates = {
            "started": _date(self.attempts[0]["start"]),
            "finished": _date(self.attempts[-1]["end"]) if "end" in self.attempts[-1] else None,
        }
        document = {**self.fixed, **dates, "seconds": round(seconds, 3), "attempts": self.attempts}
        _write_atomically(self.file, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def _date(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")


def _library_versions() -> dict[str, str]:
    versions = {}
    for library in RECORDED_LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a restart after a kill, sees all of it or none.

    Args:
        path: The file; its directory exists.
        data: The whole content; text is written as UTF-8.

    Raises:
        StoreError: The directory cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        _write_atomically(path, data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise store_error(path.parent, error) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file that is written piece by piece and appears whole, when the block ends without an error.

    Args:
        path: The file; its directory exists.

    Raises:
        StoreError: The directory cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        with _atomic_file(path) as file:
            yield file
    except OSError as error:
        raise store_error(path.parent, error) from error


def _write_atomically(path: Path, data: bytes) -> None:
    with _atomic_file(path) as file:
        file.write(data)


@contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


def link(run_dir: str | Path, name: str, target: Path) -> Path:
    """Link an artefact into a run directory, relative, replacing a link of an earlier run.

    Args:
        run_dir: The run directory; it exists.
        name: Name of the link, e.g. ``labels``.
        target: The artefact's directory.

    Raises:
        StoreError: Something that is not a link has this name, or the directory cannot be written.
    """
    run_dir = Path(run_dir).absolute()
    place = run_dir / name
    if place.exists() and not place.is_symlink():
        raise StoreError(f"{place}: exists, and a link into the store would replace it: move it, or set hydra.run.dir")
    temporary = run_dir / f".{name}.{os.getpid()}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target.resolve(), run_dir.resolve()), target_is_directory=True)
        temporary.replace(place)
    except OSError as error:
        raise StoreError(f"{run_dir}: cannot be written ({error}): set hydra.run.dir to another directory") from error
    return place


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(directory: Path) -> None:
    for entry in directory.rglob("*"):
        if not entry.is_symlink():
            _fsync(entry)
    _fsync(directory)
