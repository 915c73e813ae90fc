"""Pairs of the policy's own fresh responses, judged while it learns (online DPO, arXiv 2402.04792).

Shapes: B responses, K of each prompt, G prompts, T response tokens, N pairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.losses import LossSum
from rlaif.functional.sample_pairs import (
    best_and_worst,
    each_once,
    mean_wins,
    reward_preferences,
    same_responses,
    verdicts,
)
from rlaif.objectives.base import Losses, Needs, PairLabels, PairObjective, PairOutputs, PolicyOutputs, Updates
from rlaif.ranges import AtLeastOne, Positive
from rlaif.rollouts.batch import Rollouts

PairChoice = Literal["all", "best_worst"]
"""Pairs of a prompt's responses that are learned from: all, or the one of the best and the worst."""
LabelKind = Literal["soft", "hard"]
"""Label of a pair: the probability as judged, or 1, 0 and, for a tie, ½."""


class OnlinePairs:
    """Any loss of labeled pairs, on pairs of the responses to one prompt.

    Which of two responses is better is what the reward says of the pair (``reward=group_pairwise``), or else
    σ((r_first - r_second) / ``reward_temperature``) of their rewards. A pair without a judgement, and one of two
    responses with the same tokens, is in no loss and no denominator. The loss is the mean over the pairs of the
    optimizer step. Advantages are logged only: P(better) - P(worse), the mean over a response's pairs.

    Logs what the loss of pairs names (``policy/loss``, ``policy/margin``, …), ``policy/pairs`` (share of the possible
    pairs that are learned from) and ``policy/label_margin`` (mean of |2p - 1|).

    Args:
        pair_objective: The loss of a pair.
        pairs: As in :data:`PairChoice`.
        labels: As in :data:`LabelKind`.
        reward_temperature: Of σ, where the reward judges single responses; above 0.
        epochs: Passes over a rollout.
        minibatches: Optimizer steps per pass.

    Raises:
        ConfigError: With every option that is out of range.
    """

    def __init__(
        self,
        pair_objective: PairObjective,
        *,
        pairs: PairChoice = "all",
        labels: LabelKind = "soft",
        reward_temperature: Positive = 1.0,
        epochs: AtLeastOne = 1,
        minibatches: AtLeastOne = 1,
    ) -> None:
        self.pair_objective = pair_objective
        self.pairs, self.labels, self.reward_temperature = pairs, labels, reward_temperature
        self.epochs, self.minibatches = epochs, minibatches
        if problems := [f"policy.objective.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)
        self.updates = Updates(epochs=epochs, minibatches=minibatches)
        self.needs = Needs(samples_per_prompt=2)

    def credit(self, batch: Rollouts) -> Rollouts:
        """Choose pairs and labels: ``p_beats_BK`` keeps each pair that is learned from once, as [first, second].

        Raises:
            ConfigError: One sample per prompt leaves no pair.
        """
        num_samples = batch.samples_per_prompt
        if num_samples < 2:
            raise ConfigError(f"policy.samples_per_prompt={num_samples}: a pair needs at least 2")
        judged_GKK = self._judged(batch)
        labels_GKK = best_and_worst(judged_GKK) if self.pairs == "best_worst" else each_once(judged_GKK)
        labels_GKK = verdicts(labels_GKK) if self.labels == "hard" else labels_GKK
        known_GKK = ~labels_GKK.isnan()
        wins_BT = mean_wins(judged_GKK).reshape(-1, 1).expand_as(batch.mask_BT)
        return replace(
            batch,
            p_beats_BK=labels_GKK.flatten(0, 1),
            advantages_BT=torch.where(batch.mask_BT & ~wins_BT.isnan(), 2.0 * wins_BT - 1.0, 0.0),
            returns_BT=wins_BT,
            counted_mask_B=(known_GKK | known_GKK.transpose(1, 2)).any(-1).flatten(),
            shares_B=known_GKK.sum(-1).flatten().float(),
        )

    def _judged(self, batch: Rollouts) -> Tensor:
        """P(row is better than column) [G, K, K] of all pairs; NaN where there is none, and on the diagonal."""
        assert batch.rewards_B is not None and batch.scored_mask_B is not None
        num_samples = batch.samples_per_prompt
        scored_GK = batch.scored_mask_B.view(-1, num_samples)
        if batch.p_beats_BK is None:
            rewards_GK = batch.rewards_B.view(-1, num_samples)
            judged_GKK = reward_preferences(rewards_GK, scored_GK, self.reward_temperature)
        else:
            judged_GKK = batch.p_beats_BK.float().view(-1, num_samples, num_samples)
        both_GKK = scored_GK[:, :, None] & scored_GK[:, None, :]
        same_GKK = same_responses(batch.tokens_BT, batch.mask_BT, num_samples)
        return judged_GKK.masked_fill(same_GKK | ~both_GKK, torch.nan)

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        """The loss of the pairs of these rows."""
        assert rows.p_beats_BK is not None
        labels_BK, num_samples = rows.p_beats_BK, rows.samples_per_prompt
        first_N, column_N = (~labels_BK.isnan()).nonzero(as_tuple=True)
        p_first_N = labels_BK[first_N, column_N]
        num_pairs = torch.tensor(float(len(first_N)), device=labels_BK.device)
        if not len(first_N):  # a loss may divide by its pairs: any pair gives the names, and counts nothing
            first_N, column_N = torch.zeros_like(first_N.new_empty(1)), torch.ones_like(first_N.new_empty(1))
            p_first_N = labels_BK.new_full((1,), 0.5)
        second_N = first_N // num_samples * num_samples + column_N
        found = self.pair_objective.losses(
            _side(outputs, rows, first_N),
            _side(outputs, rows, second_N),
            PairLabels(p_first_N, torch.ones_like(p_first_N)),
        )
        counts = (num_pairs > 0).float()
        possible = torch.tensor(len(rows) * (num_samples - 1) / 2, device=labels_BK.device)
        return Losses(
            terms={name: _times(counts, term) for name, term in found.terms.items()},
            measures={
                **{name: _times(counts, measure) for name, measure in found.measures.items()},
                "pairs": LossSum(num_pairs, possible),
                "label_margin": LossSum(counts * (2.0 * p_first_N - 1.0).abs().sum(), num_pairs),
            },
        )


def _side(outputs: PolicyOutputs, rows: Rollouts, chosen_N: Tensor) -> PairOutputs:
    """Log-probs of one response of each pair, summed over its tokens."""
    assert rows.ref_logprobs_BT is not None

    def summed(logprobs_BT: Tensor) -> Tensor:
        return torch.where(rows.mask_BT, logprobs_BT.float(), 0.0).sum(-1)[chosen_N]

    lengths_N = rows.mask_BT.sum(-1)[chosen_N]
    return PairOutputs(summed(outputs.logprobs_BT), summed(rows.ref_logprobs_BT), lengths_N)


def _times(factor: Tensor, part: LossSum) -> LossSum:
    return LossSum(factor * part.total, factor * part.count)
