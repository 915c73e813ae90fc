"""A critical evaluation of AI feedback on a bandit: imitation of a good teacher against feedback on a weak student.

Source: arXiv 2402.12366, section on mechanism. The critic is perfect, and still the learned reward is right only where
the student samples: feedback moves the policy to the end of the student's range, and imitation copies the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.bandit import (
    drawn_pairs,
    expected_pairs,
    fit_rewards,
    fit_softmax,
    kl_regularized_policy,
    normal_policy,
)
from rlaif.functional.seeds import generator
from rlaif.ranges import AtLeastOne, Bounds, Positive

NUM_ACTIONS = 100
Action = Annotated[float, Bounds(0, 99)]
"""A place among the actions, 0 being the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandit:
    """Settings of the bandit; the defaults are the paper's. Options of ``rlaif-bandit`` have the same names.

    Raises:
        ConfigError: With every number that is out of its bounds.
    """

    student: Action = 40.0
    """Action that the student takes most often."""
    teacher: Action = 80.0
    """Action that the teacher takes most often."""
    variance: Positive = 150.0
    """Of both, in squared actions."""
    beta: Annotated[float, Bounds(0.001, 1000)] = 0.1
    """Weight of the KL from the student."""
    reward_steps: AtLeastOne = 7_500
    """Gradient steps of the reward table."""
    sft_steps: AtLeastOne = 15_000
    """Gradient steps of the softmax table that imitates the teacher."""
    lr: Positive = 0.01
    """Learning rate of both tables."""
    num_draws: AtLeastOne = 250_000
    """In a simulation, pairs of the student, and demonstrations of the teacher."""

    def __post_init__(self) -> None:
        problems = (problem.split("=", 1) for problem in bounds_problems(self))
        if told := [f"--{name.replace('_', '-')}={rest}" for name, rest in problems]:
            raise ConfigError(told)


class Policies(NamedTuple):
    """What a bandit ends with, each a distribution [A] over the actions."""

    student: Tensor
    teacher: Tensor
    rlaif: Tensor
    """The student after reinforcement learning from the learned reward."""
    sft: Tensor
    """After imitation of the teacher."""
    rewards: Tensor
    """[A], the learned reward: no distribution."""

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The four distributions by their names."""
        return {name: getattr(self, name) for name in ("student", "teacher", "rlaif", "sft")}


class Quality(NamedTuple):
    """One policy in numbers."""

    mean: float
    """Expected true reward: the mean action."""
    deviation: float
    mode: int
    peak: float
    """Probability of the mode."""


def solve(bandit: Bandit) -> Policies:
    """The policies with expectations in place of draws."""
    student_A, teacher_A = _actors(bandit)
    return _learned(bandit, student_A, teacher_A, expected_pairs(student_A), teacher_A)


def simulate(bandit: Bandit, seed: int) -> Policies:
    """The policies learned from draws, as in the paper.

    Args:
        bandit: The settings.
        seed: Of the draws.
    """
    student_A, teacher_A = _actors(bandit)
    pairs_AA = drawn_pairs(student_A, bandit.num_draws, generator(seed, "bandit", "pairs"))
    draws_N = torch.multinomial(teacher_A, bandit.num_draws, True, generator=generator(seed, "bandit", "teacher"))
    shares_A = torch.bincount(draws_N, minlength=NUM_ACTIONS).double() / bandit.num_draws
    return _learned(bandit, student_A, teacher_A, pairs_AA, shares_A)


def quality(policy_A: Tensor) -> Quality:
    """Mean, deviation and mode of a policy's action."""
    actions_A = torch.arange(len(policy_A), dtype=policy_A.dtype)
    mean = float(policy_A @ actions_A)
    variance = float(policy_A @ (actions_A - mean) ** 2)
    return Quality(mean=mean, deviation=variance**0.5, mode=int(policy_A.argmax()), peak=float(policy_A.max()))


def rlaif_by_student(bandit: Bandit, centers: Sequence[float]) -> list[float]:
    """Mean action of RLAIF for students of other qualities, all else equal.

    Args:
        bandit: The settings; ``student`` is passed over.
        centers: Centers of the students.
    """
    student_BA = torch.stack([normal_policy(center, bandit.variance, NUM_ACTIONS) for center in centers])
    rewards_BA = fit_rewards(expected_pairs(student_BA), steps=bandit.reward_steps, lr=bandit.lr)
    rlaif_BA = kl_regularized_policy(student_BA, rewards_BA, bandit.beta)
    return (rlaif_BA @ torch.arange(NUM_ACTIONS, dtype=rlaif_BA.dtype)).tolist()


def crossing(centers: Sequence[float], means: Sequence[float], level: float) -> float | None:
    """The student's center from which on RLAIF is better than a level, between the given centers linearly.

    Args:
        centers: Ascending.
        means: Mean action of RLAIF at each.
        level: Mean action to compare with.

    Returns:
        None where RLAIF passes the level at none of them, or is above it at the first.

    >>> crossing([40, 50, 60], [52, 62, 72], 67)
    55.0
    """
    for left, right, low, high in zip(centers, centers[1:], means, means[1:], strict=False):
        if low <= level < high:
            return left + (right - left) * (level - low) / (high - low)
    return None


def _actors(bandit: Bandit) -> tuple[Tensor, Tensor]:
    student, teacher = (
        normal_policy(center, bandit.variance, NUM_ACTIONS) for center in (bandit.student, bandit.teacher)
    )
    return student, teacher


def _learned(bandit: Bandit, student_A: Tensor, teacher_A: Tensor, pairs_AA: Tensor, shares_A: Tensor) -> Policies:
    rewards_A = fit_rewards(pairs_AA, steps=bandit.reward_steps, lr=bandit.lr)
    return Policies(
        student=student_A,
        teacher=teacher_A,
        rlaif=kl_regularized_policy(student_A, rewards_A, bandit.beta),
        sft=fit_softmax(shares_A, steps=bandit.sft_steps, lr=bandit.lr),
        rewards=rewards_A,
    )
