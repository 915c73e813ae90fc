"""Human-labeled pairs from a file: Anthropic HH transcripts, or rows with a prompt and two responses."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Literal

from rlaif.data.base import TaskData
from rlaif.data.formats import LabeledPair, parse_hh, parse_row
from rlaif.data.pairs import PairOptions, PairReader, Row
from rlaif.errors import ConfigError, DataError
from rlaif.tasks.base import Task
from rlaif.types import content_id

FORMATS: dict[str, tuple[Callable[[Mapping[str, object]], LabeledPair], tuple[tuple[str, ...], ...]]] = {
    "hh": (parse_hh, (("chosen", "rejected"),)),
    "jsonl": (parse_row, (("prompt", "chosen", "rejected"), ("prompt", "first", "second", "p_first"))),
}
"""How a row is read, and the keys it needs (one of the sets)."""


class FilesSource:
    """``data=files``: JSON lines, gzipped or not.

    Args:
        path: The file.
        format: ``hh``: two whole transcripts under ``chosen`` and ``rejected``; ``jsonl``: ``prompt`` with
            ``chosen`` and ``rejected``, or with ``first``, ``second`` and ``p_first`` (0 to 1, or null).
        pairs: What is labeled: the file's own pairs (``dataset``), or two samples of the SFT policy (``policy``).
        source: Who gave the labels.
        eval_fraction: See :class:`~rlaif.data.pairs.PairOptions`, as for the following ones.
        num_eval_prompts: Held-out prompts at most.
        max_prompt_tokens: Longer dialogues lose their oldest turns.
        max_response_tokens: Rows with a longer response are left out.
        max_skipped: Largest share of rows that may be left out.
        max_rows: Read only so many rows.
    """

    def __init__(
        self,
        path: str,
        *,
        format: Literal["hh", "jsonl"] = "hh",
        pairs: Literal["dataset", "policy"] = "dataset",
        source: str = "human",
        eval_fraction: float = 0.1,
        num_eval_prompts: int | None = 400,
        max_prompt_tokens: int = 768,
        max_response_tokens: int = 512,
        max_skipped: float = 0.2,
        max_rows: int | None = None,
    ) -> None:
        check_choices(format=(format, tuple(FORMATS)), pairs=(pairs, ("dataset", "policy")))
        self.path = Path(path).expanduser()
        self.format = format
        self.pairs: Literal["policy", "dataset"] = pairs
        self.source = source
        self.options = PairOptions(
            eval_fraction=eval_fraction,
            num_eval_prompts=num_eval_prompts,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
            max_skipped=max_skipped,
            max_rows=max_rows,
        )

    @cached_property
    def identity(self) -> str:
        """Hash of the file's content and of every option; not of where the file lies."""
        digest = hashlib.sha256()
        with self._open() as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return content_id("files", digest.hexdigest(), self.format, self.source, self.options.identity)

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Read, check and split the file.

        Args:
            task: What the texts are.
            count_tokens: The policy's tokenizer; None counts words.

        Raises:
            DataError: The file cannot be read, or too many of its rows cannot be used.
        """
        parse, _ = FORMATS[self.format]
        reader = PairReader(parse=parse, task=task, options=self.options, count_tokens=count_tokens, source=self.source)
        return reader.read(islice(self._rows(), self.options.max_rows), name=self._name)

    @property
    def _name(self) -> str:
        return f"data.path={self.path}"

    def _rows(self) -> Iterator[Row]:
        number = 0
        for number, line in self._lines():
            place = f"{self.path.name}:{number}"
            if line.strip():
                values = self._values(line, number)
                self._check_keys(values, number)
                yield Row(place, values)
        if number == 0:
            raise DataError(f"{self._name}: the file is empty; expected one JSON object per line with {self._expected}")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        with self._open() as raw:
            is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
            lines = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            try:
                for number, line in enumerate(lines, 1):
                    yield number, line
            except EOFError as error:
                raise DataError(
                    f"{self._name}, line {number + 1}: the gzip file ends here, before its end mark:"
                    " it was not copied or downloaded whole; get it again"
                ) from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise DataError(
                    f"{self._name}, line {number + 1}: the gzip file is damaged ({error}); get it again"
                ) from error

    def _open(self) -> BufferedReader:
        if self.path.is_dir():
            raise DataError(f"{self._name}: is a directory; give one file (.jsonl or .jsonl.gz)")
        try:
            return self.path.open("rb")
        except FileNotFoundError as error:
            raise DataError(
                f"{self._name}: there is no such file; check the path (it starts at the"
                f" directory of the command, {Path.cwd()})"
            ) from error
        except OSError as error:
            raise DataError(f"{self._name}: cannot be read ({error.strerror}); change its permissions") from error

    def _values(self, line: bytes, number: int) -> Mapping[str, object]:
        try:
            values = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self._bad_line(number, f"is not UTF-8 (byte {error.start + 1})") from error
        except json.JSONDecodeError as error:
            raise self._bad_line(number, f"is not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(values, dict):
            raise self._bad_line(number, f"is {line.strip().decode():.30}, no JSON object")
        return values

    def _check_keys(self, values: Mapping[str, object], number: int) -> None:
        _, key_sets = FORMATS[self.format]
        if any(all(key in values for key in keys) for keys in key_sets):
            return
        nearest = min(key_sets, key=lambda keys: sum(key not in values for key in keys))
        absent = ", ".join(repr(key) for key in nearest if key not in values)
        other = [
            name
            for name, (_, sets) in FORMATS.items()
            if name != self.format and any(all(key in values for key in keys) for keys in sets)
        ]
        hint = f" (data.format={other[0]} would fit)" if other else ""
        raise self._bad_line(number, f"lacks the key {absent}; it has {', '.join(map(repr, values)) or 'none'}{hint}")

    def _bad_line(self, number: int, what: str) -> DataError:
        return DataError(
            f"{self._name}, line {number}: {what}; expected one JSON object with {self._expected}:"
            " correct or delete this line, or set data.format"
        )

    @property
    def _expected(self) -> str:
        _, key_sets = FORMATS[self.format]
        return " or ".join(", ".join(keys) for keys in key_sets) + f" (data.format={self.format})"


def check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    """Check options that take one of a few words.

    Raises:
        ConfigError: All options with another value, each with what is allowed.
    """
    problems = [
        f"data.{name}={value}: allowed are {', '.join(allowed)}"
        for name, (value, allowed) in choices.items()
        if value not in allowed
    ]
    if problems:
        raise ConfigError(problems)
