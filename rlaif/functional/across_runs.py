"""A figure over several runs that differ in their seed: mean, interval and spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from rlaif.functional.statistics import checked_rows, varies


class Pooled(NamedTuple):
    """One figure over runs."""

    value: float
    """Mean over runs, each counted once."""
    low: float | None
    """Lower end of the interval of the mean over all seeds; None for one run, and for equal values without errors."""
    high: float | None
    spread: float | None
    """Standard deviation of the runs' values; None for one run."""
    between: float | None
    """Standard deviation between seeds beyond the noise of prompts (DerSimonian & Laird 1986); None where unknown."""
    num_runs: int


def pool_runs(
    values: Sequence[float],
    errors: Sequence[float | None],
    *,
    shares_prompts: bool = False,
    confidence: float = 0.95,
) -> Pooled:
    """Mean over runs with the interval of Hartung and Knapp, whose runs count alike: t over seeds.

    The variance between the runs' values holds what seeds and what prompts do, so it needs no estimate of either. By
    chance it is too small, with two runs it may be 0: the interval is never narrower than that of the runs' own errors
    (Wiksten, Rücker & Schwarzer 2016). Where all runs are measured on the same prompts, their noise does not average
    out over runs: the interval of one run's own error is added in squares.

    The quantile is that of t with as many degrees of freedom as runs, less one: 12.7 for two runs, 4.3 for three, 2.8
    for five.

    Args:
        values: One per run.
        errors: Standard error of each value, of its prompts alone; None where unknown.
        shares_prompts: True where the runs were measured on the same prompts.
        confidence: Coverage of the interval.

    Raises:
        ValueError: There is no run.

    >>> pooled = pool_runs([0.60, 0.64, 0.68], [0.01, 0.01, 0.01])
    >>> round(pooled.value, 2), round(pooled.low, 3), round(pooled.high, 3), round(pooled.spread, 2)
    (0.64, 0.541, 0.739, 0.04)
    """
    y = checked_rows("values", values)
    if not y.size or y.size != len(errors):
        raise ValueError(f"pool_runs: {y.size} values with {len(errors)} errors")
    mean = float(y.mean())
    if y.size == 1:
        return Pooled(mean, None, None, None, None, 1)
    known = [error for error in errors if error is not None]
    own = float(np.mean(np.square(known))) if len(known) == y.size else 0.0
    if not varies(y) and len(known) < y.size:
        return Pooled(mean, None, None, 0.0, None, y.size)
    variance, z = float(y.var(ddof=1)), float(stats.norm.ppf(0.5 + confidence / 2))
    of_seeds = float(stats.t.ppf(0.5 + confidence / 2, y.size - 1)) * math.sqrt(variance / y.size)
    half = math.hypot(of_seeds, z * math.sqrt(own)) if shares_prompts else max(of_seeds, z * math.sqrt(own / y.size))
    between = between_seeds(values, known) if len(known) == y.size else None
    return Pooled(mean, mean - half, mean + half, math.sqrt(variance), between, y.size)


def between_seeds(values: Sequence[float], errors: Sequence[float]) -> float | None:
    """Standard deviation between seeds without the noise of prompts, by DerSimonian and Laird's moments.

    Args:
        values: One per run, two or more.
        errors: Standard error of each.

    Returns:
        0 where the values differ no more than their errors; None where an error is 0.
    """
    if min(errors) <= 0.0:
        return None
    y, weight = np.asarray(values), 1.0 / np.square(np.asarray(errors))
    center = float(weight @ y / weight.sum())
    excess = float(weight @ (y - center) ** 2) - (y.size - 1)
    return math.sqrt(max(0.0, excess / float(weight.sum() - weight @ weight / weight.sum())))
