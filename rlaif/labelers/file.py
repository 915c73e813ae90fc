"""Labels that already exist in a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rlaif.data.files.paths import Typed
from rlaif.data.formats.language import Pairing
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.label_sets.label_table import LabelTable, ReadSummary
from rlaif.data.repeated import PairKey
from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.runtime import Runtime
from rlaif.types import Comparison, Preference, content_id

if TYPE_CHECKING:
    from rlaif.labelers.pairwise import PairwisePrompt

NOT_IN_FILE = "not in file"
NULL_IN_FILE = "null in file"
UNUSABLE_IN_FILE = "unusable label in file"

log = logging.getLogger(__name__)


class FileLabeler:
    """Looks labels up in a file, by the texts of prompt and both responses.

    A pair that is in the file with its responses swapped gets the inverted label; one that is not in
    the file is missing ("not in file"), as is one whose label is null there, or cannot be used ("unusable label in
    file", with what is wrong). A pair in several rows gets
    the mean of their labels. A dialogue of one turn is found under its bare instruction too.

    Args:
        path: A file of any kind, a folder of shards, one of ``save_to_disk``, a pattern, or a list of them, see
            :class:`~rlaif.data.files.table_files.TableFiles`; the label tables that this package writes are read as
            they are.
        source: Who gave the labels, e.g. ``human``; stored with each of them.
        format: Name of a layout, path of a layout's YAML, or ``auto``: the layout that reads the first rows.
        columns: Names of columns that differ from those that the layout reads: {layout's name: the file's}.
        preference: Encoding of the preference column, see
            :func:`~rlaif.data.formats.encodings.label_of_encoding`.
        where: Only rows in which these paths have one of these values.
        pairing: Pairs of k > 2 responses: ``all``, ``best_worst``, ``adjacent``; None takes the layout's.
        score_temperature: Scores give the soft label sigmoid(difference / temperature); None: the higher one wins.
        accept: Signs of a wrong reading that are accepted.
        encoding: Of texts without a byte order mark, e.g. ``cp1252``.
        confidences: Only rows with one of these confidences; empty takes all. Paper 1 evaluates on TL;DR rows of
            confidence 1, 2, 8 and 9.
        prompt: Accepted from a composed configuration and not used.
        engine: Likewise.

    Raises:
        ConfigError: An option is missing or unknown.
        DataError: From ``label``, ``reading`` and ``identity``, when the file cannot be read.
    """

    name = "file"

    def __init__(
        self,
        path: Runtime[Typed],
        *,
        source: str,
        format: str = AUTO,
        columns: Mapping[str, str] | None = None,
        preference: str | Mapping[str, float] | Sequence[Sequence[object]] | None = None,
        where: Mapping[str, object] | None = None,
        pairing: Pairing | None = None,
        score_temperature: float | None = None,
        accept: Sequence[str] = (),
        confidences: Sequence[float] = (),
        encoding: str = "utf-8",
        prompt: PairwisePrompt | None = None,
        engine: Engine | None = None,
    ) -> None:
        if not source:
            raise ConfigError('labeler.source="": say who gave the labels, e.g. labeler.source=human')
        reading = ReadingOptions(
            group="labeler",
            format=format,
            columns=columns,
            preference=preference,
            where=where,
            pairing=pairing,
            score_temperature=score_temperature,
            accept=accept,
            encoding=encoding,
        )
        self.file = PairFile(path, reading)
        if confidences and reading.named is not None and not reading.named.has_confidence:
            raise ConfigError(f"labeler.confidences={list(confidences)}: format {format} has no confidences")
        self.confidences = tuple(float(confidence) for confidence in confidences)
        self.source = source
        self.prompt = prompt
        self.engine = engine

    @cached_property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        return content_id("FileLabeler", self.file.identity, self.source, str(self.confidences))

    @property
    def reading(self) -> ReadSummary:
        """Counts over the file's rows; reads the file at the first call."""
        return self._labels.reading

    def check(self) -> None:
        """Read the file, so that what is wrong with it is told before a run starts.

        Raises:
            DataError: It cannot be read.
        """
        _ = self.reading

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Look every comparison up; what is not in the file is missing."""
        return [self._label(comparison) for comparison in comparisons]

    def _label(self, comparison: Comparison) -> Preference:
        key = PairKey.of(comparison.prompt.text, comparison.first.text, comparison.second.text)
        votes = self._labels.table.find(key)
        p_first = None if votes is None else votes.p_first(key.turned)
        reason = NULL_IN_FILE
        if votes is None:
            odd = self._labels.unusable.get(key.id)
            reason = NOT_IN_FILE if odd is None else f"{UNUSABLE_IN_FILE}: {odd}"
        return Preference(
            comparison=comparison,
            p_first=p_first,
            missing=reason if p_first is None else None,
            labeler=f"{self.name}:{self.identity}",
            source=self.source,
            confidence=None if votes is None else votes.confidence,
            weight=1.0 if votes is None else votes.weight,
        )

    @cached_property
    def _labels(self) -> LabelTable:
        table = LabelTable(self.file, confidences=self.confidences)
        for line in table.reading.lines():
            log.info("%s: %s", self.file.name, line)
        if table.reading.skipped:
            counts = table.reading.lines()[: 1 + len(table.reading.skipped)]
            log.warning("%s: %s; the first: %s", self.file.name, "; ".join(counts), table.reading.examples[0])
        return table
