"""Rewards that are missing: why, and the share of a step from which on a run stops."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rlaif.errors import ConfigError, GateStopped
from rlaif.rewards.base import Cause
from rlaif.types import Judgment

REASONS_SHOWN = 3
NONE_GIVEN: Cause = "none given"
"""Nobody was to judge the response, or the reward does not tell why it gave none."""


def check_rate(max_missing_rate: float) -> None:
    """Refuse a limit that is no share.

    Raises:
        ConfigError: It is outside [0, 1].
    """
    if not 0.0 <= max_missing_rate <= 1.0:
        raise ConfigError(f"reward.max_missing_rate={max_missing_rate:g}: must be between 0 and 1")


def judged_cause(missing: str | None, judgments: Iterable[Judgment]) -> Cause | None:
    """Why a judged response or pair has no verdict.

    Args:
        missing: The reason; None where there is a verdict.
        judgments: The evidence. Where one judgement failed, asking again may help, so the cause is ``failed``.
    """
    if missing is None:
        return None
    absent = [judgment for judgment in judgments if judgment.missing is not None]
    if not absent:
        return NONE_GIVEN
    return "unreadable" if all(judgment.unreadable for judgment in absent) else "failed"


_step: ContextVar[defaultdict[int, list[str | None]] | None] = ContextVar("step", default=None)
"""Reasons of the step so far by the reward that they were told to."""


@contextmanager
def one_step(earlier: Sequence[str | None] = ()) -> Iterator[None]:
    """Calls of a reward inside are one policy step to :func:`check_missing`: some of them are about few responses.

    Args:
        earlier: Reasons of what was rewarded in the step before a kill; None where there is a reward.
    """
    token = _step.set(defaultdict(lambda: list(earlier)))
    try:
        yield
    finally:
        _step.reset(token)


def check_missing(
    reasons: Sequence[str | None], max_missing_rate: float, *, reward: object, what: str = "responses"
) -> None:
    """Stop where too much of a step is missing.

    Args:
        reasons: Of all that was judged in a call of a reward; None where there is a verdict. Within :func:`one_step`
            those of earlier calls count, too.
        max_missing_rate: Share that may be missing, in [0, 1].
        reward: Whose call it is.
        what: What was judged, in words.

    Raises:
        GateStopped: More is missing.
    """
    step = _step.get()
    judged = [] if step is None else step[id(reward)]
    judged += reasons
    missing = Counter(reason for reason in judged if reason is not None)
    if missing.total() > max_missing_rate * len(judged):
        told = "; ".join(f"{count} × {reason}" for reason, count in missing.most_common(REASONS_SHOWN))
        raise GateStopped(
            f"reward.max_missing_rate={max_missing_rate:g}: {missing.total()} of {len(judged)} {what} of this step "
            f"have no score ({told}). Start again to go on from the last checkpoint once the cause is mended, or raise "
            "reward.max_missing_rate to accept it."
        )


def worst_cause(causes: Iterable[Cause | None]) -> Cause | None:
    """The cause of a reward that is made of several; None where none of them is missing.

    >>> worst_cause([None, "unreadable", "failed"]), worst_cause([None])
    ('failed', None)
    """
    found = set(causes)
    order: tuple[Cause, ...] = ("failed", "unreadable", NONE_GIVEN)
    return next((cause for cause in order if cause in found), None)


def causes_of(causes: tuple[Cause | None, ...], is_scored: Sequence[bool]) -> list[Cause | None]:
    """The causes of a batch; those of a reward that tells none are ``none given``.

    Args:
        causes: As in :class:`~rlaif.rewards.base.RewardBatch`.
        is_scored: Which responses have a reward.
    """
    told: Sequence[Cause | None] = causes or [NONE_GIVEN] * len(is_scored)
    return [None if scored else cause or NONE_GIVEN for scored, cause in zip(is_scored, told, strict=True)]
