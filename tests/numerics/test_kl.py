"""KL against scipy, torch.distributions and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from rlaif.functional.kl import sampled_sequence_kl, sequence_kl, token_kl
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
