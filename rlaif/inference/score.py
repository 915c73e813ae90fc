"""Log-probabilities of answer options, exact by teacher forcing, each distinct token read once.

Shapes: B prompts of a chunk, O options, N tokens of the option tree, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.inference.forward import Forward, evaluating, forward_for
from rlaif.inference.parallel import for_each_chunk
from rlaif.inference.prefill import Group, Ids, Prefilled, PrefixStore, plan_prefill, prefill

MAX_TOKENS = 768
"""Tokens read at once on a CPU: more fill its cores no better, and prompts of unlike length pad each other."""


def prefix_free(options: Sequence[Ids]) -> bool:
    """True when no option's tokens begin another option's, so that their probabilities do not overlap.

    >>> prefix_free([[4], [5]]), prefix_free([[4], [4, 3]])
    (True, False)
    """
    tuples = [tuple(option) for option in options]
    return all(
        i == j or longer[: len(shorter)] != shorter
        for i, shorter in enumerate(tuples)
        for j, longer in enumerate(tuples)
    )


def score_options(
    model: PreTrainedModel | Forward,
    prompt_ids: Sequence[Ids],
    option_ids: Sequence[Ids],
    *,
    batch_size: int = 16,
    store: PrefixStore | None = None,
) -> Tensor:
    """Natural-log probability of each whole option after each prompt.

    What the prompts share at their beginning is read once; so is what neighbours in token order share (the two
    orders of a pair share preamble and context). Arithmetic after the logits is float32.

    Args:
        model: A causal language model, or a forward pass made by ``forward_for``.
        prompt_ids: N prompts of at least one token each.
        option_ids: O token sequences; sum their probabilities only if ``prefix_free``.
        batch_size: Prompts read at once.
        store: Preambles kept between calls with the same weights; None keeps none.

    Returns:
        float32 [N, O] on the CPU; NaN where the model gave NaN.
    """
    if not prompt_ids:
        return torch.empty(0, len(option_ids))
    if isinstance(model, nn.Module):  # a PreTrainedModel, or one in a wrapper of peft
        with evaluating(model):
            scores = score_options(forward_for(model), prompt_ids, option_ids, batch_size=batch_size, store=store)
        return scores.clone()
    store = PrefixStore(1) if store is None else store
    plan = plan_prefill(prompt_ids, batch_size, MAX_TOKENS if model.device.type == "cpu" else None)
    tree = _OptionTree(option_ids)
    scores = torch.empty(len(prompt_ids), len(option_ids))
    store.prepare(model, plan.preamble)

    def score(chunk: Sequence[Group]) -> None:
        rows = [member for group in chunk for member in group.members]
        read = prefill(model, prompt_ids, plan.preamble, chunk, store, room=len(tree.tokens))
        scores[rows] = tree.logprobs(model, read).cpu()

    for_each_chunk(score, plan.chunks, model)
    return scores


class _OptionTree:
    """All proper beginnings of the options, laid out as one row of tokens in which each sees its own ancestors."""

    def __init__(self, option_ids: Sequence[Ids]) -> None:
        self.options = [tuple(option) for option in option_ids]
        beginnings = {option[:end] for option in self.options for end in range(1, len(option))}
        self.nodes = sorted(beginnings, key=lambda beginning: (len(beginning), beginning))
        self.tokens = [node[-1] for node in self.nodes]

    def logprobs(self, forward: Forward, read: Prefilled) -> Tensor:
        """Log-probabilities [B, O] of the options after prompts that were read."""
        first_BV = torch.log_softmax(read.logits_BV, dim=-1)
        after: dict[tuple[int, ...], Tensor] = {(): first_BV}
        if self.nodes:
            later_BNV = torch.log_softmax(self._logits(forward, read).float(), dim=-1)
            after |= {node: later_BNV[:, index] for index, node in enumerate(self.nodes)}
        columns = [
            torch.stack([after[option[:end]][:, option[end]] for end in range(len(option))]).sum(0)
            for option in self.options
        ]
        return torch.stack(columns, dim=1)

    def _logits(self, forward: Forward, read: Prefilled) -> Tensor:
        device = read.logits_BV.device
        rows, num_nodes = len(read.logits_BV), len(self.nodes)
        depths = torch.tensor([len(node) - 1 for node in self.nodes], device=device)
        sees = torch.tensor(
            [[node[: len(other)] == other for other in self.nodes] for node in self.nodes], device=device
        )
        past_BS = read.seen_BS[:, : read.seen_BS.shape[1] - num_nodes]
        mask = torch.cat([past_BS[:, None].expand(-1, num_nodes, -1), sees.expand(rows, -1, -1)], dim=2)
        ids = torch.tensor(self.tokens, device=device).expand(rows, -1)
        positions = read.lengths_B[:, None] + depths
        return forward(ids, positions, mask, read.cache, torch.arange(num_nodes, device=device))
