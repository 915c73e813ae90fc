"""A scalar head for architectures for which transformers has no sequence classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

WIDTH = "scalar_head_width"
"""Entry of the saved configuration: width of the body's last hidden state."""


class ScalarHeadForSequenceClassification(PreTrainedModel):
    """A body and one linear map of its state at the last token; the same interface as the library's classifiers.

    :func:`rlaif.models.load.load_reward_model` reads its folders. The library's ``AutoModelForSequenceClassification``
    cannot: it has no class for these architectures.

    Args:
        config: Of the body, with ``scalar_head_width`` and ``pad_token_id``.
    """

    config_class = PreTrainedConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: PreTrainedConfig) -> None:
        config._experts_implementation_internal = None
        super().__init__(config)
        # The library looks for experts in this file and finds none; the body chooses for itself.
        config._experts_implementation_internal = None
        self.model = AutoModel.from_config(config, attn_implementation=config._attn_implementation)
        self.score = nn.Linear(getattr(config, WIDTH), 1, bias=False)
        self.post_init()

    @classmethod
    def read(cls, folder: Path | str, config: PreTrainedConfig, **options: Any) -> Any:
        """A saved one, as ``from_pretrained``; the body's class follows from its configuration."""
        return cls.from_pretrained(folder, config=config, **options)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the body."""
        embeddings: nn.Module = self.model.get_input_embeddings()
        return embeddings

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """Logits [B, 1] at the last token of each row that is not padding.

        Args:
            input_ids: [B, T], padded on the right.
            attention_mask: [B, T], nonzero for tokens; None: every token but the trailing ``config.pad_token_id``.
            use_cache: As of the body.
            kwargs: Further arguments of the body.
        """
        pad_id = self.config.get_text_config().pad_token_id
        real_BT = input_ids != pad_id if attention_mask is None else attention_mask.bool()
        positions_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        last_B = (real_BT * positions_T).argmax(-1)
        # The body is causal and padding is on the right, so no token sees padding.
        hidden_BTD = self.model(input_ids=input_ids, use_cache=use_cache, **kwargs).last_hidden_state
        rows_B = torch.arange(len(input_ids), device=hidden_BTD.device)
        return SequenceClassifierOutput(logits=self.score(hidden_BTD[rows_B, last_B.to(hidden_BTD.device)]))
