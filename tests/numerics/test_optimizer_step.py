"""Optimizer steps in micro-batches against plain loops over whole batches, and against the undivided step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from test_policy_module import GivenResponses, TableReward, every_response, tiny_model
from torch.utils.data import DataLoader
from transformers import get_cosine_schedule_with_warmup

from rlaif.artifacts.curve import read_curve
from rlaif.data.batches.examples import PairExample, TokenExample, collate_pairs, collate_tokens
from rlaif.inference.micro_batches import activation_bytes, automatic_max_tokens, cut_by_tokens, max_tokens_to_read
from rlaif.models.classifiers import reward_model_from
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import RolloutObjective
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rollouts.sampler import LocalSampler

STEPS, LR, NORM, VOCABULARY = 20, 1e-3, 0.5, 17
SETTINGS = OptimizerSettings(
    optimizer=torch.optim.AdamW, lr=LR, warmup_fraction=0.2, schedule="cosine", max_grad_norm=NORM
)


def random_ids(generator: torch.Generator, length: int) -> tuple[int, ...]:
    return tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())


def demonstrations(step: int) -> list[TokenExample]:
    """Seven texts of 3 to 21 tokens, of which the loss counts from 1 to 18."""
    draw = torch.Generator().manual_seed(step)
    return [TokenExample(random_ids(draw, 3 * n + 3), n // 2 + 1, str(n)) for n in torch.randperm(7, generator=draw)]


def pairs(step: int) -> list[PairExample]:
    """Six pairs of uneven sides, labels and weights."""
    draw = torch.Generator().manual_seed(100 + step)
    return [
        PairExample(random_ids(draw, 3 + 2 * n), random_ids(draw, 14 - 2 * n), n / 5, str(n), 1, 0.5 + n % 3)
        for n in range(6)
    ]


def updated(model: torch.nn.Module, losses: Iterator[torch.Tensor]) -> list[float]:
    """A plain loop: one optimizer step for each loss of a whole batch."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": matrices}, {"params": [p for p in model.parameters() if p.ndim < 2]}]
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, STEPS // 5, STEPS)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = LR / (STEPS // 5)  # our warm-up starts above 0
    found = []
    for number, loss in enumerate(losses, start=1):
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        schedule.step()
        if number < STEPS // 5:
            for group in optimizer.param_groups:
                group["lr"] = LR * (number + 1) / (STEPS // 5)
        found.append(loss.item())
    return found


def sft_losses(model: Any) -> Iterator[torch.Tensor]:
    """The library's own loss of a causal LM."""
    for step in range(STEPS):
        batch = collate_tokens(demonstrations(step), pad_id=0)
        yield model(input_ids=batch.input_ids_BT, labels=batch.input_ids_BT.masked_fill(~batch.loss_mask_BT, -100)).loss


def reward_losses(model: Any) -> Iterator[torch.Tensor]:
    """One pair after the other, without any padding."""
    for step in range(STEPS):
        examples = pairs(step)
        gaps = [
            model(input_ids=torch.tensor([pair.first_ids])).logits - model(torch.tensor([pair.second_ids])).logits
            for pair in examples
        ]
        losses = [
            -pair.weight * (pair.p_first * F.logsigmoid(gap) + (1 - pair.p_first) * F.logsigmoid(-gap))
            for pair, gap in zip(examples, gaps, strict=True)
        ]
        yield torch.cat(losses).sum() / sum(pair.weight for pair in examples)


def trained(directory: Path, module: LightningModule, batches: list[Any] | None) -> list[dict[str, float]]:
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=STEPS,
        callbacks=[CurveWriter(directory / "curve.jsonl")],
    )
    if batches is None:
        fit(trainer, module, seed=0)
    else:
        trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))  # type: ignore[arg-type]
    return read_curve(directory / "curve.jsonl")


