"""REINFORCE leave-one-out: the other samples of a prompt are the baseline (arXiv 2402.14740)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.policy_gradient import (
    AdvantageScaling,
    leave_one_out_advantages,
    normalize_advantages,
    policy_gradient_loss,
)
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.objectives.kl import KlPenalty, KlPlace, RewardWeight
from rlaif.objectives.sums import corrected_advantages
from rlaif.ranges import Bounds
from rlaif.rollouts.batch import Rollouts


class Rloo:
    """The whole response is one action; its reward holds (1 - β) r and -β KL of the whole response.

    Logs ``policy/loss`` and, where the KL is a loss, ``policy/kl_loss``.

    Args:
        beta: Weight of the KL, in [0, 1), or at least 0 with ``reward_weight=one``.
        kl: Its place, as in :class:`~rlaif.objectives.reinforce.Reinforce`.
        advantages: ``standardized``, ``root_mean_square`` or the paper's ``unscaled``, as in
            :class:`~rlaif.objectives.reinforce.Reinforce`.
        reward_weight: As in :class:`~rlaif.objectives.reinforce.Reinforce`.
        importance_cap: As in :class:`~rlaif.objectives.reinforce.Reinforce`.

    Raises:
        ConfigError: With every option that is out of range.
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        kl: KlPlace = "reward",
        advantages: AdvantageScaling = "standardized",
        reward_weight: RewardWeight = "one_minus_beta",
        importance_cap: Annotated[float, Bounds(1)] | None = 2.0,
    ) -> None:
        self.beta, self.kl, self.reward_weight = beta, kl, reward_weight
        self.importance_cap = importance_cap
        self.penalty = KlPenalty(beta, kl, reward_weight)
        if problems := [
            f"policy.objective.{problem}" for problem in [*bounds_problems(self), *self.penalty.problems()]
        ]:
            raise ConfigError(problems)
        self.advantages: AdvantageScaling = advantages
        self.needs = Needs(vocabulary_logits=self.penalty.needs_vocabulary, samples_per_prompt=2)
        self.updates = Updates()

    def credit(self, batch: Rollouts) -> Rollouts:
        """Each response's reward minus the mean of its prompt's other responses, the same at every token.

        Raises:
            ConfigError: One sample per prompt leaves no other to compare with.
        """
        num_samples = batch.samples_per_prompt
        if num_samples < 2:
            raise ConfigError(f"policy.samples_per_prompt={num_samples}: policy/objective=rloo needs at least 2")
        assert batch.scored_mask_B is not None
        rewards_B = self.penalty.response_rewards(batch)
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
        advantages_BT = corrected_advantages(rows, self.importance_cap)
        loss = policy_gradient_loss(outputs.logprobs_BT, advantages_BT, rows.mask_BT, rows.counted_mask_B)
        return Losses(terms={"loss": loss, **self.penalty.terms(outputs, rows)})
