"""Reward models: distil soft preferences into one number per response.

Shapes: B pairs, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlaif.data.batches.examples import PairBatch
from rlaif.functional.losses import LossSum, preference_cross_entropy
from rlaif.models.response_scorer import pair_logits
from rlaif.modules.supervised import SupervisedModule


def pairwise_agreement(logit_B: Tensor, p_first_B: Tensor, weight_B: Tensor | None = None) -> LossSum:
    """Number of pairs that the sign of r(first) - r(second) orders as the label does; a label of ½ does not count.

    Args:
        logit_B: r(first) - r(second).
        p_first_B: Soft label in [0, 1].
        weight_B: Non-negative weight of each pair; 1 when None.

    Returns:
        Weight of the pairs ordered as their label, of those of equal reward half, and weight of all that count.

    >>> pairwise_agreement(torch.tensor([1.0, -1.0, 2.0]), torch.tensor([0.9, 0.8, 0.5]))
    LossSum(total=tensor(1.), count=tensor(2.))
    """
    weight_B = torch.ones_like(p_first_B) if weight_B is None else weight_B
    counting_B = torch.where(p_first_B != 0.5, weight_B, 0.0).float()
    hit_B = torch.where(logit_B == 0, 0.5, ((logit_B > 0) == (p_first_B > 0.5)).float())
    return LossSum((hit_B * counting_B).sum(), counting_B.sum())


class RewardModelModule(SupervisedModule[PairBatch]):
    """Cross-entropy of softmax(r1, r2) to the soft label, r at the last token; pairs count by their weights.

    Logs ``train/loss`` (nats per pair), ``train/accuracy`` (agreement with the label's side) and, where
    there is a validation part, ``validation/loss`` and ``validation/accuracy``. The model is a sequence
    classifier with one label; saved with ``save_pretrained`` it loads as ``AutoModelForSequenceClassification``
    and gives the same scores there.
    """

    group = "reward_model"
    figure_names = ("loss", "accuracy")

    def outputs(self, batch: PairBatch) -> Tensor:
        """What the classifier gives for both sides [2, B, outputs]."""
        first, second = (batch.first_ids_BT, batch.first_lengths_B), (batch.second_ids_BT, batch.second_lengths_B)
        return pair_logits(self.model, *first, *second, batch.prompt_lengths_B)

    def rewards(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """The reward of both sides [2, B]; a subclass may have further ones."""
        return {"reward": self.outputs(batch).squeeze(-1)}

    def logits(self, batch: PairBatch) -> Tensor:
        """r(first) - r(second) [B]."""
        first_B, second_B = self.outputs(batch).squeeze(-1)
        return first_B - second_B

    def figures(self, batch: PairBatch) -> Mapping[str, LossSum]:
        """The soft-label cross-entropy, and the agreement of the rewards' order with the labels."""
        logit_B = self.logits(batch)
        return {
            "loss": preference_cross_entropy(logit_B, batch.p_first_B, batch.weight_B),
            "accuracy": pairwise_agreement(logit_B.detach(), batch.p_first_B, batch.weight_B),
        }

    def loss_count(self, batch: PairBatch) -> Tensor:
        """Weights of the pairs."""
        return batch.weight_B.sum()
