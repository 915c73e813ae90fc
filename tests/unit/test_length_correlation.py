"""How a reward's correlation with length is computed from pairs, and how it is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlaif.evaluation.length_correlation import NOT_FINITE, between_prompts, length_tables, within_prompts
from rlaif.modules.reward_lengths import ScoredPair

REWARDS = [(1.0, 0.5), (0.2, 0.9), (2.0, -1.0), (0.1, 0.3), (0.7, 0.6), (-0.5, 0.4)]
LENGTHS = [(12, 9), (7, 11), (20, 4), (6, 9), (8, 10), (3, 3)]
PAIRS = [
    ScoredPair(str(number), lengths, {"whole": rewards, "half": (rewards[0] / 2, rewards[1] / 2)})
    for number, (lengths, rewards) in enumerate(zip(LENGTHS, REWARDS, strict=True))
]
BROKEN = [*PAIRS, ScoredPair("6", (1, 2), {"whole": (math.nan, 0.0), "half": (0.0, math.inf)})]


def test_between_prompts_it_is_pearsons_of_the_means() -> None:
    rewards, lengths = (np.array(rows, dtype=float).mean(1) for rows in (REWARDS, LENGTHS))
    found = between_prompts(PAIRS, "whole")
    assert (found.value, found.n) == (pytest.approx(np.corrcoef(rewards, lengths)[0, 1]), 6)


def test_within_prompts_it_is_of_the_differences_about_zero() -> None:
    """Which of the two responses is first does not matter, so the differences have the mean zero."""
    rewards, lengths = (np.array(rows, dtype=float) @ [1.0, -1.0] for rows in (REWARDS, LENGTHS))
    expected = rewards @ lengths / math.sqrt((rewards @ rewards) * (lengths @ lengths))
    assert within_prompts(PAIRS, "whole").value == pytest.approx(expected)
    turned = [
        ScoredPair(pair.prompt_id, pair.lengths[::-1], {name: row[::-1] for name, row in pair.rewards.items()})
        for pair in PAIRS[:3]
    ]
    assert within_prompts([*turned, *PAIRS[3:]], "whole").value == pytest.approx(expected)


def test_a_reward_that_is_no_number_has_no_correlation() -> None:
    for name in ("whole", "half"):
        for found in (within_prompts(BROKEN, name), between_prompts(BROKEN, name)):
            assert (found.value, found.n, found.note) == (None, 7, NOT_FINITE)


def test_each_reward_has_a_row_with_its_intervals() -> None:
    (table,) = length_tables(PAIRS)
    assert table.title == "Correlation of the reward with length, 6 pairs"
    assert [row[0] for row in table.rows] == ["whole", "half"] and table.rows[0][1:] == table.rows[1][1:]
    within = within_prompts(PAIRS, "whole")
    assert within.value is not None and within.low is not None and within.high is not None
    numbers = (f"{number:.2f}".replace("-", "−") for number in (within.value, within.low, within.high))
    assert table.rows[0][1] == "{} ({} to {})".format(*numbers)
    (broken,) = length_tables(BROKEN)
    assert broken.rows[0] == ("whole", NOT_FINITE, NOT_FINITE)
    assert length_tables([]) == ()
