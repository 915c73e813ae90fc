"""Scoring and log-probabilities of other architectures than Llama, without a deprecated argument."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from rlaif.errors import EngineError
from rlaif.inference.cache import KeyValueCache, cache_argument, cache_bytes
from rlaif.inference.heads import head_logits
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.score import score_options
from rlaif.modules.forward import masked_logits

SIZES: dict[str, dict[str, float]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {},
    "mistral": {"num_key_value_heads": 2},
    "llama": {},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
}
CHANGED: dict[str, dict[str, float]] = {
    "cohere": {"num_key_value_heads": 2, "logit_scale": 0.25},
    "granite": {"num_key_value_heads": 2, "logits_scaling": 6.0},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 0.02, "query_pre_attn_scalar": 8},
}
"""Models that change their logits after the linear map."""
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
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **COMMON, **(SIZES | CHANGED)[kind])).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", SIZES)
def test_memory_of_a_token_is_what_its_keys_and_values_take(kind: str) -> None:
    model = make_model(kind)
    cache = KeyValueCache(2, 5)
    model(input_ids=torch.ones(1, 5, dtype=torch.long), **{cache_argument(model): cache})
    taken = sum(part.numel() * part.element_size() for pair in cache.key_values() for part in pair)
    assert cache_bytes(model) * 5 == taken


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


def own_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Tensor:
    """By the library's own forward pass of the whole text."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


@pytest.mark.parametrize("kind", CHANGED)
@torch.no_grad()
def test_scaled_and_capped_logits_are_the_models_own(kind: str) -> None:
    model = make_model(kind)
    prompt, response = [5, 6, 7, 8], [9, 10, 11]
    expected = own_logprobs(model, prompt, response)
    tokens, mask = torch.tensor([response]), torch.ones(1, 3, dtype=torch.bool)
    read = response_logprobs(model, [prompt], tokens, mask).logprobs_BT[0]
    torch.testing.assert_close(read, expected, atol=2e-6, rtol=0)
    scores = score_options(model, [prompt], [response, [12]])
    torch.testing.assert_close(scores[0, 0], expected.sum(), atol=5e-6, rtol=0)
    ids = torch.tensor([prompt + response])
    at = torch.tensor([[False, True, False, False, True, False, False]])
    torch.testing.assert_close(masked_logits(model, ids, at), model(input_ids=ids).logits[at], atol=2e-6, rtol=0)


class _Wider(LlamaForCausalLM):
    """A head that no configuration describes."""

    def forward(self, *args: object, **kwargs: object) -> CausalLMOutputWithPast:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.01
        return output


def test_a_head_that_is_not_known_is_refused_where_it_is_needed_and_never_guessed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Wider(AutoConfig.for_model("llama", **COMMON)).eval()
    ids, at = torch.tensor([[5, 6, 7]]), torch.tensor([[False, True, True]])
    with torch.no_grad():
        assert torch.equal(masked_logits(model, ids, at), model(input_ids=ids).logits[at])
        scores = score_options(model, [[5, 6, 7]], [[8]])
        torch.testing.assert_close(scores[0], own_logprobs(model, [5, 6, 7], [8]), atol=2e-6, rtol=0)
    with pytest.raises(EngineError, match="_Wider: its logits are no linear map"):
        response_logprobs(model, [[5]], torch.tensor([[6]]), torch.ones(1, 1, dtype=torch.bool))


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_head_reads_each_row_once_however_many_lengths_there_are(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(kind)
    num_rows: list[int] = []
    model.lm_head.weight.data = model.lm_head.weight.data.clone()

    def counted(x: Tensor, weight: Tensor) -> Tensor:
        if len(weight) == COMMON["vocab_size"]:
            num_rows.append(x.numel() // x.shape[-1])
        return torch.nn.functional.linear(x, weight)

    if kind == "llama":
        monkeypatch.setattr("rlaif.inference.llama.linear", counted)
    else:
        head_logits(model, torch.zeros(1, 32))
        model.lm_head.register_forward_hook(lambda module, args, _: num_rows.append(args[0].numel() // 32))
    prompts = [[token] * (token - 3) for token in range(4, 20)]
    scores = score_options(model, prompts, [[8]], batch_size=16)
    assert num_rows == [16]
    for prompt, score in zip(prompts, scores, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(score, own_logprobs(model, prompt, [8]), atol=2e-5, rtol=0)


def test_models_with_code_of_their_own_keep_their_names() -> None:
    class Old(torch.nn.Module):
        def forward(self, input_ids: Tensor, past_key_values: object = None) -> None: ...

    class Wrapper(torch.nn.Module):
        def forward(self, *args: object, **kwargs: object) -> None: ...

    assert cache_argument(Old()) == "past_key_values"
    assert cache_argument(Wrapper()) == cache_argument(make_model("gpt_neox"))
