"""The answer cache, shared by runs and processes: no question is paid for twice."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, get_args

from filelock import FileLock

from rlaif.errors import ConfigError, StoreError

CachePlace = Literal["local", "network", "none"]

_WAIT_S = 60.0
_KEYS_PER_QUERY = 500
_ROWS_AT_ONCE = 10_000
_PAGE_BYTES, _PAGES_PER_CHECKPOINT, _MEMORY_KB = 1024, 32_000, 12_000
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL) WITHOUT ROWID"
_INSERT = "INSERT OR IGNORE INTO answers VALUES (?, ?)"


class AnswerCache(Protocol):
    """A table from a question's key to its answer's bytes. The first answer that is written for a key stays.

    Every method raises :class:`rlaif.errors.StoreError` when a file cannot be read or written.
    """

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The answers that are known."""
        ...

    def put(self, answers: Mapping[bytes, bytes]) -> None:
        """Store answers; those of a file are with the operating system on return, and survive ``kill -9``."""
        ...

    def close(self) -> None:
        """Close the files; the next call opens them again."""
        ...


class MemoryAnswerCache:
    """An answer cache in memory."""

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """As :meth:`AnswerCache.get`."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def put(self, answers: Mapping[bytes, bytes]) -> None:
        """As :meth:`AnswerCache.put`."""
        for key, answer in answers.items():
            self._answers.setdefault(key, answer)

    def close(self) -> None:
        """Do nothing: there are no files."""


class LocalAnswerCache:
    """One SQLite file in WAL mode on a local disk, for any number of processes.

    WAL needs shared memory between its users, which network file systems do not give: take
    :class:`FolderAnswerCache` there.

    Args:
        path: The file; it and its folder are made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """As :meth:`AnswerCache.get`."""
        with self._lock, _explained(self.path):
            return _select(self._open(), keys)

    def put(self, answers: Mapping[bytes, bytes]) -> None:
        """As :meth:`AnswerCache.put`; one transaction."""
        with self._lock, _explained(self.path), self._open() as connection:
            connection.executemany(_INSERT, answers.items())

    def __len__(self) -> int:
        with self._lock, _explained(self.path):
            return int(self._open().execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """As :meth:`AnswerCache.close`."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False)
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
            # The switch to WAL does not wait for other processes, so a lock does.
            with FileLock(f"{self.path}.lock"):
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                connection.execute(_TABLE)
            if mode != "wal":
                raise StoreError(
                    f"{self.path}: this file system cannot share a database between processes; set label.cache=network"
                )
            # A commit that a power cut undoes is asked again; the file stays whole.
            connection.execute("PRAGMA synchronous = NORMAL")
            # Keys fall anywhere in the file: without these a batch gets dearer as the file grows.
            connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_PER_CHECKPOINT}")
            connection.execute(f"PRAGMA cache_size = -{_MEMORY_KB}")
            self._connection = connection
        return self._connection


class FolderAnswerCache:
    """A folder on a network file system with one database file per process.

    A file is filled by the process that made it and read by those that start later, so no two processes ever fill
    one file and no shared memory is needed. What other processes add after the start is not seen.

    Args:
        folder: Made when missing. All its files are read at the first call, into a table on the local disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._known: sqlite3.Connection | None = None
        self._own: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """As :meth:`AnswerCache.get`."""
        with self._lock, _explained(self.folder):
            return _select(self._read_all(), keys)

    def put(self, answers: Mapping[bytes, bytes]) -> None:
        """As :meth:`AnswerCache.put`; one transaction in this process's file."""
        with self._lock, _explained(self.folder):
            if self._own is None:
                self._own = self._make_own()
            for connection in (self._own, self._read_all()):
                with connection:
                    connection.executemany(_INSERT, answers.items())

    def close(self) -> None:
        """As :meth:`AnswerCache.close`."""
        with self._lock:
            for connection in (self._own, self._known):
                if connection is not None:
                    connection.close()
            self._own = self._known = None

    def _read_all(self) -> sqlite3.Connection:
        if self._known is None:
            known = sqlite3.connect("", check_same_thread=False)  # a temporary file that SQLite deletes
            known.execute(_TABLE)
            for path in sorted(self.folder.glob("*.sqlite")):
                # Not read-only: what a process left that was killed in a commit, SQLite undoes before it reads.
                with (
                    _explained(path),
                    closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)) as other,
                ):
                    rows = other.execute("SELECT key, answer FROM answers")
                    for some in iter(partial(rows.fetchmany, _ROWS_AT_ONCE), []):
                        with known:
                            known.executemany(_INSERT, some)
            self._known = known
        return self._known

    def _make_own(self) -> sqlite3.Connection:
        self.folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{socket.gethostname()}-{os.getpid()}-"
        descriptor, path = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=self.folder)
        os.close(descriptor)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute(_TABLE)
        # Under its final name a file always has its table, whoever reads it.
        final = Path(path).with_suffix(".sqlite")
        os.replace(path, final)
        return sqlite3.connect(final, timeout=_WAIT_S, check_same_thread=False)


@dataclass(frozen=True, slots=True)
class AnswerPlace:
    """The place of a run's answer cache.

    Args:
        place: The option ``label.cache``: ``local`` (one file, WAL), ``network`` (a file per process) or ``none``.
        root: A directory: the store, for answers that all its runs share.

    Raises:
        ConfigError: There is no such place.
    """

    place: CachePlace
    root: str | Path

    def __post_init__(self) -> None:
        if self.place not in get_args(CachePlace):
            raise ConfigError(f"label.cache={self.place}: must be one of {', '.join(get_args(CachePlace))}")

    def open(self) -> AnswerCache | None:
        """The cache; None keeps no answers."""
        root = Path(self.root)
        if self.place == "none":
            return None
        return (
            LocalAnswerCache(root / "answers.sqlite") if self.place == "local" else FolderAnswerCache(root / "answers")
        )

    def at(self, directory: Path) -> AnswerPlace:
        """The same kind of cache in another directory."""
        return AnswerPlace(self.place, directory)


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    known: dict[bytes, bytes] = {}
    for chunk in _chunks(keys, _KEYS_PER_QUERY):
        marks = ",".join("?" * len(chunk))
        known |= dict(connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", chunk))
    return known


def _chunks(keys: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"{path}: the label cache cannot be used ({error}); check the disk and its permissions, delete it to start "
            "an empty one, or set label.cache=none"
        ) from error