@pytest.mark.parametrize("max_tokens", [None, 40, 1])
@pytest.mark.parametrize("kind", ["sft", "reward_model"])
def test_steps_in_micro_batches_are_those_of_a_plain_loop(kind: str, max_tokens: int | None, tmp_path: Path) -> None:
    model: Any = tiny_model(VOCABULARY, 3)
    module: SFTModule | RewardModelModule
    if kind == "sft":
        module = SFTModule(model, optimization=SETTINGS, max_tokens_per_forward=max_tokens)
        batches: list[Any] = [collate_tokens(demonstrations(step), pad_id=0) for step in range(STEPS)]
        losses: Callable[[Any], Iterator[torch.Tensor]] = sft_losses
    else:
        model = reward_model_from(model, 0, head_std=1.0)
        module = RewardModelModule(model, optimization=SETTINGS, max_tokens_per_forward=max_tokens)
        batches = [collate_pairs(pairs(step), pad_id=0) for step in range(STEPS)]
        losses = reward_losses
    before, other = deepcopy(model.state_dict()), deepcopy(model).train()
    expected = updated(other, losses(other))
    rows = trained(tmp_path, module, batches)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["train/loss"] for row in rows] == pytest.approx(expected, abs=1e-5)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=1e-5)
        assert (weight - before[name]).abs().max() > 100 * 1e-5


@pytest.mark.parametrize(("objective", "value"), [(Reinforce(), "model"), (Rloo(), "head")])
def test_a_policy_in_micro_batches_is_the_policy_of_whole_steps(
    objective: RolloutObjective, value: Literal["head", "model"], tmp_path: Path
) -> None:
    """Uneven responses, three of them without a reward, drawn once and replayed in every step."""
    # The baseline starts at the mean return, where its gradient is rounding alone: Adam would magnify that.
    settings = replace(SETTINGS, optimizer=partial(torch.optim.AdamW, eps=1e-4))
    found, weights = {}, {}
    for max_tokens in (None, 30):
        policy = tiny_model(5, 0)
        module = PolicyModule(
            policy,
            reference=tiny_model(5, 1),
            sampler=LocalSampler(policy, eos_id=0, pad_id=0),
            responses=GivenResponses(every_response(5, 3)[14:38], 2, missing=(1, 4, 17)),  # type: ignore[arg-type]
            reward=TableReward(),
            objective=objective,
            optimization=settings,
            steps=STEPS,
            value=value,
            value_lr=LR,
            max_tokens_per_forward=max_tokens,
        )
        found[max_tokens] = trained(tmp_path / str(max_tokens), module, None)
        weights[max_tokens] = module.state_dict()
    assert len(found[30]) == STEPS
    assert all(split == pytest.approx(whole, rel=1e-5, abs=1e-5) for split, whole in zip(*found.values(), strict=True))
    for name, weight in weights[None].items():
        torch.testing.assert_close(weights[30][name], weight, rtol=0, atol=1e-5)


def test_parts_hold_every_row_once_and_keep_to_the_budget() -> None:
    lengths = [9, 2, 7, 7, 30, 1, 4, 8]
    for budget in (1, 8, 16, 30, 60, 1000):
        for num_parts in range(1, len(lengths) + 1):
            parts = cut_by_tokens(lengths, budget, num_parts=num_parts)
            assert len(parts) >= num_parts
            assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
            for part in parts:
                assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= budget
    assert cut_by_tokens(lengths, 8 * 30) == [list(range(8))]


def test_the_automatic_budget_follows_from_model_and_precision() -> None:
    small, wide = tiny_model(17, 0), tiny_model(50_000, 0)
    assert automatic_max_tokens(small, "32-true") == 65_536
    assert 1_000 < automatic_max_tokens(wide, "32-true") < 2_000  # a third of it are the logits of one token
    assert activation_bytes(wide, "bf16-mixed") < activation_bytes(wide, "32-true")
    assert automatic_max_tokens(wide, "32-true") < max_tokens_to_read(wide) <= 65_536, "no layer's activations are kept"


def test_a_configuration_may_name_its_width_otherwise() -> None:
    model = tiny_model(17, 0)
    expected, hidden = max_tokens_to_read(model), int(model.config.hidden_size)
    known = {name: value for name, value in vars(model.config).items() if name != "hidden_size"}
    other = SimpleNamespace(**known, d_model=hidden)
    fake = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda decoder: other),
        parameters=model.parameters,
        get_input_embeddings=model.get_input_embeddings,
    )
    assert max_tokens_to_read(fake) == expected  # type: ignore[arg-type]
