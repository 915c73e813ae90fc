"""Read prompts once: what all share, then what neighbours share, then each one's own end.

Shapes: B rows (prompts), S slots of the cache, T new tokens, G groups, V vocabulary. A cache row is laid out as
``[preamble | context | own end | room]``; shorter contexts and ends leave gaps that no token sees, and positions
count real tokens only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.inference.cache import KeyValueCache, KeyValues
from rlaif.inference.forward import Forward

Ids = Sequence[int]

MIN_SHARED = 16
"""Tokens that must be shared before a prefix is read on its own."""


@dataclass(slots=True)
class Prefilled:
    """Prompts that have been read, one per row."""

    cache: KeyValueCache
    seen_BS: Tensor
    """True where a slot holds a token of the row; slots of the room are False until written."""
    lengths_B: Tensor
    """Tokens per prompt."""
    logits_BV: Tensor
    """Next-token logits, float32."""

    def select_rows(self, rows: Tensor) -> None:
        """Keep these rows [K], in this order; rows may repeat."""
        self.cache.select_rows(rows)
        self.seen_BS = self.seen_BS[rows]
        self.lengths_B = self.lengths_B[rows]
        self.logits_BV = self.logits_BV[rows]


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that share their beginning."""

    members: tuple[int, ...]
    """Indices of the prompts."""
    num_shared: int
    """Tokens that all members share, the preamble included."""


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """The order in which the prompts of one call are read; it depends on their tokens alone."""

    preamble: tuple[int, ...]
    """Tokens that all prompts share."""
    chunks: tuple[tuple[Group, ...], ...]
    """Groups that are read in one batch: either all have a context beyond the preamble, or none has."""


class PrefixStore:
    """Keys and values of the preambles read last, by their exact tokens.

    What a call computes does not depend on what the store holds, only how long it takes.
    """

    def __init__(self, max_prefixes: int = 4) -> None:
        self.max_prefixes = max_prefixes
        self._prefixes: OrderedDict[tuple[int, ...], KeyValues] = OrderedDict()

    def prepare(self, forward: Forward, tokens: tuple[int, ...]) -> None:
        """Read a preamble, so that threads that read it later only look it up."""
        if tokens:
            self.read(forward, tokens)

    def clear(self) -> None:
        """Forget every preamble, e.g. where time is measured."""
        self._prefixes.clear()

    def read(self, forward: Forward, tokens: tuple[int, ...]) -> KeyValues:
        """Keys and values of a preamble, read now or taken from an earlier call; not from several threads at once."""
        if tokens not in self._prefixes:
            cache = KeyValueCache(forward.num_layers, len(tokens))
            ids = torch.tensor([tokens], device=forward.device)
            positions = torch.arange(len(tokens), device=forward.device)[None]
            forward(ids, positions, None, cache, torch.tensor([len(tokens) - 1], device=forward.device))
            self._prefixes[tokens] = cache.key_values()
            if len(self._prefixes) > self.max_prefixes:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(tokens)
        return self._prefixes[tokens]


def num_common(a: Ids, b: Ids) -> int:
    """Tokens that two prompts share at their beginning, leaving each at least one of its own.

    >>> num_common([1, 2, 3], [1, 2, 4, 5])
    2
    >>> num_common([1, 2], [1, 2, 3])
    1
    """
    limit = min(len(a), len(b)) - 1
    for index in range(limit):
        if a[index] != b[index]:
            return index
    return limit


def plan_prefill(prompts: Sequence[Ids], batch_size: int, max_tokens: int | None = None) -> PrefillPlan:
    """Find shared beginnings and put prompts of like length together.

    Args:
        prompts: Token ids, at least one each.
        batch_size: Largest number of prompts read at once (a group is never split unless it alone is larger).
        max_tokens: Tokens after the preamble that are read at once, unless one group alone has more; None is no limit.
    """
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    shared = num_common(prompts[order[0]], prompts[order[-1]]) if len(order) > 1 else 0
    shared = shared if shared >= MIN_SHARED else 0
    groups: list[Group] = []
    for index in order:
        last = groups[-1] if groups else None
        if last is not None and len(last.members) < batch_size:
            common = num_common(prompts[last.members[0]], prompts[index])
            # A third member must not cost the group much of what two share.
            if common - shared >= MIN_SHARED and (len(last.members) == 1 or 4 * common >= 3 * last.num_shared):
                groups[-1] = Group((*last.members, index), min(common, last.num_shared or common))
                continue
        groups.append(Group((index,), 0))
    groups = [group if len(group.members) > 1 else Group(group.members, shared) for group in groups]
    groups.sort(key=lambda group: max(len(prompts[member]) for member in group.members))
    alone = [group for group in groups if len(group.members) == 1]
    together = [group for group in groups if len(group.members) > 1]
    chunks = []
    for alike in (alone, together):
        sizes = [_num_read(group, prompts, shared) for group in alike]
        chunks += _chunks(alike, sizes, batch_size, max_tokens)
    return PrefillPlan(tuple(prompts[order[0]][:shared]), tuple(chunks))


def _num_read(group: Group, prompts: Sequence[Ids], num_preamble: int) -> int:
    """Tokens after the preamble that a group costs, what its members share once."""
    ends = sum(len(prompts[member]) - group.num_shared for member in group.members)
    return group.num_shared - num_preamble + ends


