"""Labelers that judge one response at a time, their conversion to pairs and back, and the reward made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlaif.engines.scripted import Answer, ScriptedEngine
from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.base import Rater
from rlaif.labelers.convert import AgainstReference
from rlaif.labelers.criteria import CriteriaLabeler
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.pointwise import BinaryLabeler, ChainOfThoughtScoreLabeler, ScoreLabeler
from rlaif.outcome import Generation
from rlaif.prompts.criteria import CriteriaPrompts, built_in_criteria
from rlaif.prompts.judge import JudgePrompts
from rlaif.rewards.base import RewardResources
from rlaif.rewards.labeler import LabelerReward
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Prompt, Sampling, StructuredPrompt

PROMPT = Prompt(task="dialogue", text="\n\nHuman: hi\n\nAssistant:")
SCORES = {"awful": {"1": 0.5, "2": 0.5}, "fine": {"5": 0.25, "6": 0.75}, "best": {"10": 1.0}}


def resources(*samples: Completion) -> RewardResources:
    """What a run offers, with nothing before the labeler."""
    return RewardResources(
        task=Dialogue(),
        inputs={},
        directory=Path("nowhere"),
        samples=lambda: ([PROMPT] * len(samples), list(samples)),
        references=dict,
        asking=lambda rater: rater,
    )


def about(answers: Mapping[str, object]) -> dict[str, Answer]:
    """Answers by response text."""
    return {f"Response: {text}\n": answer for text, answer in answers.items()}  # type: ignore[misc]


def scorer(answers: Mapping[str, object] = SCORES) -> ScoreLabeler:
    return ScoreLabeler(JudgePrompts(), ScriptedEngine(about(answers)))


def rate(labeler: Rater, *texts: str) -> list[float | None]:
    return [rating.score for rating in labeler.rate([PROMPT] * len(texts), [Completion(text=t) for t in texts])]


def pair(first: str, second: str) -> Comparison:
    return Comparison(prompt=PROMPT, first=Completion(text=first), second=Completion(text=second))


def test_the_score_is_the_expectation_over_the_ten_scores_and_ten_is_not_one() -> None:
    assert rate(scorer(), "awful", "fine", "best") == pytest.approx([1.5, 5.75, 10.0])


def test_the_reward_runs_from_minus_one_to_one() -> None:
    ratings = scorer({"low": {"1": 1.0}, "mid": {"5": 0.5, "6": 0.5}, "top": {"10": 1.0}}).rate(
        [PROMPT] * 3, [Completion(text=text) for text in ("low", "mid", "top")]
    )
    assert [rating.reward for rating in ratings] == pytest.approx([-1.0, 0.0, 1.0])


def test_probabilities_are_renormalised_over_the_ten() -> None:
    """Half of the model's mass is elsewhere; what counts is how it splits over the scores."""
    assert rate(scorer({"x": {"2": 0.3, "4": 0.1}}), "x") == pytest.approx([2.5])


def test_two_ratings_make_a_label_that_inverts_when_swapped() -> None:
    given, swapped = scorer().label([pair("awful", "fine"), pair("fine", "awful")])
    assert given.p_first == 0.0
    assert swapped.p_first == pytest.approx(1.0, abs=1e-12)
    (tie,) = scorer().label([pair("awful", "awful")])
    assert tie.p_first == pytest.approx(0.5)
    assert [judgment.order for judgment in given.judgments] == ["first", "second"]
    assert given.p_first_by_order == (None, None)


def test_a_rating_that_fails_makes_its_own_labels_missing_and_no_others() -> None:
    labels = scorer().label([pair("awful", "unknown"), pair("awful", "fine")])
    assert labels[0].p_first is None and labels[0].missing == "no scripted answer matches this prompt"
    assert labels[1].p_first == 0.0


def test_a_model_without_any_mass_on_a_score_is_unreadable_not_a_middling_score() -> None:
    (rating,) = scorer({"x": {"none": 1.0}}).rate([PROMPT], [Completion(text="x")])
    assert rating.score is None and rating.reward is None
    assert rating.missing == "no probability on any answer option"
    assert rating.judgments[0].unreadable


def test_good_and_bad_is_a_scale_of_two_steps() -> None:
    labeler = BinaryLabeler(JudgePrompts(), ScriptedEngine(about({"x": {"good": 0.6, "bad": 0.2}, "y": {"bad": 1.0}})))
    ratings = labeler.rate([PROMPT] * 2, [Completion(text="x"), Completion(text="y")])
    assert [rating.score for rating in ratings] == pytest.approx([0.75, 0.0])
    assert [rating.reward for rating in ratings] == pytest.approx([0.5, -1.0])
    assert labeler.label([pair("x", "y")])[0].p_first == pytest.approx(0.875)  # wins 0.75, ties 0.25


