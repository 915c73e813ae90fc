"""Baselines: where they start, how a running average moves, and which one an objective gets."""

from __future__ import annotations

import pytest
import torch
from test_policy_module import tiny_model

from rlaif.modules.values import RunningAverage, ValueHead, ValueModel, make_baseline
from rlaif.objectives.base import Needs


def test_a_running_average_starts_at_the_first_mean_and_keeps_nine_tenths_of_the_old() -> None:
    baseline, tokens_BT = RunningAverage(), torch.zeros(2, 3)
    assert baseline(torch.zeros(0), [], tokens_BT).tolist() == [[0.0] * 3] * 2
    assert baseline.observe(torch.tensor(4.0)) is True
    assert baseline(torch.zeros(0), [], tokens_BT).tolist() == [[4.0] * 3] * 2
    assert baseline.observe(torch.tensor(14.0)) is False
    assert baseline.average.item() == pytest.approx(0.9 * 4 + 0.1 * 14)
    assert baseline.observe(torch.tensor(0.0, dtype=torch.float64)) is False
    assert baseline.average.item() == pytest.approx(0.9 * 5)
    assert int(baseline.num_observed) == 3


def test_a_resumed_training_goes_on_with_the_baseline_that_it_had() -> None:
    first, again = RunningAverage(), RunningAverage()
    first.observe(torch.tensor(4.0))
    again.load_state_dict(first.state_dict())
    assert again.observe(torch.tensor(14.0)) is False and again.average.item() == pytest.approx(5.0)


@pytest.mark.parametrize("kind", ["head", "model"])
def test_a_learned_baseline_is_the_first_mean_in_every_state_and_is_then_left_to_its_loss(kind: str) -> None:
    policy = tiny_model(7, 0)
    baseline = make_baseline(policy, Needs(values=True), kind)  # type: ignore[arg-type]
    assert isinstance(baseline, ValueHead if kind == "head" else ValueModel)
    prompts, tokens_BT = [[1, 2], [3]], torch.tensor([[1, 2], [3, 4], [5, 6], [1, 1]])
    hidden_BTD = torch.randn(4, 2, 8)
    with torch.no_grad():
        assert baseline(hidden_BTD, prompts, tokens_BT).tolist() == [[0.0] * 2] * 4
        assert baseline.observe(torch.tensor(2.5)) is True
        assert baseline(hidden_BTD, prompts, tokens_BT).tolist() == [[2.5] * 2] * 4
        assert baseline.observe(torch.tensor(7.0)) is False
        assert baseline(hidden_BTD, prompts, tokens_BT).tolist() == [[2.5] * 2] * 4


@pytest.mark.parametrize("kind", ["head", "model"])
def test_a_learned_baseline_is_exact_in_a_mixed_precision(kind: str) -> None:
    """bfloat16 knows no number between 20.25 and 20.375."""
    baseline = make_baseline(tiny_model(7, 0), Needs(values=True), kind)  # type: ignore[arg-type]
    assert baseline is not None
    baseline.observe(torch.tensor(20.3))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        values_BT = baseline(torch.zeros(1, 2, 8), [[1, 2]], torch.tensor([[1, 2]]))
    assert values_BT.dtype == torch.float32 and values_BT.tolist() == [pytest.approx([20.3, 20.3])]


def test_a_value_model_reads_each_response_after_its_own_prompt() -> None:
    """Two responses to each of two prompts of unequal length, against a plain pass over each of them alone."""
    model = ValueModel(tiny_model(7, 0))
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    prompts, tokens_BT = [[1, 2, 3], [4]], torch.tensor([[1, 2], [3, 4], [5, 6], [2, 1]])
    with torch.no_grad():
        found_BT = model(torch.zeros(0), prompts, tokens_BT)
        for row, tokens in enumerate(tokens_BT.tolist()):
            prompt = prompts[row // 2]
            states = model.body(input_ids=torch.tensor([[*prompt, *tokens]])).last_hidden_state[0]
            start = len(prompt) - 1
            expected = model.head(states[start : start + 2]).squeeze(-1)
            torch.testing.assert_close(found_BT[row], expected, rtol=1e-4, atol=1e-5)


def test_a_value_model_learns_apart_from_the_policy_but_shares_what_is_frozen() -> None:
    policy = tiny_model(7, 0)
    frozen = policy.model.embed_tokens.weight.requires_grad_(False)
    body = ValueModel(policy).body
    assert body.embed_tokens.weight is frozen
    learned = policy.model.layers[0].mlp.down_proj.weight
    copied = body.layers[0].mlp.down_proj.weight
    assert copied is not learned and torch.equal(copied, learned)


def test_an_objective_gets_the_baseline_that_it_needs() -> None:
    policy = tiny_model(7, 0)
    assert make_baseline(policy, Needs(), "head") is None
    average = make_baseline(policy, Needs(values=True, values_from="running_average"), "model")
    assert isinstance(average, RunningAverage)
