"""From rows to figures: an estimate for all prompts and one for each stratum, absent where undefined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rlaif.evaluation.votes import Votes
from rlaif.functional.statistics import Estimate
from rlaif.metrics.clustered import Mean
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Figure, Prompt


def figure(name: str, estimate: Estimate, note: str = "") -> list[Figure]:
    """One figure, or none where the data do not determine it.

    Args:
        name: ``group/figure``.
        estimate: Value, interval and number of prompts.
        note: The judge, then after a semicolon the method.

    >>> figure("policy/kl", Estimate(None, None, None, 0, "no rows"))
    []
    """
    if estimate.value is None:
        return []
    words = "; ".join(filter(None, [note, estimate.note]))
    return [Figure(name=name, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n, note=words)]


def stratified(
    name: str,
    prompts: Sequence[Prompt],
    estimate: Callable[[list[int]], Estimate],
    note: str = "",
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """The figure over all rows, and where prompts carry a stratum also ``name/stratum``.

    Args:
        name: ``group/figure``.
        prompts: The prompt of each row.
        estimate: From row numbers to an estimate.
        note: As in :func:`figure`.
        processes: Processes that hold further rows; ``estimate`` merges them itself.
    """
    figures = figure(name, estimate(list(range(len(prompts)))), note)
    for stratum in processes.union({prompt.stratum for prompt in prompts} - {""}):
        rows = [row for row, prompt in enumerate(prompts) if prompt.stratum == stratum]
        figures += figure(f"{name}/{stratum}", estimate(rows), note)
    return figures


def mean_figures(
    name: str,
    prompts: Sequence[Prompt],
    values: Sequence[float],
    note: str = "",
    *,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """The mean of a number per row, with an interval that is clustered by prompt, and of each stratum.

    Args:
        name: ``group/figure``.
        prompts: The prompt of each row.
        values: Of any size.
        note: As in :func:`figure`.
        confidence: Coverage of the interval.
        processes: Processes that hold further rows.
    """

    def estimate(rows: list[int]) -> Estimate:
        metric = Mean(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(column([values[row] for row in rows]), prompt_numbers([prompts[row] for row in rows]))
        return metric.compute()

    return stratified(name, prompts, estimate, note, processes)


def flatten(rows: Sequence[int], votes: Votes, prompts: Sequence[Prompt]) -> tuple[list[int], Tensor, Tensor]:
    """One row per verdict: the item it is about, its value, and the number of the prompt it clusters with.

    >>> prompt = Prompt(task="dialogue", text="Hi")
    >>> items, values, _ = flatten([0, 1], [(1.0, 0.0), ()], [prompt, prompt])
    >>> items, values.tolist()
    ([0, 0], [1.0, 0.0])
    """
    items = [row for row in rows for _ in votes[row]]
    return items, column([value for row in rows for value in votes[row]]), prompt_numbers([prompts[i] for i in items])


def column(values: Sequence[float]) -> Tensor:
    """Numbers as a float64 vector, as metrics take them."""
    return torch.tensor(values, dtype=torch.float64)


def prompt_numbers(prompts: Sequence[Prompt]) -> Tensor:
    """A number for every prompt that is the same in every process: its id, moved into the range of int64."""
    ids = {id(prompt): int(prompt.id, 16) - 2**63 for prompt in prompts}
    return torch.tensor([ids[id(prompt)] for prompt in prompts], dtype=torch.int64)
