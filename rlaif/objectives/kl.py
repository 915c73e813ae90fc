"""The KL to the reference as a part of an objective: in the reward, or as a loss by name.

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlaif.functional.kl import sampled_sequence_kl, token_k2, token_k3, token_kl, weighted_token_k3
from rlaif.functional.losses import LossSum
from rlaif.functional.policy_gradient import kl_shaped_rewards
from rlaif.functional.surrogates import token_log_ratio
from rlaif.objectives.base import PolicyOutputs
from rlaif.objectives.sums import loss_sum
from rlaif.rollouts.batch import Rollouts

KlPlace = Literal["reward", "loss", "k2", "weighted_k3"]
"""Where the KL stands, with the gradient of KL(π ‖ π_SFT) everywhere:

- ``reward``: -β (log π - log π_SFT) in each token's reward, which also sees that the policy chooses later states;
- ``loss``: β times the KL over the whole vocabulary at each visited state;
- ``k2``: β · ½ (log π - log π_SFT)² at each sampled token, weighted by π/π_old without gradient;
- ``weighted_k3``: β · π/π_old · (π_SFT/π - log π_SFT/π - 1) at each sampled token.
"""
GrpoKlPlace = Literal["reward", "loss", "k2", "weighted_k3", "k3"]
"""As :data:`KlPlace`, and GRPO's original ``k3``, whose gradient is that of the reverse KL(π_SFT ‖ π)."""
RewardWeight = Literal["one_minus_beta", "one"]
"""Weight of the reward beside β KL: 1 - β as in arXiv 2309.00267, or 1."""
OF_LOSSES = "k1, log π - log π_SFT as a loss, has the expected gradient 0"


@dataclass(frozen=True, slots=True)
class KlPenalty:
    """β and its place. The constructor checks nothing: an objective tells :meth:`problems` with its own."""

    beta: float
    place: GrpoKlPlace
    reward_weight: RewardWeight = "one_minus_beta"

    def problems(self) -> Iterator[str]:
        """Options that are out of range: ``name=value: what is allowed``."""
        if self.reward_weight == "one_minus_beta" and not 0.0 <= self.beta < 1.0:
            yield (
                f"beta={self.beta}: must be at least 0 and below 1, it shares with the reward; for"
                " reward - beta KL add policy.objective.reward_weight=one"
            )
        elif not 0.0 <= self.beta < math.inf:
            yield f"beta={self.beta}: must be at least 0"
        if str(self.place) == "k1":  # the config check refuses it, Python lets it through
            yield f"kl=k1: {OF_LOSSES}; type policy.objective.kl=reward, or kl=k2 for a loss"

    @property
    def share(self) -> float:
        """What the reward is multiplied by."""
        return 1.0 if self.reward_weight == "one" else 1.0 - self.beta

    @property
    def needs_vocabulary(self) -> bool:
        """True where the KL is summed over the vocabulary."""
        return self.place == "loss" and self.beta > 0

    def token_rewards(self, batch: Rollouts) -> Tensor:
        """Reward of each token [B, T]: the weighted reward at the last one, and the KL where it is in the reward."""
        assert batch.rewards_B is not None and batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
        ref_logprobs_BT = batch.ref_logprobs_BT if self.place == "reward" else batch.logprobs_BT
        return kl_shaped_rewards(
            self._terminal(batch.rewards_B, batch.last_values_B),
            batch.logprobs_BT,
            ref_logprobs_BT,
            batch.mask_BT,
            self.beta,
            reward_weight=self.share,
        )

    def _terminal(self, rewards_B: Tensor, last_values_B: Tensor | None) -> Tensor:
        """Rewards that the share then weighs; a value is one of returns, which are weighed already."""
        if last_values_B is None:
            return rewards_B
        return torch.where(last_values_B.isnan(), rewards_B, rewards_B + last_values_B / self.share)

    def response_rewards(self, batch: Rollouts) -> Tensor:
        """Reward of each whole response [B], the KL in it where it is in the reward."""
        assert batch.rewards_B is not None and batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
        rewards_B = self.share * batch.rewards_B.float()
        if self.place != "reward":
            return rewards_B
        return rewards_B - self.beta * sampled_sequence_kl(batch.logprobs_BT, batch.ref_logprobs_BT, batch.mask_BT)

    def terms(self, outputs: PolicyOutputs, rows: Rollouts) -> dict[str, LossSum]:
        """``kl_loss``, weighted by β; empty where the KL is no loss."""
        if self.place == "reward" or self.beta == 0:
            return {}
        return {"kl_loss": loss_sum(self.beta * self._loss(outputs, rows), rows)}

    def _loss(self, outputs: PolicyOutputs, rows: Rollouts) -> Tensor:
        """The KL's loss at each token [B, T]."""
        if self.place == "loss":
            assert outputs.logits_BTV is not None and outputs.ref_logits_BTV is not None
            return token_kl(outputs.logits_BTV, outputs.ref_logits_BTV.detach())
        assert rows.logprobs_BT is not None and rows.ref_logprobs_BT is not None
        logprobs_BT, old_BT, ref_BT, mask_BT = (
            outputs.logprobs_BT,
            rows.logprobs_BT,
            rows.ref_logprobs_BT,
            rows.mask_BT,
        )
        if self.place == "k3":
            return token_k3(logprobs_BT, ref_BT, mask_BT)
        if self.place == "weighted_k3":
            return weighted_token_k3(logprobs_BT, ref_BT, old_BT, mask_BT)
        ratio_BT = token_log_ratio(logprobs_BT.detach(), old_BT, mask_BT).exp()
        return ratio_BT * token_k2(logprobs_BT, ref_BT, mask_BT)
