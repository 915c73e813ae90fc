"""Scoring and log-probabilities of other architectures than Llama, without a deprecated argument."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlaif.inference.cache import KeyValueCache, cache_argument
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.score import score_options

SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {},
    "mistral": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
}
COMMON = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}


def make_model(kind: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **COMMON, **SIZES[kind])).eval()


@pytest.mark.parametrize("kind", SIZES)
def test_responses_of_one_prompt_read_as_one_forward_per_text(kind: str) -> None:
    model = make_model(kind)
    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    tokens_BT = torch.randint(4, 90, (8, 3), generator=torch.Generator().manual_seed(1))
    mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    with torch.no_grad():
        shared = response_logprobs(model, prompts, tokens_BT, mask_BT).logprobs_BT
        alone = response_logprobs(model, [prompts[0]] * 4 + [prompts[1]] * 4, tokens_BT, mask_BT).logprobs_BT
    torch.testing.assert_close(shared, alone, atol=2e-5, rtol=0)
    options = [[7], [8]]
    scores = score_options(model, [prompts[0]], options)
    with torch.no_grad():
        logprobs_V = model(input_ids=torch.tensor([prompts[0]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(scores[0].float(), logprobs_V[[7, 8]], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_the_cache_goes_under_a_name_that_the_model_takes_and_fills(kind: str) -> None:
    model = make_model(kind)
    for part in (model, model.base_model):
        cache = KeyValueCache(2, capacity=5)
        part(input_ids=torch.tensor([[5, 6, 7]]), use_cache=True, **{cache_argument(part): cache})
        assert cache.get_seq_length() == 3


def test_models_with_code_of_their_own_keep_their_names() -> None:
    class Old(torch.nn.Module):
        def forward(self, input_ids: Tensor, past_key_values: object = None) -> None: ...

    class Wrapper(torch.nn.Module):
        def forward(self, *args: object, **kwargs: object) -> None: ...

    assert cache_argument(Old()) == "past_key_values"
    assert cache_argument(Wrapper()) == cache_argument(make_model("gpt_neox"))