class ReasoningEngine(ScriptedEngine):
    """Writes what it read last; scores high after a rationale that praises."""

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        praise = [" praise" if "good one" in prompt.text else " blame" for prompt in prompts]
        return [Generation(text=text, token_ids=(1, 2), num_prompt_tokens=5) for text in praise]


def test_chain_of_thought_scores_after_its_own_rationale() -> None:
    engine = ReasoningEngine({" praise\nScore=": {"9": 1.0}, " blame\nScore=": {"2": 1.0}})
    labeler = ChainOfThoughtScoreLabeler(JudgePrompts(), engine, max_rationale_tokens=8)
    ratings = labeler.rate([PROMPT] * 2, [Completion(text="good one"), Completion(text="other")])
    assert [rating.score for rating in ratings] == [9.0, 2.0]
    assert [rating.judgments[0].reply for rating in ratings] == ["praise", "blame"]


def test_a_rationale_cut_at_the_limit_is_missing() -> None:
    class Endless(ScriptedEngine):
        def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
            return [Generation(text="and so on", finished=False) for _ in prompts]

    labeler = ChainOfThoughtScoreLabeler(JudgePrompts(), Endless({"": "1"}), max_rationale_tokens=8)
    (rating,) = labeler.rate([PROMPT], [Completion(text="x")])
    assert rating.missing == "rationale cut at 8 tokens"


def test_exemplars_of_pairs_cannot_be_shown_to_a_scorer() -> None:
    labeler = ScoreLabeler(JudgePrompts(num_exemplars=2), ScriptedEngine())
    with pytest.raises(ConfigError, match=r"labeler\.prompt\.num_exemplars=2: exemplars are pairs"):
        rate(labeler, "x")


def test_identities_tell_labelers_and_prompts_apart() -> None:
    engine = ScriptedEngine()
    labelers = [
        ScoreLabeler(JudgePrompts(), engine),
        ScoreLabeler(JudgePrompts(preamble="detailed"), engine),
        ChainOfThoughtScoreLabeler(JudgePrompts(), engine),
        ChainOfThoughtScoreLabeler(JudgePrompts(), engine, max_rationale_tokens=9),
        BinaryLabeler(JudgePrompts(), engine),
    ]
    assert len({labeler.identity for labeler in labelers}) == len(labelers)


RUBRIC = """[[criterion]]
asks = "Is it short?"
[[criterion]]
asks = "Is it true?"
weight = 3
"""


def criteria_labeler(folder: Path, answers: Answer, rubric: str = RUBRIC) -> CriteriaLabeler:
    path = folder / "rubric.toml"
    path.write_text(rubric, "utf-8")
    return CriteriaLabeler(CriteriaPrompts(), ScriptedEngine(answers), criteria=str(path))


def answered(text: str) -> dict[str, float]:
    """Short, false: P(yes) 0.8 and 0.1. Long, true: 0.5 and 0.9; half of the mass is on other words."""
    is_short, asks_length = "Response: short\n" in text, "Point: Is it short?" in text
    p_yes = {(True, True): 0.8, (True, False): 0.1, (False, True): 0.5, (False, False): 0.9}[is_short, asks_length]
    return {"yes": 0.5 * p_yes, "no": 0.5 * (1.0 - p_yes), "well": 0.5}


def test_the_score_by_criteria_is_the_weighted_mean_of_yes(tmp_path: Path) -> None:
    labeler = criteria_labeler(tmp_path, answered)
    assert rate(labeler, "short", "long") == pytest.approx([(0.8 + 3 * 0.1) / 4, (0.5 + 3 * 0.9) / 4])
    given, swapped = labeler.label([pair("short", "long"), pair("long", "short")])
    assert given.p_first == pytest.approx(0.5 + (0.275 - 0.8) / 2)
    assert swapped.p_first == pytest.approx(1.0 - given.p_first)
    assert [judgment.order for judgment in given.judgments] == ["first", "first", "second", "second"]
    assert labeler.engine.num_prompts == 2 * 2 + 2 * 4  # type: ignore[attr-defined]


