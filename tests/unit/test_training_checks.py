"""Unreadable rewards, advantages and losses stop a training before the optimizer step, and name their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from rlaif_ppo_fixture import Ppo as PluginPpo
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from rlaif.data.batches.examples import PairExample, TokenExample, collate_pairs, collate_tokens
from rlaif.errors import TrainingError
from rlaif.functional.losses import LossSum
from rlaif.models.classifiers import load_reward_model
from rlaif.models.load import load_causal_lm
from rlaif.modules.finite import check_weights
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.supervised import SupervisedModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import Losses, PolicyOutputs, RolloutObjective
from rlaif.objectives.checks import check_losses, check_rewards
from rlaif.objectives.grpo import Grpo
from rlaif.registry import described
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.rewards.standardized import Standardized
from rlaif.roles import Reads
from rlaif.rollouts.batch import Rollouts
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt

NAN, INF = float("nan"), float("inf")
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(2)]


class GivenReward:
    """Gives the same numbers for four responses in every step."""

    def __init__(
        self, values: list[float], scored: list[bool] | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        values_B = torch.tensor(values, dtype=dtype)
        scored_B = torch.ones(len(values), dtype=torch.bool) if scored is None else torch.tensor(scored)
        self.batch = RewardBatch(values_B, scored_B)

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> GivenReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        return self.batch

    def to(self, device: torch.device | str) -> None:
        pass


class BrokenCredit(Grpo):
    """Divides by a deviation of 0."""

    def credit(self, batch: Rollouts) -> Rollouts:
        credited = super().credit(batch)
        assert credited.advantages_BT is not None
        advantages_BT = credited.advantages_BT.clone()
        advantages_BT[2, 0] = INF
        return replace(credited, advantages_BT=advantages_BT)


class BrokenLoss(PluginPpo):
    """Takes a logarithm of 0."""

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        losses = super().losses(outputs, rows)
        loss = losses.terms["value_loss"]
        return replace(losses, terms={**losses.terms, "value_loss": LossSum(loss.total * NAN, loss.count)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


def train(folder: Path, directory: Path, objective: RolloutObjective, reward: GivenReward | Standardized) -> None:
    """Train for one policy step, whose end must leave the policy as it was."""
    policy, before = load_causal_lm(str(folder)), load_causal_lm(str(folder)).state_dict()
    settings = PolicySettings(
        optimizer=torch.optim.AdamW,
        objective=objective,
        steps=1,
        prompts_per_step=2,
        samples_per_prompt=2,
        temperature=1.0,
        max_new_tokens=2,
        lr=1e-2,
    )
    module = settings.module(
        policy,
        reference=load_causal_lm(str(folder)),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        task=Dialogue(),
        prompts=PROMPTS,
        reward=reward,
        seed=1,
    )
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1), directory=directory, max_steps=module.num_optimizer_steps
    )
    try:
        fit(trainer, module, seed=0)
    finally:
        assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


GOOD = [1.0, 2.0, 0.0, 4.0]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: GivenReward([1.0, NAN, 2.0, INF]), "nan at 1, inf at 3 under a true scored_mask_B"),
        (lambda: GivenReward([1.0, 2.0, 3.0]), r"values_B of shape \[3\] for 4 responses, must be \[4\]"),
        (lambda: GivenReward([1, 2, 3, 4], dtype=torch.int64), "values_B of torch.int64, must be float"),
        (lambda: GivenReward([NAN] * 4, [False] * 4), "gave none of the 4 responses of a policy step a reward"),
        (lambda: Standardized(GivenReward([INF] * 4), mean=0.0, std=1.0), "inf at 0, inf at 1, inf at 2 and 1 more"),
    ],
    ids=["not finite", "wrong length", "wrong type", "all missing", "inside a standardized one"],
)
def test_an_unreadable_reward_stops_the_run(
    make: Callable[[], GivenReward | Standardized], told: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=told) as stopped:
        train(folder, tmp_path, Grpo(), make())
    assert "reward GivenReward (" in str(stopped.value) and "nothing was learned" in str(stopped.value)


def test_an_advantage_that_is_not_finite_stops_the_run(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"objective BrokenCredit .*: advantages_BT has inf at \[2, 0\]"):
        train(folder, tmp_path, BrokenCredit(), GivenReward(GOOD))


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"objective BrokenLoss .*: value_loss is nan"):
        train(folder, tmp_path, BrokenLoss(minibatches=1), GivenReward(GOOD))


def test_losses_without_a_term_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"objective Grpo \(rlaif \d.*\): losses has no term"):
        check_losses(Losses(terms={}), Grpo())


VALUES, SCORED = torch.zeros(2), torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "gave a NoneType, must be a RewardBatch"),
        ((VALUES, SCORED), "gave a tuple, must be a RewardBatch"),
        (RewardBatch([0.0, 1.0], SCORED), "gave values_B as a list, must be a tensor"),  # type: ignore[arg-type]
        (RewardBatch(VALUES, SCORED, parts={"a": 1.0}), r"parts\['a'\] as a float, must be a tensor"),  # type: ignore[dict-item]
        (RewardBatch(VALUES, SCORED, parts={"a": VALUES[:1]}), r"parts\['a'\] of shape \[1\], must be \[2\]"),
    ],
)
def test_what_is_no_batch_of_rewards_is_told(returned: Any, told: str) -> None:
    with pytest.raises(TrainingError, match=rf"reward GivenReward .*{told}; nothing was learned"):
        check_rewards(returned, 2, GivenReward(GOOD))


class Returning(Grpo):
    """Gives something else than credit or losses."""

    def __init__(self, change: Callable[[Any], Any], *, of: str) -> None:
        super().__init__()
        self.change, self.of = change, of

    def credit(self, batch: Rollouts) -> Rollouts:
        credited = super().credit(batch)
        return self.change(credited) if self.of == "credit" else credited

    def losses(self, outputs: PolicyOutputs, rows: Rollouts) -> Losses:
        losses = super().losses(outputs, rows)
        return self.change(losses) if self.of == "losses" else losses


@pytest.mark.parametrize(
    ("of", "change", "told"),
    [
        ("credit", lambda batch: None, "credit gave a NoneType, must be Rollouts"),
        ("credit", lambda batch: replace(batch, counted_mask_B=None), r"counted_mask_B of shape None, must be \[4\]"),
        (
            "credit",
            lambda batch: replace(batch, advantages_BT=batch.advantages_BT[:, 0]),
            r"advantages_BT of shape \[4\]",
        ),
        ("losses", lambda losses: losses.terms["loss"].total, "losses gave a Tensor, must be Losses"),
        (
            "losses",
            lambda losses: Losses(terms={"a": losses.terms["loss"].total}),
            "has a as a Tensor, must be a LossSum",
        ),
        (
            "losses",
            lambda losses: Losses(terms={"a": LossSum(torch.zeros(4), torch.ones(()))}),
            "has a as a LossSum, must",
        ),
        ("losses", lambda losses: Losses(terms=losses.logged()), "losses has no term with a gradient"),
    ],
)
def test_what_is_no_credit_and_no_losses_stops_the_run(
    of: str, change: Callable[[Any], Any], told: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=rf"objective Returning .*{told}.*; nothing was learned"):
        train(folder, tmp_path, Returning(change, of=of), GivenReward(GOOD))


def test_a_component_is_named_with_its_package() -> None:
    assert described(Grpo()).startswith("Grpo (rlaif ")
    assert described(PluginPpo()).startswith("Ppo (rlaif")


def test_of_many_wrong_rewards_three_are_shown_and_the_others_counted() -> None:
    reward = GivenReward([0.0, NAN, INF, NAN, NAN, NAN, NAN, NAN])
    with pytest.raises(TrainingError, match=r"nan at 1, inf at 2, nan at 3 and 4 more under a true scored_mask_B"):
        check_rewards(reward.batch, 8, reward)


def supervised(group: str, folder: Path) -> SupervisedModule[Any]:
    optimization = OptimizerSettings(optimizer=partial(torch.optim.SGD), lr=1e38)
    if group == "sft":
        return SFTModule(load_causal_lm(str(folder)), optimization=optimization)
    model = load_reward_model(str(folder))
    if group == "length":
        return LengthDebiasedModule(
            model, weights=DebiasWeights(length=1.0, orthogonality=1.0), optimization=optimization
        )
    return RewardModelModule(model, optimization=optimization)


@pytest.mark.parametrize("group", ["sft", "reward_model", "length"])
def test_a_loss_that_is_no_number_ends_a_training_on_fixed_data(group: str, tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model", hidden_size=16, num_heads=2)
    module = supervised(group, folder)
    if group == "sft":
        batch: Any = collate_tokens([TokenExample((5, 6, 7), 1, "a")] * 2, pad_id=0)
    else:
        batch = collate_pairs([PairExample((5, 6), (5, 7), 0.9, "a", 1)] * 2, pad_id=0)
    trainer = build_trainer(partial(Trainer, accelerator="cpu"), directory=tmp_path, max_steps=8)
    with pytest.raises(
        TrainingError,
        match=rf"{module.group}: the loss is (nan|inf); nothing was learned from it.* lower learning rate",
    ):
        trainer.fit(module, DataLoader([batch] * 8, batch_size=None))
    assert 0 < trainer.global_step < 8, "the first steps were fine"


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    model = load_causal_lm(str(make_tiny_model(tmp_path / "model", hidden_size=16, num_heads=2)))
    check_weights(model)
    model.get_parameter("model.norm.weight").data[3] = INF
    with pytest.raises(TrainingError, match=r"1 weights of the LlamaForCausalLM are not finite .* model\.norm\.weight"):
        check_weights(model)
