"""Shared prefixes, sampling and teacher forcing against one plain forward per text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlaif.errors import EngineError
from rlaif.inference.forward import ModelForward, evaluating, forward_for
from rlaif.inference.llama import FusedLlama
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.prefill import PrefixStore, plan_prefill
from rlaif.inference.sample import sample
from rlaif.inference.score import score_options
from rlaif.types import Sampling

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
TOLERANCE = 2e-5
"""float32 rounding of log-probabilities around -10 that are added up along another path."""


def make_model(kind: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "neox":
            return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=64)).eval()
        if kind == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**SIZES, intermediate_size=64, num_key_value_heads=2)).eval()
        attention = "eager" if kind == "llama eager" else "sdpa"
        config = LlamaConfig(**SIZES, intermediate_size=64, num_key_value_heads=2, attn_implementation=attention)
        return LlamaForCausalLM(config).eval()


def make_prompts(num_pairs: int = 5) -> list[list[int]]:
    """Two orders of pairs: a preamble of all, a context of each pair, two ends; and one prompt like no other."""
    generator = torch.Generator().manual_seed(1)

    def draw(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(4, 90, (length,), generator=generator).tolist()

    preamble = draw(30, 31)
    prompts = []
    for _ in range(num_pairs):
        context, first, second = preamble + draw(1, 50), draw(3, 12), draw(3, 12)
        prompts += [context + first + second, context + second + first]
    return prompts


OPTIONS = [[7], [8, 5], [8, 6], [9, 5, 4, 3]]


def brute_force(model: PreTrainedModel, prompts: list[list[int]], options: list[list[int]]) -> torch.Tensor:
    rows = []
    for prompt in prompts:
        row = []
        for option in options:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + option])).logits[0].double()
            steps = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
            row.append(sum(float(step[token]) for step, token in zip(steps, option, strict=True)))
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("kind", ["llama", "llama eager", "neox", "qwen2"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_shared_prefixes_score_as_one_forward_per_text(kind: str, batch_size: int) -> None:
    model = make_model(kind)
    prompts = make_prompts()
    scores = score_options(model, prompts, OPTIONS, batch_size=batch_size)
    torch.testing.assert_close(scores, brute_force(model, prompts, OPTIONS), atol=TOLERANCE, rtol=0)


def test_unrelated_prompts_score_as_one_forward_per_text() -> None:
    model = make_model("llama")
    prompts = [[5], [6, 7, 8], list(range(4, 60)), [5], list(range(5, 80))]
    scores = score_options(model, prompts, OPTIONS)
    torch.testing.assert_close(scores, brute_force(model, prompts, OPTIONS), atol=TOLERANCE, rtol=0)


def test_fused_llama_equals_the_plain_path() -> None:
    model, prompts = make_model("llama"), make_prompts()
    assert isinstance(forward_for(model), FusedLlama)
    with evaluating(model):
        fused = score_options(forward_for(model), prompts, OPTIONS)
        plain = score_options(ModelForward(model), prompts, OPTIONS)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", ["hook", "bias", "subclass"])
def test_what_is_no_plain_llama_goes_the_plain_path(change: str) -> None:
    model = make_model("llama")
    if change == "hook":
        model.model.layers[0].register_forward_hook(lambda *args: None)
    elif change == "bias":
        model.config.attention_bias = True
    else:
        model.__class__ = type("Changed", (LlamaForCausalLM,), {})
    assert isinstance(forward_for(model), ModelForward)


def test_scores_depend_neither_on_order_nor_on_what_was_read_before() -> None:
    model, prompts = make_model("llama"), make_prompts()
    alone = score_options(model, prompts, OPTIONS)
    assert torch.equal(score_options(model, prompts[::-1], OPTIONS).flip(0), alone)
    store = PrefixStore()
    with evaluating(model):
        forward = forward_for(model)
        score_options(forward, make_prompts(3)[1:], OPTIONS, store=store)
        first, second = (score_options(forward, prompts, OPTIONS, store=store) for _ in range(2))
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)


def test_every_single_token_option_sums_to_one() -> None:
    scores = score_options(make_model("llama"), make_prompts(2), [[token] for token in range(90)])
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(4))


def test_no_prompts_give_no_scores() -> None:
    assert score_options(make_model("llama"), [], OPTIONS).shape == (0, 4)


def test_the_plan_reads_preamble_and_contexts_once() -> None:
    prompts = make_prompts(4)
    plan = plan_prefill(prompts, batch_size=4)
    assert len(plan.preamble) == 30
    assert sorted(member for chunk in plan.chunks for group in chunk for member in group.members) == list(range(8))
    for group in (group for chunk in plan.chunks for group in chunk):
        assert len({tuple(prompts[member][: group.num_shared]) for member in group.members}) == 1
        assert all(len(prompts[member]) > group.num_shared for member in group.members)


def test_equal_prompts_share_all_but_their_last_token() -> None:
    model, prompt = make_model("llama"), list(range(4, 44))
    plan = plan_prefill([prompt, prompt], batch_size=8)
    assert plan.preamble == tuple(prompt[:-1])
    scores = score_options(model, [prompt, prompt], OPTIONS)
    torch.testing.assert_close(scores, brute_force(model, [prompt, prompt], OPTIONS), atol=TOLERANCE, rtol=0)


def test_a_sliding_window_shorter_than_the_text_is_refused() -> None:
    config = MistralConfig(**SIZES, intermediate_size=64, num_key_value_heads=2, sliding_window=16)
    model = MistralForCausalLM(config).eval()
    with pytest.raises(EngineError, match="sliding window of 16"):
        score_options(model, make_prompts(), OPTIONS)


@pytest.mark.parametrize("kind", ["llama", "llama eager", "neox"])
def test_sampled_logprobs_are_teacher_forced_logprobs(kind: str) -> None:
    model, prompts = make_model(kind), make_prompts(2)
    sampling = Sampling(max_new_tokens=12, temperature=0.7, seed=3)
    rollouts = sample(model, prompts, num_samples=4, sampling=sampling, eos_id=[5, 6, 7], pad_id=0)
    assert bool((~rollouts.mask_BT).any())
    for num_rows, texts in ((4, prompts), (1, [prompt for prompt in prompts for _ in range(4)])):
        forced = response_logprobs(model, texts, rollouts.tokens_BT, rollouts.mask_BT, temperature=0.7)
        torch.testing.assert_close(
            forced.logprobs_BT, rollouts.logprobs_BT, atol=TOLERANCE, rtol=0, msg=f"{num_rows} rows per prompt"
        )
    row = 5
    length = int(rollouts.mask_BT[row].sum())
    text = prompts[1] + rollouts.tokens_BT[row, :length].tolist()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([text])).logits[0, -length - 1 : -1] / 0.7
    expected = torch.distributions.Categorical(logits=logits).log_prob(rollouts.tokens_BT[row, :length])
    torch.testing.assert_close(rollouts.logprobs_BT[row, :length], expected, atol=TOLERANCE, rtol=0)


def test_gradients_and_entropy_of_shared_prompts_are_those_of_whole_texts() -> None:
    model, prompts = make_model("llama"), make_prompts(1)
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(4, 90, (8, 5), generator=generator)
    mask_BT = torch.arange(5) < torch.tensor([5, 1, 3, 2, 5, 4, 1, 2])[:, None]
    weight_BT = torch.randn(8, 5, generator=generator)
    shared = response_logprobs(model, prompts, tokens_BT, mask_BT, temperature=0.8, with_entropy=True)
    (shared.logprobs_BT * weight_BT).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    total = torch.tensor(0.0)
    for row in range(8):
        length = int(mask_BT[row].sum())
        text = prompts[row // 4] + tokens_BT[row, :length].tolist()
        logits = model(input_ids=torch.tensor([text])).logits[0, -length - 1 : -1] / 0.8
        one = torch.distributions.Categorical(logits=logits)
        total = total + (one.log_prob(tokens_BT[row, :length]) * weight_BT[row, :length]).sum()
        assert shared.entropy_BT is not None
        torch.testing.assert_close(shared.entropy_BT[row, :length], one.entropy(), atol=TOLERANCE, rtol=0)
        assert not shared.entropy_BT[row, length:].any()
    total.backward()
    for ours, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, atol=1e-4, rtol=1e-4)


def test_hidden_states_are_what_predicts_each_token() -> None:
    model, prompts = make_model("llama"), make_prompts(1)
    tokens_BT = torch.tensor([[5, 6, 7], [8, 9, 0]])
    mask_BT = torch.tensor([[True, True, True], [True, True, False]])
    hidden_BTD = response_logprobs(model, prompts, tokens_BT, mask_BT).hidden_BTD
    expected = model.model(input_ids=torch.tensor([prompts[1] + [8]])).last_hidden_state[0, -2:]
    torch.testing.assert_close(hidden_BTD[1, :2], expected, atol=1e-5, rtol=0)


def test_a_model_on_several_devices_scores_as_on_one(tmp_path: Path) -> None:
    from accelerate import dispatch_model

    model, prompts = make_model("llama"), make_prompts()
    expected = score_options(model, prompts, OPTIONS)
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.layers.0": "cpu", "lm_head": "cpu"}
    dispatch_model(
        model,
        places | {"model.layers.1": "disk", "model.norm": "disk"},
        main_device="cpu",
        offload_dir=str(tmp_path),
        force_hooks=True,
    )
    assert isinstance(forward_for(model), ModelForward)
    torch.testing.assert_close(score_options(model, prompts, OPTIONS), expected, atol=TOLERANCE, rtol=0)
