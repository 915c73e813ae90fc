"""PPO, DPO and IPO of ``tests/packages``: written by public interfaces only, and nothing in rlaif names them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from killing import KillAfter, KilledError
from lightning import Callback, Trainer
from rlaif_dpo_fixture import Dpo, PairModule, PairRows
from rlaif_ipo_fixture import Ipo
from rlaif_ppo_fixture import Ppo
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rlaif.artifacts.curve import read_curve
from rlaif.errors import ConfigError
from rlaif.models.load import load_causal_lm
from rlaif.modules.checkpointing import PeriodicCheckpoint, list_checkpoints
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.base import PairLabels, PairOutputs, PolicyOutputs
from rlaif.objectives.reinforce import Reinforce
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.batch import Rollouts
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(8)]
STEPS, UPDATES = 12, 4


class WatchedPpo(Ppo):
    """Keeps the version of the policy that sampled each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[int] = []

    def credit(self, batch: Rollouts) -> Rollouts:
        self.versions.append(batch.policy_version)
        return super().credit(batch)


class LetterReward:
    """1 for a response that holds an "a", 0 for another."""

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> LetterReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values_B = torch.tensor([float("a" in response.text) for response in responses])
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=16, num_heads=2)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def train_ppo(
    folder: Path, tokenizer: PreTrainedTokenizerBase, directory: Path, *callbacks: Callback, **options: object
) -> PolicyModule:
    settings = PolicySettings(
        optimizer=torch.optim.AdamW,
        objective=WatchedPpo(),
        steps=STEPS,
        samples_per_prompt=4,
        temperature=1.0,
        max_new_tokens=2,
        lr=1e-2,
        value_lr=5e-2,
        **({"prompts_per_step": 8} | options),  # type: ignore[arg-type]
    )
    module = settings.module(
        load_causal_lm(str(folder)),
        reference=load_causal_lm(str(folder)),
        tokenizer=tokenizer,
        task=Dialogue(),
        prompts=PROMPTS,
        reward=LetterReward(),
        seed=1,
    )
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=module.num_optimizer_steps,
        callbacks=[
            CurveWriter(directory / "curve.jsonl"),
            PeriodicCheckpoint(directory / "checkpoints", every_n_steps=6, every_s=None),
            *callbacks,
        ],
    )
    fit(trainer, module, seed=0)
    return module


