"""Length taken out of a reward model, against scipy, autograd through the undivided step, and a planted taste."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from scipy import stats
from test_policy_module import tiny_model
from torch.utils.data import DataLoader

from rlaif.artifacts.curve import read_curve
from rlaif.data.batches.examples import PairBatch, PairExample, collate_pairs
from rlaif.errors import ConfigError
from rlaif.evaluation.length_correlation import NOT_FINITE, length_tables
from rlaif.functional.correlation import clustered_correlation
from rlaif.functional.debiasing import correlation, head_overlap, length_terms
from rlaif.models.adapters import LoraSettings, merged
from rlaif.models.classifiers import load_reward_model, reward_model_from
from rlaif.modules.curves import CurveWriter
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.reward_lengths import ScoredPair, read_reward_lengths, write_reward_lengths
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.trainer import build_trainer
from rlaif.stages.supervised import train_supervised

GOOD, FILLER = 5, 6
"""Tokens: what makes a response better, and what makes it longer."""
WEIGHTS = DebiasWeights(length=1.0, orthogonality=1.0)


def test_correlation_is_scipys_and_has_no_gradient_without_spread() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    assert correlation(torch.tensor(x), torch.tensor(y)) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-6)
    equal = torch.full((4,), 0.3, requires_grad=True)
    found = correlation(equal, torch.arange(4))
    found.backward()
    assert found == 0 and equal.grad is not None and not equal.grad.any()


def test_the_gradient_leads_the_quality_head_away_from_length_and_the_length_head_to_it() -> None:
    lengths = torch.tensor([3.0, 9.0, 4.0, 12.0, 7.0])
    quality, length = (torch.tensor(row, requires_grad=True) for row in ([1.0, 3, 1, 2, 2], [0.5, 0.1, 0.4, 0.0, 0.5]))
    before = length_terms(quality, length, lengths)
    (before.quality - before.length).backward()
    assert quality.grad is not None and length.grad is not None
    after = length_terms(quality - 0.1 * quality.grad, length - 0.1 * length.grad, lengths)
    assert after.quality < before.quality and after.length > before.length


def test_overlap_of_heads() -> None:
    one = torch.tensor([1.0, 2.0, 0.0])
    assert head_overlap(one, torch.tensor([-2.0, 1.0, 5.0])) == 0
    assert head_overlap(one, -3 * one) == pytest.approx(1)


@pytest.mark.parametrize("about_zero", [False, True])
def test_clustered_correlation_is_pearsons_with_fishers_interval_for_independent_normal_rows(about_zero: bool) -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=3000)
    y = 0.6 * x + 0.8 * draw.normal(size=3000)
    signs = draw.choice([-1.0, 1.0], size=3000) if about_zero else np.ones(3000)
    found = clustered_correlation(x * signs, y * signs, about_zero=about_zero)
    theirs = stats.pearsonr(x, y)
    interval = theirs.confidence_interval()
    assert found.value == pytest.approx(theirs.statistic, abs=1e-3)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=4e-3)


def test_about_zero_is_pearsons_over_both_orders_of_each_pair() -> None:
    x, y = np.random.default_rng(4).normal(loc=1.0, size=(2, 40))
    both_orders = stats.pearsonr(np.concatenate([x, -x]), np.concatenate([y, -y])).statistic
    assert clustered_correlation(x, y, about_zero=True).value == pytest.approx(both_orders)
    assert clustered_correlation(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic) != both_orders


def test_clusters_of_equal_rows_count_once() -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 50))
    once = clustered_correlation(x, y)
    copies = clustered_correlation(np.tile(x, 3), np.tile(y, 3), list(range(50)) * 3)
    assert copies[:4] == pytest.approx(once[:4])


def test_a_column_without_spread_has_no_correlation() -> None:
    assert clustered_correlation([1.0] * 5, [1.0, 2, 3, 4, 5]).value is None


def planted(step: int, *, num_pairs: int = 16) -> PairBatch:
    """Pairs in which the better token and length each decide half of the time; both are drawn apart."""
    return collate_pairs(planted_examples(step, num_pairs), pad_id=0)


def planted_examples(step: int, num_pairs: int) -> list[PairExample]:
    draw = np.random.default_rng(step)
    examples = []
    for row in range(num_pairs):
        good, lengths = draw.integers(0, 2, 2), draw.integers(1, 9, 2)
        first, second = ((1, 2, *[FILLER] * n, GOOD if g else 4) for g, n in zip(good, lengths, strict=True))
        gap = 2.0 * (good[0] - good[1]) + 0.5 * (lengths[0] - lengths[1])
        examples.append(PairExample(first, second, 1.0 / (1.0 + np.exp(-gap)), str(row), 2))
    return examples


def trained(module: RewardModelModule, directory: Path, *, steps: int) -> list[dict[str, float]]:
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=steps,
        callbacks=[CurveWriter(directory / "curve.jsonl")],
    )
    batches: Any = [planted(step) for step in range(steps)]
    trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))
    return read_curve(directory / "curve.jsonl")


SETTINGS = OptimizerSettings(optimizer=torch.optim.AdamW, lr=1e-2)


def reward_model() -> Any:
    return reward_model_from(tiny_model(12, 3), pad_token_id=0)


@pytest.mark.parametrize("max_tokens", [None, 40])
def test_one_step_is_that_of_autograd_through_the_whole_batch(max_tokens: int | None, tmp_path: Path) -> None:
    model = reward_model()
    module = LengthDebiasedModule(
        deepcopy(model),
        weights=DebiasWeights(length=0.7, orthogonality=0.3),
        optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=1.0),
        max_tokens_per_forward=max_tokens,
    )
    head = module.length_head.weight.detach().clone().requires_grad_()
    (row,) = trained(module, tmp_path, steps=1)

    batch = planted(0)
    scores, lengths = [], []
    for ids_BT, lengths_B in (
        (batch.first_ids_BT, batch.first_lengths_B),
        (batch.second_ids_BT, batch.second_lengths_B),
    ):
        hidden = torch.stack(
            [model.model(ids[:n][None]).last_hidden_state[0, -1] for ids, n in zip(ids_BT, lengths_B, strict=True)]
        )
        scores.append(torch.cat([model.score(hidden), hidden @ head.T], -1))
        lengths.append(lengths_B - 2)
    gap = (scores[0] - scores[1]).sum(-1)
    ranking = -(batch.p_first_B * F.logsigmoid(gap) + (1 - batch.p_first_B) * F.logsigmoid(-gap)).mean()
    quality, length = torch.cat(scores).T
    pearson = [torch.corrcoef(torch.stack([one, torch.cat(lengths).float()]))[0, 1].abs() for one in (quality, length)]
    overlap = F.cosine_similarity(model.score.weight, head).abs().squeeze()
    (ranking + 0.7 * (pearson[0] - pearson[1]) + 0.3 * overlap).backward()

    assert row["train/loss"] == pytest.approx(ranking.item(), abs=1e-5)
    assert row["train/length_correlation"] == pytest.approx(pearson[0].item(), abs=1e-4)
    expected = {name: weight - weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    for name, weight in module.model.named_parameters():
        torch.testing.assert_close(weight, expected.get(name, weight), atol=2e-5, rtol=1e-4)
    assert head.grad is not None
    torch.testing.assert_close(module.length_head.weight, head - head.grad, atol=2e-5, rtol=1e-4)


def quality_and_length(module: RewardModelModule) -> tuple[float, float]:
    """Correlation of the reward with the better token, and with length, on pairs that nothing was trained on."""
    batch = planted(999, num_pairs=200)
    with torch.no_grad():
        reward_N = next(iter(module.rewards(batch).values())).flatten()
    good_N = torch.cat([(ids == GOOD).any(-1).float() for ids in (batch.first_ids_BT, batch.second_ids_BT)])
    return float(correlation(reward_N, good_N)), float(correlation(reward_N, batch.response_lengths().flatten()))


def test_a_taste_for_length_is_left_to_the_second_head(tmp_path: Path) -> None:
    plain = RewardModelModule(reward_model(), optimization=SETTINGS)
    debiased = LengthDebiasedModule(reward_model(), weights=WEIGHTS, optimization=SETTINGS)
    for name, module in (("plain", plain), ("debiased", debiased)):
        (tmp_path / name).mkdir()
        trained(module, tmp_path / name, steps=60)
    (plain_good, plain_length), (good, length) = quality_and_length(plain), quality_and_length(debiased)
    assert plain_length > 0.5 and abs(length) < 0.25, (plain_length, length)
    assert good > 0.65 > plain_good, (plain_good, good)


def test_what_is_kept_for_the_report_are_the_scores_of_single_responses(tmp_path: Path) -> None:
    module = RewardModelModule(reward_model(), optimization=SETTINGS, max_tokens_per_forward=40)
    trained(module, tmp_path, steps=1)
    examples = planted_examples(3, 7)
    data: Any = SimpleNamespace(
        validation_examples=examples[:2], train_examples=examples[2:], collate=partial(collate_pairs, pad_id=0)
    )
    write_reward_lengths(module, data, tmp_path / "lengths.jsonl")
    found = {pair.prompt_id: pair for pair in read_reward_lengths(tmp_path / "lengths.jsonl")}
    assert set(found) == {pair.prompt_id for pair in examples}
    for pair in examples:
        sides = (pair.first_ids, pair.second_ids)
        with torch.no_grad():
            alone = [module.model(torch.tensor([ids])).logits.item() for ids in sides]
        assert found[pair.prompt_id].rewards["reward"] == pytest.approx(alone, abs=1e-5)
        assert tuple(found[pair.prompt_id].lengths) == tuple(len(ids) - 2 for ids in sides)


def test_scores_are_kept_while_there_is_a_checkpoint(tmp_path: Path) -> None:
    calls: list[str] = []
    training = SimpleNamespace(
        fit=lambda *args, **options: calls.append("fit"), save=lambda *args, **options: calls.append("save")
    )
    work: Any = SimpleNamespace(training=training, directory=tmp_path)
    data: Any = SimpleNamespace(tokenized=SimpleNamespace(counts={}), num_batches=1)
    module: Any = RewardModelModule(reward_model(), optimization=SETTINGS)
    train_supervised(work, module, data, None, before_saving=lambda: calls.append("score"))  # type: ignore[arg-type]
    assert calls == ["fit", "score", "save"]


def test_weights_that_are_divided_among_devices_are_refused() -> None:
    module = LengthDebiasedModule(reward_model(), weights=WEIGHTS, optimization=SETTINGS)
    module.trainer = SimpleNamespace(strategy=FSDPStrategy())  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"FSDPStrategy divides among devices; type trainer\.strategy=ddp"):
        module.setup("fit")


def test_rewards_that_are_no_numbers_have_no_correlation() -> None:
    pairs = [ScoredPair(str(n), (n, 2 * n), {"reward": (float(n), float("nan") if n == 3 else 0.0)}) for n in range(6)]
    (table,) = length_tables(pairs)
    assert table.rows == (("reward", NOT_FINITE, NOT_FINITE),)


def test_what_is_saved_has_one_head_and_gives_its_scores(tmp_path: Path) -> None:
    model = LoraSettings(rank=2, alpha=4).on(reward_model(), base="tiny", seed=0)
    module = LengthDebiasedModule(model, weights=WEIGHTS, optimization=SETTINGS)
    trained(module, tmp_path, steps=3)
    whole = merged(module.model)
    whole.save_pretrained(tmp_path / "saved")
    saved = load_reward_model(str(tmp_path / "saved"))
    batch = planted(5)
    with torch.no_grad():
        ours = RewardModelModule(saved, optimization=SETTINGS).rewards(batch)["reward"]
        theirs = module.rewards(batch)["r_Q, the reward"]
    assert saved.config.num_labels == 1
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
