"""The rows of a batch while responses are drawn: they take one token each, or leave.

Shapes: A rows still running, P prompts, S slots of the cache, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard

import torch
from torch import Tensor

from rlaif.inference.forward import Forward
from rlaif.inference.llama import FusedLlama
from rlaif.inference.prefill import Prefilled
from rlaif.inference.shared_cache import SharedPromptCache


class RunningRows(Protocol):
    """Rows and the logits of what may follow each."""

    logits_AV: Tensor
    """Next-token logits, float32."""

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows, in ascending order."""
        ...

    def read(self, token_A: Tensor) -> None:
        """Continue each row with a token."""
        ...


def running_rows(forward: Forward, prompts: Prefilled, num_samples: int, room: int) -> RunningRows:
    """Rows for the samples of prompts, all samples of the first prompt first.

    Args:
        forward: Has read the prompts.
        prompts: One per row; used up.
        num_samples: Rows of each prompt.
        room: Tokens that a row may take.
    """
    if shares_prompts(forward, num_samples):
        return _SharedRows(forward, prompts, num_samples, room)
    if num_samples > 1:
        prompts.select_rows(torch.arange(len(prompts.lengths_B), device=forward.device).repeat_interleave(num_samples))
    return _OwnRows(forward, prompts)


def shares_prompts(forward: Forward, num_samples: int) -> TypeGuard[FusedLlama]:
    """True where the samples of a prompt read one copy of its keys and values; the copy then needs no room for them."""
    return num_samples > 1 and isinstance(forward, FusedLlama) and forward.device.type == "cpu"


class _OwnRows:
    """Each row has its prompt's keys and values before its own."""

    def __init__(self, forward: Forward, rows: Prefilled) -> None:
        self._forward, self._rows = forward, rows
        self._length = rows.cache.get_seq_length()
        self._positions_A = rows.lengths_B
        self._first = torch.zeros(1, dtype=torch.long, device=forward.device)
        self.logits_AV = rows.logits_BV

    def select_rows(self, rows: Tensor) -> None:
        self._rows.select_rows(rows)
        self._positions_A = self._positions_A[rows]
        self.logits_AV = self._rows.logits_BV

    def read(self, token_A: Tensor) -> None:
        seen_AS = self._rows.seen_BS
        seen_AS[:, self._length] = True
        self._length += 1
        mask_A1S = seen_AS[:, None, : self._length]
        positions_A1, cache = self._positions_A[:, None], self._rows.cache
        self.logits_AV = self._forward(token_A[:, None], positions_A1, mask_A1S, cache, self._first)[:, 0].float()
        self._positions_A = self._positions_A + 1


class _SharedRows:
    """The rows of a prompt share its keys and values."""

    def __init__(self, forward: FusedLlama, prompts: Prefilled, num_samples: int, room: int) -> None:
        prompt_A = torch.arange(len(prompts.lengths_B), device=forward.device).repeat_interleave(num_samples)
        self._forward = forward
        self._cache = SharedPromptCache(prompts.cache, prompts.seen_BS, prompt_A, room)
        self._positions_A = prompts.lengths_B[prompt_A]
        self.logits_AV = prompts.logits_BV[prompt_A]

    def select_rows(self, rows: Tensor) -> None:
        self._cache.select_rows(rows)
        self._positions_A, self.logits_AV = self._positions_A[rows], self.logits_AV[rows]

    def read(self, token_A: Tensor) -> None:
        self.logits_AV = self._forward.next_logits(token_A, self._positions_A, self._cache).float()
        self._positions_A = self._positions_A + 1
