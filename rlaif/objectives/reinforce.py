"""REINFORCE with a baseline (arXiv 2309.00267, appendices A.3 and F)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.baselines import mean_of_others
from rlaif.functional.losses import LossSum
from rlaif.functional.policy_gradient import (
    AdvantageScaling,
    differentiable_kl_loss,
    kl_shaped_rewards,
    normalize_advantages,
    policy_gradient_loss,
    rewards_to_go,
    value_loss,
)
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.rollouts.batch import Rollouts


def check_beta(beta: float) -> None:
    """Refuse a β outside [0, 1).

    Raises:
        ConfigError: β is not the weight of a mixture.
    """
    if not 0.0 <= beta < 1.0:
        raise ConfigError(f"policy.objective.beta={beta}: must be at least 0 and below 1, it shares with the reward")


def kl_loss(outputs: PolicyOutputs, mask_BT: Tensor, counted_mask_B: Tensor, beta: float) -> LossSum:
    """β times the differentiable KL over the vocabulary, per response."""
    assert outputs.logits_BTV is not None and outputs.ref_logits_BTV is not None
    loss = differentiable_kl_loss(outputs.logits_BTV, outputs.ref_logits_BTV, mask_BT, counted_mask_B)
    return LossSum(beta * loss.total, loss.count)


class Reinforce:
    """Return-to-go minus a baseline, one gradient step per batch of fresh samples.

    Logs ``policy/loss``, with ``baseline=learned`` ``policy/value_loss`` (per token) and, with ``kl=loss``,
    ``policy/kl_loss``.

    Args:
        beta: Share of the KL, in [0, 1).
        kl: ``reward`` adds -β (log π - log π_SFT) to each token's reward, whose gradient is that of J (default);
            ``loss`` adds β times the KL summed over the vocabulary to the loss instead.
        baseline: What a return is compared with. ``learned`` is the paper's V(X_t); ``running_average`` one number,
            the running average of the earlier steps' mean returns; ``batch`` the mean return of the step's other
            responses.
        advantages: Not in the paper, which leaves them ``unscaled``: ``standardized`` centres the step's advantages
            and divides them by their deviation, ``root_mean_square`` divides them without centring. Both keep the
            step size when the reward's spread changes.
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        kl: Literal["reward", "loss"] = "reward",
        baseline: Literal["learned", "running_average", "batch"] = "learned",
        advantages: AdvantageScaling = "standardized",
    ) -> None:
        check_beta(beta)
        self.beta = beta
        self.kl: Literal["reward", "loss"] = kl
        self.baseline = baseline
        self.advantages: AdvantageScaling = advantages
        self.needs = Needs(
            values=baseline != "batch",
            values_from="running_average" if baseline == "running_average" else "learned",
            vocabulary_logits=kl == "loss",
        )
        self.updates = Updates()

    def credit(self, batch: Rollouts) -> Rollouts:
        """Z_t minus the baseline, with Z_t the return from token t on."""
        assert batch.rewards_B is not None and batch.scored_mask_B is not None
        assert batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
        ref_logprobs_BT = batch.ref_logprobs_BT if self.kl == "reward" else batch.logprobs_BT
        rewards_BT = kl_shaped_rewards(batch.rewards_B, batch.logprobs_BT, ref_logprobs_BT, batch.mask_BT, self.beta)
        mask_BT = batch.mask_BT & batch.scored_mask_B[:, None]
        returns_BT = rewards_to_go(rewards_BT.masked_fill(~mask_BT, 0.0))
        counted_B, baseline_BT = batch.scored_mask_B, batch.values_BT
        if self.baseline == "batch":
            others = mean_of_others(returns_BT, mask_BT)
            counted_B, baseline_BT = others.exists_B, others.mean_B[:, None]
        assert baseline_BT is not None
        advantages_BT = normalize_advantages(
            returns_BT - baseline_BT,
            mask_BT & counted_B[:, None],
            self.advantages,
            magnitude=returns_BT.abs().max(),
        )
        return replace(batch, advantages_BT=advantages_BT, returns_BT=returns_BT, counted_mask_B=counted_B)

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """L_PG of appendix F, L_V where the baseline is learned, and β KL where it is a loss."""
        assert rows.advantages_BT is not None and rows.returns_BT is not None and rows.counted_mask_B is not None
        mask_BT, counted_B = rows.mask_BT, rows.counted_mask_B
        terms = {"loss": policy_gradient_loss(outputs.logprobs_BT, rows.advantages_BT, mask_BT, counted_B)}
        if self.baseline == "learned":
            assert outputs.values_BT is not None
            terms["value_loss"] = value_loss(outputs.values_BT, rows.returns_BT, mask_BT, counted_B)
        if self.kl == "loss":
            terms["kl_loss"] = kl_loss(outputs, mask_BT, counted_B, self.beta)
        return Losses(terms=terms, per_token=frozenset({"value_loss"}))
