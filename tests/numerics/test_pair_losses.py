"""Losses of pairs against closed forms, and their minima against an optimizer of scipy."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from rlaif.functional.losses import preference_cross_entropy
from rlaif.functional.pair_losses import conservative_labels, identity_preference_loss


@pytest.mark.parametrize(("p", "tau"), itertools.product([0.0, 0.3, 0.5, 1.0], [0.1, 0.7]))
def test_the_minimum_of_ipo_is_at_the_labels_margin(p: float, tau: float) -> None:
    """(2p - 1)/2τ, with the loss p (1 - p)/τ² there."""

    def loss(margin: float) -> float:
        return identity_preference_loss(torch.tensor([margin]), torch.tensor([p]), tau).mean.item()

    found = minimize_scalar(loss, bounds=(-20, 20), method="bounded")
    assert found.x == pytest.approx((2 * p - 1) / (2 * tau), abs=1e-2)
    assert found.fun == pytest.approx(p * (1 - p) / tau**2, abs=1e-4)


def test_ipo_of_a_sure_label_is_the_papers_squared_error() -> None:
    margins_B = torch.tensor([-1.0, 0.0, 3.0])
    loss = identity_preference_loss(margins_B, torch.ones(3), 0.25)
    assert loss.mean.item() == pytest.approx(F.mse_loss(margins_B, torch.full((3,), 2.0)).item())


def test_ipo_weighs_its_pairs() -> None:
    loss = identity_preference_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]), 0.5, torch.tensor([3.0, 1.0]))
    assert loss.total.item() == pytest.approx(3 * (2 - 1) ** 2 + 1 * (0 + 1) ** 2)
    assert loss.count.item() == 4.0


@pytest.mark.parametrize(("noise", "p"), itertools.product([0.0, 0.1, 0.4], [0.0, 0.2, 0.5, 1.0]))
def test_conservative_labels_are_label_smoothing_of_the_logistic_loss(noise: float, p: float) -> None:
    """cDPO is written as (1 - ε) times the loss of the label plus ε times that of its reverse."""
    logit_B, p_B = torch.tensor([0.7]), torch.tensor([p])
    ours = preference_cross_entropy(logit_B, conservative_labels(p_B, noise)).mean
    kept, flipped = (F.binary_cross_entropy_with_logits(logit_B, label) for label in (p_B, 1 - p_B))
    torch.testing.assert_close(ours, (1 - noise) * kept + noise * flipped)


def test_a_conservative_label_is_torchs_smoothed_cross_entropy_at_twice_the_rate() -> None:
    """torch spreads its smoothing over both classes, so ε here is half of it."""
    logits = torch.tensor([[1.3, 0.0]])
    theirs = F.cross_entropy(logits, torch.tensor([0]), label_smoothing=0.2)
    ours = preference_cross_entropy(torch.tensor([1.3]), conservative_labels(torch.tensor([1.0]), 0.1)).mean
    torch.testing.assert_close(ours, theirs)
