"""Statistics of the responses of a policy step, as sums that add up over processes.

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlaif.functional.baselines import explained_variance, masked_moments
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.losses import LossSum
from rlaif.rollouts.batch import Rollouts
from rlaif.types import Completion


def rollout_statistics(rollouts: Rollouts, completions: Sequence[Completion], entropy_BT: Tensor) -> dict[str, LossSum]:
    """Totals and counts of the figures that are logged with every policy step (docs: logged metrics).

    Args:
        rollouts: With rewards, log-probs and the reference's log-probs.
        completions: Their texts, in the same order.
        entropy_BT: Entropy in nats of each token's distribution; 0 where padded.

    Returns:
        ``reward`` (mean over scored responses), ``kl`` (nats per response), ``length`` (tokens per response),
        ``entropy`` (nats per token), ``distinct``, ``finished`` and ``missing`` (shares of responses).
    """
    mask_BT, rewards_B, scored_B = rollouts.mask_BT, rollouts.rewards_B, rollouts.scored_mask_B
    assert rewards_B is not None and scored_B is not None
    assert rollouts.logprobs_BT is not None and rollouts.ref_logprobs_BT is not None
    kl_B = sampled_sequence_kl(rollouts.logprobs_BT, rollouts.ref_logprobs_BT, mask_BT)
    num_responses, num_tokens = len(completions), mask_BT.sum()
    parts: dict[str, tuple[Tensor | float, Tensor | float]] = {
        "reward": (rewards_B[scored_B].sum(), scored_B.sum()),
        "kl": (kl_B.sum(), num_responses),
        "length": (num_tokens, num_responses),
        "entropy": (entropy_BT.sum(), num_tokens),
        "distinct": (len({completion.trimmed for completion in completions}), num_responses),
        "finished": (sum(completion.finished for completion in completions), num_responses),
        "missing": ((~scored_B).sum(), num_responses),
    }

    def scalar(value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32, device=mask_BT.device)

    return {name: LossSum(scalar(total), scalar(count)) for name, (total, count) in parts.items()}


def share_of(total: int, count: int, device: torch.device) -> LossSum:
    """A number of this process over the number that it is a share of."""
    return LossSum(torch.tensor(float(total), device=device), torch.tensor(float(count), device=device))


def counted_tokens(credited: Rollouts) -> Tensor:
    """Tokens [B, T] of the responses that count in the loss."""
    assert credited.counted_mask_B is not None
    return credited.mask_BT & credited.counted_mask_B[:, None]


def credit_statistics(credited: Rollouts) -> dict[str, Tensor]:
    """Figures of returns, baseline and advantages that are logged with every policy step.

    Args:
        credited: The responses of all processes, after the objective's ``credit``.

    Returns:
        ``return_mean`` and ``return_variance`` of Z_t, ``advantage_mean``, ``advantage_std`` and ``advantage_max`` (the
        largest absolute one) as the loss reads them, over all tokens that count; and ``explained_variance`` where the
        objective has values. Each is NaN where no token counts.
    """
    mask_BT, returns_BT, advantages_BT = counted_tokens(credited), credited.returns_BT, credited.advantages_BT
    assert returns_BT is not None and advantages_BT is not None
    return_mean, return_variance = masked_moments(returns_BT, mask_BT)
    advantage_mean, advantage_variance = masked_moments(advantages_BT, mask_BT)
    figures = {
        "return_mean": return_mean,
        "return_variance": return_variance,
        "advantage_mean": advantage_mean,
        "advantage_std": advantage_variance.sqrt(),
        "advantage_max": advantages_BT.masked_fill(~mask_BT, 0.0).abs().max(),
    }
    if credited.values_BT is not None:
        figures["explained_variance"] = explained_variance(credited.values_BT, returns_BT, mask_BT)
    return {name: torch.where(mask_BT.any(), figure, torch.nan) for name, figure in figures.items()}
