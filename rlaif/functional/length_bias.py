"""A labeler's preference for length beyond people's.

Longer texts are often better, so a labeler that prefers them need not be biased: what counts is what it prefers
where people would be split. People are few and noisy: a regression on their raw votes mistakes their noise for
the labeler's taste. Several votes per pair show how noisy they are, and take it off again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlaif.functional.statistics import Clusters, Estimate, Values, checked_rows, clustered_mean, undefined

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

    The interval is that of the estimator's linearization, clustered.

    Args:
        verdicts: One per pair, 1 for the longer text, 0 against, 0.5 a tie.
        votes: People's votes on the same pairs, likewise, at least one per pair.
        clusters: Prompt of each pair.
        confidence: Coverage of the interval.

    Returns:
        A rate; undefined where people's preference does not vary between pairs.

    >>> rate_at_equal_preference([1.0, 1.0, 1.0, 0.0], [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]).value
    0.75
    """
    y = checked_rows("verdicts", verdicts, low=0.0, high=1.0)
    if y.size != len(votes):
        raise ValueError(f"rate_at_equal_preference: {y.size} verdicts for {len(votes)} rows of votes")
    several = all(len(row) > 1 for row in votes)
    x = checked_rows("votes", [sum(row) / len(row) for row in votes], low=0.0, high=1.0)
    u = np.array([_mean_product(row) for row in votes]) if several else x * x
    spread = float(u.mean() - x.mean() ** 2) if y.size else 0.0
    if spread <= 1e-12:
        return undefined(y.size, "people's preference does not vary between pairs")
    slope = float((x * y).mean() - x.mean() * y.mean()) / spread
    value = float(y.mean()) + slope * (0.5 - float(x.mean()))
    away_x, away_y = x - x.mean(), y - y.mean()
    change_of_covariance = away_x * away_y - (away_x * away_y).mean()
    change_of_spread = u - u.mean() - 2.0 * x.mean() * away_x
    change_of_slope = (change_of_covariance - slope * change_of_spread) / spread
    influence = away_y - slope * away_x + (0.5 - x.mean()) * change_of_slope
    estimate = clustered_mean(value + influence, clusters, confidence)
    rate, low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (value, estimate.low, estimate.high))
    return Estimate(rate, low, high, estimate.n, estimate.note if several else ONE_VOTE)


def _mean_product(votes: Sequence[float]) -> float:
    """Mean product of two different people's votes: an unbiased estimate of the squared preference."""
    total, squares = sum(votes), sum(vote * vote for vote in votes)
    return (total * total - squares) / (len(votes) * (len(votes) - 1))
