"""The conformance kit: our own components keep their contracts, and broken ones are told what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlaif.cli.plugins import check_component
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import PluginError
from rlaif.labelers.pointwise import BinaryLabeler, ChainOfThoughtScoreLabeler, ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.criteria import CriteriaPrompts
from rlaif.prompts.judge import JudgePrompts
from rlaif.tasks.base import Task
from rlaif.testing.conformance import check_labeler
from rlaif.testing.contract import CheckResult
from rlaif.testing.engine_contract import CHECKS as ENGINE_CHECKS
from rlaif.testing.engine_contract import check_engine
from rlaif.testing.prompt_contract import CHECKS as PROMPT_CHECKS
from rlaif.testing.prompt_contract import check_prompts
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Rating, Sampling, Segment, StructuredPrompt


def failed(results: Sequence[CheckResult]) -> dict[str, str]:
    return {result.name: result.detail for result in results if not result.passed}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    return TransformersEngine(str(folder), device="cpu", batch_size=4)


def test_the_local_engine_keeps_its_contract(engine: TransformersEngine) -> None:
    results = check_engine(engine)
    assert failed(results) == {}
    assert [result.name for result in results] == list(ENGINE_CHECKS)


def test_the_scripted_engine_keeps_its_contract() -> None:
    assert failed(check_engine(ScriptedEngine({"": {"1": 0.7, "2": 0.2}}))) == {}


@pytest.mark.parametrize("labeler_class", [ScoreLabeler, BinaryLabeler, RankingLabeler])
def test_labelers_on_a_real_model_keep_their_contract(engine: TransformersEngine, labeler_class: Any) -> None:
    assert failed(check_labeler(labeler_class(JudgePrompts(), engine))) == {}


def test_labelers_that_reason_keep_their_contract() -> None:
    engine = ScriptedEngine(
        {"Score=": {"3": 0.5, "9": 0.5}, "Better": {"1": 0.5, "2": 0.2}, "More": {"1": 0.2, "2": 0.3}, "": "because"}
    )
    for labeler in (ChainOfThoughtScoreLabeler(JudgePrompts(), engine), SelfConsistencyLabeler(JudgePrompts(), engine)):
        assert failed(check_labeler(labeler)) == {}


@pytest.mark.parametrize("options", [{}, {"preamble": "detailed"}, {"num_exemplars": 2, "exemplar_seed": 3}])
def test_our_prompts_keep_their_contract(options: dict[str, Any]) -> None:
    class PairsOnly:
        """What takes exemplars."""

        def __init__(self) -> None:
            prompts = JudgePrompts(**options)
            self.identity, self.pairwise = prompts.identity, prompts.pairwise
            self.rationale_request = prompts.rationale_request

    results = check_prompts(PairsOnly() if "num_exemplars" in options else JudgePrompts(**options))
    assert set(failed(results)) <= {"picklable"}  # a class inside a function is not
    if "num_exemplars" not in options:
        assert [result.name for result in results] == [name for name in PROMPT_CHECKS if "criterion" not in name]


def test_the_prompts_about_criteria_keep_their_contract() -> None:
    results = check_prompts(CriteriaPrompts())
    assert failed(results) == {}
    assert any("criterion" in result.name for result in results)


class Broken(ScriptedEngine):
    """Breaks one promise at a time."""

    def __init__(self, promise: str) -> None:
        super().__init__({"": {"1": 0.7, "2": 0.2}})
        self.promise, self.calls = promise, 0

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        scores = super().score(prompts, options)
        if self.promise == "scores":
            return [replace(score, logprobs=(0.5, -1.0)) for score in scores]
        if self.promise == "order of options":
            return [replace(score, logprobs=(-0.2, -2.0)) for score in scores]
        if self.promise == "batch invariance":
            return [replace(score, logprobs=(-0.5 - len(prompts), -3.0)) for score in scores]
        return scores

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        texts = super().generate(prompts, sampling)
        if self.promise == "generates":
            return [replace(text, text="one\ntwo") for text in texts]
        if self.promise == "seeded":
            return [replace(text, text=f"{place}") for place, text in enumerate(texts)]
        return texts

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        return prompt.segments[0].text.encode() if self.promise == "rendered" else super().rendered(prompt)


@pytest.mark.parametrize(
    "promise", ["scores", "order of options", "batch invariance", "generates", "seeded", "rendered"]
)
def test_a_broken_promise_of_an_engine_is_named(promise: str) -> None:
    assert promise in failed(check_engine(Broken(promise)))


class Formatting:
    """The classic mistake: one formatted string that is scanned again for placeholders."""

    identity = "formatting"

    def pairwise(
        self, task: Task, prompt_text: str, first: str, second: str, *, rationale: str | None = None
    ) -> StructuredPrompt:
        text = "{context}\n1: {first}\n2: {second}\nAnswer:".replace("{context}", prompt_text)
        text = text.replace("{first}", first).replace("{second}", second)
        return StructuredPrompt(segments=(Segment(text=text),))


def test_a_prompt_that_formats_candidates_into_its_own_words_is_named() -> None:
    found = failed(check_prompts(Formatting()))
    assert "is in a segment that is not data" in found["pairwise"]


class Unnormalised(ScoreLabeler):
    def rate(self, *arguments: Any) -> list[Rating]:
        return [replace(rating, distribution=(0.9, 0.9)) for rating in super().rate(*arguments)]


def test_ratings_that_do_not_sum_to_one_are_named() -> None:
    labeler = Unnormalised(JudgePrompts(), ScriptedEngine({"": {"3": 0.5, "9": 0.5}}))
    assert "sum to 1.8" in failed(check_labeler(labeler))["ratings"]


def test_the_command_checks_prompts_and_engines_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_component("labeler/prompt=detailed") == 0
    assert "second step" in capsys.readouterr().out
    with pytest.raises(PluginError, match="did you mean transformers"):
        check_component("labeler/engine=transformer")
    with pytest.raises(PluginError, match="contract tests exist for labeler="):
        check_component("data=pocket")


@pytest.mark.parametrize(
    "name", ["task=dialogue", "task=summarization", "policy/objective=reinforce", "policy/objective=rloo"]
)
def test_our_tasks_and_objectives_keep_their_contracts(name: str) -> None:
    assert check_component(name) == 0


def test_a_folder_of_a_model_can_be_checked_by_override(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    assert check_component("labeler/engine=transformers", [f"labeler.engine.model={tmp_path}"]) == 0