def test_ppo_learns_with_several_updates_per_rollout(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    module = train_ppo(folder, tokenizer, tmp_path)
    rows = read_curve(tmp_path / "curve.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS * UPDATES + 1))
    rewards = [[row["policy/reward"] for row in rows[i : i + UPDATES]] for i in range(0, len(rows), UPDATES)]
    assert all(len(set(reward)) == 1 for reward in rewards)  # one rollout, four optimizer steps
    assert sum(reward[0] for reward in rewards[-3:]) / 3 > rewards[0][0] + 0.3
    credited = [0, *range(0, STEPS * UPDATES, UPDATES)]  # the first rollout twice: values start at its mean return
    assert module.objective.versions == credited  # type: ignore[attr-defined]
    assert rows[0]["policy/clip_fraction"] == 0.0  # the policy is still the one that sampled
    assert max(row["policy/clip_fraction"] for row in rows) > 0.0


@pytest.mark.parametrize("killed_after", [pytest.param(9, marks=pytest.mark.slow), 14])
def test_a_killed_ppo_ends_as_an_uninterrupted_one(
    killed_after: int, folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    whole = train_ppo(folder, tokenizer, tmp_path / "whole", max_tokens_per_forward=120)
    with pytest.raises(KilledError):
        train_ppo(folder, tokenizer, tmp_path / "cut", KillAfter(killed_after), max_tokens_per_forward=120)
    saved = [int(path.stem.removeprefix("step=")) for path in list_checkpoints(tmp_path / "cut" / "checkpoints")]
    assert saved == [step for step in (6, 12) if step <= killed_after]  # 6: in the middle of a rollout's updates
    cut = train_ppo(folder, tokenizer, tmp_path / "cut", max_tokens_per_forward=120)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name]), name
    curves = [(tmp_path / run / "curve.jsonl").read_bytes() for run in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_updates_that_do_not_divide_the_prompts_are_refused(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"policy\.objective\.minibatches=2: must divide the 7 prompts"):
        train_ppo(folder, tokenizer, tmp_path, prompts_per_step=7)


def some_rollouts() -> Rollouts:
    generator = torch.Generator().manual_seed(0)
    logprobs_BT, values_BT = -torch.rand(2, 3, generator=generator), torch.rand(2, 3, generator=generator)
    return Rollouts(
        prompt_ids=[[1], [2]],
        tokens_BT=torch.zeros(2, 3, dtype=torch.long),
        mask_BT=torch.tensor([[True, True, True], [True, True, False]]),
        finished_B=torch.tensor([True, True]),
        sampled_logprobs_BT=logprobs_BT,
        rewards_B=torch.tensor([1.0, -2.0]),
        scored_mask_B=torch.tensor([True, True]),
        logprobs_BT=logprobs_BT,
        ref_logprobs_BT=-torch.rand(2, 3, generator=generator),
        values_BT=values_BT,
    )


def test_with_full_traces_the_returns_are_those_of_reinforce() -> None:
    batch = some_rollouts()
    ours = Ppo(beta=0.1, trace=1.0).credit(batch).returns_BT
    theirs = Reinforce(beta=0.1).credit(batch).returns_BT
    assert ours is not None and theirs is not None
    torch.testing.assert_close(ours[batch.mask_BT], theirs[batch.mask_BT])


def test_the_first_ppo_gradient_is_the_policy_gradient() -> None:
    objective = Ppo()
    rows = objective.credit(some_rollouts())
    logprobs_BT = rows.logprobs_BT.clone().requires_grad_()  # type: ignore[union-attr]
    losses = objective.losses(PolicyOutputs(logprobs_BT, rows.values_BT, None, None), rows)
    (gradient_BT,) = torch.autograd.grad(losses.terms["loss"].total, logprobs_BT)
    torch.testing.assert_close(gradient_BT, -rows.advantages_BT)  # type: ignore[operator]


def test_dpo_is_the_closed_form() -> None:
    first = PairOutputs(torch.tensor([-3.0, -4.0], requires_grad=True), torch.tensor([-5.0, -4.0]))
    second = PairOutputs(torch.tensor([-6.0, -2.0]), torch.tensor([-5.0, -3.0]))
    pairs = PairLabels(torch.tensor([1.0, 0.25]), torch.tensor([1.0, 2.0]))
    losses = Dpo(beta=0.5).losses(first, second, pairs)
    margins = [0.5 * ((-3 + 5) - (-6 + 5)), 0.5 * ((-4 + 4) - (-2 + 3))]  # 1.5 and -0.5

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    expected = -log_sigmoid(margins[0]) - 2 * (0.25 * log_sigmoid(margins[1]) + 0.75 * log_sigmoid(-margins[1]))
    assert losses.terms["loss"].total.item() == pytest.approx(expected, rel=1e-6)
    assert losses.terms["loss"].count.item() == 3.0
    assert losses.measures["margin"].total.item() == pytest.approx(1.0)
    (gradient_B,) = torch.autograd.grad(losses.terms["loss"].total, first.logprobs_B)
    sigmoid = [1 / (1 + math.exp(-margin)) for margin in margins]
    assert gradient_B.tolist() == pytest.approx([0.5 * (sigmoid[0] - 1.0), 2 * 0.5 * (sigmoid[1] - 0.25)], rel=1e-5)


def test_ipo_is_the_closed_form() -> None:
    first = PairOutputs(torch.tensor([-3.0, -4.0]), torch.tensor([-5.0, -4.0]))
    second = PairOutputs(torch.tensor([-6.0, -2.0]), torch.tensor([-5.0, -3.0]))
    pairs = PairLabels(torch.tensor([1.0, 0.25]), torch.tensor([1.0, 2.0]))
    losses = Ipo(tau=0.5).losses(first, second, pairs)
    # Log-ratio margins 3 and -1; targets (2 p - 1) / (2 τ) = 1 and -0.5.
    assert losses.terms["loss"].total.item() == pytest.approx(1 * (3 - 1) ** 2 + 2 * (-1 + 0.5) ** 2)
    assert losses.terms["loss"].count.item() == 3.0


class TwoPairs(PairModule):
    """Reads the same two pairs forty times."""

    def train_dataloader(self) -> Iterator[PairRows]:
        first_BT, second_BT = torch.tensor([[65, 66, 2], [67, 68, 2]]), torch.tensor([[75, 2], [76, 2]])
        masks = [torch.ones_like(side, dtype=torch.bool) for side in (first_BT, second_BT)]
        labels = torch.full((2,), 0.9), torch.ones(2)
        return iter([PairRows([(70, 71), (72,)], first_BT, masks[0], second_BT, masks[1], *labels)] * 40)


def test_dpo_reaches_the_margin_of_its_label(folder: Path, tmp_path: Path) -> None:
    module = TwoPairs(
        load_causal_lm(str(folder)),
        reference=load_causal_lm(str(folder)),
        objective=Dpo(beta=0.5),
        optimization=OptimizerSettings(optimizer=torch.optim.AdamW, lr=3e-3),
    )
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=tmp_path,
        max_steps=40,
        callbacks=[CurveWriter(tmp_path / "curve.jsonl")],
    )
    fit(trainer, module, seed=0)
    rows = read_curve(tmp_path / "curve.jsonl")
    assert rows[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-5)  # the policy starts as its reference
    assert rows[-1]["train/margin"] == pytest.approx(math.log(0.9 / 0.1), abs=0.5)
