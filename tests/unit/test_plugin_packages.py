"""The packages under ``plugins/`` that need something of a run: a model to ask, a result of an earlier step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import PluginError
from rlaif.rewards.base import RewardBatch
from rlaif.testing.conformance import check_labeler
from rlaif.testing.reward_contract import check_reward
from rlaif.testing.samples import sample_comparisons
from rlaif.types import Comparison, Completion

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in sorted(PLUGINS.glob("*/src")):
        monkeypatch.syspath_prepend(source)


def test_the_criterion_labeler_averages_both_orders() -> None:
    from rlaif_criterion import CriterionLabeler

    always_1 = CriterionLabeler(ScriptedEngine({"": {"1": 0.6, "2": 0.2}}))
    (label,) = always_1.label(sample_comparisons()[:1])
    assert label.p_first == pytest.approx(0.5), "a preference for a slot cancels"
    assert [result for result in check_labeler(always_1) if not result.passed] == []
    silent = CriterionLabeler(ScriptedEngine({"no prompt holds this": "1"}))
    assert [missing.p_first for missing in silent.label(sample_comparisons())] == [None] * 6


def test_the_criterion_labeler_gives_its_evidence_and_reads_no_noise() -> None:
    from rlaif_criterion import CriterionLabeler

    (label,) = CriterionLabeler(ScriptedEngine({"": {"1": 0.6, "2": 0.2}})).label(sample_comparisons()[:1])
    assert label.p_first_by_order == (pytest.approx(0.75), pytest.approx(0.25)), "its slot bias can be measured"
    assert [judgment.answer_mass for judgment in label.judgments] == [pytest.approx(0.8)] * 2
    elsewhere = ScriptedEngine({"": {"1": 2e-7, "2": 1e-8, "Hello": 0.99}})
    (label,) = CriterionLabeler(elsewhere).label(sample_comparisons()[:1])
    assert label.p_first is None and label.missing == "answer mass below labeler.min_answer_mass=1e-06"
    assert all(judgment.unreadable for judgment in label.judgments), "asking again would give the same"


def test_the_profanity_rater_prefers_the_cleaner_response(monkeypatch: pytest.MonkeyPatch) -> None:
    import rlaif_profanity
    from rlaif_profanity import ProfanityLabeler

    monkeypatch.setattr(rlaif_profanity, "PACKAGE", "no-such-package")
    with pytest.raises(PluginError, match="labeler=profanity: pip install no-such-package"):
        ProfanityLabeler()
    monkeypatch.setattr(rlaif_profanity, "PACKAGE", "rlaif")
    classifier = "import json, sys; print(json.dumps([0.75 if 'damn' in x else 0.25 for x in json.load(sys.stdin)]))"
    monkeypatch.setattr(rlaif_profanity, "CHILD", classifier)
    rater = ProfanityLabeler()
    assert [result for result in check_labeler(rater) if not result.passed] == []
    prompt = sample_comparisons()[0].prompt
    clean, offensive = Completion(text="Good day – ä."), Completion(text="damn")
    assert [rating.score for rating in rater.rate([prompt, prompt], [clean, offensive])] == [0.75, 0.25]
    (label,) = rater.label([Comparison(prompt=prompt, first=clean, second=offensive)])
    assert label.p_first == pytest.approx(0.75 * 0.75 + (0.75 * 0.25 + 0.25 * 0.75) / 2)
    assert rater.rate([], []) == []
    for child, message in (
        ("raise SystemExit('no classifier')", "no classifier"),
        ("print('hello')", "answered 'hello.*', no numbers"),
        ("print('[0.1, 0.2]')", r"gave \[0.1, 0.2\] … for 1 texts"),
        ("print('[NaN]')", r"gave \[nan\] … for 1 texts"),
    ):
        monkeypatch.setattr(rlaif_profanity, "CHILD", child)
        with pytest.raises(PluginError, match=message):
            rater.check()
    monkeypatch.setattr(rlaif_profanity, "CHILD", "import time; time.sleep(60)")
    monkeypatch.setattr(rlaif_profanity, "TIMEOUT_S", 0.2)
    with pytest.raises(PluginError, match=r"gave no answer in 0\.2 s"):
        rater.check()


def test_the_length_penalty_takes_a_price_for_each_word() -> None:
    from rlaif_length_penalty import LengthPenaltyReward

    class Score:
        def __call__(self, prompts: object, responses: list[Completion], *, samples_per_prompt: int = 1) -> RewardBatch:
            return RewardBatch(torch.tensor([1.0, float("nan")]), torch.tensor([True, False]))

    reward = LengthPenaltyReward(per_word=0.1)
    assert [result for result in check_reward(reward) if not result.passed] == []
    reward.scorer = Score()  # type: ignore[assignment]
    prompt = sample_comparisons()[0].prompt
    batch = reward([prompt, prompt], [Completion(text="three short words"), Completion(text="two words")])
    assert batch.values_B[0].item() == pytest.approx(0.7)
    assert batch.scored_mask_B.tolist() == [True, False]
