"""REINFORCE with a learned value baseline (arXiv 2309.00267, appendices A.3 and F)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.losses import LossSum
from rlaif.functional.policy_gradient import (
    differentiable_kl_loss,
    kl_shaped_rewards,
    normalize_advantages,
    policy_gradient_loss,
    rewards_to_go,
    value_loss,
)
from rlaif.objectives.base import Credit, ObjectiveLosses, PolicyOutputs, ScoredRollouts


def check_beta(beta: float) -> None:
    """Refuse a β outside [0, 1).

    Raises:
        ConfigError: β is not the weight of a mixture.
    """
    if not 0.0 <= beta < 1.0:
        raise ConfigError(f"policy.objective.beta={beta}: must be at least 0 and below 1, it shares with the reward")


def kl_loss(outputs: PolicyOutputs, credit: Credit, mask_BT: Tensor, beta: float) -> LossSum:
    """β times the differentiable KL over the vocabulary (variant (b) of PAPERS 1.11)."""
    assert outputs.logits_BTV is not None and outputs.ref_logits_BTV is not None
    loss = differentiable_kl_loss(outputs.logits_BTV, outputs.ref_logits_BTV, mask_BT, credit.row_mask_B)
    return LossSum(beta * loss.total, loss.count)


class Reinforce:
    """Return-to-go minus a learned baseline, one gradient step per batch of fresh samples.

    Args:
        beta: Share of the KL, in [0, 1).
        kl: ``reward`` adds -β (log π - log π_SFT) to each token's reward, whose gradient is that of J (default);
            ``loss`` adds β times the KL summed over the vocabulary to the loss instead.
        scale_advantages: Divide the step's advantages by their deviation (not in the paper: it keeps the
            step size when the reward's spread changes). They are not centred, the baseline does that.
    """

    needs_values = True

    def __init__(
        self, *, beta: float = 0.05, kl: Literal["reward", "loss"] = "reward", scale_advantages: bool = True
    ) -> None:
        check_beta(beta)
        self.beta = beta
        self.kl: Literal["reward", "loss"] = kl
        self.scale_advantages = scale_advantages

    def credit(self, rollouts: ScoredRollouts) -> Credit:
        """Z_t - V(X_t) with Z_t the return from token t on."""
        assert rollouts.values_BT is not None
        ref_logprobs_BT = rollouts.ref_logprobs_BT if self.kl == "reward" else rollouts.logprobs_BT
        rewards_BT = kl_shaped_rewards(
            rollouts.rewards_B, rollouts.logprobs_BT, ref_logprobs_BT, rollouts.mask_BT, self.beta
        )
        mask_BT = rollouts.mask_BT & rollouts.scored_mask_B[:, None]
        returns_BT = rewards_to_go(rewards_BT.masked_fill(~mask_BT, 0.0))
        advantages_BT = (returns_BT - rollouts.values_BT).masked_fill(~mask_BT, 0.0)
        if self.scale_advantages:
            advantages_BT = normalize_advantages(advantages_BT, mask_BT, center=False, eps=1e-6)
        return Credit(advantages_BT, returns_BT, rollouts.scored_mask_B)

    def losses(self, outputs: PolicyOutputs, credit: Credit, mask_BT: Tensor) -> ObjectiveLosses:
        """L_PG and L_V of appendix F, and β KL where it is a loss."""
        assert outputs.values_BT is not None
        return ObjectiveLosses(
            policy=policy_gradient_loss(outputs.logprobs_BT, credit.advantages_BT, mask_BT, credit.row_mask_B),
            value=value_loss(outputs.values_BT, credit.returns_BT, mask_BT, credit.row_mask_B),
            kl=kl_loss(outputs, credit, mask_BT, self.beta) if self.kl == "loss" else None,
        )
