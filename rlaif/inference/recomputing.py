"""Gradient checkpointing (arXiv 1604.06174): activations are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from rlaif.errors import EngineError


def recompute_layers(model: nn.Module) -> None:
    """Keep only the inputs of a model's layers for the backward pass; gradients stay the same.

    The library's own switch has no effect on a model in evaluation mode, in which a policy is trained.

    Args:
        model: It is changed in place; copies of it recompute, too.

    Raises:
        EngineError: The library does not say which parts of this model are layers.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise EngineError(f"model.gradient_checkpointing=true: {type(model).__name__} has no layers that can recompute")
    for layer in layers:
        layer.__dict__["forward"] = partial(_recomputed, layer.forward)


def recomputes(model: nn.Module) -> bool:
    """True for a model whose layers recompute, where gradients are wanted: it then takes no cache."""
    return torch.is_grad_enabled() and any(_is_recomputed(module) for module in model.modules())


def _is_recomputed(module: nn.Module) -> bool:
    forward = module.__dict__.get("forward")
    return isinstance(forward, partial) and forward.func is _recomputed


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A layer's forward pass; one that fills a cache must not run twice."""
    has_cache = any(isinstance(value, Cache) for value in (*args, *kwargs.values()))
    if has_cache or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
