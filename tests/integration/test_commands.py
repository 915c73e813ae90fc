"""What a person types besides whole runs: an estimate, labels of pairs from a file, two devices."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rlaif.data.preferences_io import read_preferences

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(900)
TWO_DEVICES = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.mark.parametrize("pipeline", ["rlaif", "label"])
def test_an_estimate_spends_nothing(command: Command, pipeline: str) -> None:
    run = command.run(f"estimate_{pipeline}", f"pipeline={pipeline}", "estimate=true", store=f"estimate_{pipeline}")
    assert run.code == 0, run.stdout + run.stderr
    assert re.search(r"pairs +24\b", run.stdout) and "counted in place of its samples" in " ".join(run.stdout.split())
    assert "Nothing was labeled" in run.stdout
    assert not list(run.store.glob("*-*/")), "nothing is trained or labeled"


def test_an_estimate_of_nothing_is_refused(command: Command) -> None:
    run = command.run("estimate_sft", "pipeline=sft", "estimate=true")
    assert run.code == 2 and "estimate=true: this pipeline labels no plan of pairs" in run.stderr


def test_pairs_of_a_file_are_labeled_without_training(command: Command, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"\n\nHuman: {n}?\n\nAssistant:", "chosen": f"Yes {n}.", "rejected": f"No {n}."} for n in range(20)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("data=files", f"data.path={path}", "data.format=chosen_rejected", "data.eval_fraction=0.2")
    run = command.run("file", "pipeline=label", *data, store="file_store")
    assert run.code == 0, run.stdout + run.stderr
    assert not run.stored("sft") and not run.stored("samples")
    labels = read_preferences(run.directory / "labels" / "labels.parquet")
    assert 10 < len(labels) < 20 and {label.source for label in labels} == {"ai"}


@pytest.mark.slow
def test_two_devices_train_and_label(command: Command) -> None:
    run = command.run("devices", "pipeline=label", *TWO_DEVICES, store="devices_store")
    assert run.code == 0, run.stdout + run.stderr
    (sft,), (labels,) = run.stored("sft"), run.stored("labels")
    assert len((sft / "curve.jsonl").read_text().splitlines()) == 2
    assert read_preferences(labels / "labels.parquet") and not (labels / "batches").exists()
    one = command.run("one_device", "pipeline=label", store="devices_store")
    assert one.code == 0 and one.reused() == {"sft", "samples", "labels"}, "devices are no part of a fingerprint"
