"""Rows of a curve while a training goes on: which steps have one, and what stands in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from counted_training import CountedTraining

from rlaif.artifacts.curve import append_row, read_curve
from rlaif.modules.curves import CurveWriter
from rlaif.modules.progress import TrainingProgress


def steps_of(path: Path) -> list[float]:
    return [row["step"] for row in read_curve(path)]


def test_every_step_has_a_row_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    CountedTraining().run(CurveWriter(path=path), [1, 2, 3])
    assert steps_of(path) == [1, 2, 3]


def test_every_third_step_and_the_last_have_a_row(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    CountedTraining(max_steps=500).run(CurveWriter(path, every_n_steps=3), [1, 2, 3, 4, 5, 6, 499, 500])
    assert steps_of(path) == [3, 6, 500]
    CountedTraining(max_steps=5).run(CurveWriter(tmp_path / "short.jsonl", every_n_steps=4), [1, 2, 3, 4, 5, 6, 7])
    assert steps_of(tmp_path / "short.jsonl") == [4, 5]


def test_a_batch_that_ends_no_optimizer_step_has_no_row(tmp_path: Path) -> None:
    path, trainer = tmp_path / "curve.jsonl", CountedTraining()
    writer = CurveWriter(path)
    for step in (0, 0, 1, 1, 300, 300):
        trainer.step(writer, step)
    assert steps_of(path) == [1, 300]


def test_a_resumed_training_drops_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    path, trainer = tmp_path / "curve.jsonl", CountedTraining()
    for step in (1, 2, 3, 4):
        append_row(path, step, {"loss": 1.0})
    trainer.global_step = 2
    trainer.run(CurveWriter(path), [2, 3])
    assert steps_of(path) == [1, 2, 3]
    assert [row.get("loss") for row in read_curve(path)] == [1.0, 1.0, None], "the third is new"


def test_another_process_neither_cuts_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    append_row(path, 3, {"loss": 1.0})
    CountedTraining(rank=1).run(CurveWriter(path), [1, 2])
    assert steps_of(path) == [3]


@pytest.mark.parametrize(("options", "names"), [({}, {"train/loss", "other"}), ({"prefix": "train/"}, {"train/loss"})])
def test_a_prefix_chooses_metrics(options: dict[str, Any], names: set[str], tmp_path: Path) -> None:
    trainer = CountedTraining()
    trainer.callback_metrics = {"train/loss": 1.5, "other": 2.0}
    trainer.run(CurveWriter(tmp_path / "curve.jsonl", **options), [1])
    (row,) = read_curve(tmp_path / "curve.jsonl")
    assert set(row) == {"step", *names} and row["train/loss"] == 1.5


def test_a_figure_that_a_step_does_not_have_is_left_out_and_a_norm_that_is_no_number_is_not(tmp_path: Path) -> None:
    trainer = CountedTraining()
    trainer.callback_metrics = {
        "policy/ratio": math.nan,
        "policy/reward/long": math.nan,
        "policy/reward/short": 1.0,
        "policy/reward/short/of": math.nan,
        "policy/grad_norm": math.nan,
    }
    trainer.run(CurveWriter(tmp_path / "curve.jsonl"), [1])
    (row,) = read_curve(tmp_path / "curve.jsonl")
    assert set(row) == {"step", "policy/grad_norm", "policy/reward/short"} and math.isnan(row["policy/grad_norm"])


@pytest.mark.parametrize(
    ("rank", "num_updates", "told"),
    [(0, 1, [(0, 8), (3, 8), (4, 8)]), (1, 1, []), (0, 4, [(0, 2), (0, 2), (1, 2)])],
)
def test_the_first_process_tells_how_far_the_training_is(
    rank: int, num_updates: int, told: list[tuple[int, int]]
) -> None:
    found: list[tuple[int, int]] = []
    progress = TrainingProgress(lambda: lambda done, total: found.append((done, total)), num_updates=num_updates)
    CountedTraining(max_steps=8, rank=rank).run(progress, [3, 4])
    assert found == told
