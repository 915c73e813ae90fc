"""Micro-batches: which rows of an optimizer step share a forward pass, by a budget of tokens.

The budget follows from the model and the number format, never from the memory that happens to be free: the same
configuration is cut alike on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from transformers import PreTrainedModel

LEAST_ACTIVATION_BYTES = 2**30
"""Memory that the activations of a small model may take."""
BYTES_PER_WEIGHT, BYTES_PER_FROZEN_WEIGHT = 16, 4
"""A float32 weight with its gradient and both averages of Adam; a weight without."""
MAX_TOKENS = 65_536
"""More tokens in one forward pass are not faster anywhere."""


class Rows(Protocol):
    """A batch whose rows can be taken apart."""

    def row_tokens(self) -> list[int]:
        """Tokens that each row takes in a forward pass, padding apart."""
        ...

    def rows(self, rows: Sequence[int]) -> Self:
        """Some rows, cut to the longest of them."""
        ...


def cut_by_tokens(
    lengths: Sequence[int], max_tokens: int, *, num_parts: int = 1, max_rows: int | None = None
) -> list[list[int]]:
    """Cut rows into parts of similar lengths, so that little is padding.

    Args:
        lengths: Tokens of each row.
        max_tokens: Most tokens of a part, padding included; a longer row is a part of its own.
        num_parts: Parts to make at least, at most one per row.
        max_rows: Most rows of a part; None takes as many as there are.

    Returns:
        Positions of the rows of each part, longest rows first; one part keeps the order of the rows.

    >>> cut_by_tokens([5, 9, 4, 5], max_tokens=10)
    [[1], [0, 3], [2]]
    >>> cut_by_tokens([5, 9, 4, 5], max_tokens=36)
    [[0, 1, 2, 3]]
    >>> cut_by_tokens([5, 9, 4, 5], max_tokens=36, max_rows=2)
    [[1, 0], [3, 2]]
    """
    most = max_rows or len(lengths)
    if num_parts == 1 and len(lengths) <= most and len(lengths) * max(lengths, default=0) <= max_tokens:
        return [list(range(len(lengths)))] if lengths else []
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if parts and len(parts[-1]) < most and lengths[parts[-1][0]] * (len(parts[-1]) + 1) <= max_tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    while len(parts) < num_parts:
        largest = max(range(len(parts)), key=lambda part: len(parts[part]))
        rows, middle = parts[largest], len(parts[largest]) // 2
        parts[largest : largest + 1] = [rows[:middle], rows[middle:]]
    return parts


def automatic_max_tokens(model: PreTrainedModel, precision: str) -> int:
    """Tokens per forward pass whose activations take about as much memory as weights, gradients and optimizer.

    Args:
        model: What is trained.
        precision: ``trainer.precision``; activations of a mixed precision take two bytes.

    Returns:
        At least as many tokens as fit into :data:`LEAST_ACTIVATION_BYTES`.
    """
    num_bytes = sum(
        weight.numel() * (BYTES_PER_WEIGHT if weight.requires_grad else BYTES_PER_FROZEN_WEIGHT)
        for weight in model.parameters()
    )
    allowed = max(LEAST_ACTIVATION_BYTES, num_bytes)
    return max(1, min(MAX_TOKENS, allowed // activation_bytes(model, precision)))


def max_tokens_to_read(model: PreTrainedModel) -> int:
    """Tokens of a forward pass without gradient, whose activations take no more memory than those of one with it.

    No layer's activations outlive the layer, so many more tokens fit.
    """
    num_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return max(1, min(MAX_TOKENS, max(LEAST_ACTIVATION_BYTES, num_bytes) // _layer_bytes(model, width=4)))


def activation_bytes(model: PreTrainedModel, precision: str) -> int:
    """Memory of one token between forward and backward pass, estimated from the model's widths.

    A layer of a transformer keeps about 16 vectors of its hidden width and 4 of its inner width, and the loss keeps
    logits, log-probabilities and their gradient in float32.
    """
    config = model.config.get_text_config(decoder=True)
    num_layers = int(getattr(config, "num_hidden_layers", 1))
    width = 2 if precision in ("bf16-mixed", "16-mixed") else 4
    return num_layers * _layer_bytes(model, width=width) + 4 * 3 * int(config.vocab_size)


def _layer_bytes(model: PreTrainedModel, *, width: int) -> int:
    """Memory of one token in one layer, in numbers of ``width`` bytes."""
    config = model.config.get_text_config(decoder=True)
    embedding: Any = model.get_input_embeddings()
    hidden = int(getattr(config, "hidden_size", None) or embedding.weight.shape[-1])
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    return width * (16 * hidden + 4 * inner)
