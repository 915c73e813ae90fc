"""Draw responses: prompts are read once, samples share them, and a row never depends on its neighbours.

Shapes: B rows (prompt-major: all samples of prompt 0, then of prompt 1), T response tokens, A rows still
running, S slots of the cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.functional.seeds import derive_seed
from rlaif.inference.forward import Forward, evaluating, forward_for
from rlaif.inference.parallel import for_each_chunk
from rlaif.inference.prefill import Group, Ids, PrefixStore, plan_prefill, prefill
from rlaif.inference.running_rows import RunningRows, running_rows, shares_prompts
from rlaif.types import Sampling

COMPACT_BELOW = 0.8
"""Finished rows leave the batch when fewer than this share of its rows still run."""


class Stop(Protocol):
    """Ends rows by their text."""

    def ends(self, token_A: Tensor, response: Callable[[int], list[int]]) -> Tensor:
        """The rows that end with the token just drawn.

        Args:
            token_A: The newest token of each row.
            response: Gives all tokens of row ``a`` so far, the newest included.

        Returns:
            bool [A].
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """Sampled responses on the model's device, rows prompt-major."""

    tokens_BT: Tensor
    """Response tokens, the end token included, then padding."""
    mask_BT: Tensor
    """True for response tokens."""
    logprobs_BT: Tensor
    """Log-probability of each token under the softmax of logits/T (T=1 when greedy), float32; 0 where padded."""
    finished_B: Tensor
    """False where the token limit ended the response."""
    entropy_BT: Tensor | None = None
    """Entropy in nats of the same distribution, float32; 0 where padded. None where it was not asked for."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompt_ids: Sequence[Ids],
    *,
    num_samples: int = 1,
    sampling: Sampling,
    eos_id: int | Sequence[int],
    pad_id: int,
    seeds: Sequence[int] | None = None,
    batch_size: int | None = None,
    stop: Stop | None = None,
    forward: Forward | None = None,
    store: PrefixStore | None = None,
    with_entropy: bool = False,
) -> SampledTokens:
    """Sample ``num_samples`` responses per prompt.

    A row's uniform numbers come from its own seed, one per token, so up to float rounding its tokens depend
    neither on the batch nor on other rows, and a longer limit only continues them.

    Args:
        model: A causal language model.
        prompt_ids: P prompts of at least one token each.
        num_samples: Responses per prompt; the prompt is read once for all of them.
        sampling: Limit, temperature, top-k and top-p; its stop strings are left to ``stop``. ``logprobs_BT`` is
            of the distribution before top-k and top-p, so training with them must refuse both.
        eos_id: Token or tokens that end a response.
        pad_id: Token that fills up shorter responses.
        seeds: One per row (P times ``num_samples``); None derives them from (``sampling.seed``, prompt, sample).
        batch_size: Rows that run at once; None runs all.
        stop: Ends rows by text.
        forward: A prepared forward pass of ``model`` (engines keep one); None makes one from the current weights.
        store: Preambles kept between calls with the same weights.
        with_entropy: Whether to record entropies, which costs one more pass over the logits.

    Returns:
        Responses padded to the longest one.

    Raises:
        ValueError: ``seeds`` has another length than there are rows.
    """
    num_rows = len(prompt_ids) * num_samples
    if seeds is None:
        seeds = [derive_seed(sampling.seed, row // num_samples, row % num_samples) for row in range(num_rows)]
    if len(seeds) != num_rows:
        raise ValueError(f"seeds: {len(seeds)} given for {num_rows} rows (prompts times num_samples)")
    limit = sampling.max_new_tokens
    with evaluating(model):
        forward = forward_for(model) if forward is None else forward
        device = forward.device
        store = PrefixStore(1) if store is None else store
        out = _Responses(num_rows, limit, pad_id, device, with_entropy=with_entropy)
        eos = torch.tensor([eos_id] if isinstance(eos_id, int) else list(eos_id), device=device)
        prompts_at_once = num_rows if batch_size is None else max(1, batch_size // num_samples)
        if not prompt_ids or not limit:
            return out.rollouts()
        plan = plan_prefill(prompt_ids, prompts_at_once)
        store.prepare(forward, plan.preamble)

        def sample_chunk(chunk: Sequence[Group]) -> None:
            room = 0 if shares_prompts(forward, num_samples) else limit
            read = prefill(forward, prompt_ids, plan.preamble, chunk, store, room)
            prompts = torch.tensor([member for group in chunk for member in group.members], device=device)
            rows_A = (prompts[:, None] * num_samples + torch.arange(num_samples, device=device)).flatten()
            rows = running_rows(forward, read, num_samples, limit)
            uniforms_AT = _uniforms([seeds[row] for row in rows_A.tolist()], limit, device)
            _decode(rows, rows_A, uniforms_AT, sampling, eos, stop, out)

        for_each_chunk(sample_chunk, plan.chunks, forward)
    return out.rollouts()


class _Responses:
    """Buffers for the tokens, log-probs and entropies of decoding."""

    def __init__(self, num_rows: int, limit: int, pad_id: int, device: torch.device, *, with_entropy: bool) -> None:
        self.tokens_BT = torch.full((num_rows, limit), pad_id, dtype=torch.long, device=device)
        self.logprobs_BT = torch.zeros(num_rows, limit, device=device)
        self.entropy_BT = torch.zeros(num_rows, limit, device=device) if with_entropy else None
        self.lengths_B = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.finished_B = torch.zeros(num_rows, dtype=torch.bool, device=device)

    def rollouts(self) -> SampledTokens:
        """Cut to the longest response; copies are made so that autograd may save them."""
        width = int(self.lengths_B.max()) if len(self.lengths_B) else 0
        return SampledTokens(
            tokens_BT=self.tokens_BT[:, :width].clone(),
            mask_BT=torch.arange(width, device=self.tokens_BT.device) < self.lengths_B[:, None],
            logprobs_BT=self.logprobs_BT[:, :width].clone(),
            finished_B=self.finished_B.clone(),
            entropy_BT=None if self.entropy_BT is None else self.entropy_BT[:, :width].clone(),
        )


def _uniforms(seeds: Sequence[int], limit: int, device: torch.device) -> Tensor:
    """Uniform numbers [rows, limit] in [0, 1), each row from its own CPU generator."""
    generator = torch.Generator()
    rows = [torch.rand(limit, generator=generator.manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows).to(device=device, dtype=torch.float32)


def _decode(
    rows: RunningRows,
    rows_A: Tensor,
    uniforms_AT: Tensor,
    sampling: Sampling,
    eos: Tensor,
    stop: Stop | None,
    out: _Responses,
) -> None:
    limit = sampling.max_new_tokens
    running_A = torch.ones_like(rows_A, dtype=torch.bool)
    for step in range(limit):
        logprobs_AV = torch.log_softmax(rows.logits_AV / (sampling.temperature or 1.0), dim=-1)
        token_A = draw(logprobs_AV, uniforms_AT[:, step], sampling)
        live = rows_A[running_A]
        out.tokens_BT[live, step] = token_A[running_A]
        out.logprobs_BT[live, step] = logprobs_AV.gather(1, token_A[:, None])[running_A, 0]
        if out.entropy_BT is not None:
            out.entropy_BT[live, step] = entropies(logprobs_AV)[running_A]
        out.lengths_B[live] = step + 1
        ended_A = torch.isin(token_A, eos)
        if stop is not None:
            ended_A = ended_A | stop.ends(token_A, partial(_response, out, rows_A, step + 1))
        ended_A &= running_A
        out.finished_B[rows_A[ended_A]] = True
        running_A = running_A & ~ended_A
        num_running = int(running_A.sum())
        if step + 1 == limit or num_running == 0:
            return
        if num_running < COMPACT_BELOW * len(rows_A):
            kept = running_A.nonzero().squeeze(1)
            rows.select_rows(kept)
            rows_A, uniforms_AT, token_A, running_A = rows_A[kept], uniforms_AT[kept], token_A[kept], running_A[kept]
        rows.read(token_A)


def _response(out: _Responses, rows_A: Tensor, length: int, row: int) -> list[int]:
    return [int(token) for token in out.tokens_BT[rows_A[row], :length].tolist()]


def draw(logprobs_AV: Tensor, uniform_A: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token per row by inverting the cumulative distribution; at temperature 0, take the likeliest.

    Args:
        logprobs_AV: float32, at the sampling temperature.
        uniform_A: Numbers in [0, 1), one per row.
        sampling: Top-k, top-p, and whether the temperature is 0.

    Returns:
        Tokens [A].

    >>> logprobs = torch.log(torch.tensor([[0.25, 0.25, 0.5]])).expand(3, 3)
    >>> draw(logprobs, torch.tensor([0.1, 0.3, 0.9]), Sampling(max_new_tokens=1, temperature=1.0)).tolist()
    [0, 1, 2]
    """
    if sampling.temperature == 0:
        return logprobs_AV.argmax(-1)
    cumulative_AV = _truncated(logprobs_AV.exp(), sampling).cumsum(-1)
    total_A = cumulative_AV[:, -1]
    # Strictly below the total, so that a token of probability 0 is never drawn.
    target_A = torch.minimum(uniform_A * total_A, torch.nextafter(total_A, torch.zeros_like(total_A)))
    token_A = torch.searchsorted(cumulative_AV, target_A[:, None], right=True).squeeze(1)
    return token_A.clamp_max(logprobs_AV.shape[-1] - 1)


