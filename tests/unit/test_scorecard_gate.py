"""The gate ``label.min_alignment``: a step that pipelines name with ``if_needed``, and that labels wait for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rlaif.conf_files import conf_dir
from rlaif.data.preferences_io import write_preferences
from rlaif.errors import GateStopped
from rlaif.evaluation.files import write_figures
from rlaif.pipeline.plan import Plan
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

MakePlan = Callable[..., Plan]
GATE = "label.min_alignment=0.6"


def steps(make_plan: MakePlan, *overrides: str) -> list[str]:
    return [step.name for step in make_plan(*overrides).steps]


@pytest.mark.parametrize("pipeline", ["rlaif", "label", "direct"])
def test_pipelines_that_ask_the_labeler_name_the_gate(pipeline: str) -> None:
    node = OmegaConf.load(conf_dir() / "pipeline" / f"{pipeline}.yaml")
    stages = OmegaConf.select(node, "stages") or OmegaConf.select(node, "pipeline.stages")
    assert {"stage": "scorecard", "if_needed": True} in stages


def test_without_a_limit_it_drops_out(make_plan: MakePlan) -> None:
    assert "scorecard" not in steps(make_plan, "pipeline=rlaif")
    assert steps(make_plan, "pipeline=scorecard") == ["data", "scorecard"]


@pytest.mark.parametrize("pipeline", ["rlaif", "label", "direct"])
def test_with_a_limit_the_labeler_is_measured_first(make_plan: MakePlan, pipeline: str) -> None:
    plan = make_plan(f"pipeline={pipeline}", GATE)
    names = [step.name for step in plan.steps]
    assert names[:3] == ["data", "scorecard", "sft"] and names.count("scorecard") == 1
    waiting = plan.step("policy" if pipeline == "direct" else "labels")
    assert [source.name for source in waiting.inputs["gate"]] == ["scorecard"]


@pytest.mark.parametrize("pipeline", ["sft", "scorecard"])
def test_a_pipeline_that_asks_nobody_or_measures_anyhow_stays_as_it_is(make_plan: MakePlan, pipeline: str) -> None:
    assert steps(make_plan, f"pipeline={pipeline}", GATE) == steps(make_plan, f"pipeline={pipeline}")


def test_a_labeler_on_the_runs_own_model_is_measured_when_there_is_one(make_plan: MakePlan) -> None:
    found = steps(make_plan, "labeler.engine.model=stage:sft", GATE)
    assert found[:4] == ["data", "sft", "scorecard", "samples"]


def test_without_pairs_that_people_judged_there_is_nothing_to_measure(find_problems: Callable[..., list[str]]) -> None:
    (problem,) = find_problems("pipeline=scorecard", "data.num_eval_preferences=0")
    assert problem.startswith("data: holds no held-out pair that people judged")
    assert find_problems("pipeline=label", GATE, "data.num_eval_preferences=0") == [problem]
    assert find_problems("pipeline=label", "data.num_eval_preferences=0") == []


@pytest.mark.parametrize(("alignment", "stops"), [(0.59, True), (0.6, False), (None, True)])
def test_the_run_stops_below_the_limit_also_with_a_stored_scorecard(
    make_plan: MakePlan, tmp_path: Path, alignment: float | None, stops: bool
) -> None:
    plan = make_plan("pipeline=label", GATE)
    step, found = plan.step("scorecard"), tmp_path / "scorecard"
    found.mkdir()
    pair = Comparison(prompt=Prompt(task="dialogue", text="Q"), first=Completion(text="a"), second=Completion(text="b"))
    write_preferences(
        found / "labels.parquet", [Preference(comparison=pair, p_first=0.7, labeler="pairwise:1", source="ai")]
    )
    figures = (
        [] if alignment is None else [Figure(name="labeler/alignment", value=alignment, n=8, note="people; 1 judge")]
    )
    write_figures(found, figures)
    if not stops:
        step.stage.accept(plan.work(step, found))
        return
    with pytest.raises(GateStopped, match=r"^label\.min_alignment=0\.6: ") as stopped:
        step.stage.accept(plan.work(step, found))
    assert stopped.value.exit_code == 3
