"""One forward pass over a key-value cache, for any Hugging Face causal language model.

Shapes: B rows, T new tokens, S slots of the cache (the new tokens included), K kept positions, D hidden width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.errors import EngineError
from rlaif.inference.adapters import without_wrapper
from rlaif.inference.attention import additive
from rlaif.inference.cache import KeyValueCache, cache_argument
from rlaif.inference.heads import head_change, head_logits
from rlaif.inference.limits import attention_window, rotation_limit
from rlaif.inference.llama import FusedLlama, is_plain_llama


class Forward(Protocol):
    """Reads new tokens after what a cache holds."""

    num_layers: int
    device: torch.device
    runs_concurrently: bool
    """True on a CPU where several threads may call it at once."""

    def __call__(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        mask_BTS: Tensor | None,
        cache: KeyValueCache,
        keep: Tensor,
        real_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, K, V] at some positions of the new tokens; the cache grows by T slots.

        Args:
            ids_BT: Token ids, any value where padded.
            positions_BT: Position of each token in its own text, gaps of the cache not counted.
            mask_BTS: True where a new token sees a slot; None when the cache is empty and order alone decides.
            cache: Grows in place.
            keep: Positions among the new tokens whose logits are wanted: [K] of all rows, or [B, K] of each row.
            real_BT: False where a token is padding that need not be computed; None computes all.
        """
        ...


class ModelForward:
    """The plain path: the model's own forward, whatever its architecture, adapters and hooks."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.runs_concurrently = False  # A model's own code may keep what it computes.
        config = model.config.get_text_config(decoder=True)
        self.num_layers: int = config.num_hidden_layers
        # A model on several devices takes its input on the device of its first loaded weights.
        self.device = next((p.device for p in model.parameters() if p.device.type != "meta"), torch.device("cpu"))
        attention = model.config._attn_implementation
        if attention not in ("sdpa", "eager"):
            raise EngineError(f"attn_implementation={attention}: scoring and sampling allow sdpa and eager")
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - {"full_attention", "sliding_attention"}:
            raise EngineError(f"model with {', '.join(sorted(kinds))} layers: shared prefixes need plain attention")
        self._cache_argument = cache_argument(model)
        self._window = min(filter(None, (attention_window(config), rotation_limit(config))), default=None)

    def __call__(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        mask_BTS: Tensor | None,
        cache: KeyValueCache,
        keep: Tensor,
        real_BT: Tensor | None = None,
    ) -> Tensor:
        self._check_window(cache)
        inputs = {
            "input_ids": ids_BT,
            "attention_mask": None if mask_BTS is None else additive(mask_BTS, self.model.dtype)[:, None],
            "position_ids": positions_BT,
            "use_cache": True,
            self._cache_argument: cache,
        }
        if head_change(self.model) is None:
            return kept_positions(self.model(**inputs).logits, keep)
        return head_logits(self.model, kept_positions(self.model.base_model(**inputs).last_hidden_state, keep))

    def _check_window(self, cache: KeyValueCache) -> None:
        if self._window is None or cache.capacity <= self._window[0]:
            return
        limit, name = self._window
        what = (
            f"the sliding window of {limit} tokens" if "window" in name else f"{name}={limit}, the reach of rotations,"
        )
        raise EngineError(
            f"{cache.capacity} tokens of prompt and answer exceed {what} of this model, which shared prefixes do not"
            f" support; type labeler.engine.max_context={limit} for a labeler, and for a policy a lower"
            " sampling.max_prompt_tokens or sampling.max_new_tokens"
        )


def kept_positions(states: Tensor, keep: Tensor) -> Tensor:
    """States [B, K, D] at some positions of [B, T, D].

    Args:
        states: Of all positions.
        keep: [K] positions of all rows, or [B, K] positions of each row.
    """
    keep = keep.to(states.device)
    if keep.dim() == 1:
        return states if len(keep) == states.shape[1] else states[:, keep]
    return states.gather(1, keep[:, :, None].expand(-1, -1, states.shape[-1]))


def forward_for(model: PreTrainedModel) -> Forward:
    """The fastest forward pass that gives this model's own logits."""
    model = without_wrapper(model)
    return FusedLlama(model) if is_plain_llama(model) else ModelForward(model)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off and no gradients inside; the model's mode comes back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
