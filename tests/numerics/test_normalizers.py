"""Means over tokens against loops over responses, in one piece and in parts."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch

from rlaif.functional.normalizers import Per, token_weights
from rlaif.functional.seeds import generator

LENGTHS = (4, 2, 1, 3, 0, 2)
COUNTED = (True, True, False, True, False, False)
MASK_BT = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
LOSS_BT = torch.randn(6, 4, generator=generator("loss"))
EVERY: tuple[Per, ...] = ("step", "group", "sequence", "constant")


def rows() -> list[list[float]]:
    """Losses of the tokens of each response."""
    return [LOSS_BT[row, :length].tolist() for row, length in enumerate(LENGTHS)]


def by_loop(per: Per) -> float:
    """Two responses a prompt; prompt 3 has none that counts, prompt 2 one."""
    counted = [row for row, counts in zip(rows(), COUNTED, strict=True) if counts]
    if per == "step":
        return fmean(loss for row in counted for loss in row)
    if per == "sequence":
        return fmean(fmean(row) for row in counted)
    if per == "constant":
        return fmean(sum(row) / 8 for row in counted)
    return fmean([fmean([*rows()[0], *rows()[1]]), fmean(rows()[3])])


@pytest.mark.parametrize("per", EVERY)
def test_the_mean_is_that_of_a_loop(per: Per) -> None:
    weights = token_weights(MASK_BT, torch.tensor(COUNTED), samples_per_prompt=2, per=per, constant=8)
    mean = (weights.weights_BT * LOSS_BT).sum() / weights.shares_B.sum()
    assert mean.item() == pytest.approx(by_loop(per), rel=1e-5)


@pytest.mark.parametrize("per", EVERY)
def test_parts_of_whole_prompts_add_up(per: Per) -> None:
    counted_B = torch.tensor(COUNTED)
    whole = token_weights(MASK_BT, counted_B, samples_per_prompt=2, per=per, constant=8)
    parts = [
        token_weights(MASK_BT[rows], counted_B[rows], samples_per_prompt=2, per=per, constant=8)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(torch.cat([part.weights_BT for part in parts]), whole.weights_BT)
    torch.testing.assert_close(torch.cat([part.shares_B for part in parts]), whole.shares_B)


@pytest.mark.parametrize("per", EVERY)
def test_nothing_that_counts_has_no_weight(per: Per) -> None:
    nothing = token_weights(MASK_BT, torch.zeros(6, dtype=torch.bool), samples_per_prompt=3, per=per, constant=8)
    assert nothing.weights_BT.sum() == nothing.shares_B.sum() == 0.0


@pytest.mark.parametrize("per", EVERY)
def test_responses_of_one_length_are_averaged_alike(per: Per) -> None:
    mask_BT, counted_B = torch.ones(4, 3, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    loss_BT = torch.randn(4, 3, generator=generator("alike"))
    weights = token_weights(mask_BT, counted_B, samples_per_prompt=2, per=per, constant=3)
    assert ((weights.weights_BT * loss_BT).sum() / weights.shares_B.sum()).item() == pytest.approx(
        loss_BT.mean().item()
    )
