"""A labeler's preference for length beyond people's.

Longer texts are often better, so a labeler that prefers them need not be biased: what counts is what it prefers
where people would be split. People are few and noisy: a regression on their raw votes mistakes their noise for
the labeler's taste. Several votes per pair show how noisy they are, and take it off again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rlaif.functional.statistics import Clusters, Estimate, Values, checked_rows, cluster_index, undefined

Vector = NDArray[np.float64]

ONE_VOTE = "one vote per pair: where longer texts are better, people's noise makes this read high"


def rate_at_equal_preference(
    verdicts: Values, votes: Sequence[Sequence[float]], clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """Share of verdicts for the longer text that a line through (people's preference, verdict) has at one half.

    With y the labeler's verdict for the longer text, x the mean of people's votes for it, and u the mean product
    of two different people's votes on one pair, the slope is cov(x, y) / (mean u - mean² x): the denominator is the
    variance of people's preference without their noise (errors in variables, method of moments; Fuller 1987). A
    labeler that votes like one more person reads one half exactly, whatever people prefer; one that prefers the
    longer in a share d of all pairs and votes like a person in the others reads one half plus d / 2. With one vote
    per pair u is x², which controls for people's preference in part only.

    The interval is Fieller's (1954) for the ratio, clustered: it stays right where the denominator is uncertain. Where
    the denominator is not above its own noise, the ratio is biased and its interval has no end: the rate is then
    undefined.

    Args:
        verdicts: One per pair, 1 for the longer text, 0 against, 0.5 a tie.
        votes: People's votes on the same pairs, likewise, at least one per pair.
        clusters: Prompt of each pair.
        confidence: Coverage of the interval.

    Returns:
        A rate; undefined where people's preference is not seen to vary between pairs.

    >>> y, votes = [1.0, 1.0, 1.0, 0.0] * 5, [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]] * 5
    >>> rate_at_equal_preference(y, votes).value
    0.75
    """
    y = checked_rows("verdicts", verdicts, low=0.0, high=1.0)
    if y.size != len(votes):
        raise ValueError(f"rate_at_equal_preference: {y.size} verdicts for {len(votes)} rows of votes")
    index, num_clusters = cluster_index(clusters, y.size)
    several = all(len(row) > 1 for row in votes)
    x = checked_rows("votes", [sum(row) / len(row) for row in votes], low=0.0, high=1.0)
    u = np.array([_mean_product(row) for row in votes]) if several else x * x
    if num_clusters < 2:
        return undefined(num_clusters, "fewer than two prompts")
    away_x, away_y, left = x - x.mean(), y - y.mean(), 0.5 - float(x.mean())
    spread, covariance = float(u.mean() - x.mean() ** 2), float((away_x * away_y).mean())
    change_of_spread = u - u.mean() - 2.0 * x.mean() * away_x
    change_of_covariance = away_x * away_y - covariance
    change = away_y * spread + y.mean() * change_of_spread + left * change_of_covariance - covariance * away_x
    ratio = _Ratio(float(y.mean()) * spread + left * covariance, spread, *_sums(index, change, change_of_spread))
    ends = ratio.interval(float(stats.t.ppf(0.5 + confidence / 2, num_clusters - 1)))
    if ends is None:
        return undefined(num_clusters, "people's preference is not seen to vary between pairs")
    rate, low, high = (min(1.0, max(0.0, end)) for end in (ratio.above / ratio.below, *ends))
    return Estimate(rate, low, high, num_clusters, "" if several else ONE_VOTE)


class _Ratio(NamedTuple):
    """A ratio of two estimates with their variances and covariance."""

    above: float
    below: float
    var_above: float
    var_below: float
    covariance: float

    def interval(self, t: float) -> tuple[float, float] | None:
        """Ratios r for which above - r · below is within t standard errors of 0; None where they have an open end."""
        a = self.below**2 - t * t * self.var_below
        b = self.above * self.below - t * t * self.covariance
        c = self.above**2 - t * t * self.var_above
        if self.below <= 0.0 or a <= 1e-12:
            return None
        half = math.sqrt(max(0.0, b * b - a * c)) / a
        return b / a - half, b / a + half


def _sums(index: NDArray[np.intp], change: Vector, change_of_spread: Vector) -> tuple[float, float, float]:
    """Variances and covariance of the means of two columns of changes, clustered."""
    one, two = np.bincount(index, change), np.bincount(index, change_of_spread)
    factor = one.size / (one.size - 1) / index.size**2
    return factor * float(one @ one), factor * float(two @ two), factor * float(one @ two)


def _mean_product(votes: Sequence[float]) -> float:
    """Mean product of two different people's votes: an unbiased estimate of the squared preference."""
    total, squares = sum(votes), sum(vote * vote for vote in votes)
    return (total * total - squares) / (len(votes) * (len(votes) - 1))
