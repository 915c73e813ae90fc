"""REINFORCE leave-one-out: the other samples of a prompt are the baseline (arXiv 2402.14740)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.policy_gradient import leave_one_out_advantages, normalize_advantages, policy_gradient_loss
from rlaif.objectives.base import Credit, ObjectiveLosses, PolicyOutputs, ScoredRollouts
from rlaif.objectives.reinforce import check_beta, kl_loss


class Rloo:
    """The whole response is one action; its reward holds (1 - β) r and -β KL of the whole response.

    Args:
        beta: Share of the KL, in [0, 1).
        kl: ``reward`` or ``loss``, as in :class:`~rlaif.objectives.reinforce.Reinforce`.
        scale_advantages: Divide the step's advantages by their deviation (not in the paper).
    """

    needs_values = False

    def __init__(
        self, *, beta: float = 0.05, kl: Literal["reward", "loss"] = "reward", scale_advantages: bool = True
    ) -> None:
        check_beta(beta)
        self.beta = beta
        self.kl: Literal["reward", "loss"] = kl
        self.scale_advantages = scale_advantages

    def credit(self, rollouts: ScoredRollouts) -> Credit:
        """Each response's reward minus the mean of its prompt's other responses, the same at every token.

        Raises:
            ConfigError: One sample per prompt leaves no other to compare with.
        """
        num_samples = rollouts.samples_per_prompt
        if num_samples < 2:
            raise ConfigError(f"policy.samples_per_prompt={num_samples}: policy/objective=rloo needs at least 2")
        rewards_B = (1.0 - self.beta) * rollouts.rewards_B.float()
        if self.kl == "reward":
            kl_B = sampled_sequence_kl(rollouts.logprobs_BT, rollouts.ref_logprobs_BT, rollouts.mask_BT)
            rewards_B = rewards_B - self.beta * kl_B
        grouped = leave_one_out_advantages(
            rewards_B.view(-1, num_samples), rollouts.scored_mask_B.view(-1, num_samples)
        )
        row_mask_B = grouped.counts_GK.flatten()
        advantages_B1 = grouped.advantages_GK.flatten()[:, None]
        if self.scale_advantages:
            advantages_B1 = normalize_advantages(advantages_B1, row_mask_B[:, None], center=False, eps=1e-6)
        advantages_BT = advantages_B1.expand_as(rollouts.mask_BT).masked_fill(~rollouts.mask_BT, 0.0)
        returns_BT = rewards_B[:, None].expand_as(rollouts.mask_BT)
        return Credit(advantages_BT, returns_BT, row_mask_B)

    def losses(self, outputs: PolicyOutputs, credit: Credit, mask_BT: Tensor) -> ObjectiveLosses:
        """Policy gradient, and β KL where it is a loss."""
        return ObjectiveLosses(
            policy=policy_gradient_loss(outputs.logprobs_BT, credit.advantages_BT, mask_BT, credit.row_mask_B),
            kl=kl_loss(outputs, credit, mask_BT, self.beta) if self.kl == "loss" else None,
        )
