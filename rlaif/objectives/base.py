"""What a policy learns from: rollouts to credit, credit to losses.

Shapes: B responses of one policy step (K consecutive rows per prompt), T response positions,
V vocabulary. Masks are bool, True counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from rlaif.functional.losses import LossSum


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRollouts:
    """All responses of one policy step with their rewards; nothing here carries a gradient."""

    rewards_B: Tensor
    """Reward of each response; read only where ``scored_mask_B``."""
    scored_mask_B: Tensor
    """Responses that have a reward: a missing one is left out everywhere."""
    mask_BT: Tensor
    """Response tokens, the end token included."""
    logprobs_BT: Tensor
    """log π of the sampled tokens, at the sampling temperature."""
    ref_logprobs_BT: Tensor
    """log π_SFT of the same tokens, at the same temperature."""
    values_BT: Tensor | None
    """V of the state before each token; None for objectives without a learned baseline."""
    samples_per_prompt: int
    """K: rows ``i*K .. (i+1)*K - 1`` answer one prompt."""


class Credit(NamedTuple):
    """What each token of each response earned."""

    advantages_BT: Tensor
    returns_BT: Tensor
    """Z_t, what a learned baseline is fitted to."""
    row_mask_B: Tensor
    """Responses that count in the loss."""


class PolicyOutputs(NamedTuple):
    """What the models say about responses, with gradient (the reference without)."""

    logprobs_BT: Tensor
    values_BT: Tensor | None
    logits_BTV: Tensor | None
    """Logits / temperature; given only when ``objective.kl`` is ``loss``."""
    ref_logits_BTV: Tensor | None


class ObjectiveLosses(NamedTuple):
    """Sums and counts, so that minibatches and processes add up to one batch."""

    policy: LossSum
    value: LossSum | None = None
    kl: LossSum | None = None
    """Already multiplied by β."""


class Objective(Protocol):
    """A policy-gradient estimator. Registered in the group ``rlaif.objectives``."""

    beta: float
    """β of J = E[(1 - β) r - β KL], in [0, 1)."""
    kl: Literal["reward", "loss"]
    """Where the KL enters: into each token's reward, or as a differentiable loss over the vocabulary."""
    needs_values: bool
    """True when a learned baseline V(X_t) is part of the estimator."""

    def credit(self, rollouts: ScoredRollouts) -> Credit:
        """Advantages and returns, computed once per policy step over all its responses."""
        ...

    def losses(self, outputs: PolicyOutputs, credit: Credit, mask_BT: Tensor) -> ObjectiveLosses:
        """Losses of some of the step's rows (``credit`` and ``mask_BT`` are cut to the same rows)."""
        ...
