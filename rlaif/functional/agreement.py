"""Agreement of two sources of preferences: alignment, two raters, rankings, position bias.

Source: arXiv 2309.00267, sections 2.1.1 and 2.4, appendix on rater agreement. Ties are not specified
there; a tie counts 0.5 here, which is the agreement to expect when ties are broken by a fair coin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal, stats
from torch import Tensor

from rlaif.functional.labels import preference_sign, same_slot
from rlaif.functional.statistics import Clusters, Estimate, cluster_index, clustered_mean, clustered_rate, undefined


def agreement_scores(p_first_a_B: Tensor, p_first_b_B: Tensor) -> Tensor:
    """Agreement of two labels of each comparison, made hard first: 1 for the same candidate.

    Args:
        p_first_a_B: Soft or hard P(first is better), NaN when missing.
        p_first_b_B: The same of the other source.

    Returns:
        [B]: 1 agree, 0 disagree, 0.5 where either is a tie, NaN where either is missing.

    >>> import torch
    >>> agreement_scores(torch.tensor([0.9, 0.4, 0.5]), torch.tensor([1.0, 1.0, 0.0]))
    tensor([1.0000, 0.0000, 0.5000])
    """
    return 0.5 + 0.5 * preference_sign(p_first_a_B) * preference_sign(p_first_b_B)


def alignment(
    p_first_ai_B: Tensor, p_first_human_B: Tensor, clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """AI labeler alignment z_acc: share of comparisons where the AI's preferred candidate is the human's.

    Also the agreement of two raters, and with hard labels the accuracy of a reward model.

    Args:
        p_first_ai_B: Soft labels without NaN.
        p_first_human_B: Human labels: 1, 0, or 0.5 for a tie.
        clusters: Prompt of each comparison.
        confidence: Coverage of the interval.

    >>> import torch
    >>> alignment(torch.tensor([0.9, 0.4, 0.5, 0.6]), torch.tensor([1.0, 1.0, 0.0, 1.0])).value
    0.625
    """
    return clustered_rate(agreement_scores(p_first_ai_B, p_first_human_B), clusters, confidence)


class PositionBiasEstimate(NamedTuple):
    """Rate at which a labeler prefers a slot rather than a candidate, and the slot."""

    same_slot: Estimate
    """Share of comparisons with the same slot preferred in both orders; ties count 0.5."""
    first_slot_share: Estimate
    """Among those with the same slot in both orders (no ties): share that prefers slot 1."""
    p_value: float | None
    """Two-sided test of that share against one half by :func:`sign_flip_p_value`; None when no row prefers a slot."""


def position_bias(
    p_first_given_B: Tensor, p_first_swapped_B: Tensor, clusters: Clusters = None, confidence: float = 0.95
) -> PositionBiasEstimate:
    """Measure position bias (paper 1, Table 4).

    Args:
        p_first_given_B: P(first) in the given order, without NaN.
        p_first_swapped_B: P(first), already re-indexed, in the swapped order, without NaN.
        clusters: Prompt of each comparison.
        confidence: Coverage of the intervals.

    >>> import torch
    >>> bias = position_bias(torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([0.3, 0.4, 0.6, 0.1]))
    >>> bias.same_slot.value, bias.first_slot_share.value, bias.p_value
    (0.5, 1.0, 0.5)
    """
    indicator_B = same_slot(p_first_given_B, p_first_swapped_B)
    overall = clustered_rate(indicator_B, clusters, confidence)
    biased_B = indicator_B == 1.0
    prefers_slot1 = (p_first_given_B[biased_B] > 0.5).double()
    if not prefers_slot1.numel():
        return PositionBiasEstimate(overall, undefined(0, "no comparison has the same slot in both orders"), None)
    kept = None if clusters is None else np.asarray(clusters)[biased_B.cpu().numpy()]
    p_value = sign_flip_p_value(prefers_slot1 > 0.5, kept)
    return PositionBiasEstimate(overall, clustered_rate(prefers_slot1, kept, confidence), p_value)


def sign_flip_p_value(is_first_B: Tensor, clusters: Clusters = None) -> float:
    """Two-sided test that both of two answers are equally likely, exact over sign flips of whole clusters.

    The statistic is the number of first answers less that of second ones. Each cluster adds its own difference, with
    either sign equally likely, so that answers that agree within a prompt are not taken for several. Where every
    comparison is its own cluster this is the two-sided binomial test (paper 1, Table 4).

    Args:
        is_first_B: True for the first answer; at least one row.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.

    Returns:
        Probability of a difference at least as large.

    >>> import torch
    >>> sign_flip_p_value(torch.tensor([True] * 4)), sign_flip_p_value(torch.tensor([True] * 4), [0, 0, 1, 1])
    (0.125, 0.5)
    """
    signs = np.where(is_first_B.cpu().numpy(), 1, -1)
    index, _ = cluster_index(clusters, signs.size)
    differences = np.bincount(index, signs).astype(np.int64)
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chance = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        kernel = np.zeros(2 * size * count + 1)
        kernel[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chance = signal.convolve(chance, kernel, method="direct")  # by Fourier, small probabilities drown in rounding
    reach, observed = (chance.size - 1) // 2, abs(int(differences.sum()))
    return min(1.0, float(chance[np.abs(np.arange(-reach, reach + 1)) >= observed].sum()))


def kendalls_w(scores_MN: ArrayLike) -> float | None:
    """Kendall's coefficient of concordance of M raters over N items, corrected for ties.

    Raters who rank at random have 1 / M in the mean, not 0.

    W = 12 S / (m²(n³ - n) - m Σ T), S = Σ (R_i - R̄)² over the rank sums, T = Σ (t³ - t) over each rater's ties.

    Args:
        scores_MN: Ranks or scores, one row per rater; equal values tie.

    Returns:
        W in [0, 1]; None where it is undefined: every rater ties all items.

    >>> kendalls_w([[1, 2, 3], [1, 2, 3], [1, 3, 2]])
    0.7777777777777778
    """
    scores = np.asarray(scores_MN, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError("kendalls_w: a score is NaN; leave the instance out first")
    num_raters, num_items = scores.shape
    ranks = stats.rankdata(scores, axis=1)
    spread = float(((ranks.sum(0) - num_raters * (num_items + 1) / 2) ** 2).sum())
    ties = sum(float((counts**3 - counts).sum()) for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    largest = num_raters**2 * (num_items**3 - num_items) - num_raters * ties
    return 12.0 * spread / largest if largest > 0 else None


def mean_kendalls_w(instances: Iterable[ArrayLike], clusters: Clusters = None, confidence: float = 0.95) -> Estimate:
    """Mean of :func:`kendalls_w` over instances (the paper does not say how it pools); the note says what chance gives.

    Args:
        instances: One raters x items table per instance; a table without a W (all tied) is left out.
        clusters: Prompt of each instance.
        confidence: Coverage of the interval.

    >>> mean_kendalls_w([[[1, 2], [1, 2]], [[1, 2], [2, 1]]]).value
    0.5
    """
    tables = list(instances)
    values = [kendalls_w(scores) for scores in tables]
    kept = [number for number, value in enumerate(values) if value is not None]
    labels = None if clusters is None else [np.asarray(clusters)[number].item() for number in kept]
    estimate = clustered_mean([value for value in values if value is not None], labels, confidence)
    left_out = len(values) - len(kept)
    notes = [f"{left_out} instances where all is tied left out"] if left_out else []
    raters = sorted({np.shape(scores)[0] for scores in tables})
    if estimate.value is not None:
        notes.append(
            f"raters who rank at random have {' or '.join(f'{1 / count:.3f}' for count in raters)} in the mean"
        )
    return estimate._replace(note="; ".join(filter(None, [estimate.note, *notes])))
