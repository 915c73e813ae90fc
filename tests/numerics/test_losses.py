"""Losses against closed forms, torch.nn.functional, torch.distributions and a published bandit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from torch.nn import functional as F

from rlaif.functional.losses import (
    LossSum,
    preference_cross_entropy,
    token_cross_entropy,
    token_logprobs,
)
from rlaif.functional.seeds import generator
from rlaif.modules.reward_model import pairwise_agreement


@given(st.floats(-8, 8), st.floats(0, 1))
def test_soft_label_cross_entropy_closed_form(logit: float, p: float) -> None:
    sigma = 1 / (1 + math.exp(-logit))
    expected = -(p * math.log(sigma) + (1 - p) * math.log(1 - sigma))
    loss = preference_cross_entropy(torch.tensor([logit]), torch.tensor([p]))
    assert loss.mean.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_equals_softmax_of_both_rewards_against_the_label() -> None:
    rewards_B2 = torch.tensor([[1.0, -0.5], [0.2, 0.3], [4.0, 4.0]])
    labels_B2 = torch.tensor([[0.7, 0.3], [0.0, 1.0], [0.5, 0.5]])
    loss = preference_cross_entropy(rewards_B2[:, 0] - rewards_B2[:, 1], labels_B2[:, 0])
    torch.testing.assert_close(loss.mean, F.cross_entropy(rewards_B2, labels_B2))


def test_one_hot_label_is_bradley_terry() -> None:
    margin = torch.tensor([-3.0, 0.0, 2.0, 90.0])
    loss = preference_cross_entropy(margin, torch.ones(4))
    torch.testing.assert_close(loss.total, -F.logsigmoid(margin).sum())


@given(st.floats(-6, 6), st.floats(0, 1))
def test_gradient_is_sigma_minus_p(logit: float, p: float) -> None:
    delta = torch.tensor([logit], requires_grad=True)
    preference_cross_entropy(delta, torch.tensor([p])).mean.backward()
    assert delta.grad is not None
    assert delta.grad.item() == pytest.approx(1 / (1 + math.exp(-logit)) - p, abs=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.83])
def test_gradient_vanishes_at_the_label(p: float) -> None:
    delta = torch.tensor([math.log(p / (1 - p))], requires_grad=True)
    preference_cross_entropy(delta, torch.tensor([p])).mean.backward()
    assert delta.grad is not None
    assert abs(delta.grad.item()) < 1e-6


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_margins_stay_finite(logit: float) -> None:
    delta = torch.tensor([logit], requires_grad=True)
    loss = preference_cross_entropy(delta, torch.tensor([0.5])).mean
    loss.backward()
    assert loss.item() == pytest.approx(5000.0)
    assert delta.grad is not None and delta.grad.item() == pytest.approx(math.copysign(0.5, logit))


def test_weights_and_missing_labels() -> None:
    delta = torch.tensor([1.0, -2.0, 0.3], requires_grad=True)
    loss = preference_cross_entropy(
        delta, torch.tensor([1.0, 0.0, torch.nan]), torch.tensor([3.0, 1.0, 7.0]), torch.tensor([True, True, False])
    )
    expected = (3 * math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 4
    assert loss.mean.item() == pytest.approx(expected, rel=1e-6)
    loss.mean.backward()
    assert delta.grad is not None and delta.grad[2] == 0.0 and torch.isfinite(delta.grad).all()


def test_weighted_mean_is_that_of_torch() -> None:
    delta = torch.tensor([1.0, -2.0, 0.3, 4.0], requires_grad=True)
    labels, weights = torch.tensor([0.9, 0.2, 0.5, 0.0]), torch.tensor([3.0, 0.5, 1.0, 0.0])
    mean = preference_cross_entropy(delta, labels, weights).mean
    summed = F.binary_cross_entropy_with_logits(delta, labels, weight=weights, reduction="sum")
    torch.testing.assert_close(mean, summed / 4.5)
    mean.backward()
    assert delta.grad is not None and delta.grad[3] == 0.0


def test_hard_labels_weigh_as_classes_do_in_torch() -> None:
    rewards_B2 = torch.tensor([[1.0, -0.5], [0.2, 0.3], [4.0, 4.1]])
    winner_B, class_weight = torch.tensor([0, 1, 1]), torch.tensor([2.0, 0.5])
    loss = preference_cross_entropy(
        rewards_B2[:, 0] - rewards_B2[:, 1], (winner_B == 0).float(), class_weight[winner_B]
    )
    torch.testing.assert_close(loss.mean, F.cross_entropy(rewards_B2, winner_B, weight=class_weight))


def test_an_unmasked_missing_label_is_loud() -> None:
    assert torch.isnan(preference_cross_entropy(torch.zeros(2), torch.tensor([0.5, torch.nan])).mean)


def test_no_row_gives_zero_loss_and_zero_gradient() -> None:
    delta = torch.tensor([1.0], requires_grad=True)
    loss = preference_cross_entropy(delta, torch.tensor([1.0]), mask_B=torch.tensor([False]))
    loss.mean.backward()
    assert loss.mean == 0.0 and loss.count == 0.0
    assert delta.grad is not None and delta.grad.item() == 0.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_token_logprobs_are_those_of_the_tempered_categorical(temperature: float) -> None:
    logits = torch.randn(2, 3, 5, generator=generator("logits"))
    tokens = torch.tensor([[0, 4, 2], [1, 1, 3]])
    reference = torch.distributions.Categorical(logits=logits / temperature).log_prob(tokens)
    torch.testing.assert_close(token_logprobs(logits, tokens, temperature), reference)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_impossible_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        token_logprobs(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long), temperature)


def test_token_cross_entropy_is_torchs_with_ignored_labels() -> None:
    logits = torch.randn(2, 4, 6, generator=generator("lm"))
    labels = torch.tensor([[0, 5, 2, 1], [3, 3, 0, 0]])
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    loss = token_cross_entropy(logits, labels, mask)
    reference = F.cross_entropy(logits.flatten(0, 1), labels.masked_fill(~mask, -100).flatten())
    torch.testing.assert_close(loss.mean, reference)
    assert loss.count == 5


def test_parts_add_up_to_the_batch() -> None:
    logits = torch.randn(4, 3, 6, generator=generator("parts"))
    labels = torch.randint(6, (4, 3), generator=generator("labels"))
    mask = torch.tensor([[True, False, False], [True, True, True], [False, False, False], [True, True, False]])
    parts = [token_cross_entropy(logits[i : i + 2], labels[i : i + 2], mask[i : i + 2]) for i in (0, 2)]
    together = LossSum(parts[0].total + parts[1].total, parts[0].count + parts[1].count).mean
    reference = F.cross_entropy(logits.flatten(0, 1), labels.masked_fill(~mask, -100).flatten())
    torch.testing.assert_close(together, reference)


def test_token_cross_entropy_of_nothing() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = token_cross_entropy(logits, torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.bool)).mean
    loss.backward()
    assert loss == 0.0 and logits.grad is not None and not logits.grad.any()


def test_published_bandit() -> None:
    """The bandit of arXiv 2402.12366 (figure 6) with expectations in place of samples.

    A table of 100 rewards is fitted to perfect preferences between pairs of student samples; the values
    were computed independently of this code (design notes, 2.3).
    """
    actions = torch.arange(100, dtype=torch.float32)
    student = torch.softmax(-((actions - 40) ** 2) / 300, 0)
    worse, better = torch.triu_indices(100, 100, offset=1)
    weight = 2 * student[worse] * student[better]
    reward = torch.zeros(100, requires_grad=True)
    optimizer = torch.optim.SGD([reward], lr=0.01)
    ones = torch.ones_like(weight)
    for _ in range(7500):
        optimizer.zero_grad()
        preference_cross_entropy(reward[better] - reward[worse], ones, weight).total.backward()
        optimizer.step()
    fitted = reward.detach()
    assert (int(fitted.argmin()), int(fitted.argmax())) == (28, 52)
    assert fitted.min().item() == pytest.approx(-0.729, abs=2e-3)
    assert fitted.max().item() == pytest.approx(0.727, abs=2e-3)
    policy = torch.softmax(student.log() + fitted / 0.1, 0)
    mean = (policy * actions).sum()
    assert mean.item() == pytest.approx(51.84, abs=0.02)
    assert (policy * (actions - mean) ** 2).sum().sqrt().item() == pytest.approx(3.18, abs=0.02)
    assert int(policy.argmax()) == 52 and policy.max().item() == pytest.approx(0.131, abs=1e-3)


def test_agreement_with_labels_is_sklearns_weighted_accuracy() -> None:
    logit, p = [1.0, -1.0, 2.0, -2.0, 3.0, -0.5], [0.2, 0.2, 0.7, 0.7, 0.5, 0.4]
    weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = pairwise_agreement(torch.tensor(logit), torch.tensor(p), torch.tensor(weight))
    counting = [row for row in range(6) if p[row] != 0.5]
    expected = accuracy_score(
        [p[row] > 0.5 for row in counting],
        [logit[row] > 0 for row in counting],
        sample_weight=[weight[row] for row in counting],
    )
    assert found.mean.item() == pytest.approx(expected)
    assert found.count.item() == sum(weight) - 5.0
    tied = pairwise_agreement(torch.zeros(2), torch.tensor([0.1, 0.9]))
    assert (tied.total.item(), tied.count.item()) == (1.0, 2.0)
