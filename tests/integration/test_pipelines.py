"""Pipelines that are nothing but YAML: rounds, two teachers, a judge added later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from rlaif.config.check import compose
from rlaif.data.preferences_io import read_preferences, read_samples
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import load_early
from rlaif.reporting.terminal import RunDisplay
from rlaif.rollouts.pairs import sampled_pairs

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

CONF = Path(__file__).with_name("conf")
Folders = dict[str, Path]
"""Name of a step to its result in the store."""


@pytest.fixture(scope="module")
def plan_of(command: Command) -> Callable[..., Plan]:
    """The plan of a run of the command."""

    def make(*overrides: str) -> Plan:
        arguments = command.arguments(command.home, command.home / "store", *overrides)[1:]
        plain = [argument for argument in arguments if not argument.startswith(("hydra.", "--config-dir"))]
        plan = Plan(compose(plain, config_dir=str(CONF)), command.home)
        load_early(plan, RunDisplay(Console(quiet=True)))
        return plan

    return make


def folders(plan: Plan) -> Folders:
    """The finished result of every stored step, found by the fingerprint of all that the step reads."""
    found = {step.name: plan.path(step) for step in plan.steps if step.stage.stored}
    assert None not in found.values(), found
    return {name: path for name, path in found.items() if path is not None}


def inputs(plan: Plan, name: str) -> dict[str, list[str]]:
    return {role: [source.name for source in found] for role, found in plan.step(name).inputs.items()}


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def times(*folders: Path) -> dict[Path, int]:
    """When each file of a result was written."""
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


ROUNDS = (f"--config-dir={CONF}", "pipeline=rounds", "policy.lr=1e-2")


@pytest.fixture(scope="module")
def rounds(command: Command) -> Run:
    run = command.run("rounds", *ROUNDS)
    assert run.code == 0, run.stdout + run.stderr
    return run


def test_three_rounds_each_start_from_the_policy_of_the_last(rounds: Run, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(*ROUNDS)
    made = folders(plan)
    for stage in ("samples", "labels", "reward_model", "policy"):
        assert sorted(path for name, path in made.items() if name.startswith(f"{stage}_")) == rounds.stored(stage)
        assert len(rounds.stored(stage)) == 3
    for number, before in ((1, "sft"), (2, "policy_1"), (3, "policy_2")):
        assert inputs(plan, f"samples_{number}")["policy"] == [before]
        assert inputs(plan, f"policy_{number}") == {
            "policy": [before],
            "reference": ["sft"],
            "prompts": ["data"],
            "samples": [f"samples_{number}"],
            "standard_samples": ["samples_1"],
            "reward_model": [f"reward_model_{number}"],
            "validation": ["data"],
        }
        pairs = {label.comparison.id for label in read_preferences(made[f"labels_{number}"] / "labels.parquet")}
        assert pairs == {pair.id for pair in sampled_pairs(made[f"samples_{number}"])}
    assert inputs(plan, "evaluation")["policy"] == ["policy_3"] and inputs(plan, "evaluation")["labels"] == ["labels_3"]
    first_kl = [curve(made[f"policy_{number}"])[0]["policy/kl"] for number in (1, 2, 3)]
    assert first_kl[0] == pytest.approx(0.0, abs=1e-4), "the first round starts as its reference"
    assert min(first_kl[1:]) > 0.01, "later rounds start elsewhere and keep the reference"


def test_seeds_follow_the_names_of_steps(rounds: Run, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(*ROUNDS)
    seeds = {step.name: plan.seed(step) for step in plan.steps}
    assert seeds["sft"] == seeds["evaluation"] == 0, "a step that is named as its stage has the run's seed"
    assert seeds["respond_sft"] == seeds["respond_policy_3"] == 0, "responses are comparable from run to run"
    numbered = [seed for name, seed in seeds.items() if name[-1] in "123" and not name.startswith("respond")]
    assert len(set(numbered)) == 12 and 0 not in numbered
    texts = [
        [[answer.text for answer in answers] for _, answers in read_samples(folder / "samples.parquet")]
        for folder in rounds.stored("samples")
    ]
    assert texts[0] != texts[1] != texts[2] != texts[0]


@pytest.mark.slow
def test_a_fourth_round_reuses_the_first_three(command: Command, rounds: Run) -> None:
    again = command.run("rounds_again", *ROUNDS)
    assert again.code == 0 and again.figures() == rounds.figures()
    assert {"sft", "samples 1", "labels 3", "policy 3", "evaluation"} <= again.reused()
    four = "pipeline.stages=[data,sft,{repeat: 4, stages: [samples,labels,reward_model,policy]},evaluation,report]"
    longer = command.run("four_rounds", *ROUNDS, four)
    assert longer.code == 0, longer.stdout + longer.stderr
    kept = {f"{stage} {number}" for stage in ("samples", "labels", "reward model", "policy") for number in (1, 2, 3)}
    assert longer.reused() == kept | {"sft", "respond sft", "respond sft at 0", "respond grid sft"}


def test_two_teachers_are_evaluated_against_each_other(command: Command, plan_of: Callable[..., Plan]) -> None:
    teachers = (f"--config-dir={CONF}", "pipeline=teachers", "sft.steps=8", "sft.lr=1e-2")
    run = command.run("teachers", *teachers)
    assert run.code == 0, run.stdout + run.stderr
    plan = plan_of(*teachers)
    made = folders(plan)
    assert {path.name for path in run.stored("sft")} >= {made["weak"].name, made["strong"].name}
    assert inputs(plan, "weak") == {"demonstrations": ["weak_data"]}
    assert inputs(plan, "strong") == {"demonstrations": ["strong_data"]}
    read = inputs(plan, "evaluation")
    assert (read["policy"], read["baseline"]) == (["strong"], ["weak"])
    assert (read["policy_responses"], read["baseline_responses"]) == (["respond_strong"], ["respond_weak"])
    assert read["held_out"] == read["people"] == ["weak_data"]
    weak, strong = (plan.memory[name].demonstrations for name in ("weak_data", "strong_data"))
    assert [item.response for item in weak] != [item.response for item in strong]
    rows = read_samples(made["evaluation"] / "responses.parquet")
    assert read["policy_responses_at_0"] == ["respond_strong_at_0"]
    assert read["baseline_response_grid"] == ["respond_grid_weak"]
    for place, name in enumerate(("respond_weak_at_0", "respond_strong_at_0")):
        drawn = [answers[0].text for _, answers in read_samples(made[name] / "samples.parquet")]
        assert [answers[place].text for _, answers in rows] == drawn
    figures = run.figures()
    assert figures["policy/win_rate_vs_sft"]["n"] == 24
    assert not [name for name in figures if name.startswith(("labeler/", "reward_model/"))]


@pytest.mark.slow
def test_a_judge_is_added_to_finished_responses(command: Command, plan_of: Callable[..., Plan]) -> None:
    without = command.run("no_judge", "pipeline=direct", "evaluation.judge=null")
    assert without.code == 0, without.stdout + without.stderr
    assert "policy/greedy_win_rate_vs_sft_llm_judge" not in without.figures()
    responses = [*without.stored("respond"), *without.stored("policy"), *without.stored("sft")]
    before = times(*responses)
    judged = command.run("judge", "pipeline=direct")
    assert judged.code == 0, judged.stdout + judged.stderr
    assert "policy/greedy_win_rate_vs_sft_llm_judge" in judged.figures()
    assert judged.reused() >= {
        "sft",
        "policy",
        "respond policy",
        "respond policy at 0",
        "respond sft",
        "respond sft at 0",
        "respond grid sft",
    }
    assert "evaluation" not in judged.reused()
    assert judged.stored("respond") == without.stored("respond")
    assert times(*responses) == before
    same = {name: record for name, record in judged.figures().items() if "llm_judge" not in name}
    assert same == without.figures()
