"""kill -9 at random moments, two runs on one store, and training in several processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

LONGER = (
    "store.checkpoint_every_s=0.01",
    "sft.steps=30",
    "reward_model.epochs=10",
    "policy.steps=12",
    "label.batch_size=1",
    "policy.objective.beta=0.1",
)
"""Enough steps and batches that a kill lands between two of them; no other test stores under these options."""
STAGES = ("sft", "samples", "labels", "reward_model", "policy", "evaluation")
WAIT_S = 900.0


def newest_checkpoint(partial: Path) -> int:
    """The newest optimizer step on disk."""
    steps = [int(path.stem.removeprefix("step=")) for path in partial.glob("checkpoints/step=*.ckpt")]
    return max(steps, default=0)


def num_batches(partial: Path) -> int:
    return len(list(partial.glob("batches/batch-*.json.gz")))


def has_begun(partial: Path) -> int:
    return int((partial / "meta.json").exists())


MOMENTS: dict[str, tuple[Callable[[Path], int], int]] = {
    "sft": (newest_checkpoint, 20),
    "samples": (has_begun, 1),
    "labels": (num_batches, 14),
    "reward_model": (newest_checkpoint, 14),
    "policy": (newest_checkpoint, 8),
    "respond": (has_begun, 1),
    "respond_grid": (has_begun, 1),
    "evaluation": (has_begun, 1),
}
"""How far a stage has come, and the latest such moment at which it is killed."""


def kill_within(process: subprocess.Popen[bytes], store: Path, stage: str, rng: Random) -> int:
    """Kill the process when the stage has come to a drawn moment; returns how far it was.

    Raises:
        AssertionError: The process ended before, or the stage did.
    """
    progress, latest = MOMENTS[stage]
    moment, extra_s = rng.randint(1, latest), 0.02 * rng.random()
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        reached = max((progress(partial) for partial in store.glob(f"{stage}-*.partial")), default=0)
        if reached >= moment:
            time.sleep(extra_s)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return reached
        assert process.poll() is None, f"the run ended before {stage} came to moment {moment}"
        time.sleep(0.002)
    raise AssertionError(f"{stage} did not come to moment {moment} in {WAIT_S:.0f} s")


def same_results(run: Run, other: Run) -> None:
    """Weights, tables and figures of two stores are the same bytes; seconds and money differ."""
    for name, number in {**dict.fromkeys(STAGES, 1), "respond": 4, "respond_grid": 1}.items():
        assert len(run.stored(name)) == len(other.stored(name)) == number
    results = [path for stage in (*STAGES, "respond", "respond_grid") for path in run.stored(stage)]
    for ours in results:
        theirs = other.store / ours.name
        files = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file()}
        assert files == {path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file()}
        for file in files - {Path("meta.json"), Path("cost.json"), Path("seconds.json")}:
            assert (ours / file).read_bytes() == (theirs / file).read_bytes(), f"{ours.name}: {file}"
    assert run.figures() == other.figures()


@pytest.fixture(scope="module")
def uninterrupted(command: Command) -> Run:
    run = command.run("whole", *LONGER, store="whole_store")
    assert run.code == 0, run.stdout + run.stderr
    return run


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_in_every_stage_ends_as_if_it_had_not_been(
    seed: int, command: Command, uninterrupted: Run
) -> None:
    rng = Random(seed)
    name, store = f"killed_{seed}", f"killed_store_{seed}"
    for stage in MOMENTS:
        process = command.start(name, *LONGER, store=store)
        kill_within(process, command.home / store, stage, rng)
        if stage in ("sft", "labels", "reward_model", "policy"):
            left = list((command.home / store).glob(f"{stage}-*.partial"))
            assert left, f"{stage} was finished before the kill came: the moment was not inside it"
    last = command.run(name, *LONGER, store=store)
    assert last.code == 0, last.stdout + last.stderr
    same_results(last, uninterrupted)
    attempts = json.loads((last.stored("policy")[0] / "meta.json").read_text())["attempts"]
    assert len(attempts) == 2


def test_two_runs_at_once_on_one_store_do_not_harm_each_other(command: Command, uninterrupted: Run) -> None:
    names = ("left", "right")
    processes = [command.start(name, *LONGER, store="shared_store") for name in names]
    codes = [process.wait(timeout=WAIT_S) for process in processes]
    runs = [command.finished(name, code, "shared_store") for name, code in zip(names, codes, strict=True)]
    assert codes == [0, 0], runs[0].stdout + runs[1].stdout
    for run in runs:
        same_results(run, uninterrupted)
        assert len(run.stored("labels")) == 1 and not list(run.store.glob("*.partial"))
    builders = [json.loads((path / "meta.json").read_text())["attempts"] for path in runs[0].store.glob("*-*/")]
    assert all(len(attempts) == 1 for attempts in builders)


def test_training_on_two_devices_labels_once_and_ends(command: Command, uninterrupted: Run) -> None:
    devices = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    run = command.run("two_devices", *LONGER, *devices, store="devices_store")
    assert run.code == 0, run.stdout + run.stderr
    for stage in STAGES:
        (result,) = run.stored(stage)
        assert len(json.loads((result / "meta.json").read_text())["attempts"]) == 1
        assert result.name == uninterrupted.stored(stage)[0].name, "devices are no part of a fingerprint"
        assert not (result / "worker.yaml").exists()
    for stage in ("sft", "labels", "policy"):
        finished = [line for line in run.stdout.splitlines() if line.startswith("✓") and line.split()[1] == stage]
        assert len(finished) == 1, f"{stage} is shown once: {finished}"
    assert set(run.figures()) == set(uninterrupted.figures())


def test_a_run_on_two_devices_that_was_killed_goes_on(command: Command) -> None:
    devices = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "pipeline=sft")
    process = command.start("killed_devices", *LONGER, *devices, store="killed_devices_store")
    kill_within(process, command.home / "killed_devices_store", "sft", Random(3))
    run = command.run("killed_devices", *LONGER, *devices, store="killed_devices_store")
    assert run.code == 0, run.stdout + run.stderr
    assert len(run.stored("sft")) == 1
