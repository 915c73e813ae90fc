"""Learned baselines V(X_t): what return to expect after the prompt and the tokens so far.

Shapes: B rows (prompt-major), G prompts, T response tokens, D hidden.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.data.batches.examples import pad_right


def _scalar_head(width: int) -> nn.Linear:
    """A linear map to one number that starts at 0, so that the first advantages are the returns."""
    head = nn.utils.skip_init(nn.Linear, width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _width(model: PreTrainedModel) -> int:
    width: int = model.config.get_text_config(decoder=True).hidden_size
    return width


class ValueHead(nn.Module):
    """A linear head on the policy's own hidden states, which it does not train.

    Far cheaper than the paper's second model: no forward pass of its own.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.head = _scalar_head(_width(policy))

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """Values [B, T] of the states that the policy's ``hidden_BTD`` describes."""
        values_BT1: Tensor = self.head(hidden_BTD.detach().float())
        return values_BT1.squeeze(-1)


class ValueModel(nn.Module):
    """A model of its own, initialised from SFT like the policy (arXiv 2309.00267, appendix F)."""

    def __init__(self, sft: PreTrainedModel) -> None:
        super().__init__()
        self.body = deepcopy(sft.base_model)
        self.head = _scalar_head(_width(sft))

    def forward(self, hidden_BTD: Tensor, prompt_ids: list[list[int]], tokens_BT: Tensor) -> Tensor:
        """Values [B, T] of the states before each of ``tokens_BT``, which follow G prompts (B = G * k rows)."""
        num_rows, width = tokens_BT.shape
        rows = [prompt for prompt in prompt_ids for _ in range(num_rows // len(prompt_ids))]
        joined = [prompt + response for prompt, response in zip(rows, tokens_BT.tolist(), strict=True)]
        ids_BS = pad_right(joined, 0)[0].to(tokens_BT.device)
        starts_B1 = torch.tensor([[len(prompt) - 1] for prompt in rows], device=tokens_BT.device)
        columns_BT = starts_B1 + torch.arange(width, device=tokens_BT.device)
        hidden_BSD = self.body(input_ids=ids_BS, use_cache=False).last_hidden_state
        states_BTD = hidden_BSD.gather(1, columns_BT[:, :, None].expand(-1, -1, hidden_BSD.shape[-1]))
        values_BT1: Tensor = self.head(states_BTD.float())
        return values_BT1.squeeze(-1)
