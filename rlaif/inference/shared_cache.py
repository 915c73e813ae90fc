"""Keys and values of prompts that several samples share while they are drawn, each prompt's kept once.

Shapes: P prompts, B rows (samples), K the most rows of a prompt, H key-value heads, G query heads of each of them,
S slots of the prompts, T slots of the rows' own tokens, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.inference.attention import additive
from rlaif.inference.cache import GrowingLayer, KeyValueCache
from rlaif.inference.linear import products


class SharedPromptCache:
    """Holds the prompts' keys and values once, and each row's own tokens beside them.

    A prompt's rows are one product with its keys, which are then read once for all of them. For plain Llama models on
    a CPU (:class:`~rlaif.inference.llama.FusedLlama`), whose new tokens come one at a time.

    Args:
        prompts: The prompts, one per row.
        seen_PS: True where a slot holds a token of the prompt.
        prompt_B: Prompt of each row, ascending.
        room: Tokens that each row may add.
    """

    def __init__(self, prompts: KeyValueCache, seen_PS: Tensor, prompt_B: Tensor, room: int) -> None:
        self.prompts = [layer.slots(0) for layer in prompts.growing]
        self.own = [GrowingLayer(room) for _ in prompts.growing]
        self.mask_P11S: Tensor = additive(seen_PS, self.prompts[0][0].dtype)[:, None, None]
        self._arrange(prompt_B)

    def _arrange(self, prompt_B: Tensor) -> None:
        """Place rows side by side under their prompts."""
        self.prompt_B = prompt_B
        counts_P = torch.bincount(prompt_B, minlength=len(self.mask_P11S))
        self.most = int(counts_P.max())
        rank_B = torch.arange(len(prompt_B), device=prompt_B.device) - (counts_P.cumsum(0) - counts_P)[prompt_B]
        num_places = len(counts_P) * self.most
        self.place_B = None if len(prompt_B) == num_places else prompt_B * self.most + rank_B

    def select_rows(self, rows: Tensor) -> None:
        """Keep only these rows, in ascending order, and the prompts that they continue."""
        prompts, prompt_B = self.prompt_B[rows].unique_consecutive(return_inverse=True)
        for layer in self.own:
            if layer.is_initialized:  # not before the first token of the rows' own
                layer.select_rows(rows)
        if len(prompts) < len(self.mask_P11S):
            self.prompts = [(keys[prompts], values[prompts]) for keys, values in self.prompts]
            self.mask_P11S = self.mask_P11S[prompts]
        self._arrange(prompt_B)

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention [B, H * G * D] of one new token per row, whose keys and values are added.

        Args:
            index: Layer.
            query: Rotated queries [B, H * G, D].
            key: Rotated keys [B, H, D].
            value: Values [B, H, D].
        """
        keys_PHSD, values_PHSD = self.prompts[index]
        keys_BHTD, values_BHTD = self.own[index].update(key[:, :, None], value[:, :, None])
        num_rows, num_slots = len(query), keys_PHSD.shape[2]
        num_heads, width = keys_PHSD.shape[1], keys_PHSD.shape[3]
        query_BHGD = (query * width**-0.5).view(num_rows, num_heads, -1, width)
        # Laid out [P, H, K, G, ...], so that all queries that read the same keys are rows of one product.
        query_PHND = self._placed(query_BHGD).transpose(1, 2).flatten(2, 3)
        scores_PHNS = products(query_PHND, keys_PHSD).add_(self.mask_P11S)
        own_BHGT = products(query_BHGD, keys_BHTD)
        own_PHNT = self._placed(own_BHGT).transpose(1, 2).flatten(2, 3)
        probs_PHNX = torch.cat([scores_PHNS, own_PHNT], dim=-1).softmax(-1)
        out_PHND = torch.matmul(probs_PHNX[..., :num_slots], values_PHSD)
        own_PHNT = probs_PHNX[..., num_slots:]
        own_BHGT = self._rows(own_PHNT.unflatten(2, (self.most, -1)).transpose(1, 2))
        out_BHGD = self._rows(out_PHND.unflatten(2, (self.most, -1)).transpose(1, 2))
        return (out_BHGD + torch.matmul(own_BHGT, values_BHTD)).reshape(num_rows, -1)

    def _placed(self, rows: Tensor) -> Tensor:
        """[P, K, ...] of [B, ...], 0 where a prompt has fewer rows."""
        if self.place_B is not None:
            places = rows.new_zeros(len(self.mask_P11S) * self.most, *rows.shape[1:])
            rows = places.index_copy_(0, self.place_B, rows)
        return rows.unflatten(0, (-1, self.most))

    def _rows(self, placed: Tensor) -> Tensor:
        """[B, ...] of [P, K, ...]."""
        rows = placed.flatten(0, 1)
        return rows if self.place_B is None else rows.index_select(0, self.place_B)
