"""Labels that already exist in a file: people's, or the recorded verdicts of a judge."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from rlaif.data.files.paths import Typed
from rlaif.data.formats.language import Pairing
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import ReadingOptions
from rlaif.data.label_sets.label_table import LabelTable, ReadSummary
from rlaif.data.label_sets.order_table import Names, OrderTable, SwappedOrder, Verdict
from rlaif.data.label_sets.recorded_file import RecordedFile
from rlaif.data.repeated import PairKey
from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.labels import DEBIAS_METHODS, Debias
from rlaif.labelers.pairwise import combine_orders
from rlaif.runtime import Runtime
from rlaif.types import Comparison, Judgment, Order, Preference, content_id

if TYPE_CHECKING:
    from rlaif.labelers.pairwise import PairwisePrompt

Rows = Literal["raters", "orders"]
NOT_IN_FILE = "not in file"
NOT_IN_ORDER = "not in file in this order"
NULL_IN_FILE = "null in file"
UNUSABLE_IN_FILE = "unusable label in file"

log = logging.getLogger(__name__)


class FileLabeler:
    """Looks labels up in a file, by the texts of prompt and both responses.

    A pair that is in the file with its responses swapped gets the inverted label; one that is not in
    the file is missing ("not in file"), as is one whose label is null there, or cannot be used ("unusable label in
    file", with what is wrong). A dialogue of one turn is found under its bare instruction too.

    Several rows of one pair are labels of several people, whose mean counts (``rows=raters``), or verdicts of one
    judge that saw the pair in both orders (``rows=orders``). Those become the judgments of one label, combined by
    ``debias`` as a model's are: its position bias is measured, and one order without a verdict makes the label missing.
    Several verdicts in one order count by their mean.

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
        rows: What several rows of one pair are: ``raters`` or ``orders``.
        debias: For ``orders``: ``probability``, ``logit`` or ``none``, as of
            :class:`~rlaif.labelers.pairwise.PairwiseLabeler`.
        swapped_names: What a verdict in the swapped order names: the ``slot`` that the judge saw, or the ``response``
            by its place in the row. Needed with ``columns.preference_swapped`` and ``columns.swapped``.
        key: The column that names a pair, for rows without texts.
        pairs: The file that holds the texts under the same ``key``; read only with it.
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
        rows: Rows = "raters",
        debias: Debias = "probability",
        swapped_names: Names | None = None,
        key: str | None = None,
        pairs: Runtime[Typed | None] = None,
        prompt: PairwisePrompt | None = None,
        engine: Engine | None = None,
    ) -> None:
        if not source:
            raise ConfigError('labeler.source="": say who gave the labels, e.g. labeler.source=human')
        columns = dict(columns or {})
        verdict, flag = columns.pop("preference_swapped", None), columns.pop("swapped", None)
        _check_orders(rows, debias, verdict, flag, swapped_names)
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
        self.file = RecordedFile(path, reading, key=key, pairs=pairs)
        if confidences and reading.named is not None and not reading.named.has_confidence:
            raise ConfigError(f"labeler.confidences={list(confidences)}: format {format} has no confidences")
        self.confidences = tuple(float(confidence) for confidence in confidences)
        self.source = source
        self.rows: Rows = rows
        self.debias: Debias = debias
        self.swapped = SwappedOrder(verdict=verdict, flag=flag, names=swapped_names or "slot")
        self.prompt = prompt
        self.engine = engine

    @cached_property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        how = (self.rows, self.debias, repr(self.swapped)) if self.rows == "orders" else ()
        return content_id("FileLabeler", self.file.identity, self.source, str(self.confidences), *how)

    @property
    def reading(self) -> ReadSummary:
        """Counts over the file's rows; reads the file at the first call."""
        return self._table.reading

    def check(self) -> None:
        """Read the file, so that what is wrong with it is told before a run starts.

        Raises:
            DataError: It cannot be read.
        """
        _ = self.reading

    def holds(self, comparison: Comparison) -> bool:
        """True where the file has a row of the pair, also one without a label: its judge was asked about it."""
        key = PairKey.of_comparison(comparison)
        known = self._orders.verdicts if self.rows == "orders" else self._labels.table.votes
        return key.id in known or key.id in self._table.unusable

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Look every comparison up; what is not in the file is missing."""
        find = self._from_orders if self.rows == "orders" else self._from_raters
        return [find(comparison, PairKey.of_comparison(comparison)) for comparison in comparisons]

    def _from_raters(self, comparison: Comparison, key: PairKey) -> Preference:
        votes = self._labels.table.find(key)
        if votes is None:
            return self._missing(comparison, self._absent(key, NOT_IN_FILE))
        p_first = votes.p_first(key.turned)
        return replace(
            self._missing(comparison, NULL_IN_FILE),
            p_first=p_first,
            missing=NULL_IN_FILE if p_first is None else None,
            confidence=votes.confidence,
            weight=votes.weight,
        )

    def _from_orders(self, comparison: Comparison, key: PairKey) -> Preference:
        verdicts = self._orders.find(key)
        if verdicts is None:
            return self._missing(comparison, self._absent(key, NOT_IN_FILE))
        judgments: list[Judgment] = []
        orders: tuple[Order, ...] = get_args(Order)
        for order in orders:
            turned = key.turned if order == "given" else not key.turned
            seen = [verdict for verdict in verdicts.given if verdict.turned == turned]
            absent = Judgment(order=order, prompt="", missing=self._absent(key, NOT_IN_ORDER), unreadable=True)
            judgments += [_judgment(verdict, order) for verdict in seen] or [absent]
        label = combine_orders(comparison, tuple(judgments), self.debias, self._author, self.source)
        return replace(label, confidence=verdicts.confidence, weight=verdicts.weight)

    def _missing(self, comparison: Comparison, reason: str) -> Preference:
        return Preference(comparison=comparison, p_first=None, missing=reason, labeler=self._author, source=self.source)

    def _absent(self, key: PairKey, reason: str) -> str:
        """Why the file gives nothing: a row that cannot be used, else the reason given."""
        odd = self._table.unusable.get(key.id)
        return reason if odd is None else f"{UNUSABLE_IN_FILE}: {odd}"

    @property
    def _author(self) -> str:
        return f"{self.name}:{self.identity}"

    @property
    def _table(self) -> LabelTable | OrderTable:
        return self._orders if self.rows == "orders" else self._labels

    @cached_property
    def _labels(self) -> LabelTable:
        table = LabelTable(self.file, confidences=self.confidences)
        self._tell(table.reading)
        return table

    @cached_property
    def _orders(self) -> OrderTable:
        table = OrderTable(self.file, self.swapped, confidences=self.confidences)
        self._tell(table.reading)
        return table

    def _tell(self, reading: ReadSummary) -> None:
        for line in reading.lines():
            log.info("%s: %s", self.file.name, line)
        if reading.skipped:
            counts = reading.lines()[: 1 + len(reading.skipped)]
            log.warning("%s: %s; the first: %s", self.file.name, "; ".join(counts), reading.examples[0])


def _judgment(verdict: Verdict, order: Order) -> Judgment:
    """A recorded verdict; a null is an answer without one, which asking again would not change."""
    missing = NULL_IN_FILE if verdict.p_slot1 is None else None
    return Judgment(
        order=order,
        prompt="",
        reply=verdict.text,
        p_slot1=verdict.p_slot1,
        missing=missing,
        unreadable=missing is not None,
    )


def _check_orders(rows: str, debias: str, verdict: str | None, flag: str | None, names: str | None) -> None:
    """Refuse options of the two orders that contradict one another.

    Raises:
        ConfigError: With every problem.
    """
    choices = {"rows": (rows, get_args(Rows)), "debias": (debias, DEBIAS_METHODS)}
    choices |= {"swapped_names": (names, get_args(Names))} if names is not None else {}
    problems = [
        f"labeler.{option}={value}: allowed are {', '.join(allowed)}"
        for option, (value, allowed) in choices.items()
        if value not in allowed
    ]
    columns = {"preference_swapped": verdict, "swapped": flag}
    given = {f"labeler.columns.{name}={column}": column for name, column in columns.items() if column is not None}
    if rows != "orders":
        only = [*given, *([f"labeler.debias={debias}"] if debias != "probability" else [])]
        only += [f"labeler.swapped_names={names}"] if names is not None else []
        problems += [f"{option}: only with labeler.rows=orders, one judge's verdicts in two orders" for option in only]
    elif len(given) == 2:
        problems.append(f"{' '.join(given)}: one of them says what was swapped; leave the other out")
    elif given and names is None:
        problems.append(
            f"{next(iter(given))}: say what a verdict in the swapped order names: labeler.swapped_names=slot (1 is the "
            "response that the judge saw first) or response (1 is the row's first response)"
        )
    elif names is not None and not given:
        problems.append(
            f"labeler.swapped_names={names}: without a column of the swapped order every row has its responses as the "
            "judge saw them; name labeler.columns.preference_swapped or labeler.columns.swapped"
        )
    if problems:
        raise ConfigError(problems)
