"""The probability that a judge's answers have together: where it is tiny, their shares of it are noise."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rlaif.errors import ConfigError
from rlaif.outcome import OptionScores
from rlaif.reasons import kind_of, low_answer_mass
from rlaif.types import Judgment


def check_minimum(minimum: float) -> None:
    """Refuse a minimum that is no probability.

    Raises:
        ConfigError: It is outside [0, 1].
    """
    if not 0.0 <= minimum <= 1.0:
        raise ConfigError(f"labeler.min_answer_mass={minimum:g}: must be between 0 and 1")


def answer_mass(scores: OptionScores) -> float | None:
    """Probability in [0, 1] that the model gives one of the answers; of votes the share that could be read.

    Args:
        scores: Of bounded options the interval's lower end, 0, counts: the sum is what the answers have at least.

    Returns:
        None where it is unknown: nothing was obtained.

    >>> round(answer_mass(OptionScores(logprobs=(math.log(0.6), math.log(0.3), -9.0), bounded=(2,))), 3)
    0.9
    """
    if scores.logprobs is None:
        return None
    exact = (logprob for index, logprob in enumerate(scores.logprobs) if index not in scores.bounded)
    return min(1.0, math.fsum(map(math.exp, exact)))


def why_too_low(mass: float | None, minimum: float) -> str | None:
    """The reason why a judgement is missing; None where the mass is enough, or unknown."""
    return None if mass is None or mass >= minimum else low_answer_mass(mass, minimum)


def reasons_of(judgments: Iterable[Judgment]) -> str | None:
    """The reason of a label whose judgements are missing: each kind once; None where none is missing."""
    kinds = dict.fromkeys(kind_of(judgment.missing) for judgment in judgments if judgment.missing is not None)
    return "; ".join(kinds) or None
