"""Weights that a training may end with: the best of the validations, also after a kill, and the judge's choice."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from records import assert_fixed

from rlaif.artifacts.curve import append_row
from rlaif.errors import ConfigError
from rlaif.modules.candidates import Candidate, Candidates, choose
from rlaif.modules.policy_settings import PolicySettings
from rlaif.objectives.reinforce import Reinforce
from rlaif.stages.policy import PolicyStage
from rlaif.tasks.base import Dialogue

GIVEN: dict[str, Any] = {
    "optimizer": torch.optim.AdamW,
    "lr": 1e-3,
    "objective": Reinforce(),
    "steps": 1,
    "prompts_per_step": 2,
}
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


@pytest.mark.parametrize(("takes_start", "kept"), [(True, [0]), (False, [])])
def test_the_start_is_a_candidate_where_it_may_be(takes_start: bool, kept: list[int], tmp_path: Path) -> None:
    candidates = Candidates(tmp_path / "kept", 1, takes_start=takes_start)
    offer(candidates, 0)
    assert steps(candidates) == kept
    plain = Candidates(directory=tmp_path / "plain", num=1)
    offer(plain, 0)
    assert steps(plain) == [] and not plain.directory.exists()
    offer(plain, 2)
    assert steps(plain) == [2]


def test_a_step_that_is_offered_again_has_its_new_score_and_weights(tmp_path: Path) -> None:
    """Other candidates stand on both sides of it, before and after."""
    candidates = Candidates(tmp_path / "kept", 3)
    for step, score in ((300, 0.1), (400, 0.5), (500, 0.9), (400, 0.6)):
        candidates.offer(int(str(step)), score, {"weight": torch.tensor([score])})
    assert candidates.found() == [Candidate(500, 0.9), Candidate(400, 0.6), Candidate(300, 0.1)]
    assert candidates.load(400)["weight"].item() == pytest.approx(0.6)
    candidates.offer(600, 0.05, {})
    assert steps(candidates) == [500, 400, 300]
    candidates.offer(600, 0.1, {})
    assert steps(candidates) == [500, 400, 300], "of equal scores the earlier"
    candidates.offer(200, 0.2, {})
    assert steps(candidates) == [500, 400, 200]
    candidates.offer(500, 0.01, {})
    assert steps(candidates) == [400, 200, 500], "fewer than three others are ahead of it"


def test_weights_that_are_not_among_the_best_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    save = torch.save

    def counted(weights: dict[str, torch.Tensor], path: Path) -> None:
        written.append(weights["weight"].item())
        save(weights, path)

    monkeypatch.setattr(torch, "save", counted)
    candidates = Candidates(tmp_path, 2)
    for step, score in ((6, 0.5), (8, 0.75), (10, 0.5), (2, 0.25), (4, 0.625)):
        candidates.offer(step, score, {"weight": torch.tensor(float(step))})
    assert written == [6, 8, 4] and steps(candidates) == [8, 4]


def test_a_cut_keeps_the_step_itself_and_passes_over_weights_that_are_gone(tmp_path: Path) -> None:
    candidates = Candidates(tmp_path / "new" / "kept", 4)
    for step in (300, 400, 500, 600):
        candidates.offer(step, step / 1000, {"weight": torch.zeros(1)})
    (candidates.directory / "step=000000500.pt").unlink()
    candidates.cut(int("400"))
    assert steps(candidates) == [400, 300]
    assert sorted(path.name for path in candidates.directory.iterdir()) == [
        "step=000000300.json",
        "step=000000300.pt",
        "step=000000400.json",
        "step=000000400.pt",
    ]
    assert_fixed(candidates.found()[0], is_keyword_only=False)


def test_weights_that_hold_more_than_tensors_are_not_loaded(tmp_path: Path) -> None:
    """A file from elsewhere runs no code."""
    candidates = Candidates(tmp_path, 1)
    torch.save({"weight": Path("anything")}, tmp_path / "step=000000002.pt")
    with pytest.raises(pickle.UnpicklingError):
        candidates.load(2)


def test_the_judge_chooses_among_the_candidates_only() -> None:
    found = [Candidate(4, 0.9), Candidate(10, 0.7), Candidate(2, 0.5)]
    judged = {2: 0.6, 4: 0.4, 10: 0.6, 8: 0.99}
    assert choose(found, "judged", judged) == Candidate(10, 0.7), "of equal win rates the higher reward"
    assert choose(found, "judged", {2: 0.1}) == Candidate(2, 0.5), "one without a verdict is behind all others"
    assert choose(found, "best_reward", judged) == Candidate(4, 0.9)
    assert choose(found, "judged", {2: 0.0}) == Candidate(2, 0.5), "also where the judge never prefers it"
    assert choose(found, "judged", {}) == Candidate(4, 0.9)
    assert choose(found, "last", judged) is None and choose([], "judged", judged) is None
    assert choose([], "best_reward", judged) is None and choose([], "last", judged) is None


def test_a_response_without_a_verdict_is_not_preferred_in_the_choice_of_the_weights(tmp_path: Path) -> None:
    """Of step 2 the judge has a verdict on a tenth of the pairs, and prefers 9 of 10 of these; of step 4 on all."""
    model = torch.nn.Linear(1, 1)
    candidates = Candidates(tmp_path / "candidates", 4)
    for step, reward, rate, answered in ((2, 0.9, 0.9, 0.1), (4, 0.5, 0.6, 1.0)):
        candidates.offer(step, reward, {name: torch.full_like(one, step) for name, one in model.state_dict().items()})
        append_row(tmp_path / "validation.jsonl", step, {"judge_win_rate": rate, "judge_answered": answered})
    validation = SimpleNamespace(
        has_stopped=False, watch=None, candidates=candidates, path=tmp_path / "validation.jsonl"
    )
    judge: Any = object()
    settings = PolicySettings(**GIVEN, keep="judged", validate_every=2, judge=judge)
    stage = PolicyStage(Dialogue(), settings, None, asking=None)  # type: ignore[arg-type]
    work: Any = SimpleNamespace(directory=tmp_path)
    stage._keep_chosen(work, SimpleNamespace(policy=model), validation)  # type: ignore[arg-type]
    assert model.weight.item() == 4.0
    written = json.loads((tmp_path / "checkpoints.json").read_text())
    assert written["chosen"] == 4 and [row["judge_win_rate"] for row in written["candidates"]] == [0.9, 0.6]


def test_a_choice_that_was_read_from_a_file_is_the_same_choice() -> None:
    last, best, judged = json.loads('["last", "best_reward", "judged"]')
    found = [Candidate(4, 0.9), Candidate(10, 0.7)]
    assert choose(found, last, {10: 0.6}) is None
    assert choose(found, best, {10: 0.6}) == Candidate(4, 0.9)
    assert choose(found, judged, {10: 0.6}) == Candidate(10, 0.7)


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
        PolicySettings(**GIVEN, **options)
