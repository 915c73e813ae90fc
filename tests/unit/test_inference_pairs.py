"""Both responses of a pair in one row: the same numbers and gradients as two rows, from fewer tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, COMMON
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlaif.data.batches.examples import PairExample, collate_pairs
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.pairs import FAMILIES, PairRows, reads_pairs
from rlaif.models.adapters import LoraSettings
from rlaif.models.classifiers import reward_model_from
from rlaif.models.response_scorer import classifier_logits, pair_logits

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15, 16, 17, 18, 19], [20, 21, 22, 23, 24, 25, 26]]
FIRST, SECOND = [[30, 31, 32], [33], [34, 35]], [[36, 37], [38, 39, 40, 41], [34, 35]]


def make_model(kind: str, **options: Any) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind, **{**COMMON, **ARCHITECTURES[kind], **options}, vocab_size=96, pad_token_id=0, eos_token_id=2
        )
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
        return model


def make_batch(prompts: list[list[int]] = PROMPTS) -> tuple[Tensor, ...]:
    """The texts as a reward model gets them: both sides with their lengths, and lengths of prompts."""
    batch = collate_pairs(
        [
            PairExample((*prompt, *first), (*prompt, *second), 1.0, str(row), len(prompt))
            for row, (prompt, first, second) in enumerate(zip(prompts, FIRST, SECOND, strict=True))
        ],
        pad_id=0,
    )
    sides = batch.first_ids_BT, batch.first_lengths_B, batch.second_ids_BT, batch.second_lengths_B
    return (*sides, batch.prompt_lengths_B)


@contextmanager
def tokens_read(model: PreTrainedModel) -> Iterator[list[int]]:
    """Tokens, padding included, of each forward pass of a model's body."""
    read: list[int] = []
    handle = model.get_input_embeddings().register_forward_pre_hook(
        lambda module, arguments: read.append(arguments[0].numel())
    )
    try:
        yield read
    finally:
        handle.remove()


def logprobs_of_each(model: PreTrainedModel) -> list[Tensor]:
    """The library's own forward pass of each text alone."""
    found = []
    for prompt, *both in zip(PROMPTS, FIRST, SECOND, strict=True):
        for response in both:
            logits_TV = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            found.append(logits_TV.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0])
    return found


def padded_responses() -> tuple[Tensor, Tensor]:
    responses = [side for both in zip(FIRST, SECOND, strict=True) for side in both]
    tokens_BT = torch.tensor([[*side, *[0] * (4 - len(side))] for side in responses])
    return tokens_BT, torch.arange(4) < torch.tensor([len(side) for side in responses])[:, None]


def check_logprobs(model: PreTrainedModel, *, num_tokens: int) -> None:
    """Both responses of each prompt, in a forward pass over so many tokens, against the library's pass of each text."""
    tokens_BT, mask_BT = padded_responses()
    with tokens_read(model) as read:
        found_BT = response_logprobs(model, PROMPTS, tokens_BT, mask_BT).logprobs_BT
    torch.testing.assert_close(found_BT[mask_BT], torch.cat(logprobs_of_each(model)), rtol=0, atol=1e-5)
    assert max(read) == num_tokens  # some heads are tried on a few tokens besides
    assert (found_BT[~mask_BT] == 0).all()


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_response_has_the_logprobs_of_a_row_of_its_own(kind: str) -> None:
    check_logprobs(make_model(kind), num_tokens=3 * 14)  # the longest pair has 9 + 3 + 2 tokens


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_reward_model_scores_a_pair_as_it_scores_both_texts(kind: str) -> None:
    model = reward_model_from(make_model(kind), 0, head_std=1.0)
    first_BT, first_B, second_BT, second_B, prompts_B = make_batch()
    with tokens_read(model) as read:
        found = pair_logits(model, first_BT, first_B, second_BT, second_B, prompts_B)
    assert max(read) == 3 * 14
    for side, (ids_BT, lengths_B) in enumerate(((first_BT, first_B), (second_BT, second_B))):
        for row, length in enumerate(lengths_B.tolist()):
            alone = classifier_logits(model, ids_BT[row : row + 1, :length], torch.tensor([length]))
            torch.testing.assert_close(found[side, row], alone[0], rtol=0, atol=1e-5)
    # Equal responses get equal rewards wherever they stand in the row.
    torch.testing.assert_close(found[0, 2], found[1, 2], rtol=0, atol=1e-5)


def test_gradients_are_those_of_two_rows() -> None:
    model = reward_model_from(make_model("llama"), 0, head_std=1.0)
    first_BT, first_B, second_BT, second_B, prompts_B = make_batch()
    weights = torch.tensor([1.0, -2.0, 0.5])

    def gradients(logits_2B1: Tensor) -> list[Tensor]:
        model.zero_grad(set_to_none=True)
        ((logits_2B1[0, :, 0] - logits_2B1[1, :, 0]) * weights).sum().backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    one_row = gradients(pair_logits(model, first_BT, first_B, second_BT, second_B, prompts_B))
    sides = (first_BT, first_B), (second_BT, second_B)
    two_rows = gradients(torch.stack([classifier_logits(model, *side) for side in sides]))
    assert len(one_row) == len(two_rows) == len(list(model.parameters()))
    torch.testing.assert_close(one_row, two_rows, rtol=1e-4, atol=1e-5)


def test_an_adapter_is_used_in_a_shared_row() -> None:
    pytest.importorskip("peft")
    model = make_model("llama")
    LoraSettings(rank=4).on(model, base="", seed=0, option="policy.lora")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.3)
    check_logprobs(model, num_tokens=3 * 14)


def test_prompts_shorter_than_their_responses_are_read_twice() -> None:
    """Attention over both responses would cost more than a short prompt."""
    model = reward_model_from(make_model("llama"), 0, head_std=1.0)
    short = [[5], [14, 15], [20]]
    with tokens_read(model) as read:
        found = pair_logits(model, *make_batch(short))
    assert read == [3 * 4, 3 * 6]
    first_BT, first_B, *_ = make_batch(short)
    torch.testing.assert_close(found[0], classifier_logits(model, first_BT, first_B))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        ("gpt2", {}),
        ("opt", {}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
        ("llama", {"attn_implementation": "flex_attention"}),
    ],
)
def test_other_models_read_both_texts(kind: str, options: dict[str, Any]) -> None:
    attention = options.pop("attn_implementation", "sdpa")
    model = make_model(kind, **options)
    model.config._attn_implementation = attention
    assert not reads_pairs(model)
    if attention == "sdpa":
        check_logprobs(model, num_tokens=6 * 12)


def test_a_response_without_tokens_ends_at_its_prompt() -> None:
    rows = PairRows.of(
        torch.tensor([[5, 6, 7]]), torch.tensor([3]), torch.tensor([[5, 6, 0]]), torch.tensor([2]), torch.tensor([2])
    )
    states = torch.arange(3.0)[None, :, None]
    first, second = rows.at(states, torch.tensor([[2]]), torch.tensor([[1]]))
    assert (first.item(), second.item()) == (2.0, 1.0)
