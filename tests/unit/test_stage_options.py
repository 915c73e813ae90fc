"""The files ``conf/stage/*.yaml``, and every pipeline and experiment that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from rlaif import registry
from rlaif.conf_files import conf_dir
from rlaif.pipeline.plan import Plan
from rlaif.signatures import read_signature

STAGES = {component.name: component.dotted_target for component in registry.components("rlaif.stages")}
FOLDER = conf_dir() / "stage"


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def test_every_stage_has_a_file_and_every_file_a_stage() -> None:
    assert names("stage") == sorted(STAGES)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_keys_are_the_constructors_parameters_in_the_same_order_with_a_comment_above_each(stage: str) -> None:
    text = (FOLDER / f"{stage}.yaml").read_text(encoding="utf-8")
    node = yaml.safe_load(text)
    assert node.pop("_target_") == STAGES[stage]
    assert list(node) == list(read_signature(STAGES[stage]).parameters)
    lines = text.splitlines()
    for name in node:
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[place - 1].startswith("# "), name


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_components_in_a_stage_file_fit_their_constructors(stage: str) -> None:
    for name, value in yaml.safe_load((FOLDER / f"{stage}.yaml").read_text(encoding="utf-8")).items():
        if isinstance(value, dict):
            given = [key for key in value if key != "_target_"]
            parameters = list(read_signature(value["_target_"]).parameters)
            assert given == [key for key in parameters if key in given], f"{stage}.{name}"


MakeConfig = Callable[..., DictConfig]
POLICY = {"dpo": "dpo", "best_of_n": "best_of_n", "online": "online_dpo"}
"""Policies of the pipelines that take no other."""
OWN_PAIRS = ("data=files", "data.path=/", "data.pairs=dataset")
STRONG_TEACHER = (
    "control.strong_data={data.demonstrations: file, data.demonstrations_file.path: /, data.sft_share: null}"
)
"""The strong teacher's responses in a file, as docs/pages/how-to/the-papers-systems.md gives them."""


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", names("pipeline"))
@pytest.mark.parametrize("further", [(), ("label.min_alignment=0.6",), OWN_PAIRS], ids=" ".join)
def test_every_shipped_pipeline_binds(make_config: MakeConfig, pipeline: str, further: tuple[str, ...]) -> None:
    if pipeline == "control" and further == OWN_PAIRS:
        further = (*further, STRONG_TEACHER)
    plan = Plan(
        make_config(f"pipeline={pipeline}", f"policy={POLICY.get(pipeline, 'reinforce')}", *further), Path("run")
    )
    for step in plan.steps:
        absent = [role for role, reads in step.reads.items() if not reads.optional and not step.inputs.get(role)]
        assert absent == [], step.name
        assert all(plan.steps.index(source) < plan.steps.index(step) for source in step.sources())
    assert plan.steps[-1].name == plan.cfg.pipeline.stages[-1]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_shipped_experiment_binds(make_config: MakeConfig, experiment: str) -> None:
    files = ("data=files", "data.path=pairs.parquet", "labeler.path=verdicts.parquet")
    cfg = make_config(f"experiment={experiment}", *(files if experiment == "recorded_judge" else ("data=pocket",)))
    assert Plan(cfg, Path("run")).steps[-1].name == cfg.pipeline.stages[-1]


RESPONSES = "respond_policy respond_policy_at_0 respond_sft respond_sft_at_0 respond_grid_sft"


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (
            ("pipeline=rlaif",),
            f"data sft samples labels reward_model policy {RESPONSES} evaluation report",
        ),
        (
            ("pipeline=rlaif", "label.min_alignment=0.6"),
            f"data scorecard sft samples labels reward_model policy {RESPONSES} evaluation report",
        ),
        (
            ("pipeline=rlaif", *OWN_PAIRS),
            f"data sft labels reward_model standard_samples_sft policy {RESPONSES} evaluation report",
        ),
        (("pipeline=direct",), f"data sft policy {RESPONSES} evaluation report"),
        (
            ("pipeline=direct", "label.min_alignment=0.6"),
            f"data scorecard sft policy {RESPONSES} evaluation report",
        ),
        (("pipeline=label",), "data sft samples labels"),
        (("pipeline=label", *OWN_PAIRS), "data labels"),
        (("pipeline=scorecard",), "data scorecard"),
        (("pipeline=scorecard", "labeler.engine.model=stage:sft"), "data sft scorecard"),
        (("pipeline=probe",), "data probe"),
        (("pipeline=sft",), "data sft"),
        (("pipeline=teacher",), "data teacher sft"),
        (("pipeline=revision",), "data first_sft samples revision sft"),
        (("pipeline=rubric",), "data sft samples labels rubric"),
        (("pipeline=rubric", *OWN_PAIRS), "data labels rubric"),
        (
            ("pipeline=ensemble",),
            "data sft samples labels reward_model_1 reward_model_2 reward_model_3 policy"
            f" {RESPONSES} evaluation report",
        ),
        (("pipeline=pocket_gate",), "data sft samples pocket_gate"),
        (("pipeline=pocket_pretraining",), "pocket_pretraining"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_steps_of_every_pipeline(make_config: MakeConfig, overrides: tuple[str, ...], steps: str) -> None:
    assert [step.name for step in Plan(make_config(*overrides), Path("run")).steps] == steps.split()
