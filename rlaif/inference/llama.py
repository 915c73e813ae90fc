"""A forward pass for plain Llama models with fewer, larger operations; equal to the model's own.

Shapes: B rows, T new tokens, N of them not padded, S slots of the cache, K kept positions, D head width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from rlaif.inference.adapters import is_readable, linear_weight
from rlaif.inference.attention import additive, attend
from rlaif.inference.cache import KeyValueCache
from rlaif.inference.linear import linear
from rlaif.inference.shared_cache import SharedPromptCache

_OWN = ("transformers.models.llama.", "transformers.activations", "torch.nn.")
"""Where the classes of a Llama's modules come from, its linear layers apart."""


def is_plain_llama(model: PreTrainedModel) -> TypeGuard[LlamaForCausalLM]:
    """True for an unsharded Llama whose arithmetic ``FusedLlama`` repeats; its linear layers may have LoRA adapters.

    Other adapters, quantization, sharding, hooks and unusual options all go the plain path.
    """
    if type(model) is not LlamaForCausalLM or model.config._attn_implementation != "sdpa":
        return False
    config = model.config
    if config.attention_bias or config.mlp_bias or config.hidden_act != "silu":
        return False
    rope: Any = config.rope_parameters
    if rope["rope_type"] not in ("default", "llama3", "linear"):
        return False
    if hasattr(model, "hf_device_map"):
        return False
    return _is_plain(model)


def _is_plain(module: nn.Module) -> bool:
    """True where a module and all modules in it are those of a Llama."""
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if is_readable(module):
        return not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    is_own = type(module).__module__.startswith(_OWN) and not isinstance(module, nn.Linear)
    return is_own and all(map(_is_plain, module.children()))


