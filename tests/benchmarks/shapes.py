"""Shapes of random Llamas, which the benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Shape:
    """Of a Llama whose head is its embedding."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int


SHAPES = {
    "3M": Shape(192, 512, 6, 6, 2, 2048),
    "15M": Shape(384, 1024, 8, 6, 2, 4096),
    "135M": Shape(576, 1536, 30, 9, 3, 49152),
}


def random_llama(shape: Shape, **options: Any) -> LlamaForCausalLM:
    """Random weights, the same at every call.

    Args:
        shape: Of the model.
        options: Further entries of its configuration.
    """
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        **options,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)
