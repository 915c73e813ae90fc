"""Rates with the effect of response length taken out (arXiv 2309.00267, appendix J).

A logistic regression of the outcome on one feature, a length ratio, with an intercept and without
regularization; the figure is its prediction at ratio 1.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from rlaif.functional.statistics import (
    ROUNDING,
    Clusters,
    Estimate,
    Values,
    checked_rows,
    cluster_index,
    undefined,
    varies,
)


def length_controlled_win_rate(
    preference: Values, chars_a: Values, chars_b: Values, clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """Win rate of A over B had their responses the same length.

    Args:
        preference: P(A is better) or a verdict in {0, 0.5, 1}, without NaN. A row with y counts as a win of
            weight y and a loss of weight 1 - y.
        chars_a: Characters of A's response.
        chars_b: Characters of B's response; rows with 0 have no ratio, are left out, and counted in ``note``.
        clusters: Prompt of each row.
        confidence: Coverage of the interval.

    Returns:
        Rate in (0, 1); undefined (value None) where the regression has no solution.

    >>> length_controlled_win_rate([1.0, 1.0], [10, 20], [10, 10]).note
    'one side has every win: the regression has no solution'
    """
    y = checked_rows("preference", preference, low=0.0, high=1.0)
    a, b = checked_rows("chars_a", chars_a, low=0.0), checked_rows("chars_b", chars_b, low=0.0)
    index, _ = cluster_index(clusters, y.size)
    kept = b > 0
    estimate = logistic_rate_at_one(a[kept] / b[kept], y[kept], index[kept], confidence)
    left_out = int((~kept).sum())
    if not left_out:
        return estimate
    return estimate._replace(note="; ".join(filter(None, [estimate.note, f"{left_out} rows with empty B left out"])))


def length_controlled_rate(
    outcome: Values,
    chars: Values,
    mean_reference_chars: float,
    clusters: Clusters = None,
    confidence: float = 0.95,
) -> Estimate:
    """Rate of an outcome judged on single responses (harmless rate) at the reference's mean length.

    Args:
        outcome: 1 or 0 (harmless or not) or a probability, without NaN.
        chars: Characters of each response.
        mean_reference_chars: Mean characters of the SFT responses; the feature is ``chars`` over this.
        clusters: Prompt of each row.
        confidence: Coverage of the interval.
    """
    if not mean_reference_chars > 0:
        return undefined(0, "the reference responses are empty")
    ratio = checked_rows("chars", chars, low=0.0) / mean_reference_chars
    return logistic_rate_at_one(ratio, outcome, clusters, confidence)


def logistic_rate_at_one(
    ratio: Values, outcome: Values, clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """Prediction at ratio 1 of P(outcome) = σ(a + b · (ratio - 1)), by maximum likelihood.

    The interval is cluster-robust (sandwich, with G/(G-1) · (N-1)/(N-2) and t of G - 1 degrees of freedom) on
    the log-odds, and mapped through σ.
    """
    ratios = checked_rows("ratio", ratio)
    y = checked_rows("outcome", outcome, low=0.0, high=1.0)
    if ratios.size != y.size:
        raise ValueError(f"length control: {ratios.size} ratios for {y.size} outcomes")
    index, num_clusters = cluster_index(clusters, ratios.size)
    reason = _no_solution(ratios, y)
    if reason:
        return undefined(num_clusters, reason)
    x = ratios - 1.0
    scale = float(x.std())
    design = np.column_stack([np.ones_like(x), x / scale])
    weights = _fit(design, y)
    p = expit(design @ weights)
    scores = design * (y - p)[:, None]
    if np.abs(scores.mean(0)).max() > 1e-6:
        return undefined(num_clusters, "the regression did not converge")
    value = float(expit(weights[0]))
    if num_clusters < 3:
        return Estimate(value, None, None, num_clusters, "fewer than three clusters have no interval")
    bread = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    sums = np.column_stack([np.bincount(index, column) for column in scores.T])
    # The first diagonal entry of bread @ sums.T @ sums @ bread, as a sum of squares: rounding cannot make it negative.
    variance = float(np.square(sums @ bread[:, 0]).sum())
    if variance < ROUNDING**2:
        return Estimate(value, None, None, num_clusters, "the rows at this length leave no spread: no interval")
    correction = num_clusters / (num_clusters - 1) * (x.size - 1) / (x.size - 2)
    half = float(stats.t.ppf(0.5 + confidence / 2, num_clusters - 1)) * math.sqrt(correction * variance)
    return Estimate(value, float(expit(weights[0] - half)), float(expit(weights[0] + half)), num_clusters)


def _no_solution(ratios: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Why the maximum-likelihood fit does not exist (Albert & Anderson 1984), or an empty string."""
    if not ratios.size:
        return "no rows"
    wins, losses = ratios[y > 0], ratios[y < 1]
    if not wins.size or not losses.size:
        return "one side has every win: the regression has no solution"
    if not varies(ratios):
        return "every length ratio is the same: the slope is undetermined"
    rounding = ROUNDING * float(np.abs(ratios).max())
    if wins.max() <= losses.min() + rounding or losses.max() <= wins.min() + rounding:
        return "the length ratio separates wins from losses: the regression has no solution"
    return ""


def _fit(design: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the unregularized logistic regression; a soft target is two weighted rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=200)
    targets = np.concatenate([np.ones_like(y), np.zeros_like(y)])
    with warnings.catch_warnings():  # the caller looks at the gradient itself
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.concatenate([design, design]), targets, sample_weight=np.concatenate([y, 1.0 - y]))
    return np.asarray(model.coef_[0], dtype=np.float64)
