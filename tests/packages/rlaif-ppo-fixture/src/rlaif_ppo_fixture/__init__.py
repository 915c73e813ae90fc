"""Proximal policy optimization (arXiv 1707.06347).

Shapes: B responses, T response positions.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from rlaif.functional.losses import LossSum
from rlaif.functional.policy_gradient import kl_shaped_rewards, normalize_advantages
from rlaif.objectives.base import Losses, Needs, PolicyOutputs, Updates
from rlaif.rollouts.batch import Rollouts


class Ppo:
    """Ratios to the log-probs of sampling, and values, both clipped; several passes over each rollout.

    Args:
        beta: Share of the KL, in [0, 1).
        clip: Largest distance of a ratio from 1 and of a value from its estimate at sampling, above 0.
        trace: λ of the advantages, in [0, 1].
        epochs: Passes over a rollout.
        minibatches: Optimizer steps per pass.
    """

    def __init__(
        self, *, beta: float = 0.02, clip: float = 0.2, trace: float = 0.95, epochs: int = 2, minibatches: int = 2
    ) -> None:
        self.beta, self.clip, self.trace = beta, clip, trace
        self.needs = Needs(values=True)
        self.updates = Updates(epochs=epochs, minibatches=minibatches)

    def credit(self, batch: Rollouts) -> Rollouts:
        """Generalized advantages (arXiv 1506.02438) with γ = 1."""
        assert batch.rewards_B is not None and batch.scored_mask_B is not None and batch.values_BT is not None
        assert batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
        mask_BT = batch.mask_BT & batch.scored_mask_B[:, None]
        rewards_BT = kl_shaped_rewards(
            batch.rewards_B, batch.logprobs_BT, batch.ref_logprobs_BT, batch.mask_BT, self.beta
        ).masked_fill(~mask_BT, 0.0)
        values_BT = batch.values_BT.masked_fill(~mask_BT, 0.0)
        next_BT = torch.nn.functional.pad(values_BT[:, 1:], (0, 1))
        advantages_BT, later_B = torch.zeros_like(values_BT), torch.zeros_like(batch.rewards_B)
        for t in reversed(range(mask_BT.shape[1])):
            later_B = rewards_BT[:, t] + next_BT[:, t] - values_BT[:, t] + self.trace * later_B
            advantages_BT[:, t] = later_B
        return replace(
            batch,
            advantages_BT=normalize_advantages(advantages_BT, mask_BT),
            returns_BT=advantages_BT + values_BT,
            counted_mask_B=batch.scored_mask_B,
        )

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """Clipped surrogate and clipped value loss; logs the share of clipped ratios."""
        assert rows.sampled_logprobs_BT is not None and rows.advantages_BT is not None
        assert rows.counted_mask_B is not None and rows.returns_BT is not None
        assert outputs.values_BT is not None and rows.values_BT is not None
        mask_BT, responses = rows.mask_BT & rows.counted_mask_B[:, None], rows.counted_mask_B.sum().float()
        ratio_BT = (outputs.logprobs_BT - rows.sampled_logprobs_BT).exp()
        clipped_BT = ratio_BT.clamp(1 - self.clip, 1 + self.clip)
        gain_BT = torch.minimum(ratio_BT * rows.advantages_BT, clipped_BT * rows.advantages_BT)
        near_BT = rows.values_BT + (outputs.values_BT - rows.values_BT).clamp(-self.clip, self.clip)
        error_BT = torch.maximum((outputs.values_BT - rows.returns_BT).square(), (near_BT - rows.returns_BT).square())
        return Losses(
            terms={
                "loss": LossSum(-gain_BT[mask_BT].sum(), responses),
                "value_loss": LossSum(0.5 * error_BT[mask_BT].sum(), responses),
            },
            measures={"clip_fraction": LossSum((ratio_BT != clipped_BT)[mask_BT].sum(), mask_BT.sum().float())},
            per_token=frozenset({"value_loss"}),
        )
