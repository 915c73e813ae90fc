"""The KL of responses from their tokens, against plain forward passes of Hugging Face."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from rlaif.evaluation.kl import response_kl
from rlaif.models.load import load_causal_lm
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion

PROMPTS = [[3, 4, 5], [6, 7], [8, 9, 10, 11]]
RESPONSES = [(12, 13), (14, 15, 16, 17), (18,)]
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, PreTrainedModel]:
    folder: Path = make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)
    policy, reference = (load_causal_lm(str(folder)).eval() for _ in range(2))
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return policy, reference


def logprob(model: PreTrainedModel, prompt: list[int], response: tuple[int, ...]) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    logprobs = (logits.double() / TEMPERATURE).log_softmax(-1)
    return sum(float(logprobs[place, token]) for place, token in enumerate(response))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_it_is_the_difference_of_both_models_log_probabilities(
    models: tuple[PreTrainedModel, PreTrainedModel], batch_size: int
) -> None:
    completions = [Completion(text="", token_ids=ids) for ids in RESPONSES]
    found = response_kl(*models, PROMPTS, completions, temperature=TEMPERATURE, max_rows=batch_size)
    expected = [
        logprob(models[0], prompt, ids) - logprob(models[1], prompt, ids)
        for prompt, ids in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-4) and min(map(abs, expected)) > 1e-3


def test_no_gradient_is_kept_and_a_model_is_no_distance_from_itself(
    models: tuple[PreTrainedModel, PreTrainedModel],
) -> None:
    with_gradient: list[bool] = []
    hook = models[0].register_forward_hook(lambda *arguments: with_gradient.append(torch.is_grad_enabled()))
    inner = (
        models[0].get_decoder().register_forward_hook(lambda *arguments: with_gradient.append(torch.is_grad_enabled()))
    )
    completions = [Completion(text="", token_ids=ids) for ids in RESPONSES]
    same = response_kl(models[0], models[0], PROMPTS, completions, temperature=TEMPERATURE)
    hook.remove()
    inner.remove()
    assert same == [0.0] * 3 and with_gradient and not any(with_gradient)
    assert response_kl(*models, [], [], temperature=TEMPERATURE) == []
