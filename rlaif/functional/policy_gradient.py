"""REINFORCE with a learned baseline, and baselines from groups of samples.

Shapes: B responses, T response positions, V vocabulary, G prompts, K samples per prompt. Masks are bool,
True counts. Source: arXiv 2309.00267, appendices A.3 and F:
J(θ) = E_{y~π}[(1 - β) r(y|x)] - β KL(π ‖ π_SFT), γ = 1.

A missing reward is a row that ``row_mask_B`` (or ``mask_GK``) leaves out: it has no share in a baseline, in
a mean, or in a denominator, and its value is never read, so it may be NaN.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlaif.functional.kl import sequence_kl
from rlaif.functional.losses import LossSum

AdvantageScaling = Literal["standardized", "root_mean_square", "unscaled"]
"""How advantages are brought to unit size (:func:`normalize_advantages`)."""
ROUNDING = 1e-6
"""A spread below this share of the numbers' own size is rounding error of float32 sums."""


def kl_shaped_rewards(
    reward_B: Tensor,
    logprobs_BT: Tensor,
    ref_logprobs_BT: Tensor,
    mask_BT: Tensor,
    beta: float,
    *,
    reward_weight: float | None = None,
) -> Tensor:
    """Reward of each token: -β (log π - log π_ref), and (1 - β) r at the last token.

    Args:
        reward_B: r(y|x); NaN (missing) spreads to its own row only.
        logprobs_BT: log π of the sampled tokens, at the sampling temperature.
        ref_logprobs_BT: log π_SFT of the same tokens.
        mask_BT: Response tokens, end token included.
        beta: Share of the KL, in [0, 1); with a ``reward_weight`` of its own any number of at least 0.
        reward_weight: What r is multiplied by; None takes the paper's 1 - β.

    Returns:
        [B, T], detached, 0 outside the mask.

    >>> mask_BT = torch.tensor([[True, True, False]])
    >>> logprobs_BT = torch.tensor([[-1.0, -1.0, 0.0]])
    >>> kl_shaped_rewards(torch.tensor([2.0]), logprobs_BT, 2 * logprobs_BT, mask_BT, beta=0.5)
    tensor([[-0.5000,  0.5000,  0.0000]])
    """
    penalty_BT = torch.where(mask_BT, -beta * (logprobs_BT - ref_logprobs_BT).detach().float(), 0.0)
    is_last_BT = mask_BT & (mask_BT.flip(-1).cumsum(-1).flip(-1) == 1)
    share = 1.0 - beta if reward_weight is None else reward_weight
    terminal_BT = torch.where(is_last_BT, share * reward_B.detach().float()[:, None], 0.0)
    return penalty_BT + terminal_BT


def rewards_to_go(rewards_BT: Tensor) -> Tensor:
    """Returns Z_t = Σ_{s >= t} R_s (γ = 1).

    >>> rewards_to_go(torch.tensor([[1.0, 2.0, 4.0]]))
    tensor([[7., 6., 4.]])
    """
    return rewards_BT.flip(-1).cumsum(-1).flip(-1)


def normalize_advantages(
    advantages_BT: Tensor,
    mask_BT: Tensor,
    scaling: AdvantageScaling = "standardized",
    *,
    magnitude: Tensor | None = None,
) -> Tensor:
    """Bring the masked entries to unit size, so that the step size does not depend on the reward's unit.

    Not in the paper, which is ``unscaled``. ``standardized`` subtracts the mean and divides by the (population)
    standard deviation: a constant that is added to all rewards then changes nothing. ``root_mean_square`` subtracts
    nothing and divides by the root mean square, which is never far below the advantages themselves.

    Args:
        advantages_BT: Any number where masked.
        mask_BT: Entries that count.
        scaling: What is done.
        magnitude: Size of the numbers that the advantages are differences of, e.g. the largest absolute return; None
            takes the largest absolute advantage. A spread below ``ROUNDING`` of it is rounding error, and then all
            advantages are 0.

    Returns:
        [B, T], 0 outside the mask.

    >>> normalize_advantages(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[-1.,  1.,  0.]])
    """
    advantages_BT = torch.where(mask_BT, advantages_BT, 0.0)
    if scaling == "unscaled":
        return advantages_BT
    count = mask_BT.sum().clamp(min=1)
    magnitude = advantages_BT.abs().max() if magnitude is None else magnitude
    if scaling == "standardized":
        advantages_BT = torch.where(mask_BT, advantages_BT - advantages_BT.sum() / count, 0.0)
    unit = (advantages_BT.square().sum() / count).sqrt()
    return torch.where(unit > ROUNDING * magnitude, advantages_BT / unit, 0.0)


