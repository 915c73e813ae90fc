"""Labeled pairs from a file, as the data of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from rlaif.data.base import TaskData
from rlaif.data.formats.pair_files import PairFile
from rlaif.data.split import PairOptions, PairReader
from rlaif.errors import ConfigError
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import content_id


@dataclass(frozen=True, kw_only=True, eq=False)
class FilesSource(PairOptions):
    """``data=files``: files of any kind, see :class:`~rlaif.data.files.table_files.TableFiles`."""

    path: Runtime[str | Sequence[str]] = field(kw_only=False)
    """A file, a folder of shards, one of ``save_to_disk``, a pattern, or a list of them."""
    format: str = "hh"
    """``hh``: two whole transcripts under ``chosen`` and ``rejected``; ``table``: a prompt, two responses and a
    preference in named columns; ``chosen_rejected``: TRL's preference format; ``alpaca_eval``, ``tldr_comparisons``,
    ``distilabel``: what these publish. See :mod:`rlaif.data.formats`."""
    columns: Mapping[str, str] | None = None
    """Names of the columns of ``table`` that differ from ``prompt``, ``first``, ``second``, ``preference`` (by default
    ``p_first``), ``confidence`` and ``weight``."""
    preference: str | Mapping[str, float] = "p_first"
    """Encoding of the preference of ``table``, see :func:`~rlaif.data.formats.encodings.decoder`."""
    source: str = "human"
    """Source of the labels, e.g. ``human``."""
    encoding: str = "utf-8"
    """Of texts without a byte order mark, e.g. ``cp1252``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        file = self.file
        if self.eval_confidences and not file.format.has_confidence:
            raise ConfigError(
                f"data.eval_confidences={list(self.eval_confidences)}: format {self.format} has no confidences"
            )

    @cached_property
    def file(self) -> PairFile:
        """The file with the function that reads a row."""
        return PairFile(
            self.path,
            group="data",
            format=self.format,
            columns=self.columns,
            preference=self.preference,
            encoding=self.encoding,
        )

    @cached_property
    def identity(self) -> str:
        """Hash of the file's content and of every option; not of the file's path."""
        return content_id("files", self.file.identity, self.source, self.limits_identity)

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Read, check and split the file.

        Args:
            task: What the texts are.
            count_tokens: The policy's tokenizer; None counts words.

        Raises:
            DataError: The file cannot be read, or too many of its rows cannot be used.
        """
        reader = PairReader(
            parse=self.file.format.parse,
            task=task,
            options=self,
            count_tokens=count_tokens,
            source=self.source,
        )
        return reader.read(islice(self.file.rows(), self.max_rows), name=self.file.name)
