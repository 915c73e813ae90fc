"""Evidence that a mean has fallen, looked at again and again: e-values by betting.

Shapes: L looks, N rows (prompts), K bets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from rlaif.functional.statistics import Values

BETS_K = np.arange(1, 10) / 10.0
"""Shares of the largest bet that can never lose more than there is."""
SPANS = (1, 2, 4)
"""Lengths of the stretches of looks that are compared with each other."""
LARGEST_LOG = 600.0
"""Evidence beyond e to this power is not told apart."""


def log_fall_evidence(before: Values, after: Values, margin: float = 0.0) -> float:
    """Natural logarithm of an e-value against "the mean of ``after`` is at most ``margin`` below that of ``before``".

    Each row bets a share λ of what there is on the fall of that row: Π (1 + λ (before - after - margin)), averaged over
    nine λ up to the largest allowed one, 1 / (1 + margin). Its expectation is at most 1 where the statement holds and
    rows are independent, whatever the distribution of the numbers and the dependence between the two of a row, so that
    it reaches 1/α with probability at most α (Markov; Waudby-Smith & Ramdas 2024, arXiv 2010.09686, section 4). The
    order of the rows has no effect.

    Args:
        before: N numbers in [0, 1]; NaN where unknown. A row counts where both are known.
        after: The same rows later.
        margin: At least 0 and below 1.

    Returns:
        0 without a row: an e-value of 1 says nothing.

    Raises:
        ValueError: A number is outside [0, 1], or the rows differ in number.

    >>> round(math.exp(log_fall_evidence([1.0], [0.0])), 6), round(math.exp(log_fall_evidence([0.5], [0.5])), 6)
    (1.5, 1.0)
    """
    a_N, b_N = _shares("before", before), _shares("after", after)
    if a_N.size != b_N.size:
        raise ValueError(f"log_fall_evidence: {a_N.size} rows before, {b_N.size} after")
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"log_fall_evidence: margin={margin} is not from 0 to below 1")
    falls_N = (a_N - b_N)[~np.isnan(a_N - b_N)] - margin
    log_wealth_K = np.log1p(np.outer(BETS_K / (1.0 + margin), falls_N)).sum(-1)
    return float(logsumexp(log_wealth_K) - math.log(BETS_K.size))


def num_comparisons(num_looks: int) -> int:
    """Pairs of equally long stretches of looks, one after the other, that :func:`evidence_over_looks` compares.

    >>> [num_comparisons(looks) for looks in (1, 2, 4, 11)]
    [0, 1, 7, 101]
    """
    return sum(left * (left + 1) // 2 for span in SPANS if (left := num_looks - 2 * span + 1) > 0)


def evidence_over_looks(
    scores: Sequence[Values], rewards: Sequence[float], *, num_looks: int, margin: float = 0.0
) -> list[float]:
    """Evidence, at each look, that mean scores fell while mean rewards rose.

    Stretches of 1, 2 and 4 consecutive looks are compared with each later stretch of the same length, by the mean of
    each row over a stretch: that of several looks has less noise, that of one is there earlier. The e-values of all
    comparisons up to now are divided by the number of those that are planned: their mean, where those to come count 0.
    The mean of e-values is an e-value under any dependence (Vovk & Wang 2021, arXiv 1912.06116, section 3), and this
    one never falls, so it reaches 1/α at any look with probability at most α where no mean score is ever more than
    ``margin`` below an earlier one. A comparison whose reward did not rise, or without a row that is known in both
    stretches, counts 0, which only lowers it.

    Args:
        scores: Of each look so far, the N rows' numbers in [0, 1], NaN where unknown; the rows are the same prompts.
            Whether a number is known must not depend on what it is.
        rewards: Mean reward at each look; where one is NaN, the comparison counts without it.
        num_looks: Looks that are planned, at least as many as there are.
        margin: As in :func:`log_fall_evidence`.

    Returns:
        One e-value per look, at most about e to the power of :data:`LARGEST_LOG`.

    Raises:
        ValueError: There are more looks than planned, or their numbers differ.

    >>> [round(e, 3) for e in evidence_over_looks([[1.0], [0.0], [0.0]], [0.0, 1.0, 2.0], num_looks=3)]
    [0.0, 0.5, 1.333]
    """
    if len(scores) > num_looks or len(scores) != len(rewards):
        raise ValueError(f"evidence_over_looks: {len(scores)} looks, {len(rewards)} rewards, {num_looks} planned")
    scores_LN = [_shares("scores", row) for row in scores]
    planned, evidence, total = max(1, num_comparisons(num_looks)), [], 0.0
    for end in range(1, len(scores) + 1):
        total += sum(_ending_at(scores_LN[:end], rewards[:end], span, margin) for span in SPANS)
        evidence.append(total / planned)
    return evidence


def _ending_at(scores_LN: Sequence[NDArray[np.float64]], rewards: Sequence[float], span: int, margin: float) -> float:
    """Sum of the e-values that compare the last ``span`` looks with each earlier stretch of that length."""
    start, total = len(rewards) - span, 0.0
    for first in range(start - span + 1):
        stretch = slice(first, first + span)
        if np.mean(rewards[start:]) <= np.mean(rewards[stretch]):
            continue
        before_N, after_N = _row_means(scores_LN[stretch]), _row_means(scores_LN[start:])
        if np.isnan(before_N - after_N).all():
            continue
        total += math.exp(min(log_fall_evidence(before_N, after_N, margin), LARGEST_LOG))
    return total


def _row_means(scores_LN: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean of each row over the looks at which it is known; NaN where it never is."""
    stacked_LN = np.stack(scores_LN)
    known_N = (~np.isnan(stacked_LN)).sum(0)
    sums_N = np.nansum(stacked_LN, axis=0)
    return np.minimum(1.0, np.divide(sums_N, known_N, out=np.full(sums_N.shape, np.nan), where=known_N > 0))


def share_ranked_alike(gaps: Values, verdicts: Values) -> float | None:
    """Share of pairs that a score ranks as a judge does: accuracy of a reward on pairs.

    Args:
        gaps: Score of the first minus that of the second of each pair; NaN where one has none.
        verdicts: Probability in [0, 1] that the first is better; NaN where unknown. One half decides nothing.

    Returns:
        Over the pairs that have a score and a decided verdict, equal scores counting one half; None without any.

    >>> share_ranked_alike([2.0, -1.0, 0.0, 3.0], [0.9, 0.8, 0.1, 0.5])
    0.5
    """
    gap_N, verdict_N = np.asarray(gaps, dtype=np.float64), _shares("verdicts", verdicts)
    decided_N = ~np.isnan(gap_N) & ~np.isnan(verdict_N) & (verdict_N != 0.5)
    if not decided_N.any():
        return None
    agrees_N = np.sign(gap_N[decided_N]) * np.sign(verdict_N[decided_N] - 0.5)
    return float((0.5 + agrees_N / 2.0).mean())


def _shares(name: str, values: Values) -> NDArray[np.float64]:
    row_N = np.asarray(values, dtype=np.float64)
    if row_N.ndim != 1 or ((row_N < 0.0) | (row_N > 1.0)).any():
        raise ValueError(f"{name}: wanted numbers between 0 and 1 in one row")
    return row_N