def policy_gradient_loss(
    logprobs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor, row_mask_B: Tensor | None = None
) -> LossSum:
    """-Σ_t log π(A_t|X_t) · stopgrad(advantage_t), whose mean over responses estimates -∇J.

    Args:
        logprobs_BT: log π of the sampled tokens, with gradient.
        advantages_BT: Z_t - V(X_t), or any advantage; its gradient is stopped here.
        mask_BT: Response tokens.
        row_mask_B: Responses that count; all when None.

    Returns:
        Sum over tokens and responses, and the number of responses: the paper sums over t, so a long
        response weighs more, and the mean is over responses.

    >>> policy_gradient_loss(torch.tensor([[-1.0, -2.0]]), torch.tensor([[3.0, 1.0]]), torch.tensor([[True, True]]))
    LossSum(total=tensor(5.), count=tensor(1.))
    """
    row_mask_B, mask_BT = _rows(mask_BT, row_mask_B)
    advantages_BT = torch.where(mask_BT, advantages_BT.detach().float(), 0.0)
    logprobs_BT = torch.where(mask_BT, logprobs_BT.float(), 0.0)
    return LossSum(-(logprobs_BT * advantages_BT).sum(), row_mask_B.sum().float())


def value_loss(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor, row_mask_B: Tensor | None = None) -> LossSum:
    """Σ_t (Z_t - V(X_t))², as a sum over tokens and the number of responses (paper 1, appendix F).

    Args:
        values_BT: V of the state before token t, with gradient.
        returns_BT: Z_t; its gradient is stopped here.

    >>> value_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 9.0]]), torch.tensor([[True, False]])).mean
    tensor(4.)
    """
    row_mask_B, mask_BT = _rows(mask_BT, row_mask_B)
    error_BT = torch.where(mask_BT, values_BT.float() - returns_BT.detach().float(), 0.0)
    return LossSum(error_BT.square().sum(), row_mask_B.sum().float())


def differentiable_kl_loss(
    logits_BTV: Tensor, ref_logits_BTV: Tensor, mask_BT: Tensor, row_mask_B: Tensor | None = None
) -> LossSum:
    """KL(π ‖ π_SFT) over the whole vocabulary at each visited position, to be multiplied by β and minimized.

    The total loss is the policy gradient of (1 - β) r plus β times this one. Its gradient is not that of
    J = E[(1 - β) r - β KL] (arXiv 2309.00267, section 2.2): it leaves out how the policy's choices change later
    states.

    Args:
        logits_BTV: Policy logits / temperature, with gradient.
        ref_logits_BTV: Reference logits / temperature; detached here.

    Returns:
        Sum in nats, and the number of responses.
    """
    row_mask_B, mask_BT = _rows(mask_BT, row_mask_B)
    return LossSum(sequence_kl(logits_BTV, ref_logits_BTV.detach(), mask_BT).sum(), row_mask_B.sum().float())


class GroupAdvantages(NamedTuple):
    """Advantages of K samples for each of G prompts."""

    advantages_GK: Tensor
    """Exactly 0 where ``counts_GK`` is False."""
    counts_GK: Tensor
    """Bool: samples that have a reward *and* a baseline; use it as the row mask of the loss."""


