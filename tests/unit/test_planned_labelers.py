"""Labelers that know the whole plan: what they take from it, and that it costs no more the longer the plan is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from rlaif import types
from rlaif.engines.scripted import ScriptedEngine
from rlaif.labelers import pairwise, ranking
from rlaif.labelers.base import PlansAhead
from rlaif.labelers.pairwise import ChainOfThoughtLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Prompt, content_id

ANSWERS = {"": {"1": 0.6, "2": 0.4, "1 2": 0.6, "2 1": 0.4}}


def plan(num_pairs: int, num_prompts: int) -> list[Comparison]:
    """Two tasks, prompts in no order."""
    drawn = random.Random(num_pairs)
    return [
        Comparison(
            prompt=Prompt(task=drawn.choice(["dialogue", "summarization"]), text=str(drawn.randrange(num_prompts))),
            first=Completion(text=f"first {number}"),
            second=Completion(text=f"second {number}"),
        )
        for number in range(num_pairs)
    ]


def next_with_another_prompt(pair: Comparison, pairs: Sequence[Comparison]) -> Comparison | None:
    """Round the circle of ids, one step at a time."""
    ordered = sorted(pairs, key=lambda one: one.id)
    start = ordered.index(pair)
    for other in ordered[start:] + ordered[:start]:
        if other.prompt.task == pair.prompt.task and other.prompt.id != pair.prompt.id:
            return other
    return None


@pytest.mark.parametrize(("num_pairs", "num_prompts"), [(1, 1), (2, 1), (2, 2), (3, 2), (30, 2), (40, 5), (30, 1000)])
def test_a_rationale_of_another_pair_is_that_of_the_next_with_another_prompt(num_pairs: int, num_prompts: int) -> None:
    pairs = plan(num_pairs, num_prompts)
    found = pairwise._partners({pair.id: pair for pair in pairs})
    expected = {pair.id: next_with_another_prompt(pair, pairs) for pair in pairs}
    assert found == {key: partner for key, partner in expected.items() if partner is not None}


def other_rationales() -> PlansAhead:
    return ChainOfThoughtLabeler(JudgePrompts(), ScriptedEngine(ANSWERS), rationale="other")


def rankings() -> PlansAhead:
    return RankingLabeler(JudgePrompts(), ScriptedEngine(ANSWERS), max_candidates=2)


@pytest.mark.parametrize("labeler", [other_rationales, rankings])
def test_twice_the_plan_is_twice_the_work(labeler: Callable[[], PlansAhead], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in strings that are hashed, when the plan is labeled in batches of ten."""
    hashed = 0

    def counting(*parts: str) -> str:
        nonlocal hashed
        hashed += len(parts)
        return content_id(*parts)

    for module in (types, pairwise, ranking):
        monkeypatch.setattr(module, "content_id", counting)
    work = []
    for num_pairs in (200, 400):
        hashed = 0
        pairs = plan(num_pairs, 1000)
        planned = labeler().for_plan(pairs)
        for start in range(0, num_pairs, 10):
            planned.label(pairs[start : start + 10])
        work.append(hashed)
    assert work[1] == pytest.approx(2 * work[0], rel=0.1)