def entropies(logprobs_AV: Tensor) -> Tensor:
    """Entropy in nats [A] of each row; what has no probability adds nothing.

    >>> entropies(torch.tensor([[0.5, 0.5, 0.0]]).log()).item() == torch.tensor(2.0).log().item()
    True
    """
    # torch.special.entr takes the logarithm again, five times as long.
    lowest = torch.finfo(logprobs_AV.dtype).min
    return -(logprobs_AV.exp() * logprobs_AV.clamp_min(lowest)).sum(-1)


def _truncated(probs_AV: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities with everything outside top-k and top-p set to 0, not renormalised."""
    if sampling.top_k and sampling.top_k < probs_AV.shape[-1]:
        kth = probs_AV.topk(sampling.top_k, dim=-1).values[:, -1:]
        probs_AV = probs_AV.masked_fill(probs_AV < kth, 0.0)
    if sampling.top_p < 1.0:
        sorted_AV, order_AV = probs_AV.sort(dim=-1, descending=True)
        before_AV = sorted_AV.cumsum(-1) - sorted_AV
        outside = before_AV >= sampling.top_p * sorted_AV.sum(-1, keepdim=True)
        probs_AV = probs_AV.masked_fill(torch.zeros_like(outside).scatter(1, order_AV, outside), 0.0)
    return probs_AV
