"""From the log-probabilities of a judge's answers to a soft label.

Shapes: B comparisons, K answer options, R rankings. A missing label is NaN in every
function here, never a number. Source: arXiv 2309.00267, sections 2.1.1 (position bias), 2.1.2
(chain of thought), 2.2.2 (scores 1-10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Debias = Literal["probability", "logit", "none"]
Targets = Literal["soft", "hard", "hard_ties_second"]
"""What is learned from a label: the probability, or the preferred response alone."""
DEBIAS_METHODS: tuple[Debias, ...] = ("probability", "logit", "none")


def option_distribution(option_logprobs_BK: Tensor) -> Tensor:
    """Soft label over the answer options: softmax of their log-probabilities.

    Args:
        option_logprobs_BK: Natural-log probability of each whole option string. Only differences matter,
            so logits do as well. ``-inf`` is an option with probability 0 (an API that returns only the top k).

    Returns:
        Probabilities [B, K] that sum to 1; a row of NaN (missing) where any entry is NaN or all are ``-inf``.

    >>> option_distribution(torch.tensor([[0.6, 0.2]]).log())
    tensor([[0.7500, 0.2500]])
    >>> option_distribution(torch.tensor([[-torch.inf, -torch.inf]]))
    tensor([[nan, nan]])
    """
    return torch.softmax(option_logprobs_BK, dim=-1)


def invert(p_slot1_B: Tensor) -> Tensor:
    """Probability that slot 1 is *better* when the judge was asked which slot is *worse*.

    Args:
        p_slot1_B: Probability that the judge names slot 1, in [0, 1] or NaN.

    >>> invert(torch.tensor([0.75, torch.nan]))
    tensor([0.2500,    nan])
    """
    return 1.0 - p_slot1_B


def p_first_by_order(p_slot1_given_B: Tensor, p_slot1_swapped_B: Tensor) -> tuple[Tensor, Tensor]:
    """Re-index both orders from slots to candidates.

    Args:
        p_slot1_given_B: P(slot 1 is better) with the first candidate in slot 1.
        p_slot1_swapped_B: P(slot 1 is better) with the first candidate in slot 2.

    Returns:
        P(first candidate is better) in the given and in the swapped order, each [B].

    >>> p_first_by_order(torch.tensor([0.75]), torch.tensor([0.75]))
    (tensor([0.7500]), tensor([0.2500]))
    """
    return p_slot1_given_B, 1.0 - p_slot1_swapped_B


def debias(p_first_given_B: Tensor, p_first_swapped_B: Tensor, method: Debias = "probability") -> Tensor:
    """Combine the two orders of each comparison into one label.

    ``probability`` is the paper's average. ``logit`` averages log-odds, which cancels a bias that adds to
    the log-odds of a slot exactly; probabilities of exactly 0 and 1 count there as one machine epsilon away.
    ``none`` keeps the given order and looks at nothing else.

    Args:
        p_first_given_B: P(first) with the candidates as given, in [0, 1], NaN when missing.
        p_first_swapped_B: P(first), already re-indexed, with the candidates swapped.
        method: One of ``probability``, ``logit``, ``none``.

    Returns:
        P(first) [B]; NaN where an order that the method needs is missing.

    >>> given, swapped = torch.tensor([0.9, 0.9]), torch.tensor([0.3, torch.nan])
    >>> debias(given, swapped)
    tensor([0.6000,    nan])
    >>> debias(given, swapped, "none")
    tensor([0.9000, 0.9000])
    """
    if method == "probability":
        return 0.5 * (p_first_given_B + p_first_swapped_B)
    if method == "logit":
        eps = torch.finfo(p_first_given_B.dtype).eps
        return torch.sigmoid(0.5 * (torch.logit(p_first_given_B, eps=eps) + torch.logit(p_first_swapped_B, eps=eps)))
    if method == "none":
        return p_first_given_B.clone()
    raise ValueError(f"debias={method!r}: choose one of {', '.join(DEBIAS_METHODS)}")


def is_missing(label_B: Tensor) -> Tensor:
    """True [B] where a label is missing; the mask of what counts is its negation.

    >>> is_missing(torch.tensor([0.5, torch.nan]))
    tensor([False,  True])
    """
    return torch.isnan(label_B)


def preference_sign(p_first_B: Tensor) -> Tensor:
    """The candidate that a soft label prefers: 1 the first, -1 the second, 0 a tie, NaN missing.

    >>> preference_sign(torch.tensor([0.8, 0.5, 0.1, torch.nan]))
    tensor([ 1.,  0., -1., nan])
    """
    return torch.where(torch.isnan(p_first_B), torch.nan, torch.sign(p_first_B - 0.5))


def learned_target(p_first: float, targets: Targets) -> float:
    """What a loss learns from one soft label.

    Args:
        p_first: P(first) in [0, 1].
        targets: ``soft`` takes it as it is; ``hard`` the preferred response alone, a tie one half;
            ``hard_ties_second`` gives a tie to the second response, as the code of arXiv 2402.12366 does.

    >>> [learned_target(p, "hard") for p in (0.51, 0.5, 0.2)], learned_target(0.5, "hard_ties_second")
    ([1.0, 0.5, 0.0], 0.0)
    """
    if targets == "soft":
        return p_first
    tie = 0.5 if targets == "hard" else 0.0
    return tie if p_first == 0.5 else float(p_first > 0.5)


def same_slot(p_first_given_B: Tensor, p_first_swapped_B: Tensor) -> Tensor:
    """1 where the judge preferred the same slot in both orders (arXiv 2309.00267, Table 4, "same position preferred").

    Args:
        p_first_given_B: P(first) in the given order.
        p_first_swapped_B: P(first), re-indexed, in the swapped order.

    Returns:
        [B]: 1 same slot, 0 same candidate, 0.5 where an order is a tie, NaN where an order is missing.

    >>> same_slot(torch.tensor([0.9, 0.9, 0.5]), torch.tensor([0.3, 0.6, 0.6]))
    tensor([1.0000, 0.0000, 0.5000])
    """
    return 0.5 - 0.5 * preference_sign(p_first_given_B) * preference_sign(p_first_swapped_B)


def probability_greater(probs_a_BK: Tensor, probs_b_BK: Tensor) -> Tensor:
    """P(a's score is higher than b's) for independent scores on one ordered scale, equal scores counting ½.

    Turns two pointwise judgements into a preference. Swapping a and b gives one minus the result, so there is no
    slot to be biased towards.

    Args:
        probs_a_BK: Distribution over the K steps of the scale, worst first; rows sum to 1, NaN when missing.
        probs_b_BK: Likewise.

    Returns:
        Probabilities [B]; NaN where a row of either is.

    >>> probability_greater(torch.tensor([[0.2, 0.8]]), torch.tensor([[0.5, 0.5]]))
    tensor([0.6500])
    """
    below_b_BK = probs_b_BK.cumsum(-1) - 0.5 * probs_b_BK
    return (probs_a_BK * below_b_BK).sum(-1)


def pairs_from_rankings(probs_BR: Tensor, rankings: Sequence[Sequence[int]]) -> Tensor:
    """P(i ranks above j) for all candidates, from a distribution over rankings.

    Args:
        probs_BR: Probability of each of R rankings; rows sum to 1, NaN when missing.
        rankings: Each a permutation of 0..k-1, best first.

    Returns:
        [B, k, k]; entries (i, j) and (j, i) sum to 1 off the diagonal, the diagonal is ½.

    >>> pairs_from_rankings(torch.tensor([[0.75, 0.25]]), [(0, 1), (1, 0)])[0, 0, 1]
    tensor(0.7500)
    """
    k = len(rankings[0])
    places = torch.tensor([[ranking.index(i) for i in range(k)] for ranking in map(list, rankings)])
    above = (places[:, :, None] < places[:, None, :]).to(probs_BR.dtype).to(probs_BR.device)
    above = above + 0.5 * torch.eye(k, dtype=probs_BR.dtype, device=probs_BR.device)
    return torch.einsum("br,rij->bij", probs_BR, above)
