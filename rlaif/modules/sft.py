"""Supervised fine-tuning: imitate the response, given the prompt.

Shapes: B batch, T tokens, N response tokens of the batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from rlaif.data.batches.examples import TokenBatch
from rlaif.functional.losses import LossSum
from rlaif.modules.forward import masked_cross_entropy
from rlaif.modules.settings import SupervisedSettings
from rlaif.modules.supervised import SupervisedModule


class SFTModule(SupervisedModule[TokenBatch]):
    """Mean cross-entropy per response token, end token included.

    Logs ``train/loss`` (nats per token) and, where there is a validation part, ``validation/loss``.
    """

    group = "sft"

    def figures(self, batch: TokenBatch) -> Mapping[str, LossSum]:
        """Cross-entropy over the batch's response tokens; the vocabulary is computed at these only."""
        predicts_BT = batch.loss_mask_BT[:, 1:]
        inputs_BT, labels_BT = batch.input_ids_BT[:, :-1], batch.input_ids_BT[:, 1:]
        return {"loss": masked_cross_entropy(self.model, inputs_BT, labels_BT, predicts_BT)}

    def loss_count(self, batch: TokenBatch) -> Tensor:
        """Response tokens."""
        return batch.loss_mask_BT[:, 1:].sum().float()


@dataclass(frozen=True, kw_only=True)
class SFTSettings(SupervisedSettings):
    """Config group ``sft``; the examples are demonstrations."""

    group: ClassVar[str] = "sft"

    skip: bool = False
    """True takes the model as it is for the SFT policy (the paper's dialogue tasks)."""

    def module(self, model: PreTrainedModel) -> SFTModule:
        """The module to train; ``model`` is changed in place."""
        return SFTModule(model, optimization=self.optimization, max_tokens_per_forward=self.max_tokens_per_forward)
