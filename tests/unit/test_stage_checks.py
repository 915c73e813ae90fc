"""What a labeler could not work with is found without a model, all of it at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rlaif.stages.checks import check_labeler, problems_of
from rlaif.stages.context import Context
from rlaif.stages.run import STAGES, _check_all

import rlaif.prompts
from rlaif.config.check import compose
from rlaif.errors import ConfigError, DataError
from rlaif.types import Comparison, Preference

SMALL = (
    *(f"data.num_{kind}=8" for kind in ("demonstrations", "label_prompts", "policy_prompts", "eval_prompts")),
    "sft.batch_size=2",
    "reward_model.batch_size=2",
)
BUILT_IN = Path(rlaif.prompts.__path__[0]) / "templates"


def context(tmp_path: Path, *overrides: str) -> Context:
    return Context(compose([*SMALL, *overrides, f"store.dir={tmp_path}"]), STAGES)


def problems(tmp_path: Path, *overrides: str, option: str = "labeler") -> list[str]:
    made = context(tmp_path, *overrides)
    return problems_of(lambda: check_labeler(made, option))


@pytest.mark.parametrize(
    "labeler",
    ["pairwise", "cot_pairwise", "self_consistency", "scorer", "cot_scorer", "binary", "ranking", "panel", "human"],
)
def test_every_labeler_passes_as_it_is(tmp_path: Path, labeler: str) -> None:
    assert problems(tmp_path, f"labeler={labeler}") == []
    assert problems(tmp_path, f"labeler={labeler}", "labeler/engine=openai", "labeler.engine.model=m") == []


def test_a_rationale_of_another_pair_and_weights_to_be_learned_pass(tmp_path: Path) -> None:
    assert problems(tmp_path, "labeler=cot_pairwise", "labeler.rationale=other") == []
    assert problems(tmp_path, "labeler=panel", "labeler.weights=learned") == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("labeler.prompt.templates=/nonexist",), ["labeler.prompt.templates=/nonexist: must be a folder"]),
        (("labeler.prompt.num_exemplars=9",), ["labeler.prompt.num_exemplars=9: must be between 0 and 8"]),
        (("labeler=scorer", "labeler/prompt=base_2shot"), ["labeler.prompt.num_exemplars=2: exemplars are pairs"]),
        (
            ("labeler/engine=openai", "labeler.engine.model=m", "labeler.engine.url=localhost:8801/v1"),
            ["labeler.engine.url=localhost:8801/v1: must be like http"],
        ),
        (("labeler=panel", "labeler.weights={pairwise: 1, foo: 2}"), ["labeler.weights.foo: no such member"]),
        (
            (
                "labeler/engine=openai",
                "labeler.engine.model=m",
                "labeler.engine.url=nowhere",
                "labeler.prompt.templates=/nonexist",
                "labeler.prompt.num_exemplars=9",
                "labeler.max_rationale_tokens=0",
            ),
            [
                "labeler.prompt.num_exemplars=9",
                "labeler.prompt.templates=/nonexist",
                "labeler.engine.url=nowhere",
                "labeler.max_rationale_tokens=0",
            ],
        ),
    ],
)
def test_wrong_options_are_found_together(tmp_path: Path, overrides: Sequence[str], said: Sequence[str]) -> None:
    found = problems(tmp_path, *overrides)
    assert len(found) == len(said), found
    for start in said:
        assert any(line.startswith(start) for line in found), found


def test_a_member_of_a_panel_and_the_judge_are_named_where_they_stand(tmp_path: Path) -> None:
    member = ("labeler=panel", "+labeler@labeler.labelers.own=scorer", "labeler.labelers.own.prompt.num_exemplars=9")
    assert problems(tmp_path, *member)[0].startswith("labeler.labelers.own.prompt.num_exemplars=9: ")
    judge = problems(tmp_path, "evaluation.judge.prompt.num_exemplars=9", option="evaluation.judge")
    assert judge[0].startswith("evaluation.judge.prompt.num_exemplars=9: ")


def test_templates_are_read_before_they_are_needed(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    shutil.copy(BUILT_IN / "summarization.toml", folder)
    option = f"labeler.prompt.templates={folder}"
    assert "no judge templates for task 'dialogue'" in problems(tmp_path, option)[0]
    (folder / "dialogue.toml").write_text("base = ")
    assert "is not TOML" in problems(tmp_path, option)[0]


def test_the_file_of_a_labeler_is_read(tmp_path: Path) -> None:
    wrong = tmp_path / "labels.jsonl"
    wrong.write_text('{"question": "?"}\n')
    for path in (wrong, tmp_path):
        assert len(problems(tmp_path, "labeler=file", f"labeler.path={path}", "labeler.source=human")) == 1


def test_every_stage_is_asked_before_the_first_problem_is_told(tmp_path: Path) -> None:
    wrong = (
        "sft.batch_size=999",
        "cost.usd_per_hour=-1",
        "budget.max_usd=-1",
        "labeler.prompt.num_exemplars=9",
        "evaluation.judge.prompt.num_exemplars=9",
        "+evaluation.against.other=/nonexist",
    )
    made = context(tmp_path, *wrong)
    names = list(made.cfg.pipeline.stages)
    with pytest.raises(ConfigError) as caught:
        _check_all(made, names, names)
    assert sorted(line.partition(":")[0] for line in caught.value.problems) == sorted(
        option.lstrip("+") for option in wrong
    )


def test_an_error_that_is_not_the_users_is_not_hidden() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    def unreadable() -> None:
        raise DataError("labels.jsonl, line 1: no JSON")

    assert problems_of(unreadable) == ["labels.jsonl, line 1: no JSON"]
    with pytest.raises(ZeroDivisionError):
        problems_of(broken)


class NeedsItsModel:
    """A plugin that reads more from its engine than a script has."""

    name = identity = "needs its model"
    source = "ai"

    def __init__(self) -> None:
        self.engine: object = object()

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [Preference(comparison=item, p_first=self.engine.temperature) for item in comparisons]  # type: ignore[attr-defined]


def test_a_plugin_that_a_script_cannot_stand_in_for_is_left_to_the_run(tmp_path: Path) -> None:
    made = context(tmp_path, "labeler=pairwise")
    OmegaConf.set_struct(made.cfg, False)
    made.cfg.labeler = {"_target_": f"{__name__}.NeedsItsModel"}
    check_labeler(made, "labeler")
