"""Both responses of a pair in one row, so that their prompt is read once.

Shapes: B pairs, T tokens of one text, S tokens of a row, P positions, D hidden width. A row is laid out as
``[prompt | first response | second response | padding]``. The second response does not see the first, and its
positions go on from the prompt: every token gets the hidden state that it has in a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.inference.adapters import without_wrapper
from rlaif.inference.attention import additive

FAMILIES = frozenset(
    {
        "cohere",
        "deepseek_v3",
        "ernie4_5",
        "gemma",
        "glm4",
        "gpt_neox",
        "granite",
        "granitemoe",
        "helium",
        "llama",
        "mistral",
        "mixtral",
        "nemotron",
        "olmo",
        "olmo2",
        "phi",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)
"""Model types that take a mask of any shape and positions as given; each is compared with rows of its own in a test."""
_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Rotary positions that do not depend on the length of the row."""


def reads_pairs(model: PreTrainedModel) -> bool:
    """True for a decoder whose hidden states in a shared row are those of two rows.

    Args:
        model: A causal LM or a classifier on its body, also with adapters.
    """
    config: Any = without_wrapper(model).config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    window = None if kinds else getattr(config, "sliding_window", None)
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in FAMILIES
        and config._attn_implementation in ("sdpa", "eager")
        and kinds <= {"full_attention"}
        and window is None
        and rope.get("rope_type") in _ROTATIONS
    )


def is_worth_sharing(prompt_lengths_B: Tensor, first_lengths_B: Tensor, second_lengths_B: Tensor) -> bool:
    """True where prompts are at least as long as their responses: else the larger attention costs what is saved.

    Args:
        prompt_lengths_B: Tokens of the prompts.
        first_lengths_B: Tokens of prompt and first response.
        second_lengths_B: Tokens of prompt and second response.
    """
    return bool(4 * prompt_lengths_B.sum() >= (first_lengths_B + second_lengths_B).sum())


@dataclass(frozen=True, slots=True)
class PairRows:
    """Pairs, each in one row."""

    ids_BS: Tensor
    positions_BS: Tensor
    sees_BSS: Tensor
    """True where a token (second dimension) sees another (third)."""
    prompt_lengths_B: Tensor
    first_lengths_B: Tensor

    @classmethod
    def of(
        cls,
        first_ids_BT: Tensor,
        first_lengths_B: Tensor,
        second_ids_BT: Tensor,
        second_lengths_B: Tensor,
        prompt_lengths_B: Tensor,
    ) -> PairRows:
        """Join two texts that begin with the same prompt.

        Args:
            first_ids_BT: Prompt and first response, padded on the right with any id.
            first_lengths_B: Tokens without padding.
            second_ids_BT: Prompt and second response.
            second_lengths_B: Tokens without padding.
            prompt_lengths_B: Tokens that both begin with.
        """
        ends_B = first_lengths_B + second_lengths_B - prompt_lengths_B
        columns_1S = torch.arange(int(ends_B.max()), device=first_ids_BT.device)[None]
        in_first_BS = columns_1S < first_lengths_B[:, None]
        gap_B1 = (first_lengths_B - prompt_lengths_B)[:, None]
        positions_BS = torch.where(in_first_BS, columns_1S, columns_1S - gap_B1)
        first_BS, second_BS = (
            ids_BT.gather(1, positions_BS.clamp_max(ids_BT.shape[1] - 1)) for ids_BT in (first_ids_BT, second_ids_BT)
        )
        in_prompt_BS = columns_1S < prompt_lengths_B[:, None]
        shown_BSS = in_first_BS[:, :, None] | (in_prompt_BS | ~in_first_BS)[:, None]
        return cls(
            torch.where(in_first_BS, first_BS, second_BS),
            positions_BS,
            shown_BSS & (columns_1S <= columns_1S.mT)[None],
            prompt_lengths_B,
            first_lengths_B,
        )

    def hidden(self, model: PreTrainedModel) -> Tensor:
        """Last hidden states [B, S, D], with gradient.

        Args:
            model: One for which :func:`reads_pairs` holds.
        """
        states: Tensor = (
            without_wrapper(model)
            .base_model(
                input_ids=self.ids_BS,
                attention_mask=additive(self.sees_BSS, model.dtype)[:, None],
                position_ids=self.positions_BS,
                use_cache=False,
            )
            .last_hidden_state
        )
        return states

    def at(self, hidden_BSD: Tensor, first_BP: Tensor, second_BP: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, P, D] at positions of the first text, and at positions of the second.

        Args:
            hidden_BSD: Of the rows.
            first_BP: Positions in prompt and first response.
            second_BP: Positions in prompt and second response.
        """
        gap_B1 = (self.first_lengths_B - self.prompt_lengths_B)[:, None]
        columns_BP = torch.where(second_BP < self.prompt_lengths_B[:, None], second_BP, second_BP + gap_B1)
        return _states_at(hidden_BSD, first_BP), _states_at(hidden_BSD, columns_BP)


def _states_at(hidden_BSD: Tensor, columns_BP: Tensor) -> Tensor:
    return hidden_BSD.gather(1, columns_BP[:, :, None].expand(-1, -1, hidden_BSD.shape[-1]))
