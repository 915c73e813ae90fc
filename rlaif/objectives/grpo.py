"""Group relative policy optimization and its relatives, their parts by name (arXiv 2402.03300).

Shapes: B responses, G prompts, K samples per prompt, T response tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from torch import Tensor

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.length_penalty import soft_overlong_penalty
from rlaif.functional.losses import LossSum
from rlaif.functional.normalizers import Per, token_weights
from rlaif.functional.policy_gradient import (
    GroupAdvantages,
    group_mean_advantages,
    informative_groups,
    normalize_advantages,
)
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.objectives.clipped import HOW_LONG, ClippedLoss, Ratio
from rlaif.objectives.kl import GrpoKlPlace, KlPenalty, RewardWeight
from rlaif.ranges import AtLeastOne, Bounds, NonNegative, OpenShare, Positive, WholeNonNegative
from rlaif.rollouts.batch import Rollouts

GroupScaling = Literal["group", "step", "unscaled"]
"""Deviation that advantages are divided by: of the prompt's rewards, of all advantages of the step, or none."""


class Grpo:
    """A response's advantage is its reward's place among those of its prompt; the ratio to the old policy is clipped.

    The options have the parts of GRPO, Dr. GRPO, DAPO and GSPO; ``conf/policy/objective`` holds each as a preset.
    Logs ``policy/loss``, ``policy/clip_fraction``, ``policy/ratio``, ``policy/update_kl``, ``policy/left_out`` (share
    of the rewarded responses that do not count: alone with a reward, or dropped by dynamic sampling) and, where they
    are used, ``policy/kl_loss``, ``policy/entropy_loss``, ``policy/importance_weight``.

    Args:
        beta: Weight of the KL, at least 0; 0 leaves it out.
        kl: Its place, as in :data:`~rlaif.objectives.kl.KlPlace`, or GRPO's original ``k3``, whose gradient is that of
            the reverse KL(π_SFT ‖ π).
        reward_weight: ``one`` gives reward - β KL, ``one_minus_beta`` (1 - β) reward - β KL.
        advantages: Divided by the deviation of the prompt's rewards (``group``), of the step's advantages (``step``),
            or ``unscaled`` as in Dr. GRPO.
        clip_low: Largest fall of a ratio below 1, in (0, 1).
        clip_high: Largest rise above 1; above ``clip_low`` it is DAPO's clip-higher.
        ratio: Of each ``token``, or of the whole ``sequence`` as in GSPO, which needs ``per=sequence``.
        per: Unit whose tokens are averaged, as in :func:`~rlaif.functional.normalizers.token_weights`.
        dynamic_sampling: Whether prompts whose rewards are all equal are left out of the denominators too.
        redraws: With ``dynamic_sampling``, how often such prompts are replaced by further ones; those that are left
            after that are left out. 0 draws none.
        overlong_buffer: Tokens before the limit over which a penalty down to -1 grows; None penalizes no length.
        max_new_tokens: Longest response that can be sampled; read by ``per=constant`` and ``overlong_buffer``.
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
        beta: float = 0.04,
        kl: GrpoKlPlace = "weighted_k3",
        reward_weight: RewardWeight = "one",
        advantages: GroupScaling = "group",
        clip_low: OpenShare = 0.2,
        clip_high: Positive = 0.2,
        ratio: Ratio = "token",
        per: Per = "sequence",
        dynamic_sampling: bool = False,
        redraws: WholeNonNegative = 0,
        overlong_buffer: AtLeastOne | None = None,
        max_new_tokens: AtLeastOne | None = None,
        entropy: NonNegative = 0.0,
        importance_cap: Annotated[float, Bounds(1)] | None = 2.0,
        epochs: AtLeastOne = 1,
        minibatches: AtLeastOne = 1,
    ) -> None:
        self.beta, self.kl, self.reward_weight = beta, kl, reward_weight
        self.advantages = advantages
        self.clip_low, self.clip_high, self.ratio, self.per = clip_low, clip_high, ratio, per
        self.dynamic_sampling, self.redraws = dynamic_sampling, redraws
        self.overlong_buffer, self.max_new_tokens = overlong_buffer, max_new_tokens
        self.entropy, self.importance_cap = entropy, importance_cap
        self.epochs, self.minibatches = epochs, minibatches
        self.penalty = KlPenalty(beta, kl, reward_weight)
        if problems := [f"policy.objective.{problem}" for problem in self._problems()]:
            raise ConfigError(problems)
        self.clipped = ClippedLoss(
            low=clip_low, high=clip_high, ratio=ratio, importance_cap=importance_cap, entropy=entropy
        )
        self.updates = Updates(epochs=epochs, minibatches=minibatches)
        self.needs = Needs(
            vocabulary_logits=self.penalty.needs_vocabulary or entropy > 0, samples_per_prompt=2, redraws=redraws
        )

    def _problems(self) -> Iterator[str]:
        yield from bounds_problems(self)
        yield from self.penalty.problems()
        if self.ratio == "sequence" and self.per != "sequence":
            yield (
                f"ratio=sequence: one ratio for a whole response needs the mean over responses, and per={self.per}"
                " averages tokens; type policy.objective.per=sequence or policy.objective.ratio=token"
            )
        if self.redraws > 0 and not self.dynamic_sampling:
            yield (
                f"redraws={self.redraws}: replaces prompts that dynamic sampling leaves out; type"
                " policy.objective.dynamic_sampling=true or policy.objective.redraws=0"
            )
        yield from self._length_problems()

    def _length_problems(self) -> Iterator[str]:
        readers = ["per=constant"] if self.per == "constant" else []
        readers += [] if self.overlong_buffer is None else [f"overlong_buffer={self.overlong_buffer}"]
        if self.max_new_tokens is None:
            for reader in readers:
                yield f"{reader}: needs the longest response; {HOW_LONG}"
        elif self.overlong_buffer is not None and self.overlong_buffer > self.max_new_tokens:
            yield (
                f"overlong_buffer={self.overlong_buffer}: must be at most policy.max_new_tokens={self.max_new_tokens}"
            )

    def credit(self, batch: Rollouts) -> Rollouts:
        """Advantages of the responses among those of their prompt, the same at every token; weights and shares.

        Raises:
            ConfigError: One sample per prompt leaves no other to compare with.
        """
        num_samples = batch.samples_per_prompt
        if num_samples < 2:
            raise ConfigError(f"policy.samples_per_prompt={num_samples}: policy/objective=grpo needs at least 2")
        rewards_B = self._rewards(batch)
        grouped = self._grouped(rewards_B, batch)
        counted_B = grouped.counts_GK.flatten()
        advantages_B1 = grouped.advantages_GK.flatten()[:, None]
        if self.advantages == "step":
            magnitude = rewards_B.masked_fill(~counted_B, 0.0).abs().max()
            advantages_B1 = normalize_advantages(
                advantages_B1, counted_B[:, None], "root_mean_square", magnitude=magnitude
            )
        weights = token_weights(
            batch.mask_BT, counted_B, samples_per_prompt=num_samples, per=self.per, constant=self.max_new_tokens
        )
        return replace(
            batch,
            advantages_BT=advantages_B1.expand_as(batch.mask_BT).masked_fill(~batch.mask_BT, 0.0),
            returns_BT=rewards_B[:, None].expand_as(batch.mask_BT),
            counted_mask_B=counted_B,
            weights_BT=weights.weights_BT,
            shares_B=weights.shares_B,
        )

    def _rewards(self, batch: Rollouts) -> Tensor:
        """Rewards [B] that are compared within a prompt."""
        rewards_B = self.penalty.response_rewards(batch)
        if self.overlong_buffer is None:
            return rewards_B
        assert self.max_new_tokens is not None
        return rewards_B + soft_overlong_penalty(
            batch.mask_BT.sum(-1), max_length=self.max_new_tokens, buffer=self.overlong_buffer
        )

    def _grouped(self, rewards_B: Tensor, batch: Rollouts) -> GroupAdvantages:
        """Advantages within each prompt; dynamic sampling looks at the rewards before length and KL come in."""
        assert batch.rewards_B is not None and batch.scored_mask_B is not None
        shape = (-1, batch.samples_per_prompt)
        scored_GK = batch.scored_mask_B.view(shape)
        if self.dynamic_sampling:
            given_B = batch.rewards_B if batch.unshaped_rewards_B is None else batch.unshaped_rewards_B
            scored_GK = scored_GK & informative_groups(given_B.view(shape), scored_GK)[:, None]
        return group_mean_advantages(rewards_B.view(shape), scored_GK, scale=self.advantages == "group", correction=1)

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """The clipped surrogate, and KL and entropy where they are losses."""
        assert rows.scored_mask_B is not None and rows.counted_mask_B is not None
        left_out = LossSum((rows.scored_mask_B & ~rows.counted_mask_B).sum(), rows.scored_mask_B.sum().float())
        return Losses(
            terms={**self.clipped.terms(outputs, rows), **self.penalty.terms(outputs, rows)},
            measures={**self.clipped.measures(outputs, rows), "left_out": left_out},
        )
