"""The KL of a policy's responses from a reference, computed from their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from rlaif.data.batches.examples import pad_right
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.micro_batches import cut_by_tokens, max_tokens_to_read
from rlaif.types import Completion


@torch.no_grad()
def response_kl(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    responses: Sequence[Completion],
    *,
    temperature: float,
    max_rows: int = 64,
) -> list[float]:
    """Per response Σ log π(token) − log π_ref(token) at the sampling temperature, in nats.

    Args:
        policy: The model that sampled the responses.
        reference: For example the SFT policy.
        prompt_ids: Tokens of each prompt, as the policy read them.
        responses: With their tokens.
        temperature: Of the sampling.
        max_rows: Responses per forward pass at most; fewer of long ones.
    """
    kl = torch.zeros(len(responses))
    lengths = [len(ids) + len(response.token_ids) for ids, response in zip(prompt_ids, responses, strict=True)]
    for rows in cut_by_tokens(lengths, max_tokens_to_read(policy), max_rows=max_rows):
        tokens_BT, lengths_B = pad_right([list(responses[row].token_ids) for row in rows], 0)
        mask_BT = torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]
        prompts = [list(prompt_ids[row]) for row in rows]
        policy_logprobs_BT, ref_logprobs_BT = (
            response_logprobs(model, prompts, tokens_BT, mask_BT, temperature=temperature).logprobs_BT
            for model in (policy, reference)
        )
        kl[rows] = sampled_sequence_kl(policy_logprobs_BT, ref_logprobs_BT, mask_BT)
    return kl.tolist()
