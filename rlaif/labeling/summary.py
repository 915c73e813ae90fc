"""Counts over the labels of a run."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import torch

from rlaif.functional.labels import same_slot
from rlaif.labeling.missing import most_frequent_first
from rlaif.reasons import kind_of
from rlaif.types import Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelerSummary:
    """Counts over labels."""

    n: int
    """Comparisons that were to be judged."""
    missing: dict[str, int] = field(default_factory=dict)
    """Labels that were not obtained, by reason, the most frequent first."""
    failed_judgments: dict[str, int] = field(default_factory=dict)
    """Judgements that got no answer, by kind of reason; their labels may exist (a panel goes on without a member)."""
    silent_members: dict[str, int] = field(default_factory=dict)
    """Labels of a panel on which a member has no verdict, by member; they may exist without it."""
    num_both_orders: int = 0
    """Pairs with a verdict in both orders and two different texts: what ``same_slot_share`` rests on."""
    same_slot_share: float | None = None
    """Share of those in which the same slot won in both orders (arXiv 2309.00267, Table 4: position
    bias). A probability of exactly one half in an order counts ½. None without such pairs."""
    answer_mass: float | None = None
    """Mean probability of all answers together (:attr:`Judgment.answer_mass`); None where no judgement knows it."""
    num_prompt_tokens: int = 0
    """Tokens read by the model, over all judgments."""
    num_reply_tokens: int = 0
    """Tokens written by the model, over all judgments."""

    @property
    def num_missing(self) -> int:
        """Pairs without a label."""
        return sum(self.missing.values())

    @property
    def missing_rate(self) -> float:
        """In [0, 1]; 0 where there are none."""
        return self.num_missing / self.n if self.n else 0.0


def summarize_labels(preferences: Iterable[Preference]) -> LabelerSummary:
    """Count missing labels, same-slot answers and tokens; labels are read one by one and not kept."""
    missing: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    given, swapped = array("d"), array("d")
    n = num_prompt_tokens = num_reply_tokens = num_masses = 0
    sum_of_masses = 0.0
    for preference in preferences:
        n += 1
        if preference.missing is not None:
            missing[preference.missing] += 1
        failed.update(kind_of(item.missing) for item in preference.judgments if item.missing and not item.unreadable)
        silent.update(
            item.judge for item in preference.judgments if item.judge and item.order == "verdict" and item.missing
        )
        masses = [item.answer_mass for item in preference.judgments if item.answer_mass is not None]
        num_masses += len(masses)
        sum_of_masses += sum(masses)
        orders = preference.p_first_by_order
        if None not in orders and not preference.comparison.is_identical:
            given.append(cast(float, orders[0]))
            swapped.append(cast(float, orders[1]))
        num_prompt_tokens += sum(judgment.num_prompt_tokens for judgment in preference.judgments)
        num_reply_tokens += sum(judgment.num_reply_tokens for judgment in preference.judgments)
    return LabelerSummary(
        n=n,
        missing=most_frequent_first(missing),
        failed_judgments=most_frequent_first(failed),
        silent_members=most_frequent_first(silent),
        num_both_orders=len(given),
        same_slot_share=_same_slot_share(given, swapped),
        answer_mass=sum_of_masses / num_masses if num_masses else None,
        num_prompt_tokens=num_prompt_tokens,
        num_reply_tokens=num_reply_tokens,
    )


def _same_slot_share(given: array[float], swapped: array[float]) -> float | None:
    """Share of the pairs in which the same slot won in both orders; None without pairs."""
    if not given:
        return None
    return float(same_slot(torch.tensor(given, dtype=torch.float64), torch.tensor(swapped, dtype=torch.float64)).mean())
