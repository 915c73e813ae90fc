"""A run's labeler from its configuration: members at any depth, people among them, and what is learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rlaif.config.check import compose
from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.people import HumanLabeler, num_raters_used
from rlaif.labeling.learning import LEARNED, prepare
from rlaif.stages.context import Context
from rlaif.stages.labelers import (
    asks_own_model,
    build_labeler,
    labeler_options,
    people_of,
    with_own_model,
)
from rlaif.stages.run import STAGES
from rlaif.types import Comparison, Completion, Preference

HUMAN_MEMBER = "+labeler.labelers.people={_target_: rlaif.labelers.people.HumanLabeler, rater: 2}"
OWN_MEMBER = ("+labeler@labeler.labelers.own=pairwise", "labeler.labelers.own.engine.model=stage:sft")


def context(tmp_path: Path, *overrides: str) -> Context:
    small = [f"data.num_{kind}=8" for kind in ("demonstrations", "label_prompts", "policy_prompts", "eval_prompts")]
    return Context(compose([*small, "labeler=panel", *overrides, f"store.dir={tmp_path}"]), STAGES)


def pairs(made: Context) -> list[Comparison]:
    return [
        Comparison(prompt=prompt, first=Completion(text="Sure."), second=Completion(text="Sure, take the bus."))
        for prompt in made.data.label_prompts
    ]


def test_people_on_a_panel_answer_like_people_alone(tmp_path: Path) -> None:
    made = context(tmp_path, HUMAN_MEMBER)
    labeler = build_labeler(made, made.cfg.labeler)
    assert isinstance(labeler, PanelLabeler)
    alone = HumanLabeler(rater=2).bind(people_of(made))
    plan = pairs(made)
    found = [label.p_first for label in labeler.labelers["people"].label(plan)]
    assert None not in found
    assert found == [label.p_first for label in alone.label(plan)]
    assert "simulated annotators" in labeler.source
    assert num_raters_used(labeler) == 3
    assert "people" in labeler_options(made) and "people" not in labeler_options(context(tmp_path))


def test_a_member_may_ask_the_runs_own_model(tmp_path: Path) -> None:
    made = context(tmp_path, *OWN_MEMBER)
    assert asks_own_model(made.cfg.labeler) and not asks_own_model(context(tmp_path).cfg.labeler)
    assert labeler_options(made)["labeler"] == made.options_of("labeler")
    node = with_own_model(made.cfg.labeler, "pocket:S")
    assert node.labelers.own.engine.model == "pocket:S"
    assert made.cfg.labeler.labelers.own.engine.model == "stage:sft"
    other = context(tmp_path, OWN_MEMBER[0], "labeler.labelers.own.engine.model=stage:policy")
    with pytest.raises(ConfigError, match="stage:policy: of the stages only stage:sft can label"):
        asks_own_model(other.cfg.labeler)


def test_an_option_that_an_identity_forgets_still_asks_again(tmp_path: Path) -> None:
    """Engines and prompts say themselves what counts; the labeler's own options all count."""

    def options(*overrides: str) -> dict[str, object]:
        return labeler_options(context(tmp_path, "labeler=pairwise", *overrides))

    found = []
    for mode in ("x", "y"):
        made = context(tmp_path, "labeler=pairwise")
        OmegaConf.set_struct(made.cfg, False)
        made.cfg.labeler = {"_target_": f"{__name__}.Forgetful", "mode": mode}
        found.append(labeler_options(made))
    assert found[0]["labeler"] == found[1]["labeler"] and found[0] != found[1]
    assert options() == options("labeler.engine.batch_size=3")
    assert options() != options("labeler.debias=logit")


class Forgetful:
    """A plugin whose identity says too little."""

    name = identity = "forgetful"
    source = "ai"

    def __init__(self, mode: str = "x", **others: object) -> None:
        self.mode = mode

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [Preference(comparison=item, p_first=0.5) for item in comparisons]


class Agrees:
    """A member that counts how often it is asked."""

    name, identity, source = "agrees", "agrees", "ai"
    prompt = engine = None

    def __init__(self) -> None:
        self.num_asked = 0

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.num_asked += len(comparisons)
        return [Preference(comparison=item, p_first=0.2) for item in comparisons]


def test_what_is_learned_is_learned_once_and_survives_a_start(tmp_path: Path) -> None:
    made, member = context(tmp_path), Agrees()
    panel = PanelLabeler({"agrees": member}, weights="learned", num_known=5)
    checked: list[str] = []
    first = prepare(panel, pairs(made), people_of(made), tmp_path / "batches", lambda: checked.append("budget"))
    assert member.num_asked == 5 and checked == ["budget"]
    second = prepare(panel, pairs(made), people_of(made), tmp_path / "batches", lambda: checked.append("budget"))
    assert member.num_asked == 5 and checked == ["budget"]
    assert first.identity == second.identity != panel.identity
    kept = json.loads((tmp_path / "batches" / LEARNED).read_text())
    assert kept == first.learned  # type: ignore[attr-defined]


def test_nothing_is_asked_to_learn_when_the_budget_is_spent(tmp_path: Path) -> None:
    def spent() -> None:
        raise GateStopped("budget.max_usd=1")

    made, member = context(tmp_path), Agrees()
    panel = PanelLabeler({"agrees": member}, weights="learned")
    with pytest.raises(GateStopped, match="budget"):
        prepare(panel, pairs(made), people_of(made), tmp_path / "batches", spent)
    assert member.num_asked == 0 and not (tmp_path / "batches" / LEARNED).exists()
