"""Sampling: seeds, limits, ends, truncation."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from rlaif.errors import EngineError
from rlaif.inference.sample import _truncated, draw, sample
from rlaif.inference.stops import StopStrings
from rlaif.rollouts.sampler import LocalSampler
from rlaif.types import Sampling

PROMPTS = [[5, 6, 7], [9], list(range(10, 40)), [5, 6, 8, 9]]
NO_END = 89
SAMPLING = Sampling(max_new_tokens=10, temperature=1.0, seed=1)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=90,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=None,
        )
        return LlamaForCausalLM(config).eval()


def test_a_row_depends_on_its_seed_alone(model: LlamaForCausalLM) -> None:
    seeds = [11, 12, 13, 14, 15, 16, 17, 18]
    together = sample(model, PROMPTS, num_samples=2, sampling=SAMPLING, eos_id=[4, 5, 6], pad_id=0, seeds=seeds)
    for row, seed in enumerate(seeds):
        prompt = PROMPTS[row // 2]
        alone = sample(model, [prompt], sampling=SAMPLING, eos_id=[4, 5, 6], pad_id=0, seeds=[seed])
        width = alone.tokens_BT.shape[1]
        assert together.tokens_BT[row, :width].tolist() == alone.tokens_BT[0].tolist()
        assert not together.mask_BT[row, width:].any()
        assert together.finished_B[row] == alone.finished_B[0]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_do_not_change_what_is_drawn(model: LlamaForCausalLM, batch_size: int) -> None:
    whole = sample(model, PROMPTS, num_samples=2, sampling=SAMPLING, eos_id=4, pad_id=0)
    parts = sample(model, PROMPTS, num_samples=2, sampling=SAMPLING, eos_id=4, pad_id=0, batch_size=batch_size)
    assert torch.equal(whole.tokens_BT, parts.tokens_BT)
    torch.testing.assert_close(whole.logprobs_BT, parts.logprobs_BT, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_not_drawn_from(model: LlamaForCausalLM, temperature: float) -> None:
    broken = deepcopy(model)
    with torch.no_grad():
        broken.model.norm.weight[3] = float("nan")
    with pytest.raises(EngineError, match="the logits of the LlamaForCausalLM that is sampled from are NaN"):
        LocalSampler(broken, eos_id=4, pad_id=0).sample(
            PROMPTS, num_samples=1, sampling=replace(SAMPLING, temperature=temperature), seeds=range(len(PROMPTS))
        )


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("shared", [0, 20], ids=["apart", "with a preamble"])
def test_recorded_logprobs_are_the_models_own(model: LlamaForCausalLM, num_samples: int, shared: int) -> None:
    """Rows leave at different lengths and whole prompts with them; prompts have gaps where others are longer."""
    prompts = [list(range(60, 60 + shared)) + prompt for prompt in PROMPTS]
    drawn = sample(model, prompts, num_samples=num_samples, sampling=SAMPLING, eos_id=range(4, 20), pad_id=0)
    assert len(set(drawn.mask_BT.sum(1).tolist())) > 2
    for row, (tokens, mask) in enumerate(zip(drawn.tokens_BT, drawn.mask_BT, strict=True)):
        prompt, response = prompts[row // num_samples], tokens[mask].tolist()
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = logprobs.gather(1, torch.tensor(response)[:, None]).squeeze(1)
        torch.testing.assert_close(drawn.logprobs_BT[row][mask], expected, atol=1e-5, rtol=0)


def test_a_longer_limit_continues_the_same_text(model: LlamaForCausalLM) -> None:
    longer = Sampling(max_new_tokens=14, temperature=1.0, seed=1)
    short, long = (sample(model, PROMPTS, sampling=s, eos_id=NO_END, pad_id=0).tokens_BT for s in (SAMPLING, longer))
    assert torch.equal(short, long[:, : short.shape[1]])


def test_responses_end_with_the_end_token_and_then_padding(model: LlamaForCausalLM) -> None:
    rollouts = sample(model, PROMPTS, num_samples=8, sampling=SAMPLING, eos_id=range(4, 20), pad_id=2)
    assert 0 < int(rollouts.finished_B.sum()) < 32
    for tokens, mask, logprobs, finished in zip(
        rollouts.tokens_BT, rollouts.mask_BT, rollouts.logprobs_BT, rollouts.finished_B, strict=True
    ):
        length = int(mask.sum())
        assert mask[:length].all()
        assert bool(finished) == (4 <= int(tokens[length - 1]) < 20)
        assert length == 10 or finished
        assert not any(4 <= int(token) < 20 for token in tokens[: length - 1])
        assert (tokens[length:] == 2).all()
        assert (logprobs[length:] == 0).all()


def test_greedy_is_what_hugging_face_generates(model: LlamaForCausalLM) -> None:
    greedy = sample(model, PROMPTS, sampling=Sampling(max_new_tokens=10), eos_id=NO_END, pad_id=0)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=NO_END,
            pad_token_id=0,
        )[0, len(prompt) :]
        assert greedy.tokens_BT[row, : len(theirs)].tolist() == theirs.tolist()


def test_the_global_random_state_and_the_mode_stay(model: LlamaForCausalLM) -> None:
    before = torch.get_rng_state()
    model.train()
    rollouts = sample(model, PROMPTS, sampling=SAMPLING, eos_id=4, pad_id=0)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    model.eval()
    # Autograd may save what was sampled: these are no inference tensors.
    weight = torch.ones_like(rollouts.logprobs_BT, requires_grad=True)
    (weight * rollouts.logprobs_BT).sum().backward()


def test_no_prompts_give_no_rollouts(model: LlamaForCausalLM) -> None:
    assert sample(model, [], sampling=SAMPLING, eos_id=4, pad_id=0).tokens_BT.shape == (0, 0)


def test_a_wrong_number_of_seeds_is_an_error(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="1 given for 4 rows"):
        sample(model, PROMPTS, sampling=SAMPLING, eos_id=4, pad_id=0, seeds=[1])


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, float("-inf"), 0.0])
    uniforms = (torch.arange(1000) + 0.5) / 1000
    sampling = Sampling(max_new_tokens=1, temperature=0.5)
    logprobs = (logits / 0.5).log_softmax(-1)
    tokens = draw(logprobs.expand(1000, 5), uniforms, sampling)
    probabilities = torch.softmax(logits / 0.5, dim=0)
    assert (tokens.bincount(minlength=5) - 1000 * probabilities).abs().max() <= 1


def test_an_impossible_token_is_never_drawn() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).expand(2, 3)
    tokens = draw(logits.log_softmax(-1), torch.tensor([0.0, 1.0]), Sampling(max_new_tokens=1, temperature=1.0))
    assert tokens.tolist() == [1, 1]


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.6), (0, 0.05)])
def test_truncation_keeps_what_hugging_face_keeps(top_k: int, top_p: float) -> None:
    logits = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    warper = TopKLogitsWarper(top_k) if top_k else TopPLogitsWarper(top_p)
    theirs = torch.softmax(warper(torch.zeros(20, 1), logits), dim=-1)
    ours = _truncated(logits.softmax(-1), Sampling(max_new_tokens=1, temperature=1.0, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(ours / ours.sum(-1, keepdim=True), theirs)


def test_a_stop_string_may_span_tokens(model: LlamaForCausalLM) -> None:
    words = [f"<{token}>" for token in range(90)]
    sampled = sample(model, PROMPTS, sampling=SAMPLING, eos_id=NO_END, pad_id=0)
    third, fourth = sampled.tokens_BT[0, 2:4].tolist()
    stop = StopStrings([f"{third}><{fourth}"], lambda ids: "".join(words[token] for token in ids), 90)
    stopped = sample(model, PROMPTS, sampling=SAMPLING, eos_id=NO_END, pad_id=0, stop=stop)
    assert int(stopped.mask_BT[0].sum()) == 4
    assert bool(stopped.finished_B[0])
    assert stop.cut("".join(words[token] for token in stopped.tokens_BT[0, :4].tolist())).count("<") == 3


def test_a_stop_string_may_end_within_a_character_and_the_first_of_several_counts() -> None:
    pieces = [b"a", b"\xc3", b"\xa9", b"b"]
    stop = StopStrings(
        ["\u00e9", "b"], lambda ids: b"".join(pieces[token] for token in ids).decode(errors="replace"), 4
    )
    assert stop.ends(torch.tensor([2]), lambda row: [0, 1, 2]).tolist() == [True], "two tokens are one character"
    assert stop.ends(torch.tensor([1]), lambda row: [0, 1]).tolist() == [False]
    assert stop.cut("ab\u00e9") == "a" and stop.cut("a\u00e9b") == "a" and stop.cut("aa") == "aa"
