"""Labeled pairs from a file, as the data of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Literal

from rlaif.data.base import TaskData
from rlaif.data.formats.pair_files import PairFile, check_choices
from rlaif.data.split import PairOptions, PairReader
from rlaif.errors import ConfigError
from rlaif.tasks.base import Task
from rlaif.types import content_id


class FilesSource:
    """``data=files``: JSON lines, a JSON list, CSV or Parquet.

    Args:
        path: The file.
        format: ``hh``: two whole transcripts under ``chosen`` and ``rejected``; ``table``: a prompt, two responses and
            a preference in named columns; ``chosen_rejected``: TRL's preference format; ``alpaca_eval``,
            ``tldr_comparisons``, ``distilabel``: what these publish. See :mod:`rlaif.data.formats`.
        columns: Names of the columns of ``table`` that differ from ``prompt``, ``first``, ``second``, ``preference``
            (by default ``p_first``), ``confidence`` and ``weight``.
        preference: How the preference of ``table`` is encoded, see :func:`~rlaif.data.formats.encodings.decoder`.
        pairs: What is labeled: the file's own pairs (``dataset``), or two samples of the SFT policy (``policy``).
        source: Who gave the labels.
        eval_confidences: Held-out pairs count only with one of these confidences (TL;DR: from 1, sure of the first,
            to 9, sure of the second; paper 1 evaluates its labeler on 1, 2, 8 and 9). Empty takes all.
        eval_fraction: See :class:`~rlaif.data.split.PairOptions`, as for the following ones.
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
        format: str = "hh",
        columns: Mapping[str, str] | None = None,
        preference: str | Mapping[str, float] = "p_first",
        pairs: Literal["dataset", "policy"] = "dataset",
        source: str = "human",
        eval_confidences: Sequence[float] = (),
        eval_fraction: float = 0.1,
        num_eval_prompts: int | None = 400,
        max_prompt_tokens: int = 768,
        max_response_tokens: int = 512,
        max_skipped: float = 0.2,
        max_rows: int | None = None,
    ) -> None:
        check_choices("data", pairs=(pairs, ("dataset", "policy")))
        self.file = PairFile(path, group="data", format=format, columns=columns, preference=preference)
        if eval_confidences and not self.file.format.has_confidence:
            raise ConfigError(f"data.eval_confidences={list(eval_confidences)}: format {format} has no confidences")
        self.eval_confidences = tuple(float(confidence) for confidence in eval_confidences)
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
        confidences = str(self.eval_confidences)
        return content_id("files", self.file.identity, self.source, confidences, self.options.identity)

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
            options=self.options,
            count_tokens=count_tokens,
            source=self.source,
            eval_confidences=self.eval_confidences,
        )
        return reader.read(islice(self.file.rows(), self.options.max_rows), name=self.file.name)
