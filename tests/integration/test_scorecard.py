"""The scorecard, its gate, the table of a sweep and the probe through the installed command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = pytest.mark.timeout(900)


def records(directory: Path) -> dict[str, Mapping[str, object]]:
    return {record["name"]: record for record in json.loads((directory / "scorecard.json").read_text("utf-8"))}


@pytest.fixture(scope="module")
def scorecard(command: Command) -> Run:
    run = command.run("scorecard", "pipeline=scorecard", "label.scorecard_pairs=16")
    assert run.code == 0, run.stdout + run.stderr
    return run


def test_a_scorecard_measures_the_labeler_and_trains_nothing(scorecard: Run) -> None:
    figures = records(scorecard.directory)
    names = ("alignment", "position_bias", "missing_rate", "ece", "self_consistency", "tie_rate")
    assert {f"labeler/{name}" for name in names} <= figures.keys()
    assert figures["labeler/alignment"]["n"] == 16
    assert str(figures["labeler/alignment"]["note"]).startswith("simulated annotators; mean over 3 raters")
    assert figures["cost/seconds_per_1000_labels"]["n"] == 16
    page = (scorecard.directory / "scorecard.html").read_text("utf-8")
    assert "simulated annotators" in page and "Reliability diagram" in page and "Alignment by confidence" in page
    assert len(scorecard.stored("scorecard")) == 1
    assert not any(scorecard.stored(stage) for stage in ("sft", "samples", "labels"))


def test_the_same_scorecard_is_not_paid_twice(command: Command, scorecard: Run) -> None:
    again = command.run("scorecard-again", "pipeline=scorecard", "label.scorecard_pairs=16")
    assert again.reused() == {"scorecard"}
    assert records(again.directory) == records(scorecard.directory)


def test_the_gate_stops_before_anything_is_paid(command: Command, scorecard: Run) -> None:
    run = command.run("gate", "pipeline=label", "label.min_alignment=1.0", "label.scorecard_pairs=16")
    assert run.code == 3
    assert "label.min_alignment=1: pairwise agrees with simulated annotators on" in run.stderr
    assert "the estimate itself is compared" in run.stderr and "16 held-out prompts" in run.stderr
    assert (run.directory / "scorecard.html").is_file()
    assert not run.stored("sft") and not run.stored("labels")
    assert run.reused() == {"scorecard"}


def test_a_labeler_above_the_gate_goes_on(command: Command, scorecard: Run) -> None:
    run = command.run("passes", "pipeline=label", "label.min_alignment=0.01", "label.scorecard_pairs=16")
    assert run.code == 0, run.stdout + run.stderr
    assert (run.directory / "labels" / "labels.parquet").is_file()
    assert records(run.directory) == records(scorecard.directory)


@pytest.mark.slow
def test_a_simulated_person_is_measured_against_others(command: Command) -> None:
    run = command.run("human", "pipeline=scorecard", "labeler=human", "data.num_eval_preferences=200")
    assert run.code == 0, run.stdout + run.stderr
    assert 0.6 < float(str(records(run.directory)["labeler/alignment"]["value"])) < 0.9
    assert "labeler/position_bias" not in records(run.directory)


@pytest.mark.slow
def test_peoples_own_labels_have_nobody_to_be_measured_against(command: Command) -> None:
    rows = [
        {"prompt": f"\n\nHuman: {n}?\n\nAssistant:", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(60)
    ]
    path = command.home / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("data=files", f"data.path={path}", "data.format=chosen_rejected", "data.eval_fraction=0.5")
    run = command.run("people", "pipeline=scorecard", "labeler=human", *given)
    assert run.code == 2
    assert "labeler=human: here people's labels are what others are measured against" in run.stderr
    run = command.run("on-people", "pipeline=scorecard", *given)
    assert run.code == 0, run.stdout + run.stderr
    figures = records(run.directory)
    assert str(figures["labeler/alignment"]["note"]).startswith("human labels of the data")
    assert "people/agreement" not in figures


def test_options_out_of_range_are_named_together(command: Command) -> None:
    run = command.run("wrong", "pipeline=scorecard", "label.scorecard_pairs=0", "label.min_alignment=70")
    assert run.code == 2
    assert "label.scorecard_pairs=0: must be at least 1" in run.stderr
    assert "label.min_alignment=70: must be above 0 and at most 1" in run.stderr


def test_a_sweep_ends_with_one_table_also_when_a_job_failed(command: Command, scorecard: Run) -> None:
    run = command.run("sweep", "-m", "pipeline=scorecard", "label.scorecard_pairs=16", "label.min_alignment=null,1.0")
    assert run.code == 3
    rows = json.loads((run.directory / "scorecards.json").read_text("utf-8"))
    assert [row["job"] for row in rows] == ["label.min_alignment=null", "label.min_alignment=1.0"]
    kept = {record["name"]: record["value"] for record in rows[0]["figures"]}
    assert kept == {name: record["value"] for name, record in records(scorecard.directory).items()}
    assert rows[0]["failed"] is None and rows[1]["failed"].startswith("label.min_alignment=1: pairwise agrees with")
    table = (run.directory / "scorecards.md").read_text("utf-8")
    assert "| label.min_alignment=1.0 | failed: label.min_alignment=1: pairwise agrees" in table
    assert "alignment" in run.stdout and "scorecards.md" in run.stdout
    assert (run.directory / "scorecards.csv").read_text("utf-8").count("\n") == 3


@pytest.mark.slow
def test_the_probe_attacks_pairs_and_then_a_policy(command: Command) -> None:
    some = ("pipeline=probe", "probe.num_pairs=6", "probe.attacks=[empty,choose_1]")
    run = command.run("probe", *some)
    assert run.code == 0, run.stdout + run.stderr
    found = {record["name"]: record for record in json.loads((run.directory / "probe.json").read_text("utf-8"))}
    kinds = ("flip_rate", "win_rate_vs_good", "win_rate_vs_worse", "missing_rate")
    assert {f"probe/{kind}/{name}" for kind in kinds for name in ("empty", "choose_1")} <= found.keys()
    assert found["probe/judged_right"]["n"] == 6
    assert "Attacks" in (run.directory / "probe.html").read_text("utf-8")
    trained = command.run("trained", "pipeline=sft")
    assert trained.code == 0, trained.stdout + trained.stderr
    run = command.run("hacks", *some, "probe.responses=policy", f"probe.policy={trained.directory / 'sft'}")
    assert run.code == 0, run.stdout + run.stderr
    found = {record["name"]: record for record in json.loads((run.directory / "probe.json").read_text("utf-8"))}
    assert {"probe/pattern_rate", "probe/win_rate_vs_policy/empty", "probe/pattern_rate/choose_1"} <= found.keys()


def test_a_probe_of_nothing_is_refused(command: Command) -> None:
    run = command.run("probe-wrong", "pipeline=probe", "probe.attacks=[ecko]", "probe.responses=policy")
    assert run.code == 2
    assert "there is no attack ecko" in run.stderr and "probe.policy=null" in run.stderr
