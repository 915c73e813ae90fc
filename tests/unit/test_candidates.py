"""Weights that a training may end with: the best of the validations, also after a kill, and the judge's choice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlaif.errors import ConfigError
from rlaif.modules.candidates import Candidate, Candidates, choose
from rlaif.modules.policy_settings import PolicySettings
from rlaif.objectives.reinforce import Reinforce

REWARDS = {0: 9.0, 2: 0.5, 4: 0.9, 6: 0.9, 8: 0.1, 10: 0.7}


def offer(candidates: Candidates, *steps: int) -> None:
    for step in steps:
        candidates.offer(step, REWARDS[step], {"weight": torch.tensor([float(step)])})


def steps(candidates: Candidates) -> list[int]:
    return [candidate.step for candidate in candidates.found()]


def test_the_highest_rewards_are_kept_of_equal_ones_the_earlier_and_never_the_start(tmp_path: Path) -> None:
    candidates = Candidates(tmp_path / "kept", 2)
    assert candidates.found() == []
    offer(candidates, 0, 2)
    assert steps(candidates) == [2]
    offer(candidates, 4, 6, 8, 10)
    assert steps(candidates) == [4, 6]
    assert candidates.load(6)["weight"].tolist() == [6.0]
    assert len(list(candidates.directory.iterdir())) == 4, "weights and rewards of two candidates"


def test_a_resumed_training_ends_with_the_candidates_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = (Candidates(tmp_path / name, 3) for name in ("whole", "cut"))
    offer(whole, 2, 4, 6, 8, 10)
    offer(cut, 2, 4, 6, 8, 10)
    cut.cut(5)
    assert steps(cut) == [4]
    offer(cut, 6, 8, 10)
    assert cut.found() == whole.found()


def test_the_judge_chooses_among_the_candidates_only() -> None:
    found = [Candidate(4, 0.9), Candidate(10, 0.7), Candidate(2, 0.5)]
    judged = {2: 0.6, 4: 0.4, 10: 0.6, 8: 0.99}
    assert choose(found, "judged", judged) == Candidate(10, 0.7), "of equal win rates the higher reward"
    assert choose(found, "judged", {2: 0.1}) == Candidate(2, 0.5), "one without a verdict is behind all others"
    assert choose(found, "best_reward", judged) == Candidate(4, 0.9)
    assert choose(found, "last", judged) is None and choose([], "judged", judged) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": "judged", "validate_every": 2}, "there is no judge"),
        ({"keep": "best_reward"}, "type policy.validate_every=40"),
        ({"judge": object()}, "judges the responses of validations"),
    ],
)
def test_a_choice_that_has_nothing_to_choose_by_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PolicySettings(
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            objective=Reinforce(),
            steps=1,
            prompts_per_step=2,
            **options,  # type: ignore[arg-type]
        )
