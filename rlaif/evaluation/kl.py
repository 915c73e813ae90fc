"""The KL of a policy's responses from a reference, computed from their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from rlaif.data.batches.examples import pad_right
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.inference.logprobs import response_logprobs
from rlaif.types import Completion


@torch.no_grad()
def response_kl(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    responses: Sequence[Completion],
    *,
    temperature: float,
    batch_size: int = 64,
) -> list[float]:
    """Per response Σ log π(token) − log π_ref(token) at the sampling temperature, in nats.

    Args:
        policy: The model that sampled the responses.
        reference: For example the SFT policy.
        prompt_ids: Tokens of each prompt, as the policy read them.
        responses: With their tokens.
        temperature: Of the sampling.
        batch_size: Responses per forward pass.
    """
    kl: list[float] = []
    for start in range(0, len(responses), batch_size):
        rows = slice(start, start + batch_size)
        tokens_BT, lengths_B = pad_right([list(response.token_ids) for response in responses[rows]], 0)
        mask_BT = torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]
        prompts = [list(ids) for ids in prompt_ids[rows]]
        policy_logprobs_BT, ref_logprobs_BT = (
            response_logprobs(model, prompts, tokens_BT, mask_BT, temperature=temperature).logprobs_BT
            for model in (policy, reference)
        )
        kl += sampled_sequence_kl(policy_logprobs_BT, ref_logprobs_BT, mask_BT).tolist()
    return kl
