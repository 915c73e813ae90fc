"""Asking a labeler to measure it: what is in the cache is not asked again, and an outage is no measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import GateStopped
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, LabelCost, Prices
from rlaif.outcome import OptionScores
from rlaif.pipeline.plan import Plan
from rlaif.prompts.judge import JudgePrompts
from rlaif.reporting.terminal import RunDisplay
from rlaif.types import Comparison, Completion, Preference, Prompt, StructuredPrompt

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=f"\n\nHuman: {number}?\n\nAssistant:"),
        first=Completion(text="yes"),
        second=Completion(text="no"),
    )
    for number in range(5)
]


class AlwaysMissing:
    """A labeler without a model that never answers."""

    name, source, identity = "missing", "nobody", "missing"

    def label(self, comparisons: list[Comparison]) -> list[Preference]:
        return [Preference(comparison=pair, p_first=None, missing="down") for pair in comparisons]


def asked(
    tmp_path: Path, labeler: Labeler, max_missing_rate: float = 0.2, **prices: float
) -> tuple[list[Preference], LabelCost]:
    settings = AskingSettings(
        answers=AnswerPlace("local", tmp_path),
        prices=Prices(**prices),
        budget=Budget(),
        max_missing_rate=max_missing_rate,
    )
    asking = settings.begin(None, batch_size=2)
    with RunDisplay().stage("scorecard") as display:
        (labels,) = asking.label(labeler, [PAIRS], display)
    return labels, asking.cost


def scripted(engine: ScriptedEngine) -> Labeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def test_answers_are_kept_and_not_asked_again(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    labels, first = asked(tmp_path, scripted(engine))
    assert (len(labels), engine.num_prompts) == (5, 10)
    assert first.seconds_per_label is not None and first.usd_per_label is None
    again, second = asked(tmp_path, scripted(engine))
    assert [label.p_first for label in again] == [label.p_first for label in labels]
    assert engine.num_prompts == 10
    assert second.seconds_per_label is None


def test_prices_count_cached_answers_as_if_they_had_been_asked(tmp_path: Path) -> None:
    prices = {
        "usd_per_million_input_tokens": 30.0,
        "usd_per_million_output_tokens": 60.0,
        "human_usd_per_label": 0.5,
    }
    labels, first = asked(tmp_path, scripted(ScriptedEngine()), **prices)
    read = sum(judgment.num_prompt_tokens for label in labels for judgment in label.judgments)
    assert first.usd_per_label == pytest.approx((read * 30 + 10 * 60) / 1e6 / 5)
    assert first.human_usd_per_label == 0.5
    _, second = asked(tmp_path, scripted(ScriptedEngine()), **prices)
    assert second.usd_per_label == pytest.approx(first.usd_per_label)


def test_answers_that_nobody_can_read_are_measured(tmp_path: Path) -> None:
    labels, took = asked(tmp_path, scripted(ScriptedEngine(lambda prompt: {})), max_missing_rate=0.0)
    assert [label.missing for label in labels] == ["no probability on any answer option"] * 5
    assert took.seconds_per_label is not None


def test_an_outage_stops_and_the_next_start_asks_for_the_rest(tmp_path: Path) -> None:
    answered: list[str] = []

    def respond(prompt: str) -> dict[str, float]:
        if len(answered) == 4:
            raise ConnectionError("refused")
        answered.append(prompt)
        return {"1": 0.5, "2": 0.5}

    with pytest.raises(GateStopped) as stopped:
        asked(tmp_path, scripted(ScriptedEngine(respond)))
    assert stopped.value.exit_code == 3
    assert "label.max_missing_rate=0.2: 2 of 4 judged comparisons are missing, 5 are planned" in str(stopped.value)
    assert "2 × ConnectionError: refused" in str(stopped.value)
    engine = ScriptedEngine(lambda prompt: {"1": 0.5, "2": 0.5})
    labels, _ = asked(tmp_path, scripted(engine))
    assert engine.num_prompts == 6 and all(label.p_first == 0.5 for label in labels)


def test_an_outage_is_accepted_where_the_limit_says_so(tmp_path: Path) -> None:
    labels, took = asked(tmp_path, AlwaysMissing(), max_missing_rate=1.0)
    assert [label.missing for label in labels] == ["down"] * 5
    assert took.seconds_per_label is not None and took.usd_per_label is None


MakePlan = Callable[..., Plan]
SIZES = ("data.num_eval_preferences=40", "probe.num_pairs=6", "probe.attacks=[empty,choose_1,echo]")


def build(plan: Plan, name: str, labeler: Labeler, directory: Path) -> None:
    """Build a step with another labeler."""
    step = plan.step(name)
    stage: Any = step.stage
    stage.labeler = labeler
    with RunDisplay().stage(name) as display:
        stage.build(plan.work(step, directory, display))


@pytest.mark.parametrize("stage", ["scorecard", "probe"])
def test_no_stage_is_finished_by_an_outage(stage: str, make_plan: MakePlan, tmp_path: Path) -> None:
    sizes = SIZES if stage == "probe" else SIZES[:1]
    with pytest.raises(GateStopped, match="start again to ask"):
        build(make_plan(f"pipeline={stage}", *sizes), stage, AlwaysMissing(), tmp_path)


def test_each_attack_is_judged_on_its_own(make_plan: MakePlan, tmp_path: Path) -> None:
    """A ranking labeler ranks a prompt's candidates of one plan together."""
    num_rankings: set[int] = set()

    class Engine(ScriptedEngine):
        def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
            num_rankings.update([len(options)])
            return super().score(prompts, options)

    labeler = RankingLabeler(JudgePrompts(), Engine(lambda prompt: {"1 2": 0.6, "2 1": 0.4}))
    build(make_plan("pipeline=probe", *SIZES), "probe", labeler, tmp_path)
    assert num_rankings == {2}  # of two candidates; four have 24
