"""Labels in the formats that other tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.artifacts import atomic_file
from rlaif.data.transcripts import instruction_of, messages
from rlaif.errors import ConfigError
from rlaif.types import Preference

ExportName = Literal["trl", "distilabel", "alpaca_eval"]
MISSING = "missing label"
TIE = "tie"
WEIGHTLESS = "weight 0"
LOW_MARGIN = "margin below --min-margin"
ENDINGS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Format and options of an export."""

    format: ExportName
    min_margin: float = 0.0
    """Least \\|2p - 1\\|, in [0, 1]; labels below are left out."""
    conversational: bool = False
    """TRL: lists of messages instead of texts."""
    with_margin: bool = False
    """TRL: a column ``margin`` = 2p - 1 of the chosen response. Its RewardTrainer subtracts such a column from the
    difference of the rewards, so it is written only on demand."""

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 <= self.min_margin <= 1.0:
            problems.append(f"--min-margin={self.min_margin:g}: must be between 0 and 1")
        for option, value in (("--conversational", self.conversational), ("--margin", self.with_margin)):
            if value and self.format != "trl":
                problems.append(f"{option}: only for --format trl")
        if problems:
            raise ConfigError(problems)


@dataclass(kw_only=True)
class ExportCounts:
    """Counts of labels that were written and left out."""

    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason; nothing is guessed for them."""


def export_rows(labels: Iterable[Preference], options: ExportOptions, counts: ExportCounts) -> Iterator[dict[str, Any]]:
    """One row per label that the format can say.

    A missing label is left out, one of weight 0 too, and a tie except in AlpacaEval's format, which has a value for it.

    Args:
        labels: Soft labels.
        options: What is written.
        counts: Filled on the way.
    """
    for label in labels:
        reason = _reason_to_leave_out(label, options)
        if reason is not None:
            counts.left_out[reason] += 1
            continue
        counts.written += 1
        yield {"trl": _trl, "distilabel": _distilabel, "alpaca_eval": _alpaca_eval}[options.format](label, options)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, a JSON list or Parquet, by the end of the name; the file appears whole or not at all.

    Raises:
        ConfigError: Another end.
        StoreError: The file cannot be written.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"{path}: the name must end with {', '.join(ENDINGS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), file, compression="zstd")
        elif path.suffix == ".json":
            file.write((json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n").encode())
        else:
            for row in rows:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def _reason_to_leave_out(label: Preference, options: ExportOptions) -> str | None:
    if label.p_first is None:
        return MISSING
    if label.weight == 0.0:
        return WEIGHTLESS
    if label.p_first == 0.5 and options.format != "alpaca_eval":
        return TIE
    return LOW_MARGIN if abs(2.0 * label.p_first - 1.0) < options.min_margin else None


def _trl(label: Preference, options: ExportOptions) -> dict[str, Any]:
    """TRL's preference type with an explicit prompt (trl, ``docs/source/dataset_formats.md``)."""
    assert label.p_first is not None
    comparison, p_chosen = label.comparison, max(label.p_first, 1.0 - label.p_first)
    sides = [comparison.first.text, comparison.second.text]
    chosen, rejected = sides if label.p_first > 0.5 else reversed(sides)
    row: dict[str, Any]
    if options.conversational:
        replies = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
        row = dict(zip(("prompt", "chosen", "rejected"), (messages(comparison.prompt), *replies), strict=True))
    else:
        row = {"prompt": comparison.prompt.text, "chosen": f" {chosen}", "rejected": f" {rejected}"}
    row |= {"p_chosen": p_chosen, "weight": label.weight, "source": label.source}
    return row | ({"margin": 2.0 * p_chosen - 1.0} if options.with_margin else {})


def _distilabel(label: Preference, options: ExportOptions) -> dict[str, Any]:
    """Columns that distilabel's ``FormatTextGenerationDPO`` takes, and the label itself."""
    assert label.p_first is not None
    first, second = label.comparison.first, label.comparison.second
    return {
        "instruction": instruction_of(label.comparison.prompt),
        "generations": [first.text, second.text],
        "generation_models": [first.source, second.source],
        "ratings": [label.p_first, 1.0 - label.p_first],
        "model_name": label.labeler,
        "p_first": label.p_first,
    }


def _alpaca_eval(label: Preference, options: ExportOptions) -> dict[str, Any]:
    """An annotation of AlpacaEval (tatsu-lab/alpaca_eval, ``results/*/*/annotations.json``)."""
    assert label.p_first is not None
    first, second = label.comparison.first, label.comparison.second
    return {
        "instruction": instruction_of(label.comparison.prompt),
        "output_1": first.text,
        "generator_1": first.source,
        "output_2": second.text,
        "generator_2": second.source,
        "annotator": label.labeler,
        "preference": 2.0 - label.p_first,
    }
