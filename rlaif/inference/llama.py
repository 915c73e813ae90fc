"""A forward pass for plain Llama models with fewer, larger operations; equal to the model's own.

Shapes: B rows, T new tokens, S slots of the cache, K kept positions, D head width, V vocabulary.
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
        self, ids_BT: Tensor, positions_BT: Tensor, mask_BTS: Tensor | None, cache: KeyValueCache, keep: Tensor
    ) -> Tensor:
        """As :class:`rlaif.inference.forward.Forward`."""
        # The last layer is computed at any row's positions, the head at each row's own.
        keep_K, own_BK = (keep, None) if keep.dim() == 1 else torch.unique(keep, return_inverse=True)
        hidden = self.embedding(ids_BT)
        width = hidden.shape[-1]
        cos, sin = (table[:, :, None] for table in self.rotary(hidden, positions_BT))
        mask = None if mask_BTS is None else additive(mask_BTS, hidden.dtype)
        for index, layer in enumerate(self.layers):
            normed = rms_norm(hidden, layer.attention_norm, self.eps)
            qk, value = self._projections(normed, layer, cos, sin)
            query, key = qk.split((self.num_heads, self.num_kv_heads), dim=2)
            keys, values = cache.update(key.transpose(1, 2), value.transpose(1, 2), index)
            if index == self.num_layers - 1 and len(keep_K) < ids_BT.shape[1]:
                # Nothing above the last layer's keys needs the other positions.
                if mask is None:
                    sees_KS = torch.arange(keys.shape[2], device=keep_K.device) <= keep_K[:, None]
                    mask = additive(sees_KS, hidden.dtype)[None]
                else:
                    mask = mask[:, keep_K]
                hidden, query = hidden[:, keep_K], query[:, keep_K]
                keep_K = torch.arange(len(keep_K), device=keep_K.device)
            attended = attend(query, keys, values, mask)
            hidden = hidden + linear(attended, layer.output)
            normed = rms_norm(hidden, layer.mlp_norm, self.eps)
            gate, up = linear(normed, layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + linear(F.silu(gate).mul_(up), layer.down)
        if len(keep_K) < hidden.shape[1]:
            hidden = hidden[:, keep_K]
        if own_BK is not None:
            hidden = hidden.gather(1, own_BK[:, :, None].expand(-1, -1, width))
        return linear(rms_norm(hidden, self.final_norm, self.eps), self.head)

    def _projections(self, normed: Tensor, layer: _FusedLayer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys [B, T, heads, D] and values [B, T, key-value heads, D]."""
        rows, length, _ = normed.shape
        heads = linear(normed, layer.qkv).view(rows, length, -1, self.head_width)
        qk, value = heads.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), dim=2)
        return rotated(qk, cos, sin), value


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
