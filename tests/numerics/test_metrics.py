"""Metrics: literal figures, and the same figures however the rows are sharded."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from sklearn.metrics import accuracy_score
from torch import Tensor
from torchmetrics import Metric

from rlaif.functional.seeds import generator
from rlaif.metrics.calibration import CalibrationError, ReliabilityBins
from rlaif.metrics.clustered import (
    DistinctRate,
    HarmlessRate,
    LabelerAlignment,
    LengthControlledWinRate,
    Mean,
    PairedDifference,
    PairwiseAccuracy,
    PositionBias,
    WinRate,
)

NAN = float("nan")


def rows(num_rows: int = 60) -> dict[type[Metric], tuple[Tensor, ...]]:
    """Arguments of ``update`` for every metric; three rows share a prompt, some are missing."""

    def uniform(name: str) -> Tensor:
        return torch.rand(num_rows, generator=generator(name))

    prompts = torch.arange(num_rows) // 3
    soft = uniform("soft").masked_fill(torch.arange(num_rows) % 7 == 0, NAN)
    hard = (uniform("hard") < 0.4).float()
    chars = 50 + (100 * uniform("chars")).floor(), 50 + (100 * uniform("other chars")).floor()
    return {
        HarmlessRate: (hard, prompts),
        WinRate: (soft, prompts),
        LabelerAlignment: (soft, hard, prompts),
        PairwiseAccuracy: (uniform("r1"), uniform("r2"), hard, prompts),
        LengthControlledWinRate: (soft, *chars, prompts),
        PositionBias: (soft, uniform("swapped"), prompts),
        CalibrationError: (soft, hard, prompts),
        ReliabilityBins: (soft, hard, prompts),
        Mean: (chars[0], prompts),
        DistinctRate: ((10 * uniform("texts")).floor(), prompts),
        PairedDifference: (hard, (uniform("b") < 0.6).float(), prompts),
    }


def flat(result: object) -> list[float]:
    """All numbers of a result."""
    if isinstance(result, tuple):
        return [number for part in result for number in flat(part)]
    if isinstance(result, Tensor):
        return result.flatten().tolist()
    return [float(result)] if isinstance(result, int | float) else []


def test_literal_figures() -> None:
    alignment = LabelerAlignment()
    alignment.update(torch.tensor([0.9, 0.2, 0.5, NAN]), torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.arange(4))
    assert alignment.compute().value == 0.5
    assert alignment.compute().n == 3 and alignment.num_missing == 1
    harmless = HarmlessRate()
    harmless.update(torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 1]))
    assert harmless.compute().value == 0.75 and harmless.compute().n == 2
    bias = PositionBias()
    bias.update(torch.tensor([0.9, 0.9, 0.2, 0.8]), torch.tensor([0.3, 0.8, 0.1, NAN]), torch.arange(4))
    assert bias.compute().same_slot.value == pytest.approx(1 / 3)


def test_pairwise_accuracy_is_sklearns_and_ties_count_half() -> None:
    first, second = torch.randn(100, generator=generator("a")), torch.randn(100, generator=generator("b"))
    human = (torch.rand(100, generator=generator("c")) < 0.5).float()
    metric = PairwiseAccuracy()
    metric.update(first, second, human, torch.arange(100))
    assert metric.compute().value == pytest.approx(accuracy_score(human, first > second))
    metric.update(torch.ones(100), torch.ones(100), human, torch.arange(100, 200))
    assert metric.compute().value == pytest.approx((accuracy_score(human, first > second) + 0.5) / 2)


def test_an_unscored_response_is_missing_not_wrong() -> None:
    metric = PairwiseAccuracy()
    metric.update(torch.tensor([2.0, NAN]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]), torch.arange(2))
    assert metric.columns()[0][0].tolist() == [1.0] and metric.num_missing == 1


@pytest.mark.parametrize("metric_type", rows().keys())
def test_batches_in_another_order_give_the_same_figures(metric_type: type[Metric]) -> None:
    arguments = rows()[metric_type]
    whole, pieces = metric_type(), metric_type()
    whole.update(*arguments)
    for start in (40, 0, 20):
        pieces.update(*(column[start : start + 20] for column in arguments))
    kept = 1 if metric_type is CalibrationError else None  # the bootstrap of its interval draws prompts by their place
    assert flat(pieces.compute())[:kept] == pytest.approx(flat(whole.compute())[:kept], nan_ok=True)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("metric_type", rows().keys())
def test_reset_forgets(metric_type: type[Metric]) -> None:
    metric = metric_type()
    metric.update(*rows()[metric_type])
    metric.reset()
    empty = metric.compute()
    assert all(number != number or number == 0 for number in flat(empty))


def compute_on_rank(rank: int, port: int, folder: str, split_at: int) -> None:
    """Update with this rank's rows (the second rank may have none), and leave what it computes on disk."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    results = []
    for metric_type, arguments in rows().items():
        metric = metric_type()
        own = slice(split_at) if rank == 0 else slice(split_at, None)
        if split_at < len(arguments[0]) or rank == 0:
            metric.update(*(column[own] for column in arguments))
        results.append(flat(metric.compute()))
    torch.save(results, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("split_at", [25, 60], ids=["uneven", "second rank without rows"])
def test_two_processes_give_the_figures_of_one(split_at: int, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(compute_on_rank, (port, str(tmp_path), split_at), nprocs=2, start_method="fork")
    for metric_number, (metric_type, arguments) in enumerate(rows().items()):
        alone = metric_type()
        alone.update(*arguments)
        for rank in range(2):
            together = torch.load(tmp_path / f"{rank}.pt")[metric_number]
            assert together == pytest.approx(flat(alone.compute()), nan_ok=True), metric_type.__name__
