"""A labeler in the loop: pairs of a prompt's responses, missing ones, equal ones, and the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from rlaif.errors import ConfigError, GateStopped
from rlaif.rewards.pairs import PairsReward
from rlaif.types import Comparison, Completion, Preference, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(2)]


class LongerIsBetter:
    """Prefers the longer of two responses with 0.9; pairs with ``?`` get no verdict."""

    name = "longer"
    source = "ai"
    identity = "longer"

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.asked.append([(pair.first.text, pair.second.text) for pair in comparisons])
        return [self._label(pair) for pair in comparisons]

    def _label(self, pair: Comparison) -> Preference:
        if "?" in pair.first.text + pair.second.text:
            return Preference(comparison=pair, p_first=None, missing="no verdict")
        return Preference(comparison=pair, p_first=0.9 if len(pair.first.text) > len(pair.second.text) else 0.1)


def rewarded(
    *texts: str, num_samples: int, limit: float = 1.0
) -> tuple[list[float], list[list[float]], LongerIsBetter]:
    labeler = LongerIsBetter()
    prompts = [PROMPTS[row // num_samples] for row in range(len(texts))]
    reward = PairsReward(labeler, max_missing_rate=limit)
    found = reward(prompts, [Completion(text=text) for text in texts], samples_per_prompt=num_samples)
    assert found.p_beats_BK is not None
    assert found.scored_mask_B.tolist() == [not math.isnan(value) for value in found.values_B.tolist()]
    return found.values_B.tolist(), found.p_beats_BK.tolist(), labeler


def test_both_entries_of_a_pair_and_the_mean_over_the_others() -> None:
    values, p_beats, labeler = rewarded("a", "bbb", "cc", num_samples=3)
    assert values == pytest.approx([0.1, 0.9, 0.5])
    assert p_beats[1] == pytest.approx([0.9, math.nan, 0.9], nan_ok=True)
    assert p_beats[2] == pytest.approx([0.9, 0.1, math.nan], nan_ok=True)
    assert labeler.asked == [[("a", "bbb"), ("a", "cc"), ("bbb", "cc")]], "one call for the whole step"


def test_a_missing_judgement_is_missing_and_counts_in_no_mean() -> None:
    values, p_beats, _ = rewarded("a", "b?", "cc", "d", "?", "??", num_samples=3)
    assert values == pytest.approx([0.1, math.nan, 0.9, math.nan, math.nan, math.nan], nan_ok=True)
    assert math.isnan(p_beats[0][1]) and math.isnan(p_beats[1][0]) and p_beats[0][2] == pytest.approx(0.1)


def test_equal_responses_are_a_tie_without_a_question_and_equal_pairs_are_asked_once() -> None:
    values, _, labeler = rewarded("a", "a ", "bb", num_samples=3)
    assert values == pytest.approx([(0.5 + 0.1) / 2, (0.5 + 0.1) / 2, 0.9])
    assert labeler.asked == [[("a", "bb"), ("a ", "bb")]]
    _, _, labeler = rewarded("a", "bb", "a", "bb", num_samples=4)
    assert labeler.asked == [[("a", "bb"), ("bb", "a")]]


def test_no_responses_have_no_rewards() -> None:
    found = PairsReward(LongerIsBetter())([], [], samples_per_prompt=2)
    assert len(found.values_B) == 0 and found.p_beats_BK is not None and found.p_beats_BK.shape == (0, 2)


def test_a_response_that_is_alone_has_no_reward() -> None:
    values, _, labeler = rewarded("a", "bb", num_samples=1)
    assert all(map(math.isnan, values)) and labeler.asked == []


def test_too_many_missing_pairs_stop_the_run() -> None:
    with pytest.raises(GateStopped, match=r"reward.max_missing_rate=0.5: 2 of 3 .*no verdict"):
        rewarded("a", "b?", "cc", num_samples=3, limit=0.5)
    with pytest.raises(ConfigError, match=r"reward.max_missing_rate=2"):
        PairsReward(LongerIsBetter(), max_missing_rate=2)