def test_a_criterion_that_cannot_be_judged_makes_the_score_missing(tmp_path: Path) -> None:
    def silent_on_truth(text: str) -> dict[str, float]:
        return {"well": 1.0} if "Is it true?" in text and "Response: long\n" in text else answered(text)

    ratings = criteria_labeler(tmp_path, silent_on_truth).rate(
        [PROMPT] * 2, [Completion(text=t) for t in ("long", "short")]
    )
    assert [rating.missing for rating in ratings] == ["no probability on any answer option", None]
    assert ratings[0].score is None and len(ratings[0].judgments) == 2


def test_the_words_and_weights_of_the_criteria_are_part_of_the_identity(tmp_path: Path) -> None:
    rubrics = (RUBRIC, RUBRIC.replace("short", "brief"), RUBRIC.replace("3", "2"))
    labelers = [criteria_labeler(tmp_path, "yes", rubric) for rubric in rubrics]
    labelers.append(CriteriaLabeler(CriteriaPrompts(), ScriptedEngine("yes")))
    assert len({labeler.identity for labeler in labelers}) == len(labelers)
    assert len(labelers[-1].rate([PROMPT], [Completion(text="x")])[0].judgments) == len(built_in_criteria("dialogue"))


def pairwise_for(better: str) -> PairwiseLabeler:
    """Prefers the response that holds ``better``, in whichever slot."""

    def respond(text: str) -> dict[str, float]:
        first = text.index(better) < text.index("Response 2:")
        return {"1": 0.8 if first else 0.2, "2": 0.2 if first else 0.8}

    return PairwiseLabeler(JudgePrompts(), ScriptedEngine(respond))


def test_a_pairwise_labeler_rates_against_a_reference_response() -> None:
    rater = AgainstReference(pairwise_for("good"), {PROMPT.id: Completion(text="plain")})
    other = Prompt(task="dialogue", text="\n\nHuman: bye\n\nAssistant:")
    ratings = rater.rate([PROMPT, other], [Completion(text="good"), Completion(text="good")])
    assert ratings[0].score == pytest.approx(0.8)
    assert ratings[0].reward == pytest.approx(0.6)
    assert ratings[1].missing == "no reference response for this prompt"


def test_the_reward_judges_each_distinct_response_once_and_keeps_missing_missing() -> None:
    labeler = scorer()
    reward = LabelerReward(labeler, max_missing_rate=0.5).prepare(resources())
    texts = ["best", "awful", "best", "unknown"]
    batch = reward([PROMPT] * 4, [Completion(text=text) for text in texts])
    assert batch.scored_mask_B.tolist() == [True, True, True, False]
    assert batch.values_B[:3].tolist() == pytest.approx([1.0, 2 * 0.5 / 9 - 1.0, 1.0])
    assert math.isnan(batch.values_B[3])
    assert labeler.engine.num_prompts == 3  # type: ignore[attr-defined]


def test_too_many_missing_scores_stop_the_run_with_the_reasons() -> None:
    reward = LabelerReward(scorer(), max_missing_rate=0.4).prepare(resources())
    with pytest.raises(GateStopped, match=r"reward.max_missing_rate=0.4: 1 of 2 .*1 × no scripted answer"):
        reward([PROMPT] * 2, [Completion(text="best"), Completion(text="unknown")])


def test_standardized_rewards_have_the_samples_zero_and_unit() -> None:
    samples = [Completion(text=text) for text in ("awful", "fine", "best", "unknown")]
    reward = LabelerReward(scorer(), standardized=True, max_missing_rate=0.5).prepare(resources(*samples))
    values = reward([PROMPT] * 4, samples).values_B[:3]
    assert values.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert torch.std(values, correction=0).item() == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="no unit"):
        LabelerReward(scorer(), standardized=True).prepare(resources(Completion(text="best")))


def test_a_labeler_of_pairs_is_held_against_the_references_as_the_run_asks() -> None:
    labeler = PairwiseLabeler(JudgePrompts(), ScriptedEngine({"Response 1 - a\n": {"1": 0.9, "2": 0.1}}))
    asked: list[str] = []

    def asking(rater: Rater) -> Rater:
        asked.append(type(rater).__name__)
        return rater

    offered = replace(
        resources(),
        references=lambda: {PROMPT.id: Completion(text="b")},
        asking=asking,
    )
    reward = LabelerReward(labeler, max_missing_rate=1.0).prepare(offered)
    reward([PROMPT], [Completion(text="a")])
    assert asked == ["AgainstReference"]
    assert LabelerReward(labeler).reads() == {}
