"""Teacher-forced log-probabilities of responses, with gradient: what a policy update and its KL need.

Shapes: B rows (prompt-major when prompts are shared), P prompt tokens, T response tokens, G prompts, D width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rlaif.inference.adapters import without_wrapper
from rlaif.inference.attention import additive
from rlaif.inference.cache import cache_argument
from rlaif.inference.heads import chunked_head, head_logits
from rlaif.inference.pairs import PairRows, is_worth_sharing, reads_pairs
from rlaif.inference.prefill import Ids, causal_after, right_padded
from rlaif.inference.recomputing import recomputes
from rlaif.inference.vocabulary import chunked_logprobs

MIN_SHARED_SAMPLES = 4
"""Responses per prompt from which on the prompt is read once for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseLogprobs:
    """Log-probabilities of given responses and what was computed on the way."""

    logprobs_BT: Tensor
    """float32 log-probability of each response token under softmax(logits/T); 0 where masked."""
    entropy_BT: Tensor | None
    """Entropy in nats of each of those distributions, without gradient; 0 where masked."""
    hidden_BTD: Tensor
    """Last hidden state before each response token: what predicts it, and what a value head reads."""


def response_logprobs(
    model: PreTrainedModel,
    prompt_ids: Sequence[Ids],
    tokens_BT: Tensor,
    mask_BT: Tensor,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> ResponseLogprobs:
    """Log-probabilities of response tokens under the distribution that was sampled, logits/T.

    Gradients flow unless the caller turned them off; the model's mode is left as it is. Prompts and responses are
    padded on the right and no padding mask is needed; logits are computed at response positions only. A prompt with
    four or more responses is read once for all of them, with gradient; with gradient checkpointing each row is read
    whole. A prompt with two responses stands with both in one row, where the model allows it.

    Args:
        model: A causal language model whose head is known to :func:`rlaif.inference.heads.head_logits`.
        prompt_ids: Either one prompt per row, or G prompts for G*k rows, prompt-major.
        tokens_BT: Response tokens, any id where masked.
        mask_BT: True for response tokens; padding is on the right.
        temperature: T of the sampling; must be positive.
        with_entropy: Whether to compute entropies, which costs one more pass over the logits.

    Returns:
        Log-probabilities equal, up to rounding, to those that sampling recorded.

    Raises:
        ValueError: The temperature is not positive, or rows are no multiple of prompts.
        EngineError: The model makes its logits in a way that is not known.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: must be above 0; greedy responses have no sampled distribution")
    model = without_wrapper(model)
    num_samples, rest = divmod(len(tokens_BT), len(prompt_ids))
    if rest:
        raise ValueError(f"{len(tokens_BT)} responses for {len(prompt_ids)} prompts: must be a multiple")
    if num_samples >= MIN_SHARED_SAMPLES and not recomputes(model):
        hidden_BTD = _hidden_shared(model, prompt_ids, tokens_BT, num_samples)
    else:
        rows = [prompt for prompt in prompt_ids for _ in range(num_samples)]
        hidden_BTD = _hidden(model, _Texts.of(rows, tokens_BT, mask_BT), is_paired=num_samples == 2)
    return _logprobs_of(model, hidden_BTD, tokens_BT, mask_BT, temperature, with_entropy)


def _logprobs_of(
    model: PreTrainedModel,
    hidden_BTD: Tensor,
    tokens_BT: Tensor,
    mask_BT: Tensor,
    temperature: float,
    with_entropy: bool,
) -> ResponseLogprobs:
    hidden_ND, tokens_N = hidden_BTD[mask_BT], tokens_BT[mask_BT]
    head = chunked_head(model, len(tokens_N), temperature=temperature)
    if head is not None:
        logprobs_N, entropy_N = chunked_logprobs(head, hidden_ND, tokens_N, with_entropy=with_entropy)
    else:
        all_NV = torch.log_softmax(head_logits(model, hidden_ND).float() / temperature, dim=-1)
        logprobs_N, entropy_N = all_NV.gather(1, tokens_N[:, None]).squeeze(1), None
        if with_entropy:
            with torch.no_grad():
                entropy_N = -(all_NV.exp() * all_NV).sum(-1)
    zeros_BT = logprobs_N.new_zeros(mask_BT.shape)
    return ResponseLogprobs(
        logprobs_BT=zeros_BT.masked_scatter(mask_BT, logprobs_N),
        entropy_BT=None if entropy_N is None else zeros_BT.masked_scatter(mask_BT, entropy_N),
        hidden_BTD=hidden_BTD,
    )


@dataclass(frozen=True, slots=True)
class _Texts:
    """Prompts, each with a response, padded on the right."""

    ids_BS: Tensor
    lengths_B: Tensor
    prompt_lengths_B: Tensor
    before_BT: Tensor
    """Position before each response token; of padding, that of the last token."""

    @classmethod
    def of(cls, prompts: Sequence[Ids], tokens_BT: Tensor, mask_BT: Tensor) -> _Texts:
        device = tokens_BT.device
        prompts_BP, real_BP = right_padded(prompts, device)
        prompt_lengths_B = real_BP.sum(1)
        lengths_B = prompt_lengths_B + mask_BT.sum(1)
        ids_BS = F.pad(prompts_BP, (0, tokens_BT.shape[1]))
        columns_BT = prompt_lengths_B[:, None] + torch.arange(tokens_BT.shape[1], device=device)
        ids_BS.scatter_(1, columns_BT, tokens_BT * mask_BT)
        before_BT = (columns_BT - 1).minimum(lengths_B[:, None] - 1)
        return cls(ids_BS[:, : int(lengths_B.max())], lengths_B, prompt_lengths_B, before_BT)

    def of_side(self, side: int) -> _Texts:
        """Every second text, from the first (0) or the second (1) on."""
        return _Texts(*(getattr(self, part.name)[side::2] for part in fields(self)))


def _hidden(model: PreTrainedModel, texts: _Texts, *, is_paired: bool) -> Tensor:
    """Hidden states [B, T, D] before each response token.

    Args:
        model: A causal LM.
        texts: What is read.
        is_paired: Two texts in a row begin with the same prompt.
    """
    if is_paired and reads_pairs(model):
        first, second, prompt_lengths_B = texts.of_side(0), texts.of_side(1), texts.prompt_lengths_B[::2]
        if is_worth_sharing(prompt_lengths_B, first.lengths_B, second.lengths_B):
            rows = PairRows.of(first.ids_BS, first.lengths_B, second.ids_BS, second.lengths_B, prompt_lengths_B)
            return torch.stack(rows.at(rows.hidden(model), first.before_BT, second.before_BT), dim=1).flatten(0, 1)
    hidden = model.base_model(input_ids=texts.ids_BS, use_cache=False).last_hidden_state
    return hidden.gather(1, texts.before_BT[:, :, None].expand(-1, -1, hidden.shape[-1]))


def _hidden_shared(model: PreTrainedModel, prompts: Sequence[Ids], tokens_BT: Tensor, num_samples: int) -> Tensor:
    """As ``_hidden``, each prompt read once for its ``num_samples`` rows."""
    device = tokens_BT.device
    prompts_GP, real_GP = right_padded(prompts, device)
    lengths_G = real_GP.sum(1)
    body: Any = model.base_model
    argument, read_cache = cache_argument(body), DynamicCache()
    read = body(input_ids=prompts_GP, use_cache=True, **{argument: read_cache})
    last_G1D = read.last_hidden_state[torch.arange(len(prompts), device=device), lengths_G - 1][:, None]
    last_B1D = last_G1D.repeat_interleave(num_samples, dim=0)
    if tokens_BT.shape[1] == 1:
        return last_B1D
    layers: list[Any] = read_cache.layers
    cache = DynamicCache(
        [
            (layer.keys.repeat_interleave(num_samples, dim=0), layer.values.repeat_interleave(num_samples, dim=0))
            for layer in layers
        ]
    )
    length = tokens_BT.shape[1] - 1
    mask_BTS = causal_after(real_GP.repeat_interleave(num_samples, dim=0), length)
    positions = lengths_G.repeat_interleave(num_samples)[:, None] + torch.arange(length, device=device)
    later = model.base_model(
        input_ids=tokens_BT[:, :-1],
        attention_mask=additive(mask_BTS, model.dtype)[:, None],
        position_ids=positions,
        use_cache=True,
        **{argument: cache},
    )
    return torch.cat([last_B1D, later.last_hidden_state], dim=1)
