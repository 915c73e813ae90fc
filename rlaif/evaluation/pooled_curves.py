"""Validation curves over runs that differ in their seed: the mean of each step with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.evaluation.records import ValidationCurves
from rlaif.functional.across_runs import Pooled, pool_runs

PooledCurve = tuple[tuple[int, Pooled], ...]
"""(step, win rate over the runs)."""


def pool_curves(runs: Sequence[ValidationCurves], confidence: float = 0.95) -> Mapping[str, PooledCurve]:
    """Pool the win rates of the steps that all runs have.

    Args:
        runs: The validations of each run.
        confidence: Coverage of the intervals: t over seeds, as of :func:`~rlaif.functional.across_runs.pool_runs`.

    Returns:
        Stratum and decoding, e.g. ``"unseen, greedy"``, to its curve; those that a run lacks are left out.
    """
    curves = [{label: dict(points) for label, points in run.win_rates.items()} for run in runs]
    labels = [label for label in curves[0] if all(label in curve for curve in curves)] if curves else []
    return {label: _pool([curve[label] for curve in curves], confidence) for label in labels}


def _pool(curves: Sequence[Mapping[int, float]], confidence: float) -> PooledCurve:
    steps = sorted(set(curves[0]).intersection(*curves[1:]))
    unknown = [None] * len(curves)
    return tuple((step, pool_runs([curve[step] for curve in curves], unknown, confidence=confidence)) for step in steps)
