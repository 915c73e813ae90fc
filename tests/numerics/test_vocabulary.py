"""Losses over chunks of a vocabulary, against torch's over all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedModel

from rlaif.data.batches.examples import TokenExample, collate_tokens
from rlaif.inference import vocabulary
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.vocabulary import Head, chunked_cross_entropy, chunked_logprobs
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.sft import SFTModule

N, D, V = 7, 6, 23
HEADS = [
    (None, 1.0, None, 1.0),
    (0.3, 1.0, None, 1.0),
    (0.3, 1.7, None, 0.8),
    (None, 0.5, 1.5, 1.0),
    (0.3, 2.0, 3.0, 0.7),
]


@pytest.fixture(params=[1, 3, 100], autouse=True)
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of one row, of three (the last one is shorter), and one chunk."""
    monkeypatch.setattr(vocabulary, "CHUNK_ELEMENTS", request.param * V)
    monkeypatch.setattr(vocabulary, "_SLAB", 5)
    return int(request.param)


def made(bias: float | None) -> tuple[list[Tensor], Tensor]:
    draw = torch.Generator().manual_seed(0)
    tensors = [torch.randn(N, D, generator=draw), torch.randn(V, D, generator=draw)]
    tensors += [] if bias is None else [bias * torch.randn(V, generator=draw)]
    return [tensor.requires_grad_() for tensor in tensors], torch.randint(V, (N,), generator=draw)


def plain_logits(tensors: list[Tensor], factor: float, cap: float | None, temperature: float) -> Tensor:
    logits = F.linear(*tensors) * factor
    return (logits if cap is None else cap * torch.tanh(logits / cap)) / temperature


@pytest.mark.parametrize(("bias", "factor", "cap", "temperature"), HEADS)
def test_cross_entropy_and_its_gradients_are_those_of_torch(
    bias: float | None, factor: float, cap: float | None, temperature: float
) -> None:
    tensors, labels = made(bias)
    expected = F.cross_entropy(plain_logits(tensors, factor, cap, temperature), labels, reduction="sum")
    head = Head(
        *tensors[1:], **{} if bias is not None else {"bias_V": None}, factor=factor, cap=cap, temperature=temperature
    )  # type: ignore[arg-type,misc]
    loss = chunked_cross_entropy(head, tensors[0], labels)
    torch.testing.assert_close(loss, expected)
    for grad, other in zip(
        torch.autograd.grad(3 * loss, tensors), torch.autograd.grad(3 * expected, tensors), strict=True
    ):
        torch.testing.assert_close(grad, other)
    with torch.no_grad():
        torch.testing.assert_close(chunked_cross_entropy(head, tensors[0], labels), expected)


@pytest.mark.parametrize(("bias", "factor", "cap", "temperature"), HEADS)
def test_logprobs_entropies_and_their_gradients_are_those_of_torch(
    bias: float | None, factor: float, cap: float | None, temperature: float
) -> None:
    tensors, labels = made(bias)
    distribution = torch.distributions.Categorical(logits=plain_logits(tensors, factor, cap, temperature))
    head = Head(
        *tensors[1:], **{} if bias is not None else {"bias_V": None}, factor=factor, cap=cap, temperature=temperature
    )  # type: ignore[arg-type,misc]
    logprobs, entropy = chunked_logprobs(head, tensors[0], labels, with_entropy=True)
    torch.testing.assert_close(logprobs, distribution.log_prob(labels))
    assert entropy is not None and not entropy.requires_grad
    torch.testing.assert_close(entropy, distribution.entropy().detach())
    ratio = (logprobs - 0.1).exp().clamp(max=0.5)
    expected = (distribution.log_prob(labels) - 0.1).exp().clamp(max=0.5)
    found = torch.autograd.grad(ratio.sum(), tensors)
    for grad, other in zip(found, torch.autograd.grad(expected.sum(), tensors), strict=True):
        torch.testing.assert_close(grad, other)


def test_a_frozen_head_gets_no_gradient_and_a_second_backward_pass_is_an_error() -> None:
    (hidden, weight), labels = made(None)
    weight.requires_grad_(False)
    loss = chunked_cross_entropy(Head(weight), hidden, labels)
    expected = torch.autograd.grad(F.cross_entropy(F.linear(hidden, weight), labels, reduction="sum"), hidden)[0]
    loss.backward(retain_graph=True)
    torch.testing.assert_close(hidden.grad, expected)
    assert weight.grad is None
    with pytest.raises(RuntimeError, match="first backward pass"):
        loss.backward()


@pytest.mark.parametrize("ratios", [False, True])
def test_under_autocast_gradients_are_those_of_torch_up_to_bfloat16(ratios: bool) -> None:
    (hidden, weight), labels = made(None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = F.cross_entropy(F.linear(hidden, weight).float(), labels, reduction="sum")
        head = Head(weight)
        loss = (
            -chunked_logprobs(head, hidden, labels)[0].sum() if ratios else chunked_cross_entropy(head, hidden, labels)
        )
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    found, others = (torch.autograd.grad(each, [hidden, weight]) for each in (loss, expected))
    for grad, other in zip(found, others, strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, other, rtol=2e-2, atol=2e-2)


def capped(cap: float | None) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": V,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
        "pad_token_id": 0,
    }
    config: Any = LlamaConfig(**sizes, tie_word_embeddings=True)
    if cap is not None:
        config = Gemma2Config(**sizes, head_dim=4, final_logit_softcapping=cap)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model.eval()


@pytest.mark.parametrize("cap", [None, 2.0])
def test_fine_tuning_in_chunks_has_the_librarys_loss_and_gradients(cap: float | None) -> None:
    model: Any = capped(cap)
    batch = collate_tokens([TokenExample((5, 6, 7, 8, 9), 1, "a"), TokenExample((9, 10, 11), 1, "b")], pad_id=0)
    labels = batch.input_ids_BT.masked_fill(~batch.loss_mask_BT, -100)
    expected = model(input_ids=batch.input_ids_BT, labels=labels).loss
    weights = list(model.parameters())
    others = torch.autograd.grad(expected, weights)
    loss = SFTModule(model, optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=1.0)).figures(batch)["loss"]
    assert loss.count == 6
    torch.testing.assert_close(loss.mean, expected)
    for grad, other in zip(torch.autograd.grad(loss.mean, weights), others, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_responses_in_chunks_have_the_models_own_logprobs_and_gradients(cap: float | None) -> None:
    model: Any = capped(cap)
    tokens_BT = torch.tensor([[10, 11, 12], [13, 14, 0]])
    mask_BT = tokens_BT > 0
    read = response_logprobs(model, [[5, 6], [7]], tokens_BT, mask_BT, temperature=0.7, with_entropy=True)
    rows = []
    for prompt, row, mask in zip([[5, 6], [7]], tokens_BT, mask_BT, strict=True):
        response = row[mask]
        logits = model(input_ids=torch.tensor([[*prompt, *response.tolist()]])).logits[0, len(prompt) - 1 : -1] / 0.7
        rows.append(torch.distributions.Categorical(logits=logits))
    expected = torch.cat([rows[row].log_prob(tokens_BT[row][mask_BT[row]]) for row in (0, 1)])
    torch.testing.assert_close(read.logprobs_BT[mask_BT], expected)
    assert read.entropy_BT is not None
    torch.testing.assert_close(read.entropy_BT[mask_BT], torch.cat([row.entropy() for row in rows]).detach())
    weights = list(model.parameters())
    found, others = (torch.autograd.grad((each.exp()).sum(), weights) for each in (read.logprobs_BT[mask_BT], expected))
    for grad, other in zip(found, others, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)
