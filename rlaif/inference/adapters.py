"""Models with low-rank adapters of peft, which is loaded only where a model has some.

An adapter is part of the layers: the model keeps its class, and its own forward pass uses it.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.errors import EngineError
from rlaif.inference.linear import FastLinear


def without_wrapper(model: PreTrainedModel) -> PreTrainedModel:
    """The model inside a ``peft.PeftModel``, with its adapters; any other model as it is.

    Raises:
        EngineError: The adapter is not part of the layers (prompt tuning and its like).
    """
    peft, wrapper = sys.modules.get("peft"), cast(Any, model)
    if peft is None or not isinstance(model, peft.PeftModel):
        return model
    if wrapper.active_peft_config.is_prompt_learning:
        raise EngineError(
            f"{wrapper.active_peft_config.peft_type}: an adapter that adds to the prompt cannot be used here; take one"
            " that adds to layers, as LoRA"
        )
    inside: PreTrainedModel = wrapper.get_base_model()
    return inside


def has_adapter(model: nn.Module) -> bool:
    """True where some layer of the model has an adapter."""
    layers = sys.modules.get("peft.tuners.tuners_utils")
    return layers is not None and any(isinstance(module, layers.BaseTunerLayer) for module in model.modules())


def is_readable(layer: nn.Module) -> bool:
    """True for a linear layer whose weight :func:`linear_weight` gives: plain, or with plain LoRA adapters."""
    own: Any = layer
    if type(layer) in (nn.Linear, FastLinear):
        return type(own.weight) is nn.Parameter
    lora = sys.modules.get("peft.tuners.lora.layer")
    if lora is None or type(layer) is not lora.Linear:
        return False
    changed = own.merged or own.lora_variant or any(own.lora_bias.values()) or own.fan_in_fan_out
    return not changed and is_readable(own.base_layer)


def linear_weight(layer: nn.Module) -> Tensor:
    """Weight [outputs, inputs] of a linear layer, with what its active LoRA adapters add to it.

    Args:
        layer: One for which :func:`is_readable` holds.
    """
    own: Any = layer
    if type(layer) in (nn.Linear, FastLinear):
        weight: Tensor = own.weight
        return weight
    weight = own.base_layer.weight
    for name in () if own.disable_adapters else own.active_adapters:
        if name in own.lora_A:
            weight = weight + own.get_delta_weight(name)
    return weight
