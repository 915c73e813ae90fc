"""The choice of the temperature that is best for a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rlaif.evaluation.judges import AnnotatorJudge
from rlaif.evaluation.temperatures import choose_by_annotators, choose_by_reward, read_choice, write_choice
from rlaif.pocket.annotators import SimulatedAnnotators, preference_probability
from rlaif.pocket.source import PocketSource
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"Human: {number}\n\nAssistant:") for number in range(8)]


def same(text: str) -> list[Completion]:
    return [Completion(text=text)] * len(PROMPTS)


class WantsWord:
    """Exact annotators: P(first) is 0.9 for the one with the word, else one half; their verdicts say the contrary."""

    identity = "wants word"

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        return [0.5 + 0.4 * (("word" in c.first.text) - ("word" in c.second.text)) for c in comparisons]

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [float("word" in c.second.text) for c in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return [True] * len(prompts)


def test_the_one_that_is_preferred_to_the_others_by_exact_probabilities() -> None:
    drawn = {0.0: same("dull"), 0.5: same("a word"), 0.9: same("wild")}
    choice = choose_by_annotators(PROMPTS, drawn, AnnotatorJudge(WantsWord()))
    assert (choice.temperature, choice.num_prompts) == (0.5, 8)
    assert [item.value for item in choice.tried] == pytest.approx([(0.1 + 0.5) / 2, 0.9, (0.1 + 0.5) / 2])
    assert choice.figure().note == "simulated annotators; best of 0, 0.5, 0.9 on 8 tuning prompts"
    assert choice.table().rows[1][:2] == ("0.5 (best)", "90.0 %")


def test_of_equal_ones_the_lowest(tmp_path: Path) -> None:
    drawn = {0.9: same("a word"), 0.3: same("a word"), 0.0: same("dull")}
    choice = choose_by_annotators(PROMPTS, drawn, AnnotatorJudge(WantsWord()))
    assert choice.temperature == 0.3
    for written in (choice, None):
        write_choice(tmp_path, written)
        assert read_choice(tmp_path) == written


def test_the_highest_mean_reward() -> None:
    drawn = {0.0: same("aa"), 0.5: same("a"), 0.9: same("aaaa")}
    choice = choose_by_reward(PROMPTS, drawn, lambda prompts, responses: [-float(len(r.text)) for r in responses])
    assert choice.temperature == 0.5 and [item.value for item in choice.tried] == [-2.0, -1.0, -4.0]
    assert choice.figure().note == "the reward model; best of 0, 0.5, 0.9 on 8 tuning prompts"


def test_the_pocket_worlds_annotators_give_their_exact_probabilities() -> None:
    counts = {"num_demonstrations": 1, "num_label_prompts": 1, "num_policy_prompts": 1, "num_eval_prompts": 1}
    data = PocketSource(**counts, num_eval_preferences=300).load(Dialogue())
    pairs = [label.comparison for label in data.eval_preferences]
    exact = SimulatedAnnotators().p_first(pairs)
    assert exact == [preference_probability(pair) for pair in pairs]
    shares = [
        sum(votes) / 40 for votes in zip(*(SimulatedAnnotators().prefer(pairs, r) for r in range(40)), strict=True)
    ]
    assert sum(shares) / 300 == pytest.approx(sum(exact) / 300, abs=0.02)
    turned = [replace(pair, first=pair.second, second=pair.first) for pair in pairs]
    assert SimulatedAnnotators().p_first(turned) == pytest.approx([1 - p for p in exact])
