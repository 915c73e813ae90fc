"""A run's labeler from its configuration: members at any depth, people among them, and what is learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig, open_dict

from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.people import HumanLabeler, People, num_raters_used
from rlaif.labeling.learning import LEARNED, prepare
from rlaif.pipeline.plan import Plan
from rlaif.stages.labels import LabelStage
from rlaif.stages.people import bound_people
from rlaif.types import Comparison, Completion, Preference

MakePlan = Callable[..., Plan]
HUMAN_MEMBER = "+labeler.labelers.people={_target_: rlaif.labelers.people.HumanLabeler, rater: 2}"
OWN_MEMBER = ("+labeler@labeler.labelers.own=pairwise", "labeler.labelers.own.engine.model=stage:sft")


def panel(make_plan: MakePlan, *overrides: str) -> Plan:
    return make_plan("pipeline=label", "labeler=panel", *overrides)


def label_stage(plan: Plan) -> LabelStage:
    stage = plan.step("labels").stage
    assert isinstance(stage, LabelStage)
    return stage


def pairs(plan: Plan) -> list[Comparison]:
    return [
        Comparison(prompt=prompt, first=Completion(text="Sure."), second=Completion(text="Sure, take the bus."))
        for prompt in plan.memory["data"].label_prompts
    ]


def people_of(plan: Plan) -> People:
    data = plan.memory["data"]
    return People.of(data, data.content_id("people"))


def test_people_on_a_panel_answer_like_people_alone(make_plan: MakePlan) -> None:
    plan = panel(make_plan, HUMAN_MEMBER)
    labeler = label_stage(plan).labeler
    assert isinstance(labeler, PanelLabeler)
    bound_people(labeler, plan.work(plan.step("labels")))
    alone = HumanLabeler(rater=2).bind(people_of(plan))
    asked = pairs(plan)
    found = [label.p_first for label in labeler.labelers["people"].label(asked)]
    assert None not in found
    assert found == [label.p_first for label in alone.label(asked)]
    assert "simulated annotators" in labeler.source
    assert num_raters_used(labeler) == 3
    assert "people" in plan.step("labels").inputs and "people" not in panel(make_plan).step("labels").inputs


def test_a_member_may_ask_the_runs_own_model(make_plan: MakePlan) -> None:
    plan = panel(make_plan, *OWN_MEMBER)
    step = plan.step("labels")
    assert step.references == {"labeler.labelers.own.engine.model": "sft"}
    assert [source.name for source in step.inputs["labeler.labelers.own.engine.model"]] == ["sft"]
    assert panel(make_plan).step("labels").references == {}
    stage, stand_ins = plan.stage_to_estimate(step)
    assert stand_ins == {"sft": "pocket:S"}
    assert isinstance(stage, LabelStage) and isinstance(stage.labeler, PanelLabeler)
    assert stage.labeler.labelers["own"].engine.spec.name == "pocket:S"  # type: ignore[attr-defined]
    assert label_stage(plan).labeler.labelers["own"].engine.spec.name == "stage:sft"  # type: ignore[attr-defined]


def test_a_step_that_does_not_run_before_the_labels_cannot_label(make_plan: MakePlan) -> None:
    for step in ("policy", "sfft"):
        with pytest.raises(ConfigError, match=f"labeler.labelers.own.engine.model=stage:{step}: is no step"):
            panel(make_plan, OWN_MEMBER[0], f"labeler.labelers.own.engine.model=stage:{step}")


FORGETFUL = """
from rlaif.types import Preference


class Forgetful:
    name = identity = "forgetful"
    source = "ai"

    def __init__(self, mode="x", prompt=None, engine=None):
        self.mode = mode

    def label(self, comparisons):
        return [Preference(comparison=item, p_first=0.5) for item in comparisons]
"""


def test_an_option_that_an_identity_forgets_still_asks_again(
    make_config: Callable[..., DictConfig], make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines and prompts say themselves what counts; the labeler's own options all count."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.syspath_prepend(str(tmp_path))

    def fingerprint(mode: str) -> str:
        cfg = make_config("pipeline=label", "data.pairs=policy")
        with open_dict(cfg):
            cfg.labeler = {"_target_": "forgetful.Forgetful", "mode": mode}
        plan = Plan(cfg, tmp_path)
        plan.memory["data"] = known
        return plan.fingerprint(plan.step("labels"))

    known = make_plan("pipeline=label").memory["data"]
    assert fingerprint("x") == fingerprint("x") != fingerprint("y")


class Agrees:
    """A member that counts how often it is asked."""

    name, identity, source = "agrees", "agrees", "ai"
    prompt = engine = None

    def __init__(self) -> None:
        self.num_asked = 0

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.num_asked += len(comparisons)
        return [Preference(comparison=item, p_first=0.2) for item in comparisons]


def test_what_is_learned_is_learned_once_and_survives_a_start(make_plan: MakePlan, tmp_path: Path) -> None:
    plan, member = panel(make_plan), Agrees()
    taught = PanelLabeler({"agrees": member}, weights="learned", num_known=5)
    checked: list[str] = []
    first = prepare(taught, pairs(plan), people_of(plan), tmp_path / "batches", lambda: checked.append("budget"))
    assert member.num_asked == 5 and checked == ["budget"]
    second = prepare(taught, pairs(plan), people_of(plan), tmp_path / "batches", lambda: checked.append("budget"))
    assert member.num_asked == 5 and checked == ["budget"]
    assert first.identity == second.identity != taught.identity
    kept = json.loads((tmp_path / "batches" / LEARNED).read_text())
    assert kept == first.learned  # type: ignore[attr-defined]


def test_nothing_is_asked_to_learn_when_the_budget_is_spent(make_plan: MakePlan, tmp_path: Path) -> None:
    def spent() -> None:
        raise GateStopped("budget.max_usd=1")

    plan, member = panel(make_plan), Agrees()
    learning = PanelLabeler({"agrees": member}, weights="learned")
    with pytest.raises(GateStopped, match="budget"):
        prepare(learning, pairs(plan), people_of(plan), tmp_path / "batches", spent)
    assert member.num_asked == 0 and not (tmp_path / "batches" / LEARNED).exists()
