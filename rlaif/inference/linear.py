"""Linear layers through oneDNN where the default library leaves half of the processor unused.

On AMD processors MKL, torch's default for float32 products on the CPU, does not use AVX-512; oneDNN, which torch
carries too, does: about twice as fast there, with the same float32 arithmetic in another order. The choice rests on
facts of the machine (maker, library, a numerics check), never on timing, so that two runs agree bit for bit.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Model = TypeVar("Model", bound=nn.Module)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` without gradient, by the faster library.

    Args:
        x: [..., inputs].
        weight: [outputs, inputs].

    >>> linear(torch.ones(1, 2), torch.eye(2)).tolist()
    [[1.0, 1.0]]
    """
    return _onednn(x, weight) if _routes(x, weight) else F.linear(x, weight)


def products(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` for each matrix of a batch, without gradient, by the faster library.

    Args:
        x: [..., rows, inputs].
        weight: [..., outputs, inputs].
    """
    if x.dim() != 3 or not _routes(x, weight):
        return torch.matmul(x, weight.transpose(-1, -2))
    return torch.stack([_onednn(x_one, weight_one) for x_one, weight_one in zip(x, weight, strict=True)])


class FastLinear(nn.Linear):
    """``nn.Linear`` with its three products through oneDNN for float32 on the CPU; elsewhere unchanged."""

    def forward(self, input: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        if not _routes(input, self.weight):
            return F.linear(input, self.weight, self.bias)
        if torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad):
            output = _Product.apply(input, self.weight)
        else:
            output = _onednn(input, self.weight)
        return output if self.bias is None else output + self.bias


def fast_linear(model: Model) -> Model:
    """Turn a model's plain linear layers into :class:`FastLinear`, in place, where that is faster.

    Parameters, names and saved files stay what they were.

    Args:
        model: Any module; layers of other classes than ``nn.Linear`` are left alone.

    Returns:
        The same model.
    """
    if onednn_is_faster():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = FastLinear
    return model


@cache
def onednn_is_faster() -> bool:
    """True on an AMD processor with AVX-512 whose torch has both libraries and whose oneDNN computes right."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    if "AuthenticAMD" not in text or "avx512f" not in text:
        return False
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and _computes_right()


def _computes_right() -> bool:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(33, 70, generator=generator), torch.randn(50, 70, generator=generator)
    # A private operation: another torch may have changed its arguments, which shows as one of these.
    try:
        return torch.allclose(_onednn(x, weight).double(), x.double() @ weight.double().T, atol=1e-4)
    except (RuntimeError, TypeError):
        return False


def _routes(x: Tensor, weight: Tensor) -> bool:
    is_float_on_cpu = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return is_float_on_cpu and x.numel() > 0 and onednn_is_faster() and not torch.is_autocast_enabled("cpu")


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


class _Product(torch.autograd.Function):
    """``x @ weight.T`` with both gradients through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        grad = grads[0].contiguous()
        x, weight = ctx.saved_tensors
        grad_x = _onednn(grad, weight.t()) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = _onednn(grad.reshape(-1, grad.shape[-1]).t(), x.reshape(-1, x.shape[-1]).t())
        return grad_x, grad_weight