def leave_one_out_advantages(rewards_GK: Tensor, mask_GK: Tensor) -> GroupAdvantages:
    """RLOO: each reward minus the mean of the other rewards of its prompt (Kool et al. 2019; arXiv 2402.14740).

    Args:
        rewards_GK: Rewards, anything where the mask is False.
        mask_GK: Rewards that exist. A sample alone in its group has no baseline and does not count.

    >>> leave_one_out_advantages(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[True, True, False]]))
    GroupAdvantages(advantages_GK=tensor([[-2.,  2.,  0.]]), counts_GK=tensor([[ True,  True, False]]))
    """
    rewards_GK = torch.where(mask_GK, rewards_GK.detach().float(), 0.0)
    num_G1 = mask_GK.sum(-1, keepdim=True)
    counts_GK = mask_GK & (num_G1 >= 2)
    baseline_GK = (rewards_GK.sum(-1, keepdim=True) - rewards_GK) / (num_G1 - 1).clamp(min=1)
    return GroupAdvantages(torch.where(counts_GK, rewards_GK - baseline_GK, 0.0), counts_GK)


def group_mean_advantages(
    rewards_GK: Tensor, mask_GK: Tensor, *, scale: bool = False, correction: int = 0
) -> GroupAdvantages:
    """Each reward minus the mean of its prompt's rewards, itself included; ``scale`` divides by their deviation.

    With ``scale`` this is GRPO's advantage (arXiv 2402.03300, eq. in 4.1.2); equal rewards of a prompt give 0.

    Args:
        rewards_GK: Rewards, anything where the mask is False.
        mask_GK: Rewards that exist. A sample alone in its group carries no information and does not count.
        scale: Whether to divide by the deviation.
        correction: 0 takes the population's deviation, 1 the sample's (n - 1), as published implementations do.

    >>> group_mean_advantages(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[True, True, False]])).advantages_GK
    tensor([[-1.,  1.,  0.]])
    """
    rewards_GK = torch.where(mask_GK, rewards_GK.detach().float(), 0.0)
    num_G1 = mask_GK.sum(-1, keepdim=True)
    counts_GK = mask_GK & (num_G1 >= 2)
    mean_G1 = rewards_GK.sum(-1, keepdim=True) / num_G1.clamp(min=1)
    advantages_GK = torch.where(counts_GK, rewards_GK - mean_G1, 0.0)
    if scale:
        unit_G1 = (advantages_GK.square().sum(-1, keepdim=True) / (num_G1 - correction).clamp(min=1)).sqrt()
        largest_G1 = rewards_GK.abs().amax(-1, keepdim=True)
        advantages_GK = torch.where(unit_G1 > ROUNDING * largest_G1, advantages_GK / unit_G1, 0.0)
    return GroupAdvantages(advantages_GK, counts_GK)


def informative_groups(rewards_GK: Tensor, mask_GK: Tensor) -> Tensor:
    """Prompts whose existing rewards differ by more than rounding: those that dynamic sampling keeps.

    The others have no advantage, and would only dilute the mean (DAPO, arXiv 2503.14476, section 3.2).

    Args:
        rewards_GK: Rewards, anything where the mask is False.
        mask_GK: Rewards that exist.

    Returns:
        [G] bool; False where none or one exists.

    >>> informative_groups(torch.tensor([[1.0, 1.0], [0.0, 1.0], [torch.nan, 1.0]]),
    ...                    torch.tensor([[True, True], [True, True], [False, True]]))
    tensor([False,  True, False])
    """
    highest_G = torch.where(mask_GK, rewards_GK, -torch.inf).amax(-1)
    lowest_G = torch.where(mask_GK, rewards_GK, torch.inf).amin(-1)
    largest_G = torch.where(mask_GK, rewards_GK, 0.0).abs().amax(-1)
    return (mask_GK.sum(-1) >= 2) & (highest_G - lowest_G > ROUNDING * largest_G)


def _rows(mask_BT: Tensor, row_mask_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row mask, and the token mask without the rows that do not count."""
    if row_mask_B is None:
        row_mask_B = torch.ones(mask_BT.shape[0], dtype=torch.bool, device=mask_BT.device)
    return row_mask_B, mask_BT & row_mask_B[:, None]
