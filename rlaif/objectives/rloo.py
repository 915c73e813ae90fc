"""REINFORCE leave-one-out: the other samples of a prompt are the baseline (arXiv 2402.14740)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from rlaif.errors import ConfigError
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.policy_gradient import (
    AdvantageScaling,
    leave_one_out_advantages,
    normalize_advantages,
    policy_gradient_loss,
)
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.objectives.reinforce import check_beta, kl_loss
from rlaif.rollouts.batch import Rollouts


class Rloo:
    """The whole response is one action; its reward holds (1 - β) r and -β KL of the whole response.

    Logs ``policy/loss`` and, with ``kl=loss``, ``policy/kl_loss``.

    Args:
        beta: Share of the KL, in [0, 1).
        kl: ``reward`` or ``loss``, as in :class:`~rlaif.objectives.reinforce.Reinforce`.
        advantages: ``standardized``, ``root_mean_square`` or the paper's ``unscaled``, as in
            :class:`~rlaif.objectives.reinforce.Reinforce`.
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        kl: Literal["reward", "loss"] = "reward",
        advantages: AdvantageScaling = "standardized",
    ) -> None:
        check_beta(beta)
        self.beta = beta
        self.kl: Literal["reward", "loss"] = kl
        self.advantages: AdvantageScaling = advantages
        self.needs = Needs(vocabulary_logits=kl == "loss", samples_per_prompt=2)
        self.updates = Updates()

    def credit(self, batch: Rollouts) -> Rollouts:
        """Each response's reward minus the mean of its prompt's other responses, the same at every token.

        Raises:
            ConfigError: One sample per prompt leaves no other to compare with.
        """
        num_samples = batch.samples_per_prompt
        if num_samples < 2:
            raise ConfigError(f"policy.samples_per_prompt={num_samples}: policy/objective=rloo needs at least 2")
        assert batch.rewards_B is not None and batch.scored_mask_B is not None
        assert batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
        rewards_B = (1.0 - self.beta) * batch.rewards_B.float()
        if self.kl == "reward":
            kl_B = sampled_sequence_kl(batch.logprobs_BT, batch.ref_logprobs_BT, batch.mask_BT)
            rewards_B = rewards_B - self.beta * kl_B
        grouped = leave_one_out_advantages(rewards_B.view(-1, num_samples), batch.scored_mask_B.view(-1, num_samples))
        counted_B = grouped.counts_GK.flatten()
        advantages_B1 = normalize_advantages(
            grouped.advantages_GK.flatten()[:, None],
            counted_B[:, None],
            self.advantages,
            magnitude=rewards_B.masked_fill(~counted_B, 0.0).abs().max(),
        )
        advantages_BT = advantages_B1.expand_as(batch.mask_BT).masked_fill(~batch.mask_BT, 0.0)
        returns_BT = rewards_B[:, None].expand_as(batch.mask_BT)
        return replace(batch, advantages_BT=advantages_BT, returns_BT=returns_BT, counted_mask_B=counted_B)

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """Policy gradient, and β KL where it is a loss."""
        assert rows.advantages_BT is not None and rows.counted_mask_B is not None
        mask_BT, counted_B = rows.mask_BT, rows.counted_mask_B
        terms = {"loss": policy_gradient_loss(outputs.logprobs_BT, rows.advantages_BT, mask_BT, counted_B)}
        if self.kl == "loss":
            terms["kl_loss"] = kl_loss(outputs, mask_BT, counted_B, self.beta)
        return Losses(terms=terms)
