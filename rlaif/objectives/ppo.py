"""Proximal policy optimization with a learned value (arXiv 1707.06347).

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.normalizers import Per, token_weights
from rlaif.functional.policy_gradient import AdvantageScaling, normalize_advantages
from rlaif.functional.returns import generalized_advantages
from rlaif.functional.surrogates import clipped_value_loss
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.objectives.clipped import HOW_LONG, ClippedLoss
from rlaif.objectives.kl import KlPenalty, KlPlace, RewardWeight
from rlaif.objectives.sums import loss_sum, token_mean
from rlaif.ranges import AtLeastOne, Bounds, NonNegative, OpenShare, Positive, Share
from rlaif.rollouts.batch import Rollouts


class Ppo:
    """Advantages from a learned value, a clipped ratio, a clipped value, and several passes over each rollout.

    Logs ``policy/loss``, ``policy/value_loss``, ``policy/clip_fraction``, ``policy/ratio``, ``policy/update_kl``,
    ``policy/value_clip_fraction`` and, where they are used, ``policy/kl_loss``, ``policy/entropy_loss`` and
    ``policy/importance_weight``.

    Args:
        beta: Weight of the KL, at least 0, and below 1 with ``reward_weight=one_minus_beta``.
        kl: Its place, as in :data:`~rlaif.objectives.kl.KlPlace`.
        reward_weight: ``one_minus_beta`` gives the paper's (1 - β) reward - β KL, ``one`` reward - β KL.
        policy_lambda: λ of the advantages, in [0, 1].
        value_lambda: λ of the returns that the value is fitted to; 1 fits it to what came, as a terminal reward needs
            in long responses (arXiv 2503.01491).
        advantages: Scaling over the step's tokens.
        clip_low: Largest fall of a ratio below 1, in (0, 1).
        clip_high: Largest rise above 1.
        value_clip: Largest move of a value that is still learned from, in the reward's unit; None clips none.
        per: Unit whose tokens are averaged, as in :func:`~rlaif.functional.normalizers.token_weights`.
        max_new_tokens: Longest response that can be sampled; read by ``per=constant``.
        entropy: Weight of the entropy bonus.
        importance_cap: C of the importance weights of a sampler that is not the learner; None uses none.
        epochs: Passes over a rollout.
        minibatches: Optimizer steps per pass.

    Raises:
        ConfigError: With every option that is out of range or does not go with another.
    """

    def __init__(
        self,
        *,
        beta: float = 0.05,
        kl: KlPlace = "reward",
        reward_weight: RewardWeight = "one_minus_beta",
        policy_lambda: Share = 0.95,
        value_lambda: Share = 1.0,
        advantages: AdvantageScaling = "standardized",
        clip_low: OpenShare = 0.2,
        clip_high: Positive = 0.2,
        value_clip: Positive | None = 0.2,
        per: Per = "step",
        max_new_tokens: AtLeastOne | None = None,
        entropy: NonNegative = 0.0,
        importance_cap: Annotated[float, Bounds(1)] | None = 2.0,
        epochs: AtLeastOne = 2,
        minibatches: AtLeastOne = 2,
    ) -> None:
        self.beta, self.kl, self.reward_weight = beta, kl, reward_weight
        self.policy_lambda, self.value_lambda = policy_lambda, value_lambda
        self.advantages: AdvantageScaling = advantages
        self.clip_low, self.clip_high, self.value_clip = clip_low, clip_high, value_clip
        self.per, self.max_new_tokens = per, max_new_tokens
        self.entropy, self.importance_cap = entropy, importance_cap
        self.epochs, self.minibatches = epochs, minibatches
        self.penalty = KlPenalty(beta, kl, reward_weight)
        if problems := [f"policy.objective.{problem}" for problem in self._problems()]:
            raise ConfigError(problems)
        self.clipped = ClippedLoss(
            low=clip_low, high=clip_high, ratio="token", importance_cap=importance_cap, entropy=entropy
        )
        self.updates = Updates(epochs=epochs, minibatches=minibatches)
        self.needs = Needs(
            values=True,
            vocabulary_logits=self.penalty.needs_vocabulary or entropy > 0,
            responses_per_step=2 if advantages == "standardized" else 1,
        )

    def _problems(self) -> Iterator[str]:
        yield from bounds_problems(self)
        yield from self.penalty.problems()
        if self.per == "constant" and self.max_new_tokens is None:
            yield f"per=constant: needs the longest response; {HOW_LONG}"

    def credit(self, batch: Rollouts) -> Rollouts:
        """Generalized advantages, the returns for the value, weights and shares."""
        assert batch.scored_mask_B is not None and batch.values_BT is not None
        counted_B = batch.scored_mask_B
        mask_BT = batch.mask_BT & counted_B[:, None]
        rewards_BT = self.penalty.token_rewards(batch).masked_fill(~mask_BT, 0.0)
        values_BT = batch.values_BT.masked_fill(~mask_BT, 0.0)
        returns_BT = values_BT + generalized_advantages(rewards_BT, values_BT, mask_BT, self.value_lambda)
        advantages_BT = normalize_advantages(
            generalized_advantages(rewards_BT, values_BT, mask_BT, self.policy_lambda),
            mask_BT,
            self.advantages,
            magnitude=torch.maximum(returns_BT.abs().max(), values_BT.abs().max()),
        )
        weights = token_weights(
            batch.mask_BT,
            counted_B,
            samples_per_prompt=batch.samples_per_prompt,
            per=self.per,
            constant=self.max_new_tokens,
        )
        return replace(
            batch,
            advantages_BT=advantages_BT,
            returns_BT=returns_BT,
            counted_mask_B=counted_B,
            weights_BT=weights.weights_BT,
            shares_B=weights.shares_B,
        )

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """The clipped surrogate, the clipped value loss, and KL and entropy where they are losses."""
        assert outputs.values_BT is not None and rows.values_BT is not None and rows.returns_BT is not None
        value_loss_BT = clipped_value_loss(outputs.values_BT, rows.values_BT, rows.returns_BT, self.value_clip)
        measures = self.clipped.measures(outputs, rows)
        if self.value_clip is not None:
            plain_BT = clipped_value_loss(outputs.values_BT, rows.values_BT, rows.returns_BT, None)
            measures["value_clip_fraction"] = token_mean(value_loss_BT > plain_BT, rows)
        return Losses(
            terms={
                **self.clipped.terms(outputs, rows),
                "value_loss": loss_sum(value_loss_BT, rows),
                **self.penalty.terms(outputs, rows),
            },
            measures=measures,
        )
