"""Supervised fine-tuning: imitate the response, given the prompt.

Shapes: B batch, T tokens, N response tokens of the batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.data.batches.examples import TokenBatch
from rlaif.functional.losses import LossSum, token_cross_entropy
from rlaif.modules.distributed import mean_over_processes, pooled_mean
from rlaif.modules.forward import masked_logits
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.settings import SupervisedSettings
from rlaif.modules.supervised import SupervisedModule


class SFTModule(SupervisedModule):
    """Mean cross-entropy per response token, end token included.

    Logs ``train/loss`` (nats per token) and, where there is a validation part, ``validation/loss``.
    """

    def __init__(self, model: PreTrainedModel, *, optimization: OptimizerSettings) -> None:
        super().__init__(model, optimization=optimization)
        self._validation: list[LossSum] = []

    def loss(self, batch: TokenBatch) -> LossSum:
        """Cross-entropy over the batch's response tokens; the vocabulary is computed at these only."""
        predicts_BT = batch.loss_mask_BT[:, 1:]
        logits_NV = masked_logits(self.model, batch.input_ids_BT[:, :-1], predicts_BT)
        labels_N = batch.input_ids_BT[:, 1:][predicts_BT]
        return token_cross_entropy(logits_NV[None], labels_N[None], torch.ones_like(labels_N, dtype=torch.bool)[None])

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """The mean cross-entropy of a batch's response tokens."""
        loss = self.loss(batch)
        # Gradients are averaged over processes: dividing by the mean count gives the loss of the joint batch.
        count = mean_over_processes(self, loss.count)
        value = loss.total / count
        self.log("train/loss", mean_over_processes(self, value))
        return value

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        """Add the loss of a batch to the validation's sums."""
        loss = self.loss(batch)
        self._validation.append(loss)

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss over all processes."""
        self.log("validation/loss", pooled_mean(self, self._validation))
        self._validation.clear()


@dataclass(frozen=True, kw_only=True)
class SFTSettings(SupervisedSettings):
    """Config group ``sft``; the examples are demonstrations."""

    group: ClassVar[str] = "sft"

    skip: bool = False
    """True takes the model as it is for the SFT policy (the paper's dialogue tasks)."""

    def module(self, model: PreTrainedModel) -> SFTModule:
        """The module to train; ``model`` is changed in place."""
        return SFTModule(model, optimization=self.optimization)
