"""Linear layers through oneDNN give what ``nn.Linear`` gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rlaif.inference import linear as module
from rlaif.inference.linear import FastLinear, fast_linear, linear, onednn_is_faster


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Route to oneDNN on any processor that has it."""
    if not torch.backends.mkldnn.is_available() or not module._computes_right():
        pytest.skip("this torch has no usable oneDNN linear operation")
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.usefixtures("routed")
def test_values_and_gradients_are_those_of_linear(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    fast = fast_linear(nn.Sequential(copy.deepcopy(plain)))
    assert type(fast[0]) is FastLinear
    inputs = [torch.randn(3, 5, 24, generator=generator, requires_grad=True) for _ in range(1)]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    weight = torch.randn(3, 5, 40, generator=generator)
    for layer, x in zip((plain, fast), inputs, strict=True):
        (layer(x) * weight).sum().backward()
    torch.testing.assert_close(plain(inputs[0]), fast(inputs[0]))
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("routed")
def test_a_gradient_that_is_one_number_expanded() -> None:
    layer = fast_linear(nn.Sequential(nn.Linear(4, 3, bias=False)))
    x = torch.ones(2, 4)
    layer(x).sum().backward()
    assert layer[0].weight.grad.tolist() == [[2.0] * 4] * 3


@pytest.mark.usefixtures("routed")
def test_saved_names_and_values_stay() -> None:
    plain = nn.Sequential(nn.Linear(4, 3))
    fast = fast_linear(copy.deepcopy(plain))
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert isinstance(fast[0], nn.Linear)


@pytest.mark.usefixtures("routed")
def test_other_formats_go_the_usual_way() -> None:
    x, weight = torch.ones(2, 4, dtype=torch.float64), torch.ones(3, 4, dtype=torch.float64)
    assert linear(x, weight).tolist() == [[4.0] * 3] * 2
    assert linear(torch.ones(0, 4), torch.ones(3, 4)).shape == (0, 3)


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "onednn_is_faster", lambda: False)
    assert type(fast_linear(nn.Sequential(nn.Linear(2, 2)))[0]) is nn.Linear


def test_the_choice_is_made_once() -> None:
    assert onednn_is_faster() is onednn_is_faster()
