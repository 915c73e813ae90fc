"""Labels as lines of text for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlaif.data.cards import SPLITS
from rlaif.data.label_set import CARD, DATA, TABLE
from rlaif.data.repeated import PairKey
from rlaif.errors import DataError
from rlaif.types import Judgment, Preference

NUM_LABELERS_SHOWN = 5


def find_tables(path: Path) -> list[Path]:
    """The label tables that a path means.

    Args:
        path: A table, the directory of a labels stage or of a run, or a data set's directory.

    Raises:
        DataError: There is none.
    """
    if path.is_file():
        return [path]
    for table in (path / TABLE, path / "labels" / TABLE):
        if table.is_file():
            return [table]
    splits = [path / DATA / f"{split}.parquet" for split in SPLITS]
    if found := [split for split in splits if split.is_file()]:
        return found
    raise DataError(
        f"{path}: there are no labels; give a label table, a directory with {TABLE} or labels/{TABLE}, or a data set"
        f" with {CARD} and {DATA}/"
    )


def label_lines(label: Preference, row: int) -> Iterator[str]:
    """One label with its evidence; every judge prompt exactly as the engine read it.

    Args:
        label: The label.
        row: Where it stands, from 0.
    """
    comparison = label.comparison
    yield f"row {row}, comparison {comparison.id}, prompt {comparison.prompt.id}, task {comparison.prompt.task}"
    yield f"p_first {_number(label.p_first)}" + (f"  missing: {label.missing}" if label.missing else "")
    given, swapped = label.p_first_by_order
    yield f"p_first by order: as given {_number(given)}, swapped {_number(swapped)}"
    yield f"labeler {label.labeler or '-'}, source {label.source or '-'}"
    yield f"weight {label.weight:g}, confidence {_number(label.confidence)}"
    yield from _text("prompt", comparison.prompt.text)
    yield from _text(f"first, by {comparison.first.source or '-'}", comparison.first.text)
    yield from _text(f"second, by {comparison.second.source or '-'}", comparison.second.text)
    for number, judgment in enumerate(label.judgments, 1):
        yield from _judgment(judgment, f"{number} of {len(label.judgments)}")
    if not label.judgments:
        yield "no judge prompts: the label came without evidence, or the table was written without it"


def summary_lines(labels: Iterable[Preference]) -> list[str]:
    """Counts of a label table."""
    missing, sources, labelers = Counter[str](), Counter[str](), Counter[str]()
    pairs: set[str] = set()
    present: list[float] = []
    weight, num_rows, num_judgments = 0.0, 0, 0
    for label in labels:
        comparison = label.comparison
        pairs.add(PairKey.of(comparison.prompt.text, comparison.first.text, comparison.second.text).id)
        sources[label.source or "-"] += 1
        labelers[label.labeler or "-"] += 1
        num_rows += 1
        num_judgments += len(label.judgments)
        if label.p_first is None:
            missing[label.missing or "-"] += 1
        else:
            present.append(label.p_first)
            weight += label.weight
    lines = [f"{num_rows:,} rows, {len(pairs):,} different pairs, {len(present):,} with a label"]
    lines += [f"missing: {count:,} × {reason}" for reason, count in missing.most_common()]
    if present:
        ties = sum(p_first == 0.5 for p_first in present)
        firsts = sum(p_first > 0.5 for p_first in present)
        lines.append(
            f"mean p_first {sum(present) / len(present):.6f}; {firsts:,} prefer the first,"
            f" {len(present) - firsts - ties:,} the second, {ties:,} ties; sum of weights {weight:g}"
        )
    lines += [f"source {name}: {count:,}" for name, count in sources.most_common()]
    lines += [f"labeler {name}: {count:,}" for name, count in labelers.most_common(NUM_LABELERS_SHOWN)]
    lines.append(f"{num_judgments:,} judgements kept as evidence")
    return lines


def _judgment(judgment: Judgment, number: str) -> Iterator[str]:
    yield f"=== judgement {number}, order: {judgment.order} ==="
    yield from _text("judge prompt, as it was read", judgment.prompt)
    if judgment.reply:
        yield from _text("reply", judgment.reply)
        if (start := judgment.prompt.find(judgment.reply)) >= 0:
            yield f"the reply stands in the judge prompt from character {start + 1:,} on: what precedes it asked for it"
    if judgment.option_logprobs is not None:
        yield "option log-probabilities: " + ", ".join(map(repr, judgment.option_logprobs))
    yield f"p_slot1 {_number(judgment.p_slot1)}, p_first {_number(judgment.p_first)}"
    if judgment.missing is not None:
        yield f"missing: {judgment.missing}" + (" (the answer held no verdict)" if judgment.unreadable else "")
    yield f"{judgment.num_prompt_tokens:,} tokens read, {judgment.num_reply_tokens:,} written"


def _text(title: str, text: str) -> Iterator[str]:
    yield f"--- {title} ({len(text):,} characters) ---"
    yield text


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)