def _chunks(
    groups: Sequence[Group], sizes: Sequence[int], batch_size: int, max_tokens: int | None
) -> list[tuple[Group, ...]]:
    chunks: list[list[Group]] = []
    num_rows = num_tokens = 0
    for group, size in zip(groups, sizes, strict=True):
        num_rows, num_tokens = num_rows + len(group.members), num_tokens + size
        if not chunks or num_rows > batch_size or (max_tokens is not None and num_tokens > max_tokens):
            chunks.append([])
            num_rows, num_tokens = len(group.members), size
        chunks[-1].append(group)
    return [tuple(chunk) for chunk in chunks]


def right_padded(rows: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] padded with 0 on the right, and the mask of real tokens [B, T]."""
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = max(len(row) for row in rows)
    ids = torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, torch.arange(width, device=device) < lengths[:, None]


def prefill(
    forward: Forward,
    prompts: Sequence[Ids],
    preamble: tuple[int, ...],
    chunk: Sequence[Group],
    store: PrefixStore,
    room: int,
) -> Prefilled:
    """Read one chunk of prompts; rows follow the members of its groups in order.

    Args:
        forward: The model.
        prompts: All prompts of the call.
        preamble: Tokens that all prompts share, as planned.
        chunk: Groups to read together.
        store: Where the preamble's keys and values are kept between chunks and calls.
        room: Free slots to leave at the end of each row.
    """
    device = forward.device
    rows = [member for group in chunk for member in group.members]
    num_shared = torch.tensor([group.num_shared for group in chunk for _ in group.members], device=device)
    parts: list[tuple[KeyValues, Tensor]] = []
    seen: list[Tensor] = []
    if preamble:
        parts.append((store.read(forward, preamble), torch.zeros(len(rows), dtype=torch.long, device=device)))
        seen.append(torch.ones(len(rows), len(preamble), dtype=torch.bool, device=device))
    if chunk[0].num_shared > len(preamble):
        contexts = [prompts[group.members[0]][len(preamble) : group.num_shared] for group in chunk]
        row_of = [row for row, group in enumerate(chunk) for _ in group.members]
        key_values, width = _read_contexts(forward, contexts, parts[:1])
        parts.append((key_values, torch.tensor(row_of, device=device)))
        seen.append(torch.arange(width, device=device) < (num_shared - len(preamble))[:, None])
    ends = [prompts[row][shared:] for row, shared in zip(rows, num_shared.tolist(), strict=True)]
    ids_BT, real_BT = right_padded(ends, device)
    past_BS = torch.cat([*seen, real_BT[:, :0]], dim=1)
    num_past, width = past_BS.shape[1], ids_BT.shape[1]
    cache = KeyValueCache.from_parts(parts, forward.num_layers, num_past + width + room)
    positions_BT = num_shared[:, None] + torch.arange(width, device=device)
    mask_BTS = None if not parts else causal_after(past_BS, width)
    logits_BV = _last_logits(forward, ids_BT, positions_BT, mask_BTS, cache, real_BT)
    free_BS = torch.zeros(len(rows), room, dtype=torch.bool, device=device)
    return Prefilled(cache, torch.cat([past_BS, real_BT, free_BS], dim=1), num_shared + real_BT.sum(1), logits_BV)


def _read_contexts(
    forward: Forward, contexts: Sequence[Ids], preamble: list[tuple[KeyValues, Tensor]]
) -> tuple[KeyValues, int]:
    device = forward.device
    ids_GT, real_GT = right_padded(contexts, device)
    num_groups, width = ids_GT.shape
    parts = [(key_values, torch.zeros(num_groups, dtype=torch.long, device=device)) for key_values, _ in preamble]
    num_past = parts[0][0][0][0].shape[2] if parts else 0
    cache = KeyValueCache.from_parts(parts, forward.num_layers, num_past + width)
    positions = num_past + torch.arange(width, device=device).expand(num_groups, -1)
    past = torch.ones(num_groups, num_past, dtype=torch.bool, device=device)
    mask = causal_after(past, width) if parts else None
    forward(ids_GT, positions, mask, cache, torch.tensor([width - 1], device=device), real_GT)
    return cache.key_values(num_past), width


def causal_after(past_BS: Tensor, width: int) -> Tensor:
    """Mask [B, T, S + T] of new tokens that see the marked past slots and, in order, each other.

    Right padding needs no mask of its own: it comes after every real token.
    """
    causal = torch.ones(width, width, dtype=torch.bool, device=past_BS.device).tril()
    rows = len(past_BS)
    return torch.cat([past_BS[:, None].expand(rows, width, -1), causal.expand(rows, -1, -1)], dim=2)


def _last_logits(
    forward: Forward,
    ids_BT: Tensor,
    positions_BT: Tensor,
    mask_BTS: Tensor | None,
    cache: KeyValueCache,
    real_BT: Tensor,
) -> Tensor:
    keep_B1 = real_BT.sum(1)[:, None] - 1
    return forward(ids_BT, positions_BT, mask_BTS, cache, keep_B1, real_BT)[:, 0].float()
