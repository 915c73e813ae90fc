"""Asking a labeler to measure it: answers from the cache took no time, and still count as what labels cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.config.check import compose
from rlaif.engines.scripted import ScriptedEngine
from rlaif.evaluation.scorecard import Asked
from rlaif.evaluation.terminal import RunDisplay
from rlaif.labelers.base import Labeler
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.prompts.judge import JudgePrompts
from rlaif.stages.asking import ask
from rlaif.stages.context import Context
from rlaif.stages.run import STAGES
from rlaif.types import Comparison, Completion, Preference, Prompt

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


def asked(tmp_path: Path, labeler: Labeler, *overrides: str) -> tuple[list[Preference], Asked]:
    context = Context(compose([f"store.dir={tmp_path}", "label.batch_size=2", *overrides]), STAGES)
    with RunDisplay().stage("scorecard") as display:
        return ask(context, labeler, PAIRS, display)


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
    prices = ("cost.usd_per_million_input_tokens=30", "cost.usd_per_million_output_tokens=60",
              "cost.human_usd_per_label=0.5")  # fmt: skip
    labels, first = asked(tmp_path, scripted(ScriptedEngine()), *prices)
    read = sum(judgment.num_prompt_tokens for label in labels for judgment in label.judgments)
    assert first.usd_per_label == pytest.approx((read * 30 + 10 * 60) / 1e6 / 5)
    assert first.human_usd_per_label == 0.5
    _, second = asked(tmp_path, scripted(ScriptedEngine()), *prices)
    assert second.usd_per_label == pytest.approx(first.usd_per_label)


def test_missing_labels_do_not_stop_a_measurement(tmp_path: Path) -> None:
    labels, took = asked(tmp_path, AlwaysMissing(), "label.max_missing_rate=0.0")
    assert [label.missing for label in labels] == ["down"] * 5
    assert took.seconds_per_label is not None and took.usd_per_label is None
