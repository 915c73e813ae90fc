"""Labels in the formats that other tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.artifacts import atomic_file
from rlaif.data.label_sets.losses import lost
from rlaif.data.transcripts import instruction_of, messages
from rlaif.errors import ConfigError
from rlaif.types import Preference, Prompt

ExportName = Literal["trl", "distilabel", "alpaca_eval", "openai"]
MISSING = "missing label"
TIE = "tie"
WEIGHTLESS = "weight 0"
LOW_MARGIN = "margin below --min-margin"
NO_TURNS = "system, tool or quoted turns, which the format has no place for"
NOT_IN_TEXT = "system, tool or quoted turns, which a text does not hold: add --conversational"
ENDINGS = (".jsonl", ".json", ".parquet")
OPENAI_ROLES = frozenset({"system", "user", "assistant"})
"""A message of a tool needs the id of its call, which labels do not have."""


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

    @property
    def endings(self) -> Sequence[str]:
        """Endings of the files that the format allows; OpenAI takes JSON lines alone."""
        return ENDINGS[:1] if self.format == "openai" else ENDINGS

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
    not_kept: Counter[str] = field(default_factory=Counter)
    """Of the labels that were written, what the format has no place for."""

    def lines(self) -> list[str]:
        """The account in words, without how many were written."""
        counted = (("left out", self.left_out), ("not kept", self.not_kept))
        return [f"{what}: {count:,} × {reason}" for what, counts in counted for reason, count in counts.most_common()]


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
        counts.not_kept.update(lost(label, options.format))
        yield _ROWS[options.format](label, options)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], endings: Sequence[str] = ENDINGS) -> None:
    """Write JSON lines, a JSON list or Parquet, by the end of the name; the file appears whole or not at all.

    Args:
        path: The file; its directory exists.
        rows: All with the same keys.
        endings: Those that are allowed.

    Raises:
        ConfigError: Another end.
        StoreError: The file cannot be written.
    """
    if path.suffix not in endings:
        raise ConfigError(f"{path}: the name must end with {', '.join(endings)}")
    with atomic_file(path) as file:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), file, compression="zstd")
        elif path.suffix == ".json":
            file.write((json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace"))
        else:
            for row in rows:
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _reason_to_leave_out(label: Preference, options: ExportOptions) -> str | None:
    if label.p_first is None:
        return MISSING
    if label.weight == 0.0:
        return WEIGHTLESS
    if label.p_first == 0.5 and options.format != "alpaca_eval":
        return TIE
    if abs(2.0 * label.p_first - 1.0) < options.min_margin:
        return LOW_MARGIN
    return _turns_without_place(label.comparison.prompt, options)


def _turns_without_place(prompt: Prompt, options: ExportOptions) -> str | None:
    roles = [turn.role for turn in prompt.turns]
    if options.format == "openai":
        return NO_TURNS if not OPENAI_ROLES.issuperset(roles) or roles[-1:] not in ([], ["user"]) else None
    if not prompt.has_own_turns or options.conversational:
        return None
    if options.format == "trl":
        return NOT_IN_TEXT
    return None if roles == ["user"] else NO_TURNS


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


def _openai(label: Preference, options: ExportOptions) -> dict[str, Any]:
    """A line of OpenAI's preference fine-tuning (platform.openai.com/docs/guides/direct-preference-optimization)."""
    assert label.p_first is not None
    comparison = label.comparison
    sides = [comparison.first.text, comparison.second.text]
    preferred, other = sides if label.p_first > 0.5 else reversed(sides)
    return {
        "input": {"messages": messages(comparison.prompt), "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": preferred}],
        "non_preferred_output": [{"role": "assistant", "content": other}],
    }


_ROWS: Mapping[ExportName, Callable[[Preference, ExportOptions], dict[str, Any]]] = {
    "trl": _trl,
    "distilabel": _distilabel,
    "alpaca_eval": _alpaca_eval,
    "openai": _openai,
}
