"""Attention over a prompt that several rows share, against torch's own for each row, while rows and prompts leave."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlaif.inference.cache import KeyValueCache
from rlaif.inference.shared_cache import SharedPromptCache

HEADS, GROUPS, WIDTH, SLOTS = 2, 3, 4, 6
SEEN_PS = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0]], dtype=torch.bool)


class Rows:
    """What each row has read, kept apart."""

    def __init__(self, keys_PHSD: Tensor, values_PHSD: Tensor, num_samples: int) -> None:
        prompts = range(len(keys_PHSD))
        self.keys = [keys_PHSD[p][:, SEEN_PS[p]] for p in prompts for _ in range(num_samples)]
        self.values = [values_PHSD[p][:, SEEN_PS[p]] for p in prompts for _ in range(num_samples)]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        self.keys = [torch.cat([old, new[:, None]], dim=1) for old, new in zip(self.keys, key, strict=True)]
        self.values = [torch.cat([old, new[:, None]], dim=1) for old, new in zip(self.values, value, strict=True)]
        out = [
            F.scaled_dot_product_attention(
                q[:, None], k.repeat_interleave(GROUPS, 0), v.repeat_interleave(GROUPS, 0)
            ).flatten()
            for q, k, v in zip(query, self.keys, self.values, strict=True)
        ]
        return torch.stack(out)

    def select_rows(self, rows: list[int]) -> None:
        self.keys, self.values = [self.keys[row] for row in rows], [self.values[row] for row in rows]


def test_rows_and_whole_prompts_leave() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    keys, values = draw(3, HEADS, SLOTS, WIDTH), draw(3, HEADS, SLOTS, WIDTH)
    prompts = KeyValueCache(1, SLOTS)
    prompts.update(keys, values, 0)
    shared = SharedPromptCache(prompts, SEEN_PS, torch.arange(3).repeat_interleave(3), room=8)
    apart = Rows(keys, values, 3)
    # None leaves, then two rows, the whole first prompt, one row, the whole second prompt and a row of the last.
    num_rows = 9
    for kept in ([*range(9)], [0, 1, 2, 3, 4, 6, 7], [3, 4, 5, 6], [0, 2, 3], [2]):
        if len(kept) < num_rows:
            shared.select_rows(torch.tensor(kept))
            apart.select_rows(kept)
        num_rows = len(kept)
        query, key, value = (draw(num_rows, heads, WIDTH) for heads in (HEADS * GROUPS, HEADS, HEADS))
        expected = apart.attend(query, key, value)
        torch.testing.assert_close(shared.attend(0, query, key, value), expected, atol=1e-6, rtol=0)


def test_rows_may_leave_before_their_first_token() -> None:
    keys = torch.ones(2, HEADS, SLOTS, WIDTH)
    prompts = KeyValueCache(1, SLOTS)
    prompts.update(keys, 2 * keys, 0)
    shared = SharedPromptCache(prompts, SEEN_PS[:2], torch.tensor([0, 0, 1, 1]), room=2)
    shared.select_rows(torch.tensor([3]))
    new = torch.ones(1, HEADS, WIDTH)
    out = shared.attend(0, torch.ones(1, HEADS * GROUPS, WIDTH), new, 2 * new)
    torch.testing.assert_close(out, torch.full((1, HEADS * GROUPS * WIDTH), 2.0))
