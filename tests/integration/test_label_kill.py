"""Labeling killed with ``kill -9`` at random moments, and labeling divided among processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from conftest import Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).with_name("label_script.py")
NUM_PAIRS, NUM_KILLS = 1500, 10


def start(store: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(store), str(NUM_PAIRS), str(log)])


def paid(log: Path) -> list[str]:
    """The questions that were paid, in order."""
    return log.read_text().splitlines() if log.exists() else []


def kill_when_paid(process: subprocess.Popen[bytes], log: Path, goal: int) -> None:
    deadline = time.monotonic() + 300
    while len(paid(log)) < goal:
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it was killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_ten_kills_lose_no_label_and_pay_only_the_question_in_flight_twice(tmp_path: Path) -> None:
    rng = Random(0)
    store, log = tmp_path / "killed", tmp_path / "killed.log"
    in_flight = []
    for _ in range(NUM_KILLS):
        process = start(store, log)
        kill_when_paid(process, log, len(paid(log)) + rng.randint(1, 2 * NUM_PAIRS // (NUM_KILLS + 1)))
        in_flight.append(paid(log)[-1])
    assert start(store, log).wait() == 0

    whole, whole_log = tmp_path / "whole", tmp_path / "whole.log"
    assert start(whole, whole_log).wait() == 0
    assert len(paid(whole_log)) == len(set(paid(whole_log))) == 2 * NUM_PAIRS

    twice = Counter(paid(log)) - Counter(paid(whole_log))
    assert set(paid(log)) == set(paid(whole_log)), "every question is answered, and no other is asked"
    assert not twice - Counter(in_flight), "of every killed run at most the question in flight is paid again"
    assert (store / "labels.parquet").read_bytes() == (whole / "labels.parquet").read_bytes()
    assert pq.read_metadata(store / "labels.parquet").num_rows == NUM_PAIRS


def test_ten_kills_of_the_command_end_with_the_same_table(command: Command) -> None:
    labels = ("pipeline=label", "label.batch_size=2", "data.num_label_prompts=96")
    first = command.run("first", *labels, "pipeline=sft", store="killed_store")
    assert first.code == 0, first.stdout + first.stderr
    rng, num_killed = Random(1), 0
    for _ in range(NUM_KILLS):
        process = command.start("killed", *labels, store="killed_store")
        store, before = command.home / "killed_store", None
        while process.poll() is None:
            batches = len(list(store.glob("labels-*.partial/batches/batch-*.json.gz")))
            before = batches if before is None and list(store.glob("labels-*.partial")) else before
            if before is not None and batches >= before + rng.randint(1, 4):
                process.send_signal(signal.SIGKILL)
                num_killed += 1
            time.sleep(0.002)
    assert num_killed >= NUM_KILLS // 2
    last = command.run("killed", *labels, store="killed_store")
    whole = command.run("whole", *labels, store="whole_store")
    assert last.code == whole.code == 0, last.stdout + last.stderr
    for name in ("labels.parquet", "summary.json"):
        assert (last.stored("labels")[0] / name).read_bytes() == (whole.stored("labels")[0] / name).read_bytes()


def test_two_processes_label_what_one_does(command: Command) -> None:
    labels = ("pipeline=label", "label.batch_size=2", "data.num_label_prompts=24")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    one = command.run("one", *labels, store="one_store")
    # The stages before are trained by one process, so that both runs label the same pairs.
    sampled = command.run("sampled", *labels, "pipeline.stages=[data,sft,samples]", store="two_store")
    divided = command.run("two", *labels, *two, store="two_store")
    assert one.code == sampled.code == divided.code == 0, divided.stdout + divided.stderr
    assert {"sft", "samples"} <= divided.reused()
    (ours,), (theirs,) = divided.stored("labels"), one.stored("labels")
    assert ours.name == theirs.name
    for name in ("labels.parquet", "summary.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    costs = [json.loads((path / "cost.json").read_text()) for path in (ours, theirs)]
    assert costs[0]["num_questions"] == costs[1]["num_questions"]
    assert costs[0]["num_prompt_tokens"] == costs[1]["num_prompt_tokens"]
    assert len(divided.stored("labels")) == 1 and not (ours / "batches").exists()


def test_a_budget_stops_the_command_and_the_next_start_goes_on(command: Command) -> None:
    labels = ("pipeline=label", "label.batch_size=2", "data.num_label_prompts=24")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    whole = command.run("budget_whole", *labels, store="budget_whole_store")
    num_tokens = json.loads((whole.stored("labels")[0] / "cost.json").read_text())["num_prompt_tokens"]
    budget = f"budget.max_tokens={num_tokens // 2}"
    stopped = command.run("budget", *labels, budget, store="budget_store")
    assert stopped.code == 3, stopped.stdout + stopped.stderr
    assert "budget.max_tokens" in stopped.stderr and "start again to go on" in stopped.stderr
    again = command.run("budget", *labels, *two, budget, store="budget_store")
    assert again.code == 3 and "budget.max_tokens" in again.stderr, "what was spent stays counted"
    last = command.run("budget", *labels, f"budget.max_tokens={num_tokens * 2}", store="budget_store")
    assert last.code == 0, last.stdout + last.stderr
    table = whole.stored("labels")[0] / "labels.parquet"
    assert (last.stored("labels")[0] / "labels.parquet").read_bytes() == table.read_bytes()
    spent = json.loads((last.stored("labels")[0] / "cost.json").read_text())
    assert spent["num_prompt_tokens"] == num_tokens, "nothing was paid twice"


def test_a_worker_that_is_stopped_stops_the_command_as_one_process_does(command: Command) -> None:
    """What a panel learns from is asked before the first batch: nobody there answers."""
    labels = ("pipeline=label", "labeler=panel", "labeler.weights=learned", "labeler.num_known=4")
    nobody = ("labeler/engine=openai", "labeler.engine.url=http://127.0.0.1:9/v1", "labeler.engine.model=m")
    options = (*labels, *nobody, "labeler.engine.max_retries=0", "data.num_label_prompts=24")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    for devices in ((), two):
        stopped = command.run("stopped", *options, *devices, store="stopped_store")
        assert stopped.code == 3, stopped.stdout + stopped.stderr
        told = stopped.stderr[stopped.stderr.rindex("rlaif-run: ") :]
        assert "labeler.engine.break_after=10" in told and "cannot connect" in told


def test_memory_does_not_grow_with_the_plan(tmp_path: Path) -> None:
    benchmark = Path(__file__).parents[1] / "benchmarks" / "labeling.py"
    command = [sys.executable, str(benchmark), "--pairs=12000", f"--directory={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["pairs"] == 12000
    assert figures["memory_growth_mb"] < 50