class FusedLlama:
    """Joins the projections that read the same input; the weights are those of the moment it is made.

    Args:
        model: A model for which ``is_plain_llama`` holds.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        self.num_layers: int = config.num_hidden_layers
        self.device = model.device
        self.runs_concurrently = model.device.type == "cpu"
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = config.num_key_value_heads or config.num_attention_heads
        self.head_width: int = model.model.layers[0].self_attn.head_dim
        self.eps: float = config.rms_norm_eps
        self.embedding = model.model.embed_tokens
        self.rotary = model.model.rotary_emb
        self.final_norm: Tensor = model.model.norm.weight
        with torch.no_grad():
            self.head: Tensor = linear_weight(model.lm_head)
            self.layers = [_FusedLayer(layer) for layer in model.model.layers]

    def __call__(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        mask_BTS: Tensor | None,
        cache: KeyValueCache,
        keep: Tensor,
        real_BT: Tensor | None = None,
    ) -> Tensor:
        """As :class:`rlaif.inference.forward.Forward`."""
        # The last layer is computed at any row's positions, the head at each row's own.
        keep_K, own_BK = (keep, None) if keep.dim() == 1 else torch.unique(keep, return_inverse=True)
        packing = _Packing(ids_BT.shape, real_BT)
        hidden_ND = self.embedding(packing.packed(ids_BT))
        width = hidden_ND.shape[-1]
        cos_ND, sin_ND = (table[0, :, None] for table in self.rotary(hidden_ND, packing.packed(positions_BT)[None]))
        mask = None if mask_BTS is None else additive(mask_BTS, hidden_ND.dtype)
        for index, layer in enumerate(self.layers[:-1]):
            query, keys, values = self._read(hidden_ND, layer, cos_ND, sin_ND, cache, index, packing)
            hidden_ND = _after(packing.packed(attend(query, keys, values, mask)), hidden_ND, layer, self.eps)
        query, keys, values = self._read(
            hidden_ND, self.layers[-1], cos_ND, sin_ND, cache, self.num_layers - 1, packing
        )
        hidden = packing.padded(hidden_ND)
        if len(keep_K) < ids_BT.shape[1]:
            # Nothing above the last layer's keys needs the other positions.
            if mask is None:
                sees_KS = torch.arange(keys.shape[2], device=keep_K.device) <= keep_K[:, None]
                mask = additive(sees_KS, hidden.dtype)[None]
            else:
                mask = mask[:, keep_K]
            hidden, query = hidden[:, keep_K], query[:, keep_K]
        hidden = _after(attend(query, keys, values, mask), hidden, self.layers[-1], self.eps)
        if own_BK is not None:
            hidden = hidden.gather(1, own_BK[:, :, None].expand(-1, -1, width))
        return linear(rms_norm(hidden, self.final_norm, self.eps), self.head)

    def _read(
        self,
        hidden_ND: Tensor,
        layer: _FusedLayer,
        cos_ND: Tensor,
        sin_ND: Tensor,
        cache: KeyValueCache,
        index: int,
        packing: _Packing,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, T, heads, D], and keys and values of the whole cache, to which the new tokens' are added."""
        query, key, value = map(packing.padded, self._heads(hidden_ND, layer, cos_ND, sin_ND))
        return query, *cache.update(key.transpose(1, 2), value.transpose(1, 2), index)

    def _heads(
        self, hidden_ND: Tensor, layer: _FusedLayer, cos_ND: Tensor, sin_ND: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys and values [N, heads, D] of tokens."""
        normed = rms_norm(hidden_ND, layer.attention_norm, self.eps)
        heads = linear(normed, layer.qkv).view(len(hidden_ND), -1, self.head_width)
        qk, value = heads.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), dim=1)
        query, key = rotated(qk, cos_ND, sin_ND).split((self.num_heads, self.num_kv_heads), dim=1)
        return query, key, value

    def next_logits(self, ids_B: Tensor, positions_B: Tensor, cache: SharedPromptCache) -> Tensor:
        """Logits [B, V] after one more token of each row, whose prompts share their keys and values.

        Args:
            ids_B: The newest token of each row.
            positions_B: Position of each in its own text.
            cache: Grows in place by one slot.
        """
        hidden_BD = self.embedding(ids_B)
        cos_BD, sin_BD = (table[0, :, None] for table in self.rotary(hidden_BD, positions_B[None]))
        for index, layer in enumerate(self.layers):
            attended = cache.attend(index, *self._heads(hidden_BD, layer, cos_BD, sin_BD))
            hidden_BD = _after(attended, hidden_BD, layer, self.eps)
        return linear(rms_norm(hidden_BD, self.final_norm, self.eps), self.head)


class _Packing:
    """Tokens of padded rows side by side, so that padding costs nothing outside of attention.

    Args:
        shape: Of the padded rows, (B, T).
        real_BT: False where a row is padded; None where none is.
    """

    def __init__(self, shape: torch.Size, real_BT: Tensor | None) -> None:
        self.shape = shape
        self.places_N = None if real_BT is None or bool(real_BT.all()) else real_BT.flatten().nonzero().squeeze(1)

    def packed(self, rows: Tensor) -> Tensor:
        """[N, ...] of [B, T, ...]."""
        flat = rows.flatten(0, 1)
        return flat if self.places_N is None else flat.index_select(0, self.places_N)

    def padded(self, tokens: Tensor) -> Tensor:
        """[B, T, ...] of [N, ...], 0 where padded."""
        if self.places_N is not None:
            tokens = tokens.new_zeros(self.shape.numel(), *tokens.shape[1:]).index_copy_(0, self.places_N, tokens)
        return tokens.unflatten(0, self.shape)


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As ``F.rms_norm`` over the last dimension, which a CPU computes in eight passes over the data; these are three.

    Args:
        hidden: [..., width].
        weight: [width].
        eps: Added to the mean square.
    """
    if hidden.device.type != "cpu":
        return F.rms_norm(hidden, weight.shape, weight, eps)
    norms = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
    scale = norms.square_().div_(hidden.shape[-1]).add_(eps).rsqrt_()
    return (hidden * scale.to(hidden.dtype)).mul_(weight)


def _after(attended: Tensor, hidden: Tensor, layer: _FusedLayer, eps: float) -> Tensor:
    """What a layer adds to the hidden states [..., width] after attention: its output, then the feed-forward part."""
    hidden = hidden + linear(attended, layer.output)
    gate, up = linear(rms_norm(hidden, layer.mlp_norm, eps), layer.gate_up).chunk(2, dim=-1)
    return hidden + linear(F.silu(gate).mul_(up), layer.down)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of queries and keys: their halves turned against each other.

    Args:
        states: [..., D].
        cos: Broadcasts to the states, the second half like the first.
        sin: The same.
    """
    half = states.shape[-1] // 2
    low, high = states.split(half, dim=-1)
    out = states * cos
    out[..., :half].addcmul_(high, sin[..., :half], value=-1)
    out[..., half:].addcmul_(low, sin[..., half:])
    return out


class _FusedLayer:
    """Weights of one decoder layer."""

    def __init__(self, layer: LlamaDecoderLayer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.attention_norm: Tensor = layer.input_layernorm.weight
        self.mlp_norm: Tensor = layer.post_attention_layernorm.weight
        self.qkv = torch.cat([linear_weight(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)])
        self.output = linear_weight(attention.o_proj)
        self.gate_up = torch.cat([linear_weight(part) for part in (mlp.gate_proj, mlp.up_proj)])
        self.down = linear_weight(mlp.down_proj)
