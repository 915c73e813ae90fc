"""The ledger: questions, tokens and seconds of engines, counted call by call and kept with the labels."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rlaif.engines.answer_cache import AnswerCache, MemoryAnswerCache
from rlaif.errors import StoreError

_FILES, _RUN_FILES = "spent-*.jsonl", "*.run"
RUN_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Questions, tokens and time; adds up."""

    num_questions: int = 0
    """Questions that an engine was asked, failed ones included."""
    num_prompt_tokens: int = 0
    """Tokens that it read, also for answers that are of no use (a server bills its refusals)."""
    num_reused_prompt_tokens: int = 0
    """Of these, what the server had read before (its prefix cache) and may bill at a lower price."""
    num_reply_tokens: int = 0
    """Tokens that it wrote; one for a scored verdict where it gives no count."""
    num_retried: int = 0
    """Requests that failed and were made again; their tokens count where the server tells them."""
    num_cached: int = 0
    """Questions that the answer cache knew before they were asked here, each once: they cost nothing."""
    num_cached_prompt_tokens: int = 0
    num_cached_reply_tokens: int = 0
    seconds: float = 0.0
    """Spent waiting for engines; of several processes the sum."""

    def __add__(self, other: Spending) -> Spending:
        names = [field.name for field in fields(self)]
        return Spending(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def num_tokens(self) -> int:
        """Tokens paid for, read and written."""
        return self.num_prompt_tokens + self.num_reply_tokens


class Ledger:
    """Adds up spending, of this process and of earlier and parallel ones that write into one folder.

    Args:
        directory: The folder, made when missing; None keeps the sum in memory alone.
        rank: Names this process's file in the folder, ``spent-<rank>.jsonl``: a line per call.
        counted: Remembers which of the answers that were known before were counted, also across starts where it is a
            file; None remembers them in memory.

    Raises:
        StoreError: From every method, when the folder cannot be read or written.
    """

    def __init__(self, directory: Path | None = None, *, rank: int = 0, counted: AnswerCache | None = None) -> None:
        self.directory = directory
        self.rank = rank
        self.counted = MemoryAnswerCache() if counted is None else counted
        self._by_file: dict[str, Spending] = {}
        self._read_to: dict[str, int] = {}
        self._own = f"spent-{rank}.jsonl"
        self.run_id = secrets.token_bytes(RUN_BYTES)
        """Stamps answers that were paid for here; the same in every start and process of one folder."""
        if directory is not None:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self.run_id = _kept_run_id(directory, self.run_id)
                _cut_torn_line(directory / self._own)
                self._read()
            except OSError as error:
                raise self._unusable(error) from error

    def add(self, spending: Spending) -> None:
        """Count a call; its line has been passed to the operating system on return, and survives ``kill -9``."""
        self._by_file[self._own] = self._by_file.get(self._own, Spending()) + spending
        if self.directory is None:
            return
        line = json.dumps({name: value for name, value in asdict(spending).items() if value}) + "\n"
        try:
            with (self.directory / self._own).open("ab") as file:
                file.write(line.encode())
                self._read_to[self._own] = file.tell()
        except OSError as error:
            raise self._unusable(error) from error

    def first_time(self, keys: Sequence[bytes]) -> set[bytes]:
        """The cache hits among these answers that were not counted before; they count from now on."""
        new = set(keys) - self.counted.get(keys).keys()
        self.counted.put(dict.fromkeys(new, b""))
        return new

    def close(self) -> None:
        """Close the files."""
        self.counted.close()

    def total(self) -> Spending:
        """Everything spent so far, by all processes and starts."""
        if self.directory is not None:
            try:
                self._read()
            except OSError as error:
                raise self._unusable(error) from error
        return sum(self._by_file.values(), Spending())

    def longest_s(self) -> float:
        """Seconds of the process that spent most: what several at once take."""
        return max((spending.seconds for spending in self._by_file.values()), default=0.0)

    def _read(self) -> None:
        """Count the lines that were added since the last look."""
        assert self.directory is not None
        for path in sorted(self.directory.glob(_FILES)):
            with path.open("rb") as file:
                file.seek(self._read_to.get(path.name, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    seen = self._by_file.get(path.name, Spending())
                    self._by_file[path.name] = seen + Spending(**json.loads(line))
                    self._read_to[path.name] = self._read_to.get(path.name, 0) + len(line)

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.directory}: cannot keep what was spent ({error}); make room or permissions and start again"
        )


def _kept_run_id(directory: Path, new: bytes) -> bytes:
    """The id of the run, kept as the name of an empty file since the first start."""
    if not any(directory.glob(_RUN_FILES)):
        (directory / f"{new.hex()}.run").touch()
    return bytes.fromhex(min(path.stem for path in directory.glob(_RUN_FILES)))


def _cut_torn_line(path: Path) -> None:
    """Drop an unfinished last line, left by a process that was killed while it wrote."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
