"""From rows to figures: an estimate for all prompts and one for each stratum, absent where undefined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlaif.evaluation.votes import Votes
from rlaif.functional.statistics import Estimate
from rlaif.types import Figure, Prompt


def figure(name: str, estimate: Estimate, note: str = "") -> list[Figure]:
    """One figure, or none where the data do not determine it.

    Args:
        name: ``group/figure``.
        estimate: Value, interval and number of prompts.
        note: Who judged, then after a semicolon how.

    >>> figure("policy/kl", Estimate(None, None, None, 0, "no rows"))
    []
    """
    if estimate.value is None:
        return []
    words = "; ".join(filter(None, [note, estimate.note]))
    return [Figure(name=name, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n, note=words)]


def stratified(
    name: str, prompts: Sequence[Prompt], estimate: Callable[[list[int]], Estimate], note: str = ""
) -> list[Figure]:
    """The figure over all rows, and where prompts carry a stratum also ``name/stratum``.

    Args:
        name: ``group/figure``.
        prompts: The prompt of each row.
        estimate: From row numbers to an estimate.
        note: As in :func:`figure`.
    """
    strata = sorted({prompt.stratum for prompt in prompts} - {""})
    figures = figure(name, estimate(list(range(len(prompts)))), note)
    for stratum in strata:
        rows = [row for row, prompt in enumerate(prompts) if prompt.stratum == stratum]
        figures += figure(f"{name}/{stratum}", estimate(rows), note)
    return figures


def flatten(rows: Sequence[int], votes: Votes, prompts: Sequence[Prompt]) -> tuple[list[int], list[float], list[str]]:
    """One row per verdict: the item it is about, its value, and the prompt it clusters with.

    >>> prompt = Prompt(task="dialogue", text="Hi")
    >>> flatten([0, 1], [(1.0, 0.0), ()], [prompt, prompt])[:2]
    ([0, 0], [1.0, 0.0])
    """
    items = [row for row in rows for _ in votes[row]]
    values = [value for row in rows for value in votes[row]]
    ids = {row: prompts[row].id for row in rows}
    return items, values, [ids[item] for item in items]
