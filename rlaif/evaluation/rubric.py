"""Criteria that a model writes from labeled pairs, and whether they tell the better response of other pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from rlaif.engines.reasoning import split_reasoning
from rlaif.evaluation.records import Table
from rlaif.functional.seeds import generator
from rlaif.functional.statistics import Estimate, clustered_rate, undefined
from rlaif.outcome import Generation
from rlaif.prompts.criteria import LabeledPair
from rlaif.types import Completion, Preference, Prompt

LONGEST = 200
"""Characters of a criterion; a longer line is no single question."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
_QUOTES = "\"'`* "


class Ordered(NamedTuple):
    """A labeled pair, the better response first."""

    prompt: Prompt
    better: Completion
    worse: Completion

    @property
    def shown(self) -> LabeledPair:
        """As a model that writes criteria sees it."""
        return LabeledPair(self.prompt.text, self.better.text, self.worse.text)


def ordered_pairs(labels: Sequence[Preference]) -> list[Ordered]:
    """The pairs of which one response is better by its label; ties and missing labels are left out."""
    pairs = []
    for label in labels:
        pair = label.comparison
        if label.p_first is None or label.p_first == 0.5 or pair.is_identical:
            continue
        first, second = (pair.first, pair.second) if label.p_first > 0.5 else (pair.second, pair.first)
        pairs.append(Ordered(pair.prompt, first, second))
    return pairs


def held_out(pairs: Sequence[Ordered], share: float, seed: int) -> tuple[list[Ordered], list[Ordered]]:
    """Divide pairs by prompt into those that are shown and those that criteria are tested on.

    Args:
        pairs: All of them.
        share: Of the prompts that are held out, in (0, 1); each side has at least one where there are two prompts.
        seed: Chooses the prompts.
    """
    prompts = sorted({pair.prompt.id for pair in pairs})
    order = torch.randperm(len(prompts), generator=generator(seed, "rubric", "held out")).tolist()
    count = min(max(round(share * len(prompts)), 1), max(len(prompts) - 1, 0))
    tested = {prompts[place] for place in order[:count]}
    return [pair for pair in pairs if pair.prompt.id not in tested], [
        pair for pair in pairs if pair.prompt.id in tested
    ]


def shown_pairs(pairs: Sequence[Ordered], num_requests: int, pairs_per_request: int, seed: int) -> list[list[Ordered]]:
    """The pairs of each request to write criteria, all pairs in turn."""
    order = torch.randperm(len(pairs), generator=generator(seed, "rubric", "shown")).tolist()
    count = min(pairs_per_request, len(pairs))
    return [
        [pairs[order[(request * count + place) % len(order)]] for place in range(count)]
        for request in range(num_requests)
    ]


def criteria_in(reply: Generation) -> list[str]:
    """The questions of a reply, one a line, without bullets, numbers and quotes.

    What the model thought before is no part of the reply, and the last line of one that was cut is no question.

    >>> criteria_in(Generation(text="1. Is it short?\\n- It names Anna.\\n* 'Is it true?'"))
    ['Is it short?', 'Is it true?']
    """
    if reply.missing is not None:
        return []
    lines = split_reasoning(reply.text).text.split("\n")
    lines = lines if reply.finished else lines[:-1]
    asked = [_BULLET.sub("", line).strip(_QUOTES) for line in lines]
    return [line for line in asked if line.endswith("?") and len(line) <= LONGEST]


def distinct_criteria(replies: Sequence[Generation]) -> list[str]:
    """The questions of all replies, those that differ in capitals and spaces alone once."""
    found: dict[str, str] = {}
    for reply in replies:
        for asks in criteria_in(reply):
            found.setdefault(" ".join(asks.split()).casefold(), asks)
    return list(found.values())


class Discrimination(NamedTuple):
    """A criterion, and how often the better response of a held-out pair meets it more probably than the worse one."""

    asks: str
    rate: Estimate
    num_missing: int
    """Pairs of which a response could not be judged by it."""

    @property
    def is_kept(self) -> bool:
        """True where the whole interval is above one half."""
        return self.rate.low is not None and self.rate.low > 0.5


def discrimination(
    asks: str,
    pairs: Sequence[Ordered],
    p_better: Sequence[float | None],
    p_worse: Sequence[float | None],
    confidence: float,
) -> Discrimination:
    """Test one criterion on held-out pairs.

    Args:
        asks: The criterion.
        pairs: The pairs.
        p_better: P(yes) of the better response of each pair; None where it could not be judged.
        p_worse: Of the worse one.
        confidence: Coverage of the interval, in (0, 1), clustered by prompt.
    """
    scores, clusters = [], []
    for pair, better, worse in zip(pairs, p_better, p_worse, strict=True):
        if better is not None and worse is not None:
            scores.append(0.5 if better == worse else float(better > worse))
            clusters.append(pair.prompt.id)
    rate = clustered_rate(scores, clusters, confidence) if scores else undefined(0, "no pair could be judged")
    return Discrimination(asks, rate, len(pairs) - len(scores))


def criteria_table(tested: Sequence[Mapping[str, object]], confidence: float) -> Table:
    """All tested criteria, those that are kept first.

    Args:
        tested: Records of :func:`criterion_record`.
        confidence: Coverage of the intervals.
    """
    rows = [
        (
            str(record["asks"]),
            _percent(record["rate"]),
            f"{_percent(record['low'])} to {_percent(record['high'])}",
            str(record["num_missing"]),
            "kept" if record["kept"] else "dropped",
        )
        for record in tested
    ]
    return Table(
        title="Criteria",
        columns=("criterion", "better response meets it", f"{100 * confidence:g} % interval", "missing", ""),
        rows=tuple(rows),
        hint="Share of held-out pairs whose better response meets the criterion more probably than the worse one; a "
        "criterion is kept where the whole interval is above 50 % and it is among the best.",
    )


def criterion_record(tested: Discrimination, kept: bool) -> dict[str, object]:
    """One tested criterion as plain values."""
    return {
        "asks": tested.asks,
        "rate": tested.rate.value,
        "low": tested.rate.low,
        "high": tested.rate.high,
        "num_prompts": tested.rate.n,
        "num_missing": tested.num_missing,
        "kept": kept,
    }


def _percent(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, float) else "–"
