"""Figures over runs that differ in their seed, and differences between groups of runs, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scipy import stats

from rlaif.evaluation.catalogue import sort_figures
from rlaif.functional.across_runs import Pooled, pool_runs
from rlaif.types import Figure


class SeededRun(Protocol):
    """What is read of a run."""

    @property
    def seed(self) -> str:
        """Name of its seeds."""
        ...

    @property
    def figures(self) -> Mapping[str, Figure]:
        """By name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledFigure:
    """A figure of one group of runs."""

    name: str
    pooled: Pooled
    values: Mapping[str, float]
    """The value of each run by its seed."""
    num_items: int | None
    """Prompts of all runs together; None where a run does not tell."""
    note: str = ""
    """The judge, where all runs name the same."""
    missing: int = 0
    """Runs of the group without this figure."""


def pool_figures(
    runs: Sequence[SeededRun], *, shares_prompts: bool = False, confidence: float = 0.95
) -> list[PooledFigure]:
    """Every figure that a run has, over the runs that have it, in the order of the tables.

    Args:
        runs: Of one group, with different seeds.
        shares_prompts: As of :func:`rlaif.functional.across_runs.pool_runs`.
        confidence: Coverage of the intervals, those of the runs too.
    """
    first = {figure.name: figure for run in reversed(runs) for figure in run.figures.values()}
    return [_pool(name.name, runs, shares_prompts, confidence) for name in sort_figures(first.values())]


def _pool(name: str, runs: Sequence[SeededRun], shares_prompts: bool, confidence: float) -> PooledFigure:
    have = {run.seed: run.figures[name] for run in runs if name in run.figures}
    figures = list(have.values())
    sizes = [figure.n for figure in figures if figure.n is not None]
    notes = {figure.note.partition(";")[0].strip() for figure in figures}
    return PooledFigure(
        name=name,
        pooled=pool_runs(
            [figure.value for figure in figures],
            [standard_error(figure, confidence) for figure in figures],
            shares_prompts=shares_prompts,
            confidence=confidence,
        ),
        values={seed: figure.value for seed, figure in have.items()},
        num_items=sum(sizes) if len(sizes) == len(figures) else None,
        note=notes.pop() if len(notes) == 1 else "",
        missing=len(runs) - len(figures),
    )


def standard_error(figure: Figure, confidence: float = 0.95) -> float | None:
    """Half the interval's width in quantiles of the normal distribution; None without an interval."""
    if figure.low is None or figure.high is None:
        return None
    return (figure.high - figure.low) / (2.0 * float(stats.norm.ppf(0.5 + confidence / 2)))


def paired_differences(
    runs: Sequence[SeededRun], base: Sequence[SeededRun], *, shares_prompts: bool = False, confidence: float = 0.95
) -> list[PooledFigure]:
    """Figures of one group minus those of another, run by run with the same seed and so on the same prompts.

    The difference of two runs' means is the mean of their differences by prompt, so what a prompt adds to both drops
    out. Its own error is not known from the figures; the spread of the differences over seeds has to say it all.

    Args:
        runs: Of the first group.
        base: Of the group that is subtracted.
        shares_prompts: True where all seeds have the same prompts: their noise is then not part of the interval.
        confidence: Coverage of the intervals.

    Returns:
        Nothing where fewer than two seeds are in both groups: one difference has no interval.
    """
    by_seed = {run.seed: run for run in base}
    pairs = [(run, by_seed[run.seed]) for run in runs if run.seed in by_seed]
    if len(pairs) < 2:
        return []
    in_all = [name for name in pairs[0][0].figures if all(name in run.figures for pair in pairs for run in pair)]
    found = []
    for figure in sort_figures(pairs[0][0].figures[name] for name in in_all):
        name = figure.name
        values = {run.seed: run.figures[name].value - other.figures[name].value for run, other in pairs}
        pooled = pool_runs(list(values.values()), [None] * len(values), confidence=confidence)
        note = "the same prompts under every seed: of these prompts only" if shares_prompts else ""
        found.append(PooledFigure(name=name, pooled=pooled, values=values, num_items=None, note=note))
    return found
