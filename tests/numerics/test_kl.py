"""KL against scipy, torch.distributions and enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from rlaif.functional.kl import sampled_sequence_kl, sequence_kl, token_k2, token_k3, token_kl, weighted_token_k3
from rlaif.functional.seeds import generator


def test_token_kl_is_scipys_relative_entropy() -> None:
    p_BTV = torch.softmax(torch.randn(2, 3, 5, generator=generator("p")), -1)
    q_BTV = torch.softmax(torch.randn(2, 3, 5, generator=generator("q")), -1)
    reference = entropy(p_BTV.double().numpy(), q_BTV.double().numpy(), axis=-1)
    np.testing.assert_allclose(token_kl(p_BTV.log() + 3.0, q_BTV.log() - 1.0), reference, rtol=1e-4)


def test_forbidden_tokens_have_no_share() -> None:
    logits = torch.tensor([[[0.0, 1.0, -torch.inf]]], requires_grad=True)
    reference = torch.tensor([[[1.0, 0.0, -torch.inf]]])
    expected = entropy(np.exp([0.0, 1.0]), np.exp([1.0, 0.0]))
    kl = token_kl(logits, reference)
    assert kl.item() == pytest.approx(expected, rel=1e-5)
    kl.sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_both_estimates_have_the_exact_sequence_kl_as_mean() -> None:
    """Two steps, three tokens, second step depending on the first: nine sequences, summed over."""
    logits = [torch.randn(shape, generator=generator("policy", i)) for i, shape in enumerate([(3,), (3, 3)])]
    ref_logits = [torch.randn(shape, generator=generator("ref", i)) for i, shape in enumerate([(3,), (3, 3)])]
    log_pi, log_ref = ([x.log_softmax(-1) for x in pair] for pair in (logits, ref_logits))
    mask = torch.ones(1, 2, dtype=torch.bool)
    exact = sampled = full = 0.0
    for a, b in itertools.product(range(3), repeat=2):
        pi, ref = (torch.stack([table[0][a], table[1][a, b]])[None] for table in (log_pi, log_ref))
        probability = pi.sum().exp().item()
        exact += probability * (pi.sum() - ref.sum()).item()
        sampled += probability * sampled_sequence_kl(pi, ref, mask).item()
        visited, ref_visited = (torch.stack([table[0], table[1][a]])[None] for table in (logits, ref_logits))
        full += probability * sequence_kl(visited, ref_visited, mask).item()
    assert sampled == pytest.approx(exact, rel=1e-5)
    assert full == pytest.approx(exact, rel=1e-5)


def test_masked_positions_do_not_count_even_when_nan() -> None:
    logprobs = torch.tensor([[-1.0, torch.nan], [-1.0, -2.0]])
    mask = torch.tensor([[True, False], [False, False]])
    assert sampled_sequence_kl(logprobs, torch.full((2, 2), -1.25), mask).tolist() == [0.25, 0.0]


POLICY, REFERENCE = (torch.randn(3, generator=generator(name, "three tokens")) for name in ("policy", "reference"))
"""Logits of a policy with one step and three tokens, and of its reference."""
MASK_B1 = torch.ones(3, 1, dtype=torch.bool)


def every_token(logits: Tensor) -> Tensor:
    """Log-probs [3, 1]: one row for each token that can be sampled."""
    return logits.log_softmax(-1)[:, None]


def gradient_of_kl(policy: Tensor, *, reverse: bool = False) -> Tensor:
    theta = policy.clone().requires_grad_()
    of = [torch.distributions.Categorical(logits=logits) for logits in (theta, REFERENCE)]
    first, second = reversed(of) if reverse else of
    return torch.autograd.grad(torch.distributions.kl_divergence(first, second), theta)[0]


def expected_gradient(loss_of: Callable[[Tensor], Tensor], sampler: Tensor, policy: Tensor = POLICY) -> Tensor:
    """Gradient of a loss of the sampled token, in expectation over the three tokens as ``sampler`` draws them."""
    theta = policy.clone().requires_grad_()
    return torch.autograd.grad((sampler.softmax(-1)[:, None] * loss_of(every_token(theta))).sum(), theta)[0]


def test_k2_as_a_loss_has_the_gradient_of_the_kl() -> None:
    ours = expected_gradient(lambda lp: token_k2(lp, every_token(REFERENCE), MASK_B1), POLICY)
    torch.testing.assert_close(ours, gradient_of_kl(POLICY), rtol=1e-5, atol=1e-6)


def test_k1_as_a_loss_has_no_gradient() -> None:
    """Why no loss of that name exists."""
    ours = expected_gradient(lambda lp: lp - every_token(REFERENCE), POLICY)
    torch.testing.assert_close(ours, torch.zeros(3), rtol=0, atol=1e-6)


def test_plain_k3_as_a_loss_has_the_gradient_of_the_reverse_kl() -> None:
    ours = expected_gradient(lambda lp: token_k3(lp, every_token(REFERENCE), MASK_B1), POLICY)
    torch.testing.assert_close(ours, gradient_of_kl(POLICY, reverse=True), rtol=1e-5, atol=1e-6)
    assert (ours - gradient_of_kl(POLICY)).abs().max() > 1e-2


def test_plain_k3_estimates_the_kl_and_is_never_negative() -> None:
    k3_B1 = token_k3(every_token(POLICY), every_token(REFERENCE), MASK_B1)
    of = [torch.distributions.Categorical(logits=logits) for logits in (POLICY, REFERENCE)]
    torch.testing.assert_close((POLICY.softmax(-1)[:, None] * k3_B1).sum(), torch.distributions.kl_divergence(*of))
    assert (k3_B1 >= 0).all()


@pytest.mark.parametrize("updates", [0.0, 1.5])
def test_weighted_k3_has_value_and_gradient_of_the_kl_before_and_after_updates(updates: float) -> None:
    """The rollout was sampled from ``POLICY``; the policy has moved since."""
    now = POLICY + updates * torch.randn(3, generator=generator("update"))

    def loss_of(logprobs_B1: Tensor) -> Tensor:
        return weighted_token_k3(logprobs_B1, every_token(REFERENCE), every_token(POLICY), MASK_B1)

    torch.testing.assert_close(expected_gradient(loss_of, POLICY, now), gradient_of_kl(now), rtol=1e-4, atol=1e-5)
    of = [torch.distributions.Categorical(logits=logits) for logits in (now, REFERENCE)]
    value = (POLICY.softmax(-1)[:, None] * loss_of(every_token(now))).sum()
    torch.testing.assert_close(value, torch.distributions.kl_divergence(*of), rtol=1e-4, atol=1e-5)


def test_vocabulary_kl_as_a_loss_has_the_gradient_of_the_kl() -> None:
    theta = POLICY.clone().requires_grad_()
    (ours,) = torch.autograd.grad(token_kl(theta[None, None], REFERENCE[None, None]).sum(), theta)
    torch.testing.assert_close(ours, gradient_of_kl(POLICY), rtol=1e-5, atol=1e-6)


def test_kl_of_masked_tokens_is_zero_without_a_gradient() -> None:
    logprobs_BT = torch.tensor([[-1.0, torch.nan], [-torch.inf, torch.nan]], requires_grad=True)
    mask_BT, other_BT = torch.tensor([[True, False], [False, False]]), torch.full((2, 2), -1.25)
    for loss_BT in (
        token_k2(logprobs_BT, other_BT, mask_BT),
        token_k3(logprobs_BT, other_BT, mask_BT),
        weighted_token_k3(logprobs_BT, other_BT, other_BT, mask_BT),
    ):
        assert loss_BT[0, 0] > 0 and loss_BT[~mask_BT].tolist() == [0.0, 0.0, 0.0]
        (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), logprobs_BT)
        assert gradient_BT[0, 0] != 0 and gradient_BT[~mask_BT].tolist() == [0.0, 0.0, 0.0]
