"""Criteria as a reward, and criteria that a model writes from labeled pairs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from rlaif.data.preferences_io import write_preferences
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, GateStopped
from rlaif.evaluation.rubric import Ordered, criteria_in, discrimination, held_out, ordered_pairs, shown_pairs
from rlaif.labelers.criteria import CriteriaLabeler, weighted_score
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, Prices
from rlaif.labeling.results import LABELS
from rlaif.outcome import Generation
from rlaif.pipeline.stage import Input, Work
from rlaif.prompts.criteria import CriteriaPrompts, Criterion, read_criteria
from rlaif.rewards.base import RewardResources
from rlaif.rewards.rubric import RubricReward
from rlaif.stages.rubric import RubricStage
from rlaif.tasks.base import get_task
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt

PROMPT = Prompt(task="dialogue", text="\n\nHuman: Hi\n\nAssistant:")
CRITERIA = [Criterion("short?", 1.0), Criterion("true?", 3.0), Criterion("polite?", 4.0)]


def judged(*p_yes: float | None) -> list[Judgment]:
    """Judgements with these probabilities of yes; None is missing."""
    return [
        Judgment(order="first", prompt="", missing="bad")
        if p is None
        else Judgment(order="first", prompt="", option_logprobs=tuple(np.log([1 - p, p])))
        for p in p_yes
    ]


@pytest.mark.parametrize(
    ("p_yes", "min_weight", "score"),
    [
        ((0.2, 0.4, 0.9), 1.0, (0.2 + 3 * 0.4 + 4 * 0.9) / 8),
        ((None, 0.4, 0.9), 1.0, None),
        ((None, 0.4, 0.9), 0.875, (3 * 0.4 + 4 * 0.9) / 7),
        ((None, 0.4, 0.9), 0.9, None),
        ((0.2, 0.4, None), 0.5, (0.2 + 3 * 0.4) / 4),
        ((None, None, None), 0.1, None),
    ],
)
def test_weights_are_scaled_up_where_enough_is_judged(
    p_yes: tuple[float | None, ...], min_weight: float, score: float | None
) -> None:
    found = weighted_score(CRITERIA, judged(*p_yes), min_weight)
    assert found == (None if score is None else pytest.approx(score))


def rubric_file(folder: Path, *criteria: str) -> str:
    path = folder / "criteria.jsonl"
    path.write_text("\n".join(criteria))
    return str(path)


def test_a_file_with_criteria_of_other_prompts_is_refused_before_the_training(tmp_path: Path) -> None:
    path = rubric_file(tmp_path, '{"asks": "short?", "prompt": "Hi"}')
    reward, other = RubricReward(ScriptedEngine(), criteria=path), Prompt(task="dialogue", text="Bye")
    assert list(reward.prompt_problems([PROMPT] * 4 + [other])) == []
    (problem,) = reward.prompt_problems([PROMPT, other])
    assert problem.startswith(f"reward.criteria={path}: holds no criterion for 1 of 2 prompts, the first 'Bye'")
    assert list(RubricReward(ScriptedEngine()).prompt_problems([other])) == []


def knows_length(text: str) -> dict[str, float] | str:
    """Short responses are short; nothing is known of truth."""
    if "Point: Is it true?" in text:
        return {"well": 1.0}
    return {"yes": 0.75, "no": 0.25} if "Response: short" in text else {"yes": 0.25, "no": 0.75}


def resources(folder: Path, **inputs: Path) -> RewardResources:
    return RewardResources(
        task=get_task("dialogue"),
        inputs={role: (path,) for role, path in inputs.items()},
        directory=folder,
        samples=lambda: ([], []),
        references=dict,
        asking=lambda rater: rater,
    )


def test_a_rubric_rewards_by_what_could_be_judged_and_logs_each_criterion(tmp_path: Path) -> None:
    path = rubric_file(tmp_path, '{"asks": "Is it short?", "weight": 3}', '{"asks": "Is it true?"}')
    engine = ScriptedEngine(knows_length)
    reward = RubricReward(engine, criteria=path, min_weight=0.75).prepare(resources(tmp_path))
    batch = reward([PROMPT] * 2, [Completion(text="short"), Completion(text="long")])
    assert batch.values_B.tolist() == pytest.approx([0.5, -0.5])
    assert batch.parts["criterion_1"].tolist() == pytest.approx([0.75, 0.25])
    assert batch.parts["criterion_2"].isnan().all()
    whole = RubricReward(engine, criteria=path, min_weight=1.0, max_missing_rate=1.0).prepare(resources(tmp_path))
    batch = whole([PROMPT], [Completion(text="short")])
    assert not batch.scored_mask_B.any() and batch.causes == ("unreadable",)


def test_criteria_of_one_prompt_judge_its_responses_alone(tmp_path: Path) -> None:
    path = rubric_file(tmp_path, json.dumps({"asks": "Is it short?", "prompt": PROMPT.text}))
    labeler = CriteriaLabeler(CriteriaPrompts(), ScriptedEngine(knows_length), criteria=path)
    other = Prompt(task="dialogue", text="\n\nHuman: Bye\n\nAssistant:")
    own, without = labeler.rate([PROMPT, other], [Completion(text="short")] * 2)
    assert own.score == pytest.approx(0.75)
    assert without.missing == "no criterion for this prompt" and without.judgments == ()


def test_criteria_of_an_earlier_step_are_taken(tmp_path: Path) -> None:
    (tmp_path / "criteria.toml").write_text('[[criterion]]\nasks = "Is it short?"\n')
    reward = RubricReward(ScriptedEngine(knows_length))
    assert reward.reads()["criteria"].optional
    prepared = reward.prepare(resources(tmp_path, criteria=tmp_path))
    assert prepared([PROMPT], [Completion(text="short")]).values_B.tolist() == pytest.approx([0.5])


def test_a_rubric_tells_its_options_as_they_are_typed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.engine=null"):
        RubricReward(None)
    with pytest.raises(ConfigError, match=r"reward\.min_weight=0: must be above 0"):
        RubricReward(ScriptedEngine(), min_weight=0.0)
    with pytest.raises(ConfigError, match=r"reward\.criteria=.*nowhere\.toml"):
        RubricReward(ScriptedEngine(), criteria=str(tmp_path / "nowhere.toml"))
    path = rubric_file(tmp_path, '{"asks": "Is it short?"}')
    before = RubricReward(ScriptedEngine(), criteria=path).identity
    rubric_file(tmp_path, '{"asks": "Is it long?"}')
    assert RubricReward(ScriptedEngine(), criteria=path).identity != before, "the file's content counts"


def labels(count: int) -> list[Preference]:
    """Pairs with the shorter response better, in either slot."""
    found = []
    for number in range(count):
        prompt = Prompt(task="dialogue", text=f"\n\nHuman: {number}\n\nAssistant:")
        short, long = Completion(text=f"short {number}"), Completion(text=f"long {number}")
        first, second = (short, long) if number % 2 else (long, short)
        pair = Comparison(prompt=prompt, first=first, second=second)
        found.append(Preference(comparison=pair, p_first=0.9 if number % 2 else 0.2, labeler="planted:1", source="ai"))
    return found


def test_pairs_are_ordered_by_their_labels_and_divided_by_prompt() -> None:
    given = labels(10)
    tie = Preference(comparison=given[0].comparison, p_first=0.5)
    missing = Preference(comparison=given[0].comparison, p_first=None, missing="bad")
    pairs = ordered_pairs([*given, tie, missing])
    assert len(pairs) == 10 and all(pair.better.text.startswith("short") for pair in pairs)
    shown, tested = held_out(pairs, 0.3, seed=1)
    assert len(tested) == 3 and not {pair.prompt.id for pair in shown} & {pair.prompt.id for pair in tested}
    groups = shown_pairs(shown, num_requests=7, pairs_per_request=2, seed=1)
    assert len(groups) == 7 and {pair for group in groups for pair in group} == set(shown)
    assert all(len(set(group)) == 2 for group in groups)


def test_questions_are_read_from_a_reply() -> None:
    text = "<think>Is this read?</think>\nPoints:\n1. Is it short?\n- 'Is it true?'\nIt is polite.\nIs it cu"
    assert criteria_in(Generation(text=text, finished=False)) == ["Is it short?", "Is it true?"]
    assert criteria_in(Generation(text="Is it?", missing="http 500")) == []


def test_a_criterion_is_kept_where_its_interval_is_above_one_half() -> None:
    pairs = ordered_pairs(labels(40))
    draws = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    telling = discrimination("short?", pairs, [0.9] * 40, [0.1] * 40, 0.95)
    coin = discrimination("coin?", pairs, draws, draws[::-1], 0.95)
    ties = discrimination("tie?", pairs, [0.5] * 40, [0.5] * 40, 0.95)
    few = discrimination("few?", pairs, [0.9, *[None] * 39], [0.1] * 40, 0.95)
    assert telling.is_kept and telling.rate.value == 1.0
    assert not coin.is_kept and not ties.is_kept and ties.rate.value == 0.5
    assert not few.is_kept and few.num_missing == 39


def stage(engine: ScriptedEngine, **changes: float) -> RubricStage:
    options: dict[str, object] = {
        "num_requests": 3,
        "pairs_per_request": 2,
        "held_out": 0.5,
        "max_criteria": 5,
        "max_new_tokens": 50,
        "temperature": 0.0,
        "confidence": 0.95,
        "batch_size": 7,
    }
    asking = AskingSettings(answers=AnswerPlace(root=".", place="none"), prices=Prices(), budget=Budget())
    return RubricStage(get_task("dialogue"), engine, asking=asking, **(options | changes))  # type: ignore[arg-type]


def work(folder: Path, count: int) -> Work:
    (folder / "labels").mkdir()
    (folder / "out").mkdir()
    write_preferences(folder / "labels" / LABELS, labels(count))
    inputs = {"labels": (Input(step="labels", stage="labels", path=folder / "labels"),)}
    return Work(step="rubric", directory=folder / "out", inputs=inputs, seed=1)


def writes(text: str) -> dict[str, float] | str:
    """Two criteria, of which one tells the better response; P(yes) of the other is the same for all."""
    if "Points:" in text:
        return "\nIs it short?\nIs it polite?\n"
    return {"yes": 0.5, "no": 0.5} if "Point: Is it polite?" in text else knows_length(text)


def test_criteria_that_do_not_discriminate_are_dropped_and_the_rest_is_stored_with_a_card(tmp_path: Path) -> None:
    place, made = work(tmp_path, 40), stage(ScriptedEngine(writes))
    made.build(place)
    stored = place.directory / "criteria.toml"
    assert [item.asks for item in read_criteria(str(stored))] == ["Is it short?"]
    assert tomllib.loads(stored.read_text())["criterion"] == [{"asks": "Is it short?", "weight": 1.0}]
    card = (place.directory / "README.md").read_text()
    assert "| Is it polite? | 50.0 % |" in card and "dropped" in card and "planted (ai)" in card
    told = made.told(place)
    assert told.line == "1 of 2 criteria kept"


@pytest.mark.parametrize(
    ("reply", "count", "words"),
    [
        ("It should be short.", 40, "no reply holds a question"),
        ("Is it polite?", 40, "none of 1 criteria tells the better response of 20 held-out pairs"),
    ],
)
def test_a_rubric_without_criteria_is_not_stored(tmp_path: Path, reply: str, count: int, words: str) -> None:
    engine = ScriptedEngine(lambda text: reply if "Points:" in text else {"yes": 0.5, "no": 0.5})
    with pytest.raises(GateStopped, match=words):
        stage(engine).build(work(tmp_path, count))


def test_one_prompt_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labeled pairs of two prompts at least"):
        stage(ScriptedEngine(writes)).build(work(tmp_path, 1))
    assert isinstance(ordered_pairs(labels(1))[0], Ordered)
