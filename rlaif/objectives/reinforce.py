"""REINFORCE with a baseline (arXiv 2309.00267, appendices A.3 and F)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.baselines import mean_of_others
from rlaif.functional.policy_gradient import (
    AdvantageScaling,
    normalize_advantages,
    policy_gradient_loss,
    rewards_to_go,
    value_loss,
)
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.objectives.kl import KlPenalty, KlPlace, RewardWeight
from rlaif.objectives.sums import corrected_advantages
from rlaif.ranges import Bounds
from rlaif.rollouts.batch import Rollouts


class Reinforce:
    """Return-to-go minus a baseline, one gradient step per batch of fresh samples.

    Logs ``policy/loss``, with ``baseline=learned`` ``policy/value_loss`` (per token) and, where the KL is a loss,
    ``policy/kl_loss``.

    Args:
        beta: Weight of the KL, in [0, 1), or at least 0 with ``reward_weight=one``.
        kl: Its place: ``reward`` adds -β (log π - log π_SFT) to each token's reward, whose gradient is that of J
            (default); ``loss`` adds β times the KL summed over the vocabulary to the loss instead, ``k2`` and
            ``weighted_k3`` an estimate of it from the sampled tokens (:data:`~rlaif.objectives.kl.KlPlace`).
        baseline: What a return is compared with. ``learned`` is the paper's V(X_t); ``running_average`` one number,
            the running average of the earlier steps' mean returns; ``batch`` the mean return of the step's other
            responses.
        advantages: Not in the paper, which leaves them ``unscaled``: ``standardized`` centres the step's advantages
            and divides them by their deviation, which takes the reward out of a step of one response;
            ``root_mean_square`` divides them without centring. Both keep the step size when the reward's spread
            changes.
        reward_weight: ``one_minus_beta`` gives the paper's (1 - β) reward - β KL, ``one`` reward - β KL.
        importance_cap: C of the importance weights of a sampler that is not the learner; None uses none.

    Raises:
        ConfigError: With every option that is out of range.
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        kl: KlPlace = "reward",
        baseline: Literal["learned", "running_average", "batch"] = "learned",
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
        self.baseline = baseline
        self.advantages: AdvantageScaling = advantages
        self.needs = Needs(
            values=baseline != "batch",
            values_from="running_average" if baseline == "running_average" else "learned",
            vocabulary_logits=self.penalty.needs_vocabulary,
            responses_per_step=2 if baseline == "batch" or advantages == "standardized" else 1,
        )
        self.updates = Updates()

    def credit(self, batch: Rollouts) -> Rollouts:
        """Z_t minus the baseline, with Z_t the return from token t on."""
        assert batch.scored_mask_B is not None
        mask_BT = batch.mask_BT & batch.scored_mask_B[:, None]
        returns_BT = rewards_to_go(self.penalty.token_rewards(batch).masked_fill(~mask_BT, 0.0))
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
        assert rows.returns_BT is not None and rows.counted_mask_B is not None
        mask_BT, counted_B = rows.mask_BT, rows.counted_mask_B
        advantages_BT = corrected_advantages(rows, self.importance_cap)
        terms = {"loss": policy_gradient_loss(outputs.logprobs_BT, advantages_BT, mask_BT, counted_B)}
        if self.baseline == "learned":
            assert outputs.values_BT is not None
            terms["value_loss"] = value_loss(outputs.values_BT, rows.returns_BT, mask_BT, counted_B)
        terms |= self.penalty.terms(outputs, rows)
        return Losses(terms=terms, per_token=frozenset({"value_loss"}))
