"""Prompts, demonstrations and pairs from files, as the data of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from rlaif.data.base import TaskData
from rlaif.data.demonstrations import demonstrations_identity, with_demonstrations
from rlaif.data.formats.base import ReadRow
from rlaif.data.formats.language import Pairing
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.split import PairOptions, RecordReader
from rlaif.errors import ConfigError
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import content_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilesSource(PairOptions):
    """``data=files``: files of any kind and layout."""

    path: Runtime[str | Sequence[str]] = field(kw_only=False)
    """A file, a folder of shards, one of ``save_to_disk``, a pattern, or a list of them."""
    eval_path: Runtime[str | Sequence[str] | None] = None
    """The same of held-out rows; ``eval_fraction`` is then without effect."""
    format: str = AUTO
    """Name of a layout (``rlaif/data/format`` of the configuration), the path of a layout's YAML, or ``auto``."""
    columns: Mapping[str, str] | None = None
    """Names of columns that differ from those that the layout reads: {layout's name: the file's}."""
    preference: str | Mapping[str, float] | Sequence[Sequence[object]] | None = None
    """Encoding of the preference column, see :func:`~rlaif.data.formats.encodings.label_of_encoding`."""
    where: Mapping[str, object] | None = None
    """Only rows in which these paths have one of these values."""
    pairing: Pairing | None = None
    """Pairs of k > 2 responses: ``all``, ``best_worst``, ``adjacent``; None takes the layout's."""
    score_temperature: float | None = None
    """Scores give the soft label sigmoid(difference / temperature); None: the higher one wins."""
    accept: Sequence[str] = ()
    """Signs of a wrong reading that are accepted."""
    source: str = "human"
    """Source of the labels, e.g. ``human``."""
    encoding: str = "utf-8"
    """Of texts without a byte order mark, e.g. ``cp1252``."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        for check in (super().__post_init__, lambda: self.reading):
            try:
                check()
            except ConfigError as error:
                problems += error.problems
        layout = None if problems else self.reading.named
        if self.eval_confidences and layout is not None and not layout.has_confidence:
            problems.append(
                f"data.eval_confidences={list(self.eval_confidences)}: format {self.format} has no confidences"
            )
        if problems:
            raise ConfigError(problems)

    @cached_property
    def reading(self) -> ReadingOptions:
        """How the rows are read."""
        return ReadingOptions(
            format=self.format,
            columns=self.columns,
            preference=self.preference,
            where=self.where,
            pairing=self.pairing,
            score_temperature=self.score_temperature,
            accept=self.accept,
            encoding=self.encoding,
        )

    @cached_property
    def file(self) -> PairFile:
        """The file with its layout."""
        return PairFile(self.path, self.reading)

    @cached_property
    def eval_file(self) -> PairFile | None:
        """The file of held-out rows."""
        return None if self.eval_path is None else PairFile(self.eval_path, self.reading, "eval_path")

    @cached_property
    def identity(self) -> str:
        """Hash of the files' content and of every option; not of their paths."""
        held_out = "" if self.eval_file is None else self.eval_file.identity
        chosen = demonstrations_identity(self)
        parts = ("files", self.file.identity, held_out, self.source, self.limits_identity)
        return content_id(*parts, chosen) if chosen else content_id(*parts)

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Read, check and split the files.

        Args:
            task: What the texts are.
            count_tokens: The policy's tokenizer; None counts words.

        Raises:
            ConfigError: ``eval_confidences`` are given and the layout has none.
            DataError: A file cannot be read, or too many of its rows cannot be used.
        """
        if self.eval_confidences and not self.file.layout.has_confidence:
            raise ConfigError(
                f"data.eval_confidences={list(self.eval_confidences)}: {self.file.layout.name} has no confidences"
            )
        reader = RecordReader(task=task, options=self, count_tokens=count_tokens, source=self.source)
        held_out = None if self.eval_file is None else self._rows(self.eval_file)
        data = reader.read(self._rows(self.file), name=self.file.name, held_out=held_out)
        for line in self.file.shown:
            log.info("%s: %s", self.file.name, line)
        data = replace(data, read=tuple(self.file.shown))
        return with_demonstrations(data, self, task, count_tokens, splits_by_content=self.eval_path is None)

    def _rows(self, file: PairFile) -> Iterator[ReadRow]:
        return islice(file.read(), self.max_rows)
