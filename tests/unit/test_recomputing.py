"""Gradient checkpointing: the same gradients, from activations that are computed twice."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedModel

from rlaif.errors import EngineError
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.recomputing import recompute_layers
from rlaif.inference.sample import sample
from rlaif.models.classifiers import reward_model_from
from rlaif.models.load import load_causal_lm
from rlaif.models.response_scorer import classifier_logits
from rlaif.modules.forward import masked_cross_entropy
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Sampling

IDS_BT = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
MASK_BT = torch.ones_like(IDS_BT, dtype=torch.bool)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return load_causal_lm(str(make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")))


def gpt2() -> PreTrainedModel:
    """Its layers drop activations in training."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=8, n_layer=2, n_head=2, n_positions=64)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.train()


def tuning(model: PreTrainedModel) -> Tensor:
    return masked_cross_entropy(model, IDS_BT, IDS_BT.flip(1), MASK_BT).mean


def ratios(model: PreTrainedModel) -> Tensor:
    """Four responses to each of two prompts, which share the reading of their prompt where nothing recomputes."""
    responses_BT = torch.arange(5, 29).view(8, 3)
    mask_BT = torch.ones_like(responses_BT, dtype=torch.bool)
    return response_logprobs(model, [[5, 6], [7, 8, 9]], responses_BT, mask_BT).logprobs_BT.exp().sum()


def rewards(model: PreTrainedModel) -> Tensor:
    return classifier_logits(model, IDS_BT, torch.tensor([4, 3])).sum()


@pytest.mark.parametrize("loss", [tuning, ratios, rewards])
def test_gradients_stay_the_same_and_layers_run_twice(llama: PreTrainedModel, loss: Callable[..., Tensor]) -> None:
    model = reward_model_from(llama, 0) if loss is rewards else deepcopy(llama)
    model.eval()  # as a policy is trained: the library's own switch would have no effect
    expected = torch.autograd.grad(loss(model), list(model.parameters()), allow_unused=True)
    other = deepcopy(model)
    recompute_layers(other)
    copy: Any = deepcopy(other)
    loss(copy)  # the first call tries the head with passes of its own
    runs: list[nn.Module] = []
    layer = copy.base_model.layers[1]
    layer.mlp.register_forward_pre_hook(lambda module, inputs: runs.append(module))
    found = torch.autograd.grad(loss(copy), list(copy.parameters()), allow_unused=True)
    assert len(runs) == 2
    for grad, same in zip(found, expected, strict=True):
        if same is None:
            assert grad is None
        else:
            torch.testing.assert_close(grad, same, rtol=1e-4, atol=1e-7)


def test_what_a_layer_drops_is_dropped_again() -> None:
    model = gpt2()
    other = deepcopy(model)
    recompute_layers(other)
    losses, gradients = [], []
    for each in (model, other):
        torch.manual_seed(7)
        loss = tuning(each)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, list(each.parameters())))
    assert torch.equal(*losses)
    for grad, same in zip(*gradients, strict=True):
        torch.testing.assert_close(grad, same)


def test_samples_do_not_change(llama: PreTrainedModel) -> None:
    other = deepcopy(llama)
    recompute_layers(other)
    options: dict[str, Any] = {"num_samples": 2, "sampling": Sampling(max_new_tokens=5, temperature=1.0)}
    first, second = (sample(each, [[5, 6]], **options, eos_id=2, pad_id=0) for each in (llama, other))
    assert torch.equal(first.tokens_BT, second.tokens_BT)


def test_a_model_without_known_layers_is_refused() -> None:
    with pytest.raises(EngineError, match=r"model\.gradient_checkpointing=true: Linear has no layers"):
        recompute_layers(nn.Linear(1, 1))
