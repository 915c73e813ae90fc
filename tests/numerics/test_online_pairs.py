"""Pairs of fresh responses: which are learned from, with which label, over which denominator."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from made_rollouts import rollouts
from torch import Tensor

from rlaif.errors import ConfigError, TrainingError
from rlaif.functional.losses import LossSum
from rlaif.functional.sample_pairs import best_and_worst
from rlaif.objectives.base import Losses, PairLabels, PairObjective, PairOutputs, PolicyOutputs
from rlaif.objectives.checks import check_rewards
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.ipo import Ipo
from rlaif.objectives.online_pairs import OnlinePairs
from rlaif.rewards.base import Reward, RewardBatch
from rlaif.rollouts.batch import Rollouts

NAN = math.nan


def different(batch: list[float], lengths: list[int], num_samples: int, **tensors: Tensor) -> Rollouts:
    """Responses of which no two have the same tokens."""
    made = rollouts(batch, lengths, num_samples, **tensors)
    made.tokens_BT[:] = torch.arange(len(batch))[:, None] + 1
    return made


def outputs(batch: Rollouts, log_ratios: list[float]) -> PolicyOutputs:
    """A policy whose log-ratio of each response to the reference, summed over its tokens, is given."""
    assert batch.ref_logprobs_BT is not None
    moved_BT = torch.tensor(log_ratios)[:, None] / batch.mask_BT.sum(-1, keepdim=True)
    logprobs_BT = (batch.ref_logprobs_BT + moved_BT).requires_grad_()
    return PolicyOutputs(logprobs_BT, None, None, None)


def step_loss(objective: OnlinePairs, batch: Rollouts, log_ratios: list[float]) -> float:
    """As the module divides it."""
    credited = objective.credit(batch)
    losses = objective.losses(outputs(batch, log_ratios), credited)
    return (losses.terms["loss"].total / credited.loss_shares.sum()).item()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def judged(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def test_the_loss_is_the_mean_over_the_judged_pairs_and_a_missing_one_is_nowhere() -> None:
    p_beats_BK = judged([NAN, 0.8], [0.2, NAN], [NAN, NAN], [NAN, NAN], [NAN, 0.3], [0.7, NAN])
    batch = different([0.8, 0.2, NAN, NAN, 0.3, 0.7], [3, 2, 1, 2, 2, 3], 2, p_beats_BK=p_beats_BK)
    found = step_loss(OnlinePairs(Dpo(beta=0.5)), batch, [1.0, -1.0, 9.0, -9.0, 2.0, 0.0])
    first, third = 0.5 * 2.0, 0.5 * 2.0
    expected = [0.8 * softplus(-first) + 0.2 * softplus(first), 0.3 * softplus(-third) + 0.7 * softplus(third)]
    assert found == pytest.approx(sum(expected) / 2, rel=1e-5)
    credited = OnlinePairs(Dpo()).credit(batch)
    assert credited.counted_mask_B is not None
    assert credited.counted_mask_B.tolist() == [True, True, False, False, True, True]
    assert credited.advantages_BT is not None and credited.returns_BT is not None
    per_response = torch.tensor([0.6, -0.6, 0.0, 0.0, -0.4, 0.4])
    torch.testing.assert_close(credited.advantages_BT, per_response[:, None] * credited.mask_BT)
    torch.testing.assert_close(credited.returns_BT[:, 0], torch.tensor([0.8, 0.2, NAN, NAN, 0.3, 0.7]), equal_nan=True)
    measures = OnlinePairs(Dpo()).losses(outputs(batch, [1.0, -1.0, 9.0, -9.0, 2.0, 0.0]), credited).measures
    assert measures["pairs"].mean.item() == pytest.approx(2 / 3)
    assert measures["label_margin"].mean.item() == pytest.approx((0.6 + 0.4) / 2)


def test_of_three_samples_three_pairs_are_possible() -> None:
    batch = different([0.3, 0.1, 0.2], [1, 1, 1], 3)
    online = OnlinePairs(Dpo())
    measures = online.losses(outputs(batch, [0.0, 0.0, 0.0]), online.credit(batch)).measures
    assert (measures["pairs"].total.item(), measures["pairs"].count.item()) == (3.0, 3.0)


class Sums:
    """Keeps what a loss of pairs is given."""

    name = "sums"

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        self.given = first, second
        return Losses(terms={"loss": LossSum(first.logprobs_B.sum(), torch.tensor(1.0))})


def test_a_loss_of_pairs_gets_sums_over_the_tokens_of_the_response_alone() -> None:
    batch = different([0.3, 0.1], [3, 1], 2)
    assert batch.logprobs_BT is not None and batch.ref_logprobs_BT is not None
    sums, noise_BT = Sums(), torch.full((2, 3), 5.0)
    padded = replace(batch, ref_logprobs_BT=torch.where(batch.mask_BT, batch.ref_logprobs_BT - 1.0, noise_BT))
    online = OnlinePairs(sums)  # type: ignore[arg-type]
    read = PolicyOutputs(torch.where(batch.mask_BT, batch.logprobs_BT, noise_BT), None, None, None)
    online.losses(read, online.credit(padded))
    for row, side in enumerate(sums.given):
        expected = sum(batch.logprobs_BT[row, : (3, 1)[row]].tolist())
        assert side.logprobs_B.item() == pytest.approx(expected)
        assert side.ref_logprobs_B.item() == pytest.approx(expected - (3, 1)[row])
        assert side.num_tokens_B is not None and side.num_tokens_B.item() == (3, 1)[row]


def test_hard_labels_are_the_verdict_and_a_tie_stays_a_tie() -> None:
    p_beats_BK = judged([NAN, 0.8], [0.2, NAN], [NAN, 0.5], [0.5, NAN])
    batch = different([0.8, 0.2, 0.5, 0.5], [2, 2, 2, 2], 2, p_beats_BK=p_beats_BK)
    found = step_loss(OnlinePairs(Dpo(beta=1.0), labels="hard"), batch, [1.0, -1.0, 0.0, 0.0])
    assert found == pytest.approx((softplus(-2.0) + math.log(2)) / 2, rel=1e-5)


def test_rewards_of_single_responses_make_pairs_by_bradley_terry() -> None:
    batch = different([1.0, 3.0, NAN, 2.0], [2, 2, 2, 2], 4)
    credited = OnlinePairs(Dpo(), reward_temperature=2.0).credit(batch)
    assert credited.p_beats_BK is not None
    known = [(i, j) for i, j in (~credited.p_beats_BK.isnan()).nonzero().tolist()]
    assert known == [(0, 1), (0, 3), (1, 3)], "each pair once, none of the response without a reward"
    assert credited.p_beats_BK[1, 3].item() == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert credited.loss_shares.sum() == 3


def test_best_and_worst_is_one_pair_of_a_prompt() -> None:
    batch = different([1.0, 3.0, 0.0, 2.0], [2, 2, 2, 2], 4)
    credited = OnlinePairs(Dpo(), pairs="best_worst").credit(batch)
    assert credited.p_beats_BK is not None
    assert (~credited.p_beats_BK.isnan()).nonzero().tolist() == [[1, 2]]
    alike = torch.full((1, 3, 3), 0.5)
    assert best_and_worst(alike).isnan().all(), "no sample is better than another"


def test_responses_with_the_same_tokens_are_no_pair() -> None:
    batch = rollouts([1.0, 2.0, 3.0], [2, 2, 1], 3)
    credited = OnlinePairs(Dpo()).credit(batch)
    assert credited.p_beats_BK is not None
    assert (~credited.p_beats_BK.isnan()).nonzero().tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize("objective", [Dpo(), Ipo()])
def test_parts_add_up_also_where_one_has_no_pair(objective: PairObjective) -> None:
    batch = different([1.0, 2.0, NAN, 2.0, 0.5, 0.1], [3, 2, 1, 2, 2, 3], 2)
    online = OnlinePairs(objective)
    credited, read = online.credit(batch), outputs(batch, [1.0, 0.5, 3.0, 4.0, -1.0, 2.0])
    whole = online.losses(read, credited)
    parts = []
    for prompt in range(3):
        rows = slice(2 * prompt, 2 * prompt + 2)
        part = credited.rows(rows)
        width = part.tokens_BT.shape[1]
        parts.append(online.losses(PolicyOutputs(read.logprobs_BT[rows, :width], None, None, None), part))
    assert {frozenset(part.terms) for part in parts} == {frozenset(whole.terms)}
    assert sum(part.terms["loss"].total.item() for part in parts) == pytest.approx(whole.terms["loss"].total.item())
    for name, measure in whole.measures.items():
        assert sum(part.measures[name].count.item() for part in parts) == pytest.approx(measure.count.item()), name
    assert parts[1].terms["loss"].total.item() == 0.0


class MeanOverPairs:
    """A third-party loss that divides by the number of its pairs."""

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        margin_B = first.logprobs_B - second.logprobs_B
        return Losses(terms={"theirs": LossSum(margin_B.mean() * len(margin_B), torch.tensor(float(len(margin_B))))})


def test_a_third_party_loss_never_sees_an_empty_batch() -> None:
    batch = different([NAN, NAN], [2, 2], 2)
    online = OnlinePairs(MeanOverPairs())
    losses = online.losses(outputs(batch, [0.0, 0.0]), online.credit(batch))
    assert losses.terms["theirs"].total.item() == 0.0 and losses.terms["theirs"].count.item() == 0.0


@pytest.mark.parametrize(
    ("p_beats_BK", "words"),
    [
        (judged([NAN, 1.2], [-0.2, NAN]), "must be a probability"),
        (judged([NAN, 0.8], [0.8, NAN]), "do not add up to 1"),
        (judged([0.8], [0.2]), r"must be float \[2, 2\]"),
    ],
)
def test_probabilities_of_pairs_that_are_none_stop_the_training(p_beats_BK: Tensor, words: str) -> None:
    batch = RewardBatch(torch.tensor([0.8, 0.2]), torch.tensor([True, True]), p_beats_BK)

    class Judge:
        pass

    judge: Reward = Judge()  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=words):
        check_rewards(batch, 2, judge, samples_per_prompt=2)


def test_options_out_of_range_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        OnlinePairs(Dpo(), reward_temperature=0.0, epochs=0)
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "policy.objective.reward_temperature",
        "policy.objective.epochs",
    ]
