"""The head of a causal LM apart from its body: logits at chosen positions only, equal to the model's own.

Shapes: N positions, D hidden width, V vocabulary; leading axes are kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.errors import EngineError
from rlaif.inference.linear import FastLinear
from rlaif.inference.vocabulary import Head


class Change(NamedTuple):
    """What a model does to its logits after the linear map: ``cap · tanh(factor · logits / cap)``."""

    factor: float
    cap: float | None
    """None caps nothing."""

    def __call__(self, logits: Tensor) -> Tensor:
        """The changed logits."""
        scaled = logits if self.factor == 1.0 else logits * self.factor
        return scaled if self.cap is None else torch.tanh(scaled / self.cap) * self.cap


_CHANGES: WeakKeyDictionary[PreTrainedModel, Change | None] = WeakKeyDictionary()


def head_logits(model: PreTrainedModel, hidden_ND: Tensor) -> Tensor:
    """Logits [N, V] of last hidden states, as the model's own forward gives them: scaled and capped where it does so.

    Args:
        model: A causal LM.
        hidden_ND: ``last_hidden_state`` of ``model.base_model``.

    Raises:
        EngineError: The model makes its logits in a way that is not known here.
    """
    change = head_change(model)
    if change is None:
        raise EngineError(
            f"{type(model).__name__}: its logits are no linear map of its last hidden state, scaled or capped as its"
            " configuration says, so it cannot be trained as a policy; take another model"
        )
    logits_NV: Tensor = model.get_output_embeddings()(hidden_ND)
    return change(logits_NV)


def chunked_head(model: PreTrainedModel, num_positions: int, *, temperature: float = 1.0) -> Head | None:
    """The head as chunks of logits are made with it; None where all logits fit at once, or it is no plain linear layer.

    Args:
        model: A causal LM.
        num_positions: Positions whose logits are wanted.
        temperature: What the logits are divided by.
    """
    layer: Any = model.get_output_embeddings()
    change = head_change(model)
    if change is None or type(layer) not in (nn.Linear, FastLinear) or type(layer.weight) is not nn.Parameter:
        return None
    head = Head(layer.weight, layer.bias, change.factor, change.cap, temperature)
    return None if head.fits_whole(num_positions) else head


def head_change(model: PreTrainedModel) -> Change | None:
    """What the model does to its logits after the linear map, found by three tokens once; None where it is not known.

    Args:
        model: A causal LM; its mode and gradients are left as they are.
    """
    if model not in _CHANGES:
        training = model.training
        model.eval()
        try:
            _CHANGES[model] = _find_change(model)
        finally:
            model.train(training)
    return _CHANGES[model]


@torch.no_grad()
def _find_change(model: PreTrainedModel) -> Change | None:
    head = model.get_output_embeddings()
    if head is None:
        return None
    device = next((p.device for p in model.parameters() if p.device.type != "meta"), torch.device("cpu"))
    ids = torch.arange(1, 4, device=device)[None] % next(model.get_input_embeddings().parameters()).shape[0]
    own = model(input_ids=ids, use_cache=False).logits.float()
    linear = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    tolerance = 1e-5 if linear.dtype == torch.float32 else 2e-2
    for change in _changes(model.config.get_text_config(decoder=True)):
        changed = change(linear).float()
        if changed.shape == own.shape and torch.allclose(changed, own, rtol=0, atol=tolerance * float(own.abs().max())):
            return change
    return None


def _changes(config: Any) -> list[Change]:
    """Those that a configuration names, first all that it names together, last none."""
    named: list[Change] = []
    cap = getattr(config, "final_logit_softcapping", None)
    for option in ("logit_scale", "lm_head_multiplier", "logits_scaling"):
        factor = getattr(config, option, None)
        if isinstance(factor, int | float) and factor not in (0, 1):
            # Granite divides by its logits_scaling, HyperCLOVA X multiplies.
            named += [Change(factor, cap), Change(1 / factor, cap)]
    return [*named, Change(1.0, cap), Change(1.0, None)]
