"""Log-probabilities of tokens over a large vocabulary with few logits in memory at once.

Shapes: N positions, D hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlaif.inference.linear import linear

WHOLE_ELEMENTS = 2**23
"""As many logits, 32 MB in float32, and fewer are computed in one piece."""
CHUNK_ELEMENTS = 2**22
"""Logits of a chunk: 16 MB in float32, which halves the extra memory of twice as many and takes no longer."""
_SLAB = 8192
"""Rows of the head that are multiplied at once: the libraries copy what they multiply."""


class Head(NamedTuple):
    """A linear map to logits, and what follows it: ``cap · tanh(factor · (W h + b) / cap) / temperature``."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    factor: float = 1.0
    cap: float | None = None
    """None caps nothing."""
    temperature: float = 1.0

    @property
    def rows_at_once(self) -> int:
        """Positions of a chunk."""
        return max(1, CHUNK_ELEMENTS // len(self.weight_VD))

    def fits_whole(self, num_positions: int) -> bool:
        """True where the logits of so many positions are computed in one piece."""
        return num_positions * len(self.weight_VD) <= WHOLE_ELEMENTS

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """float32 [N, V] of positions, without gradient."""
        logits_NV = hidden_ND.new_empty((len(hidden_ND), len(self.weight_VD)), dtype=torch.float32)
        for slab in _slabs(self.weight_VD):
            logits_NV[:, slab] = linear(hidden_ND, self.weight_VD[slab])
        if self.bias_V is not None:
            logits_NV += self.bias_V
        if self.cap is None:
            return logits_NV if (scale := self.factor / self.temperature) == 1 else logits_NV.mul_(scale)
        return logits_NV.mul_(self.factor / self.cap).tanh_().mul_(self.cap / self.temperature)

    def through_change(self, grad_NV: Tensor, logits_NV: Tensor) -> Tensor:
        """Gradient of what the linear map gives, out of the gradient of the logits; changes ``grad_NV`` in place."""
        if self.cap is not None:
            grad_NV.mul_(1 - (logits_NV * (self.temperature / self.cap)) ** 2)
        return grad_NV if (scale := self.factor / self.temperature) == 1 else grad_NV.mul_(scale)

    def chunks(self, hidden_ND: Tensor, labels_N: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, hidden states and labels of each chunk in turn."""
        for start in range(0, len(hidden_ND), self.rows_at_once):
            rows = slice(start, start + self.rows_at_once)
            yield rows, hidden_ND[rows], labels_N[rows]


def chunked_cross_entropy(head: Head, hidden_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Sum of -log softmax(logits)[label] over the positions, in nats.

    The gradient is computed beside the loss, chunk by chunk, so that the logits are made once and never kept; a second
    backward pass through the same loss is an error. Source of the idea: arXiv 2410.10989, section 3.2.

    Args:
        head: Of the model.
        hidden_ND: Last hidden states.
        labels_N: Token ids.

    >>> head = Head(torch.zeros(4, 2))
    >>> chunked_cross_entropy(head, torch.ones(3, 2), torch.tensor([0, 1, 2]))
    tensor(4.1589)
    """
    if not torch.is_grad_enabled():
        return -chunked_logprobs(head, hidden_ND, labels_N)[0].sum()
    loss: Tensor = _CrossEntropy.apply(hidden_ND, head.weight_VD, head.bias_V, labels_N, head)
    return loss


def chunked_logprobs(
    head: Head, hidden_ND: Tensor, labels_N: Tensor, *, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """log softmax(logits)[label] of each position [N] in nats, and entropies [N] without gradient when asked for.

    A loss that is a ratio, or anything else, of these log-probs is only known once all are there, so the backward pass
    computes each chunk's logits again.

    Args:
        head: Of the model.
        hidden_ND: Last hidden states.
        labels_N: Token ids.
        with_entropy: Whether the entropy of each distribution is computed, too.
    """
    found: tuple[Tensor, Tensor] = _Logprobs.apply(hidden_ND, head.weight_VD, head.bias_V, labels_N, head, with_entropy)
    return found[0], found[1] if with_entropy else None


def _slabs(weight_VD: Tensor) -> Iterator[slice]:
    for start in range(0, len(weight_VD), _SLAB):
        yield slice(start, start + _SLAB)


def _autocast_dtype(hidden_ND: Tensor) -> torch.dtype | None:
    """The number format of linear maps under autocast; None where it is off."""
    kind = hidden_ND.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


@contextmanager
def _computing(hidden_ND: Tensor, head: Head, dtype: torch.dtype | None) -> Iterator[tuple[Tensor, Head]]:
    """Hidden states and head in the number format of autocast (None: their own), cast once for all chunks."""
    with torch.autocast(hidden_ND.device.type, enabled=False):
        if dtype is None:
            yield hidden_ND, head
        else:
            bias_V = None if head.bias_V is None else head.bias_V.to(dtype)
            yield hidden_ND.to(dtype), head._replace(weight_VD=head.weight_VD.to(dtype), bias_V=bias_V)


class _Gradients:
    """Adds up the gradients of hidden states, weight and bias."""

    def __init__(self, needed: tuple[bool, ...], hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> None:
        self.hidden_ND = torch.zeros_like(hidden_ND) if needed[0] else None
        self.weight_VD = torch.zeros_like(weight_VD) if needed[1] else None
        self.bias_V = torch.zeros_like(bias_V) if needed[2] and bias_V is not None else None

    def add(self, rows: slice, grad_NV: Tensor, hidden_ND: Tensor, weight_VD: Tensor) -> None:
        """Gradients of one chunk, out of that of its linear map."""
        if self.bias_V is not None:
            self.bias_V += grad_NV.sum(0)
        grad_NV = grad_NV.to(weight_VD.dtype)
        if self.hidden_ND is not None:
            parts = [linear(grad_NV[:, slab], weight_VD[slab].t()).float() for slab in _slabs(weight_VD)]
            self.hidden_ND[rows] = torch.stack(parts).sum(0)
        if self.weight_VD is not None:
            for slab in _slabs(weight_VD):
                self.weight_VD[slab] += linear(grad_NV[:, slab].t(), hidden_ND.t())

    def scaled(self, factor: Tensor) -> list[Tensor | None]:
        """All of them times a scalar, in place."""
        found = (self.hidden_ND, self.weight_VD, self.bias_V)
        return [None if grad is None else grad.mul_(factor.to(grad.dtype)) for grad in found]


class _CrossEntropy(torch.autograd.Function):
    """The loss, with its gradients made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_N: Tensor, head: Head
    ) -> Tensor:
        gradients = _Gradients(ctx.needs_input_grad, hidden_ND, weight_VD, bias_V)
        total = hidden_ND.new_zeros((), dtype=torch.float32)
        with _computing(hidden_ND, head, _autocast_dtype(hidden_ND)) as (computed_ND, computing):
            for rows, part_ND, labels in computing.chunks(computed_ND, labels_N):
                logits_NV = computing.logits(part_ND)
                lse_N1 = logits_NV.logsumexp(-1, keepdim=True)
                total += (lse_N1 - logits_NV.gather(1, labels[:, None])).sum()
                capped = logits_NV.clone() if head.cap is not None else logits_NV
                grad_NV = logits_NV.sub_(lse_N1).exp_()
                grad_NV[torch.arange(len(labels), device=labels.device), labels] -= 1
                gradients.add(rows, computing.through_change(grad_NV, capped), part_ND, computing.weight_VD)
        ctx.gradients = gradients
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("chunked_cross_entropy: its gradients were used and dropped by the first backward pass")
        found, ctx.gradients = ctx.gradients.scaled(grads[0]), None
        return (*found, None, None)


class _Logprobs(torch.autograd.Function):
    """Log-probs and entropies; the backward pass makes the logits again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        head: Head,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        lse_N1 = hidden_ND.new_empty((len(hidden_ND), 1), dtype=torch.float32)
        logprobs_N = torch.empty_like(lse_N1[:, 0])
        entropy_N = torch.zeros_like(logprobs_N)
        dtype = _autocast_dtype(hidden_ND)
        with _computing(hidden_ND, head, dtype) as (computed_ND, computing):
            for rows, part_ND, labels in computing.chunks(computed_ND, labels_N):
                logits_NV = computing.logits(part_ND)
                lse_N1[rows] = logits_NV.logsumexp(-1, keepdim=True)
                logits_NV.sub_(lse_N1[rows])
                logprobs_N[rows] = logits_NV.gather(1, labels[:, None])[:, 0]
                if with_entropy:
                    entropy_N[rows] = -(logits_NV.exp() * logits_NV).sum(-1)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, labels_N, lse_N1)
        ctx.head = head
        ctx.dtype = dtype
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, labels_N, lse_N1 = ctx.saved_tensors
        gradients = _Gradients(ctx.needs_input_grad, hidden_ND, weight_VD, bias_V)
        head = ctx.head._replace(weight_VD=weight_VD, bias_V=bias_V)
        with _computing(hidden_ND, head, ctx.dtype) as (computed_ND, computing):
            for rows, part_ND, labels in computing.chunks(computed_ND, labels_N):
                logits_NV = computing.logits(part_ND)
                grad_NV = (logits_NV - lse_N1[rows]).exp_().neg_()
                grad_NV[torch.arange(len(labels), device=labels.device), labels] += 1
                grad_NV.mul_(grads[0][rows, None])
                gradients.add(rows, computing.through_change(grad_NV, logits_NV), part_ND, computing.weight_VD)
        return gradients.hidden_ND, gradients.weight_VD, gradients.bias_V, None, None, None
