"""Labels as lines of text for a person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from rlaif.artifacts.links import lost_target
from rlaif.data.label_sets.cards import SPLITS
from rlaif.data.label_sets.data_set import CARD, DATA, TABLE
from rlaif.data.repeated import PairKey
from rlaif.errors import DataError
from rlaif.types import Judgment, Preference

NUM_LABELERS_SHOWN = 5
ALONE, VERDICT = ("first", "second"), "verdict"
NESTED = "/"


def find_tables(path: Path) -> list[Path]:
    """The label tables that a path means.

    Args:
        path: A table, the directory of a labels stage or of a run, or a data set's directory.

    Raises:
        DataError: There is none.
    """
    if path.is_file():
        return [path]
    if found := tables_in(path):
        return found
    for link in (path, path / "labels"):
        if (told := lost_target(link)) is not None:
            raise DataError(f"{link}: {told}")
    raise DataError(
        f"{path}: there are no labels; give a label table, a directory with {TABLE} or labels/{TABLE}, or a data set"
        f" with {CARD} and {DATA}/"
    )


def tables_in(path: Path) -> list[Path]:
    """The tables of a directory of :func:`find_tables`; none in any other."""
    for table in (path / TABLE, path / "labels" / TABLE):
        if table.is_file():
            return [table]
    splits = [path / DATA / f"{split}.parquet" for split in SPLITS]
    return [split for split in splits if split.is_file()]


def label_lines(label: Preference, row: int) -> Iterator[str]:
    """One label with its evidence; every judge prompt exactly as the engine read it.

    Args:
        label: The label.
        row: Its index, from 0.
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
    if verdicts := [item for item in label.judgments if item.order == VERDICT and NESTED not in item.judge]:
        present = sum(verdict.p_first is not None for verdict in verdicts)
        pooled = (
            f"p_first {_number(label.p_first)}, pooled from {present} of {len(verdicts)} members that have a verdict"
        )
        yield f"panel: {pooled}"
    for judge, judgments in groupby(label.judgments, key=lambda judgment: judgment.judge):
        yield from _judged(judge, list(judgments))
    if not label.judgments:
        yield "no judge prompts: the label came without evidence, or the table was written without it"


def summary_lines(labels: Iterable[Preference]) -> list[str]:
    """Counts of a label table."""
    missing, sources, labelers = Counter[str](), Counter[str](), Counter[str]()
    pairs: set[str] = set()
    present: list[float] = []
    weight, num_rows, num_judgments = 0.0, 0, 0
    for label in labels:
        pairs.add(PairKey.of_comparison(label.comparison).id)
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


def _judged(judge: str, judgments: list[Judgment]) -> Iterator[str]:
    """The judgement of one judge: prompt, reply, verdict; for a panel the pooled verdict."""
    if judge:
        yield f"##### member {judge} #####"
    asked = [judgment for judgment in judgments if not _is_pooled(judgment)]
    for judgment in judgments:
        if judgment.order == VERDICT:
            yield f"verdict: p_first {_number(judgment.p_first)}" + _missing(judgment)
        elif judge and _is_pooled(judgment):
            yield f"pooled from its members, order {judgment.order}: p_first {_number(judgment.p_first)}"
    for number, judgment in enumerate(asked, 1):
        yield from _judgment(judgment, f"{number} of {len(asked)}")
    if judge and not asked:
        yield "no judge prompts of its own"


def _is_pooled(judgment: Judgment) -> bool:
    """The pooled entries of a panel, which have no prompt of their own."""
    return judgment.order == VERDICT or not (judgment.prompt or judgment.reply or judgment.missing)


def _judgment(judgment: Judgment, number: str) -> Iterator[str]:
    by = f", by {judgment.judge}" if judgment.judge else ""
    yield f"=== judgement {number}{by}, order: {judgment.order} ==="
    if judgment.prompt:
        yield from _text("judge prompt, as it was read", judgment.prompt)
    if judgment.reasoning:
        yield from _text("reasoning, which does not count", judgment.reasoning)
    if judgment.reply:
        yield from _text("reply", judgment.reply)
        if (start := judgment.prompt.find(judgment.reply)) >= 0:
            yield f"the reply begins at character {start + 1:,} of the judge prompt; the text before it asked for it"
    if judgment.option_logprobs is not None:
        yield from _options(judgment.options, judgment.option_logprobs, alone=judgment.order in ALONE)
    if judgment.order not in ALONE:
        inverted = ' (the prompt asks for the worse response: p_slot1 is 1 - P("1"))' if judgment.asks_for_worse else ""
        yield f"p_slot1 {_number(judgment.p_slot1)}{inverted}, p_first {_number(judgment.p_first)}"
    if judgment.answer_mass is not None:
        yield f"all answers together {judgment.answer_mass:.3g}"
    if judgment.missing is not None:
        yield _missing(judgment).strip() + (" (the answer held no verdict)" if judgment.unreadable else "")
    if judgment.num_prompt_tokens or judgment.num_reply_tokens:
        yield f"{judgment.num_prompt_tokens:,} tokens read, {judgment.num_reply_tokens:,} written"


def _options(options: tuple[str, ...], logprobs: tuple[float, ...], *, alone: bool) -> Iterator[str]:
    """The answer of each number; for a response judged alone its place on the scale."""
    if not options:
        yield "option log-probabilities: " + ", ".join(map(repr, logprobs)) + " (the table names no answers)"
        return
    named = zip(options, logprobs, strict=True)
    yield "option log-probabilities: " + ", ".join(f'"{option}" {logprob!r}' for option, logprob in named)
    top = max(logprobs)
    if not alone or not math.isfinite(top):
        return
    odds = [math.exp(logprob - top) for logprob in logprobs]
    if all(option.isdecimal() for option in options):
        score = sum(odd * int(option) for odd, option in zip(odds, options, strict=True)) / sum(odds)
        yield f"expected score {score:.4f} of {options[0]} to {options[-1]}"
    else:
        yield f'P("{options[-1]}") {odds[-1] / sum(odds):.4f}'


def _missing(judgment: Judgment) -> str:
    return "" if judgment.missing is None else f"  missing: {judgment.missing}"


def _text(title: str, text: str) -> Iterator[str]:
    yield f"--- {title} ({len(text):,} characters) ---"
    yield text


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value)
