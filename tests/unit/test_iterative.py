"""``pipeline=iterative``: which steps a round has, by policy, and what each round starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.config.check import check, compose
from rlaif.pipeline.plan import Plan

LABELED = ["samples", "labels"]
REWARDED = [*LABELED, "reward_model"]


@pytest.mark.parametrize(
    ("overrides", "round_steps"),
    [
        (["policy=reinforce"], [*REWARDED, "policy"]),
        (["policy=best_of_n"], [*REWARDED, "best_of_n"]),
        (["policy=dpo"], [*LABELED, "preference"]),
        (["policy=online_dpo"], ["policy"]),
    ],
)
def test_a_round_has_the_steps_that_its_policy_needs(
    overrides: list[str], round_steps: list[str], tmp_path: Path
) -> None:
    cfg = compose([*overrides, "pipeline=iterative", "pipeline.rounds=2", f"store.dir={tmp_path}"])
    plan = Plan(cfg, tmp_path)
    names = [step.name for step in plan.steps if not step.is_added]
    rounds = [f"{name}_{number}" for number in (1, 2) for name in round_steps]
    assert names == ["data", "sft", *rounds, "evaluation", "report"]
    first, second = (plan.step(f"{round_steps[-1]}_{number}") for number in (1, 2))
    assert [source.name for source in first.inputs["policy"]] == ["sft"]
    assert [source.name for source in second.inputs["policy"]] == [first.name]
    assert [source.name for source in second.inputs["reference"]] == ["sft"]
    assert plan.seed(first) != plan.seed(second)
    if "samples" in round_steps:
        assert [source.name for source in plan.step("samples_2").inputs["policy"]] == [first.name]


def test_rounds_and_learners_that_are_none_are_told_as_typed() -> None:
    (problem,) = check(["pipeline=iterative", "pipeline.rounds=0"])
    assert problem.startswith("pipeline.stages: repeat=0: must be a whole number of at least 1")
    problems = check(["pipeline=iterative", "policy.learner=preference"])
    assert any(problem.startswith("policy.learner=preference") for problem in problems)
