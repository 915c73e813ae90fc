"""Labels kept across runs, so that a sweep or a changed plan does not pay twice."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from rlaif.errors import StoreError
from rlaif.labelers.records import RECORD_FORMAT, preference_from_json, preference_to_json
from rlaif.types import Comparison, Preference, content_id

_WAIT_S = 60.0
_KEYS_PER_QUERY = 500


class LabelCache:
    """A table from (labeler identity, comparison id) to a label, safe for several processes.

    SQLite in WAL mode; a file system without shared memory (some network mounts) cannot hold it.
    The first label that is written for a key stays. A missing judgement is never stored: a failure
    is not an answer. Labelers whose answers cost nothing (files, people who have already answered)
    have no use for it.

    Args:
        path: The SQLite file; it and its folder are made when missing.
        code: Digest of the code of labeler, prompt and engine (:func:`rlaif.artifacts.code_digest`), which
            a labeler's identity does not cover: labels made by other code are not found.

    Raises:
        StoreError: From every method, when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, code: str = "") -> None:
        self.path = Path(path)
        self.code = code

    def get(self, labeler_identity: str, comparisons: Sequence[Comparison]) -> dict[str, Preference]:
        """What is known about these comparisons, by comparison id."""
        by_id = {comparison.id: comparison for comparison in comparisons}
        ids = list(by_id)
        known: dict[str, Preference] = {}
        with self._connect() as connection:
            for start in range(0, len(ids), _KEYS_PER_QUERY):
                chunk = ids[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(
                    f"SELECT comparison, label FROM labels WHERE labeler = ? AND comparison IN ({marks})",
                    (self._key(labeler_identity), *chunk),
                )
                known |= {key: preference_from_json(by_id[key], zlib.decompress(blob).decode()) for key, blob in rows}
        return known

    def put(self, labeler_identity: str, preferences: Sequence[Preference]) -> None:
        """Keep the labels that are not missing."""
        key = self._key(labeler_identity)
        rows = [
            (key, preference.comparison.id, zlib.compress(preference_to_json(preference).encode()))
            for preference in preferences
            if preference.missing is None
        ]
        with self._connect() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO labels VALUES (?, ?, ?)", rows)

    def _key(self, labeler_identity: str) -> str:
        return content_id(labeler_identity, self.code, str(RECORD_FORMAT))

    def __len__(self) -> int:
        with self._connect() as connection:
            return int(connection.execute("SELECT count(*) FROM labels").fetchone()[0])

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self._create()
            with closing(sqlite3.connect(self.path, timeout=_WAIT_S)) as connection:
                yield connection
        except (sqlite3.Error, zlib.error, OSError) as error:
            raise StoreError(
                f"{self.path}: the label cache cannot be used ({error}); "
                "check the disk and its permissions, or delete the file to start an empty cache"
            ) from error

    def _create(self) -> None:
        """Make the table once: the switch to WAL does not wait for other processes, so a lock does."""
        with FileLock(f"{self.path}.lock"):
            if self.path.exists():
                return
            unfinished = self.path.with_name(f"{self.path.name}.partial")
            for suffix in ("", "-wal", "-shm"):
                unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(
                    "CREATE TABLE labels (labeler TEXT NOT NULL, comparison TEXT NOT NULL, label BLOB NOT NULL, "
                    "PRIMARY KEY (labeler, comparison)) WITHOUT ROWID"
                )
            unfinished.rename(self.path)
