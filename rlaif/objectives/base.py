"""Protocols of objectives: rollouts to credit and credit to losses, or labeled pairs to losses.

Shapes: B responses (K consecutive rows per prompt) or pairs, T response positions, V vocabulary. Masks are bool, True
counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.losses import LossSum
from rlaif.rollouts.batch import Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Inputs of a rollout objective besides rewards and log-probs; only these are computed.

    Log-probs of the reference are always there: the policy's KL is logged whatever the objective is.
    """

    values: bool = False
    """A baseline V(X_t) in ``values_BT``."""
    values_from: Literal["learned", "running_average"] = "learned"
    """``learned``: trained together with the policy by a loss of the objective; ``running_average``: one number, the
    running average of the earlier steps' mean returns, without a gradient."""
    vocabulary_logits: bool = False
    """Logits of policy and reference over the whole vocabulary, at every response position."""
    samples_per_prompt: int = 1
    """Responses per prompt that the objective needs at least."""
    responses_per_step: int = 1
    """Responses per policy step that the objective needs at least."""
    redraws: int = 0
    """How often prompts whose rewards are all equal are replaced by further ones before a step is learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """Optimizer steps per rollout.

    Raises:
        ConfigError: A number is below 1.
    """

    epochs: int = 1
    """Passes over the rollout's responses."""
    minibatches: int = 1
    """Optimizer steps per pass, each on an equal share of the rollout's prompts."""

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"policy.objective.{name}={getattr(self, name)}: must be at least 1")

    @property
    def total(self) -> int:
        """Optimizer steps per rollout."""
        return self.epochs * self.minibatches


class PolicyOutputs(NamedTuple):
    """Outputs of the models for responses, with gradient (the reference without)."""

    logprobs_BT: Tensor
    """log π of the response tokens, at the sampling temperature."""
    values_BT: Tensor | None
    """V of the state before each token; None unless the objective needs values."""
    logits_BTV: Tensor | None
    """Logits / temperature; None unless the objective needs vocabulary logits."""
    ref_logits_BTV: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Losses and further logged figures, as totals and counts that add up over micro-batches and processes."""

    terms: Mapping[str, LossSum]
    """Losses by name, already weighted: their totals are added, divided by the sum of ``loss_shares`` over the
    optimizer step (the number of responses that count, unless the objective's credit fills ``shares_B``), and
    minimized. Each is logged as total over count under ``policy/NAME``."""
    measures: Mapping[str, LossSum] = field(default_factory=dict)
    """Further figures that are logged in the same way, e.g. the share of clipped ratios."""
    per_token: frozenset[str] = frozenset()
    """Names that are logged per response token: divided by the mean length of the responses."""

    def logged(self) -> dict[str, LossSum]:
        """Every term and measure by name, without gradient."""
        every = {**self.terms, **self.measures}
        return {name: LossSum(part.total.detach(), part.count.detach()) for name, part in every.items()}


class RolloutObjective(Protocol):
    """Learns from the policy's own responses and their rewards. Registered in the group ``rlaif.objectives``."""

    @property
    def needs(self) -> Needs:
        """Inputs of :meth:`credit` and :meth:`losses`."""
        ...

    @property
    def updates(self) -> Updates:
        """Optimizer steps per rollout."""
        ...

    def credit(self, batch: Rollouts) -> Rollouts:
        """Fill advantages, returns and ``counted_mask_B`` of a rollout, over the responses of all processes.

        An objective with another denominator than the number of responses fills ``weights_BT`` and ``shares_B`` too.

        The first rollout is credited twice where there are values: with values of 0, and with their start, the mean
        return that the first credit found.

        Args:
            batch: With rewards, log-probs of policy and reference, and values where they are needed.
        """
        ...

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """Losses of some of the rollout's rows.

        Args:
            outputs: Of the policy as it is now, for these rows.
            rows: From :meth:`credit`, cut to whole prompts.
        """
        ...


class PairOutputs(NamedTuple):
    """Log-probs of one response of each pair."""

    logprobs_B: Tensor
    """log π of the whole response, end token included, with gradient."""
    ref_logprobs_B: Tensor
    """log π_SFT of the same response, without gradient."""
    num_tokens_B: Tensor | None = None
    """Tokens of the response, end token included; None where the caller does not tell."""


class PairLabels(NamedTuple):
    """Soft labels of B pairs."""

    p_first_B: Tensor
    """Probability that the first response is better, in [0, 1]."""
    weight_B: Tensor
    """Weight of each pair, above 0."""


class PairObjective(Protocol):
    """Learns from labeled pairs of responses, without a reward. Registered in the group ``rlaif.pair_objectives``."""

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        """Losses of a batch of pairs, each term a total over its own count (pairs, or their weights).

        Args:
            first: Of the first response of each pair.
            second: Of the second.
            pairs: Which of the two is better.
        """
        ...
