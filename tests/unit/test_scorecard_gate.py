"""Where the gate ``label.min_alignment`` puts the scorecard, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from rlaif.stages.context import Context
from rlaif.stages.run import STAGES

from rlaif.config.check import compose
from rlaif.errors import ConfigError
from rlaif.stages.scorecard import check_scorecard, with_gate

SMALL = (
    "data.num_demonstrations=8",
    "data.num_label_prompts=8",
    "data.num_policy_prompts=8",
    "data.num_eval_prompts=8",
)


def context(tmp_path: Path, *overrides: str) -> Context:
    return Context(compose([*SMALL, *overrides, f"store.dir={tmp_path}"]), STAGES)


def stages(tmp_path: Path, *overrides: str) -> list[str]:
    made = context(tmp_path, *overrides)
    return with_gate(made, made.cfg.pipeline.stages)


def test_without_a_limit_no_pipeline_changes(tmp_path: Path) -> None:
    assert "scorecard" not in stages(tmp_path, "pipeline=rlaif")
    assert stages(tmp_path, "pipeline=scorecard") == ["data", "scorecard"]


@pytest.mark.parametrize("pipeline", ["rlaif", "label", "direct"])
def test_every_pipeline_that_asks_the_labeler_measures_it_first(tmp_path: Path, pipeline: str) -> None:
    found = stages(tmp_path, f"pipeline={pipeline}", "label.min_alignment=0.6")
    assert found[:3] == ["data", "scorecard", "sft"] and found.count("scorecard") == 1


@pytest.mark.parametrize("pipeline", ["sft", "scorecard"])
def test_a_pipeline_that_asks_nobody_or_measures_anyhow_stays_as_it_is(tmp_path: Path, pipeline: str) -> None:
    without = stages(tmp_path, f"pipeline={pipeline}")
    assert stages(tmp_path, f"pipeline={pipeline}", "label.min_alignment=0.6") == without


def test_a_labeler_on_the_runs_own_model_is_measured_when_there_is_one(tmp_path: Path) -> None:
    found = stages(tmp_path, "labeler.engine.model=stage:sft", "label.min_alignment=0.6")
    assert found[:4] == ["data", "sft", "scorecard", "samples"]


def test_without_pairs_that_people_judged_there_is_nothing_to_measure(tmp_path: Path) -> None:
    made = context(tmp_path, "data.num_eval_preferences=0")
    with pytest.raises(ConfigError, match=r"^data: holds no held-out pair that people judged"):
        check_scorecard(made, ["data", "scorecard"])


def test_nothing_is_asked_of_a_run_that_measures_nothing(tmp_path: Path) -> None:
    check_scorecard(context(tmp_path, "data.num_eval_preferences=0"), ["data", "sft"])
