"""Packages of other people in whole runs: one for each kind of component, and none of them changes a file of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from rlaif.data.preferences_io import read_preferences

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def curve(run: Run, step: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.directory / step / "curve.jsonl").read_text().splitlines()]


def p_first(folder: Path) -> list[float]:
    """The labels of a step, without missing ones."""
    return [label.p_first for label in read_preferences(folder / "labels.parquet") if label.p_first is not None]


@pytest.fixture(scope="module")
def loop(extended: Command) -> Run:
    """The whole loop without the filter, one pair per step of the reward model."""
    run = extended.run("loop", "reward_model.batch_size=1")
    assert run.code == 0, run.stdout + run.stderr
    return run


def test_a_filter_stands_between_labels_and_reward_model(extended: Command, loop: Run) -> None:
    raw = p_first(loop.directory / "labels")
    margin = median(abs(p - 0.5) for p in raw)
    run = extended.run("theirs", "pipeline=theirs", f"drop_ties.margin={margin}", "reward_model.batch_size=1")
    assert run.code == 0, run.stdout + run.stderr
    assert run.reused() == {"sft", "samples", "labels", "respond sft", "respond sft at 0", "respond grid sft"}
    left = p_first(run.directory / "drop_ties")
    assert left == [p for p in raw if abs(p - 0.5) >= margin] and 0 < len(left) < len(raw)
    assert len(curve(loop, "reward_model")) == len(raw), "the reward model learns from all labels without the filter"
    assert len(curve(run, "reward_model")) == len(left), "and from those that the filter leaves with it"
    ours, theirs = (
        {name: record for name, record in of.figures().items() if name.startswith("labeler/")} for of in (loop, run)
    )
    assert ours == theirs and ours["labeler/alignment"]["n"], "the evaluation measures the labels of the labeler"
    stricter = extended.run("stricter", "pipeline=theirs", "drop_ties.margin=0", "reward_model.batch_size=1")
    assert stricter.code == 0 and "drop ties" not in stricter.reused()
    assert len(stricter.stored("drop_ties")) == 2 and len(stricter.stored("labels")) == 1


def test_options_of_a_stage_of_another_package_are_checked(extended: Command) -> None:
    run = extended.run("wrong", "pipeline=theirs", "drop_ties.margin=0.5", store="none")
    assert run.code == 2 and "Traceback" not in run.stderr
    assert "drop_ties.margin=0.5: must be at least 0 and below 0.5" in run.stderr
    absent = extended.run("absent", "pipeline.stages=[data,sft,drop_tie]", store="none")
    assert absent.code == 2 and "did you mean drop_ties?" in absent.stderr


def test_ppo_makes_several_updates_per_rollout(extended: Command, loop: Run) -> None:
    ppo = ("policy/objective=ppo_fixture", "policy.objective.minibatches=1", "reward_model.batch_size=1")
    run = extended.run("ppo", *ppo)
    assert run.code == 0, run.stdout + run.stderr
    assert {"sft", "labels", "reward model"} <= run.reused()
    rows = curve(run, "policy")
    assert len(rows) == 4, "two rollouts, two epochs each"
    assert rows[0]["policy/reward"] == rows[1]["policy/reward"] != rows[2]["policy/reward"]
    assert rows[0]["policy/clip_fraction"] == 0.0 and "policy/value_loss" in rows[0]
    assert "policy/win_rate_vs_sft" in run.figures()


def test_dpo_trains_a_policy_without_a_reward_model(extended: Command, loop: Run) -> None:
    run = extended.run("dpo", "pipeline=dpo_fixture")
    assert run.code == 0, run.stdout + run.stderr
    assert run.reused() == {"sft", "samples", "labels", "respond sft", "respond sft at 0", "respond grid sft"}
    rows = curve(run, "dpo_fixture")
    assert len(rows) == 3 and rows[0]["train/margin"] == pytest.approx(0.0, abs=1e-4)
    assert rows[0]["train/loss"] == pytest.approx(0.6931, abs=1e-3), "the policy starts as its reference"
    assert {"policy/win_rate_vs_sft", "labeler/alignment", "policy/kl"} <= set(run.figures())
    assert "reward_model/accuracy" not in run.figures()
    ipo = extended.run("ipo", "pipeline=dpo_fixture", "policy/pair_objective@pair_objective=ipo_loss")
    assert ipo.code == 0, ipo.stdout + ipo.stderr
    assert curve(ipo, "dpo_fixture")[0]["train/loss"] != rows[0]["train/loss"]
    assert "labels" in ipo.reused()


def test_a_reward_reads_labels_and_no_reward_model(extended: Command, loop: Run) -> None:
    stages = "pipeline.stages=[data,sft,samples,labels,policy,evaluation,report]"
    run = extended.run("words", "reward=words", stages)
    assert run.code == 0, run.stdout + run.stderr
    assert run.reused() == {"sft", "samples", "labels", "respond sft", "respond sft at 0", "respond grid sft"}
    assert {row["policy/missing"] for row in curve(run, "policy")} <= {0.0, 0.125, 0.25}
    smoother = extended.run("smoother", "reward=words", "reward.smoothing=2.0", stages)
    assert smoother.code == 0 and "policy" not in smoother.reused()
    nothing = extended.run("nothing", "reward=words", "pipeline=direct", store="none")
    assert nothing.code == 2 and "step policy reads labels, and no step before it leaves any" in nothing.stderr


def test_a_reward_reads_the_results_of_every_round(extended: Command, loop: Run) -> None:
    def run(name: str, number: int) -> Run:
        stages = f"[data,sft,{{repeat: {number}, stages: [samples,labels,policy]}},evaluation,report]"
        done = extended.run(name, "reward=words", f"pipeline.stages={stages}")
        assert done.code == 0, done.stdout + done.stderr
        return done

    run("two_rounds", 2)
    three = run("three_rounds", 3)
    assert {"policy 1", "policy 2", "labels 1", "labels 2"} <= three.reused()
    assert not {"labels 3", "policy 3"} & three.reused()


def test_a_layout_reads_rows_of_votes(extended: Command, tmp_path: Path) -> None:
    rows = [
        {"question": f"Which of {n} and {n + 1}?", "a": f"{n}", "b": f"{n + 1}", "votes_a": n % 4, "votes_b": 3}
        for n in range(20)
    ]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("task=dialogue", "data=files", f"data.path={path}", "data.format=votes", "data.eval_fraction=0.1")
    run = extended.run("votes", "pipeline=label", "labeler=human", *data, store="votes_store")
    assert run.code == 0, run.stdout + run.stderr
    labels = read_preferences(run.directory / "labels" / "labels.parquet")
    assert {label.p_first for label in labels} == {0.0, 0.25, 0.4, 0.5}
    wrong = extended.run("layout", "pipeline=label", "labeler=human", *data, "data.format=vote", store="none")
    assert wrong.code == 2 and "votes" in wrong.stderr


def test_an_engine_answers_every_labeler(extended: Command, loop: Run) -> None:
    run = extended.run("coin", "pipeline=label", "labeler/engine=coin")
    assert run.code == 0, run.stdout + run.stderr
    table = pq.read_table(run.directory / "labels" / "labels.parquet").to_pylist()
    assert len({row["p_first"] for row in table}) > len(table) // 2
    other = extended.run("other_coin", "pipeline=label", "labeler/engine=coin", "labeler.engine.side=tails")
    assert other.code == 0 and "labels" not in other.reused()


def test_a_figure_stands_in_the_report(extended: Command, loop: Run) -> None:
    stages = "pipeline.stages=[data,sft,samples,labels,reward_model,policy,evaluation,vocabulary,report]"
    run = extended.run("vocabulary", stages, "reward_model.batch_size=1")
    assert run.code == 0, run.stdout + run.stderr
    assert {
        "evaluation",
        "respond policy",
        "respond policy at 0",
        "respond sft",
        "respond sft at 0",
        "respond grid sft",
        "policy",
    } <= run.reused()
    figures = run.figures()
    assert float(str(figures.pop("policy/vocabulary")["value"])) > 10 and figures == loop.figures()
    assert "different words" in run.stdout and "different words" in (run.directory / "report.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy/objective=ppo_fixture"],
        ["policy/pair_objective=dpo_loss"],
        ["stage=drop_ties", "pipeline=theirs"],
        ["stage=dpo_fixture", "pipeline=dpo_fixture"],
        ["reward=words"],
        ["labeler/engine=coin"],
    ],
)
def test_what_runs_passes_its_contract(extended: Command, arguments: list[str]) -> None:
    script = Path(sys.executable).parent / "rlaif-plugins"
    done = subprocess.run(
        [script, "check", *arguments], capture_output=True, text=True, env=extended.environment(), cwd=extended.home
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout and "failed" not in done.stdout
