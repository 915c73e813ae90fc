"""The clipped loss that PPO and the GRPO family share.

Shapes: B responses, T response tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlaif.functional.entropy import token_entropy
from rlaif.functional.losses import LossSum
from rlaif.functional.surrogates import clipped_surrogate, sequence_log_ratio, token_log_ratio
from rlaif.objectives.base import PolicyOutputs
from rlaif.objectives.sums import importance_weights, loss_sum, token_mean
from rlaif.rollouts.batch import Rollouts

Ratio = Literal["token", "sequence"]
"""π/π_old of each token, or of the response: the exponential of the mean log-ratio of its tokens (GSPO)."""

HOW_LONG = "type 'policy.objective.max_new_tokens=${policy.max_new_tokens}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippedLoss:
    """A surrogate of ratios to the policy before the first update, clipped, with an optional entropy bonus."""

    low: float
    """Largest fall of a ratio below 1."""
    high: float
    """Largest rise of a ratio above 1."""
    ratio: Ratio
    importance_cap: float | None
    """C of the weights min(π_old / π_rollout, C); None uses none."""
    entropy: float
    """Weight of the entropy bonus; 0 computes none."""

    def terms(self, outputs: PolicyOutputs, rows: Rollouts) -> dict[str, LossSum]:
        """``loss`` and, with a bonus, ``entropy_loss``."""
        loss_BT = self._surrogate(outputs, rows)[0]
        terms = {"loss": loss_sum(loss_BT, rows)}
        if self.entropy:
            assert outputs.logits_BTV is not None
            terms["entropy_loss"] = loss_sum(-self.entropy * token_entropy(outputs.logits_BTV), rows)
        return terms

    @torch.no_grad()
    def measures(self, outputs: PolicyOutputs, rows: Rollouts) -> dict[str, LossSum]:
        """Means over tokens: ``clip_fraction``, ``ratio``, ``update_kl`` (nats), and ``importance_weight``."""
        _, clipped_BT, log_ratio_BT = self._surrogate(outputs, rows)
        ratio_BT = log_ratio_BT.exp()
        figures = {
            "clip_fraction": clipped_BT.float(),
            "ratio": ratio_BT,
            "update_kl": ratio_BT * log_ratio_BT - (ratio_BT - 1.0),
        }
        if (weights_BT := importance_weights(rows, self.importance_cap)) is not None:
            figures["importance_weight"] = weights_BT
        return {name: token_mean(figure_BT, rows) for name, figure_BT in figures.items()}

    def _surrogate(self, outputs: PolicyOutputs, rows: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, whether it is clipped, and the log-ratio, at each token."""
        assert rows.logprobs_BT is not None and rows.advantages_BT is not None
        log_ratio_BT = token_log_ratio(outputs.logprobs_BT, rows.logprobs_BT, rows.mask_BT)
        if self.ratio == "sequence":
            log_ratio_BT = sequence_log_ratio(log_ratio_BT, rows.mask_BT)
        surrogate = clipped_surrogate(log_ratio_BT, rows.advantages_BT, low=self.low, high=self.high)
        weights_BT = importance_weights(rows, self.importance_cap)
        loss_BT = surrogate.loss_BT if weights_BT is None else surrogate.loss_BT * weights_BT
        return loss_BT, surrogate.clipped_BT, log_ratio_BT
