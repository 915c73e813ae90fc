"""Keys and values of tokens already read: one allocation, written in place.

Shapes: B rows, H key-value heads, S token slots, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

KeyValues = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, each [B, H, S, D]."""


_NAMES = ("cache", "past_key_values")
"""Names under which a model's forward takes its cache, the present name first."""


def cache_argument(model: PreTrainedModel) -> str:
    """The name by which a model's forward takes its cache.

    transformers renamed ``past_key_values`` to ``cache``. Both names are within the allowed versions, and models that
    bring their own code may keep the old one.

    Args:
        model: A language model, or its body without the head. A wrapper whose forward takes anything is taken to pass
            the name of the installed library on.
    """
    for forward in (model.forward, LlamaForCausalLM.forward):
        named = signature(forward).parameters
        if found := next((name for name in _NAMES if name in named), None):
            return found
    raise AssertionError("LlamaForCausalLM takes no cache")


MOST_ROWS, FEWEST_ROWS = 64, 16
"""Prompts that share a forward pass where no number is given."""
BYTES_PER_TOKEN = 2**20
"""On a CPU, memory that one more token of all these prompts may take in the cache."""


def rows_at_once(model: PreTrainedModel) -> int:
    """Prompts that share a forward pass, by device and model and never by the memory that happens to be free.

    More rows are faster the smaller the model is, whose steps are short and whose cache is small.
    """
    if model.device.type != "cpu":
        return MOST_ROWS
    return max(FEWEST_ROWS, min(MOST_ROWS, BYTES_PER_TOKEN // cache_bytes(model)))


def cache_bytes(model: PreTrainedModel) -> int:
    """Memory that the keys and values of one token take, estimated from the model's widths."""
    config = model.config.get_text_config(decoder=True)
    num_heads = int(getattr(config, "num_attention_heads", None) or 1)
    num_kv_heads = int(getattr(config, "num_key_value_heads", None) or num_heads)
    head_width = int(getattr(config, "head_dim", None) or config.hidden_size // num_heads)
    return 2 * int(config.num_hidden_layers) * num_kv_heads * head_width * model.dtype.itemsize


class GrowingLayer(DynamicLayer):
    """A layer of a Hugging Face cache with room for ``capacity`` tokens, written in place instead of concatenated."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the batch size and heads of the first states."""
        self.dtype, self.device = key_states.dtype, key_states.device
        rows, heads, _, width = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.capacity, width)
        self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append states [B, H, T, D]; returns everything so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Slots written so far."""
        return self.length

    def slots(self, start: int) -> tuple[Tensor, Tensor]:
        """Keys and values from slot ``start`` on."""
        assert self.keys is not None and self.values is not None
        return self.keys[:, :, start : self.length], self.values[:, :, start : self.length]

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows of the batch."""
        assert self.keys is not None and self.values is not None
        keys, values = self.keys, self.values
        rows = rows.to(keys.device)
        self.keys = keys.new_empty(len(rows), *keys.shape[1:])
        self.values = values.new_empty(len(rows), *values.shape[1:])
        self.keys[:, :, : self.length] = keys[:, :, : self.length].index_select(0, rows)
        self.values[:, :, : self.length] = values[:, :, : self.length].index_select(0, rows)


class KeyValueCache(Cache):
    """A cache for ``num_layers`` layers and ``capacity`` tokens per row."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.growing = [GrowingLayer(capacity) for _ in range(num_layers)]
        super().__init__(layers=list(self.growing))

    @classmethod
    def from_parts(cls, parts: Sequence[tuple[KeyValues, Tensor]], num_layers: int, capacity: int) -> KeyValueCache:
        """Lay shared prefixes side by side.

        Args:
            parts: Per part, keys and values of some rows and the row that each row of the result takes [B].
            num_layers: Layers of the model.
            capacity: Slots per row, the parts included.
        """
        cache = cls(num_layers, capacity)
        for key_values, rows in parts:
            for layer, (keys, values) in zip(cache.growing, key_values, strict=True):
                # Layers may be on several devices.
                rows_here = rows.to(keys.device)
                layer.update(keys.index_select(0, rows_here), values.index_select(0, rows_here))
        return cache

    def key_values(self, start: int = 0) -> KeyValues:
        """Keys and values of the slots from ``start`` on."""
        return [layer.slots(start) for layer in self.growing]

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows [K] of the batch, in this order; rows may repeat."""
        for layer in self.growing:
            layer.select_rows(rows)
