"""The bandit's numbers on distributions small enough to read, and with few steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlaif.evaluation.bandit import NUM_ACTIONS, Bandit, crossing, quality, rlaif_by_student, simulate, solve

QUICK = Bandit(reward_steps=30, sft_steps=30, num_draws=200)


def test_mean_deviation_mode_and_peak_of_three_actions() -> None:
    found = quality(torch.tensor([0.5, 0.125, 0.375], dtype=torch.float64))
    assert (found.mean, found.mode, found.peak) == (0.875, 0, 0.5)
    assert found.deviation == pytest.approx((0.5 * 0.875**2 + 0.125 * 0.125**2 + 0.375 * 1.125**2) ** 0.5)


@pytest.mark.parametrize(
    ("means", "level", "center"),
    [
        ([52, 62, 72], 52, 40.0),
        ([52, 62, 72], 57, 45.0),
        ([52, 62, 72], 62, 50.0),
        ([52, 62, 72], 71, 59.0),
        ([52, 62, 72], 72, None),  # reached at the last, not passed
        ([52, 62, 72], 51, None),  # above it at the first
        ([72, 62, 52], 60, None),
        ([52, 62, 52], 57, 45.0),
    ],
)
def test_the_center_from_which_on_feedback_is_better(means: list[float], level: float, center: float | None) -> None:
    assert crossing([40, 50, 60], means, level) == center


def test_every_policy_is_a_distribution_over_a_hundred_actions_and_feedback_moves_the_student() -> None:
    found = solve(QUICK)
    assert list(found.by_name) == ["student", "teacher", "rlaif", "sft"] and NUM_ACTIONS == 100
    for policy in found.by_name.values():
        assert policy.shape == (100,) and float(policy.sum()) == pytest.approx(1.0)
    assert quality(found.student).mode == 40 and quality(found.teacher).mode == 80
    assert quality(found.rlaif).mean > quality(found.student).mean
    assert found.rewards[80] > found.rewards[20]


def test_students_of_several_qualities_are_solved_as_one_by_one() -> None:
    centers = [30.0, 60.0]
    means = [quality(solve(replace(QUICK, student=center)).rlaif).mean for center in centers]
    assert rlaif_by_student(QUICK, centers) == pytest.approx(means)


def test_a_simulation_depends_on_its_seed_alone() -> None:
    one, again, other = (simulate(QUICK, seed) for seed in (1, 1, 2))
    assert torch.equal(one.rlaif, again.rlaif) and torch.equal(one.sft, again.sft)
    assert not torch.equal(one.rlaif, other.rlaif) and not torch.equal(one.sft, other.sft)
    assert torch.equal(one.student, solve(QUICK).student)
    assert one.sft.argmax() != one.student.argmax(), "imitation is of the teacher's draws"
