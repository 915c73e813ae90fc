"""A killed training goes on from its checkpoint and ends with the same weights, bit for bit."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import KillAfter, KilledError
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rlaif.artifacts.curve import read_curve
from rlaif.data.batches.modules import Batching, PreferenceDataModule, SFTDataModule
from rlaif.errors import GateStopped
from rlaif.interruption import exit_code
from rlaif.models.adapters import LoraSettings, sharing_copy
from rlaif.models.classifiers import reward_model_from
from rlaif.models.load import load_causal_lm
from rlaif.modules.checkpointing import PeriodicCheckpoint, list_checkpoints, resume_checkpoint
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.online_pairs import OnlinePairs
from rlaif.objectives.reinforce import Reinforce
from rlaif.rewards.base import RewardResources
from rlaif.rewards.group_pairwise import GroupPairwiseReward
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepSampler
from rlaif.tasks.base import Dialogue
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt

ADAM = partial(torch.optim.AdamW, betas=(0.9, 0.95), fused=True)
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(12)]
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def sft(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[LightningModule, LightningDataModule | None]:
    demonstrations = [Demonstration(prompt=prompt, response="yes " * (n % 5 + 1)) for n, prompt in enumerate(PROMPTS)]
    batching = Batching(max_length=64, batch_size=4, num_batches=STEPS)
    data = SFTDataModule(demonstrations, task=Dialogue(), tokenizer=tokenizer, batching=batching, seed=3)
    model = load_causal_lm(str(folder))
    model.model.layers[0].self_attn.attention_dropout = 0.1
    optimization = OptimizerSettings(optimizer=ADAM, lr=1e-2, warmup_fraction=0.3, schedule="cosine", max_grad_norm=1.0)
    return SFTModule(model, optimization=optimization), data


def reward_model(
    folder: Path, tokenizer: PreTrainedTokenizerBase, lora: LoraSettings | None = None
) -> tuple[LightningModule, LightningDataModule]:
    preferences = [
        Preference(
            comparison=Comparison(
                prompt=prompt, first=Completion(text="yes"), second=Completion(text="no " * (n % 3 + 1))
            ),
            p_first=n / 12,
        )
        for n, prompt in enumerate(PROMPTS)
    ]
    batching = Batching(max_length=64, batch_size=4, num_batches=STEPS, validation_fraction=0.3)
    data = PreferenceDataModule(preferences, task=Dialogue(), tokenizer=tokenizer, batching=batching, seed=3)
    assert data.validation_examples
    model = reward_model_from(load_causal_lm(str(folder)), tokenizer.pad_token_id)
    if lora is not None:
        lora.on(model, base=str(folder), seed=1)
    optimization = OptimizerSettings(optimizer=ADAM, lr=1e-2, warmup_fraction=0.3, schedule="linear", max_grad_norm=1.0)
    return RewardModelModule(model, optimization=optimization), data


def policy(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int | None = None,
    value: str = "head",
    lora: LoraSettings | None = None,
) -> tuple[PolicyModule, None]:
    responses = StepSampler(
        tokenizer,
        task=Dialogue(),
        prompts=PROMPTS,
        prompts_per_step=5,
        samples_per_prompt=2,
        settings=SamplingSettings(temperature=0.9, max_new_tokens=6, max_prompt_tokens=32),
        seed=3,
    )
    reward = RewardModelReward(standardized=False).use(
        reward_model_from(load_causal_lm(str(folder)), tokenizer.pad_token_id, head_std=1.0), tokenizer, task=Dialogue()
    )
    reference = load_causal_lm(str(folder))
    model = load_causal_lm(str(folder)) if lora is None else lora.on(sharing_copy(reference), base="", seed=1)
    module = PolicyModule(
        model,
        reference=reference,
        sampler=LocalSampler.of_model(model, tokenizer),
        responses=responses,
        reward=reward,
        objective=Reinforce(beta=0.05),
        optimization=OptimizerSettings(optimizer=ADAM, lr=1e-2, warmup_fraction=0.1, max_grad_norm=1.0),
        steps=STEPS,
        value_lr=1e-2,
        value=value,  # type: ignore[arg-type]
        max_tokens_per_forward=max_tokens,
    )
    return module, None


class ShorterIsBetter:
    """Prefers the shorter of two responses."""

    name = source = identity = "shorter"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [
            Preference(comparison=pair, p_first=0.8 if len(pair.first.text) < len(pair.second.text) else 0.2)
            for pair in comparisons
        ]


def online(folder: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[PolicyModule, None]:
    """Five optimizer steps on each rollout, so that a kill between them finds judged pairs in the checkpoint."""
    module, _ = policy(folder, tokenizer)
    module.reward = GroupPairwiseReward(ShorterIsBetter())
    module.objective = OnlinePairs(Dpo(), epochs=5)
    module.steps = STEPS // 5
    return module, None


CASES: dict[str, Any] = {
    "sft": sft,
    "reward_model": reward_model,
    "policy": policy,
    "policy_model": partial(policy, value="model"),
}
CASES["online"] = online
CASES["policy_parts"] = partial(policy, max_tokens=80)
CASES["reward_model_adapter"] = partial(reward_model, lora=LoraSettings(rank=2, dropout=0.2))
CASES["policy_adapter"] = partial(policy, value="model", lora=LoraSettings(rank=2))


def train(
    make: object,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *callbacks: Callback,
    **options: Any,
) -> tuple[dict[str, torch.Tensor], int]:
    module, data = make(folder, tokenizer)  # type: ignore[operator]
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1, **options),
        directory=directory,
        max_steps=STEPS,
        callbacks=[
            PeriodicCheckpoint(directory / "checkpoints", every_n_steps=4, every_s=None),
            CurveWriter(directory / "curve.jsonl"),
            *callbacks,
        ],
    )
    resumed_step = fit(trainer, module, data, seed=5)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, resumed_step


@pytest.mark.parametrize("name", list(CASES))
def test_a_killed_training_ends_as_an_uninterrupted_one(
    name: str, folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    make = CASES[name]
    whole, _ = train(make, folder, tokenizer, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(make, folder, tokenizer, tmp_path / "cut", KillAfter(5))
    assert [path.name for path in list_checkpoints(tmp_path / "cut" / "checkpoints")] == [
        "step=000000004.ckpt",
    ]
    assert len(read_curve(tmp_path / "cut" / "curve.jsonl")) == 5
    cut, resumed_step = train(make, folder, tokenizer, tmp_path / "cut")
    assert resumed_step == 4
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    curves = [(tmp_path / run / "curve.jsonl").read_bytes() for run in ("whole", "cut")]
    assert curves[0] == curves[1]
    assert [row["step"] for row in read_curve(tmp_path / "cut" / "curve.jsonl")] == list(range(1, STEPS + 1))
    again, resumed_step = train(make, folder, tokenizer, tmp_path / "cut")
    assert resumed_step == 8  # nothing is saved after the last step
    assert all(torch.equal(whole[key], again[key]) for key in whole)


class SignalIn(Callback):
    """Sends a signal to this process in the middle of the optimizer step after ``step``, or while its responses are
    rewarded."""

    def __init__(self, signum: int, step: int, *, while_drawing: bool = False) -> None:
        self.signum = signum
        self.step = step
        self.while_drawing = while_drawing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.while_drawing:
            return
        reward = pl_module.reward

        def interrupted(*arguments: Any, **options: Any) -> Any:
            self._send(trainer)
            return reward(*arguments, **options)  # type: ignore[operator]

        interrupted.to = reward.to  # type: ignore[attr-defined, union-attr]
        pl_module.reward = interrupted

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if not self.while_drawing:
            self._send(trainer)

    def _send(self, trainer: Trainer) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize(
    ("name", "signum", "step", "while_drawing", "saved"),
    [
        ("sft", signal.SIGTERM, 5, False, 6),
        ("reward_model", signal.SIGINT, STEPS - 1, False, STEPS),
        ("policy", signal.SIGINT, 2, False, 3),
        ("policy_parts", signal.SIGTERM, 7, True, 7),
    ],
)
def test_a_signal_stops_a_training_with_a_checkpoint_that_it_goes_on_from(
    name: str,
    signum: int,
    step: int,
    while_drawing: bool,
    saved: int,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    whole, _ = train(CASES[name], folder, tokenizer, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt) as caught:
        train(CASES[name], folder, tokenizer, tmp_path / "cut", SignalIn(signum, step, while_drawing=while_drawing))
    assert exit_code(caught.value) == 128 + signum
    assert list_checkpoints(tmp_path / "cut" / "checkpoints")[-1].name == f"step={saved:09d}.ckpt"
    cut, resumed_step = train(CASES[name], folder, tokenizer, tmp_path / "cut")
    assert resumed_step == saved
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    curves = [(tmp_path / run / "curve.jsonl").read_bytes() for run in ("whole", "cut")]
    assert curves[0] == curves[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


class Slow(Callback):
    """Makes every optimizer step take a while."""

    def on_train_batch_end(self, *arguments: object) -> None:
        time.sleep(0.2)


def test_a_training_that_time_ends_is_not_finished(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    whole, _ = train(sft, folder, tokenizer, tmp_path / "whole")
    limit = {"max_time": {"seconds": 0.7}}
    with pytest.raises(GateStopped, match=r"trainer\.max_time=0:00:00\.7.*optimizer steps and is not finished"):
        train(sft, folder, tokenizer, tmp_path / "cut", Slow(), **limit)
    stopped = int(list_checkpoints(tmp_path / "cut" / "checkpoints")[-1].stem.removeprefix("step="))
    assert 0 < stopped < STEPS
    with pytest.raises(GateStopped):  # each start has the whole time
        train(sft, folder, tokenizer, tmp_path / "cut", Slow(), **limit)
    assert int(list_checkpoints(tmp_path / "cut" / "checkpoints")[-1].stem.removeprefix("step=")) > stopped
    cut, _ = train(sft, folder, tokenizer, tmp_path / "cut")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_training_changes_the_weights_and_logs_finite_figures(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    before = load_causal_lm(str(folder)).state_dict()
    after, _ = train(policy, folder, tokenizer, tmp_path)
    assert not torch.equal(before["lm_head.weight"], after["policy.lm_head.weight"])
    rows = read_curve(tmp_path / "curve.jsonl")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["policy/kl"] == pytest.approx(0.0, abs=1e-5)  # the policy starts as its reference
    assert {"policy/reward", "policy/length", "policy/entropy", "policy/value_loss"} <= rows[0].keys()


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert resume_checkpoint(tmp_path) is None
    torch.save({"step": 1}, tmp_path / "step=000000001.ckpt")
    torch.save({"step": 2}, tmp_path / "step=000000002.ckpt")
    newest = tmp_path / "step=000000002.ckpt"
    assert resume_checkpoint(tmp_path) == newest
    newest.write_bytes(newest.read_bytes()[:-100])
    (tmp_path / ".step=000000003.ckpt.7.partial").write_bytes(b"half")
    assert resume_checkpoint(tmp_path) == tmp_path / "step=000000001.ckpt"


def test_a_saved_reward_model_scores_the_same_elsewhere(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    module, _ = reward_model(folder, tokenizer)
    model = module.model
    assert isinstance(model, PreTrainedModel)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = RewardModelReward(batch_size=2).load(tmp_path, task=Dialogue())
    responses = [Completion(text="yes " * n) for n in range(1, 4)]
    ours = reward.raw_scores(PROMPTS[:3], responses)
    elsewhere = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for prompt, response, score in zip(PROMPTS, responses, ours, strict=False):
        prompt_ids = tokenizer(prompt.text)["input_ids"]
        response_ids = tokenizer(" " + response.trimmed, add_special_tokens=False)["input_ids"]
        ids = [*prompt_ids, *response_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            theirs = elsewhere(input_ids=torch.tensor([ids])).logits[0, 0]
        assert theirs.item() == pytest.approx(score.item(), abs=1e-5)
    raw = RewardModelReward(standardized=False)
    assert [(role, reads.kind) for role, reads in raw.reads().items()] == [("reward_model",) * 2]
    offered = RewardResources(
        task=Dialogue(),
        inputs={"reward_model": (tmp_path,)},
        directory=tmp_path,
        samples=lambda: (PROMPTS[:3], responses),
        references=dict,
        asking=lambda rater: rater,
    )
    raw = RewardModelReward(standardized=False).prepare(offered)(PROMPTS[:3], responses)
    assert raw.values_B.tolist() == pytest.approx(ours.tolist(), abs=1e-6)
    standardized = RewardModelReward().prepare(offered)(PROMPTS[:3], responses, samples_per_prompt=1)
    assert standardized.values_B.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert standardized.values_B.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
    assert standardized.scored_mask_B.all()


def reward_model_curve(
    folder: Path, directory: Path, tokenizer: PreTrainedTokenizerBase, kill: int | None, **trainer: Any
) -> list[dict[str, float]]:
    module, data = reward_model(folder, tokenizer)
    callbacks: list[Callback] = [
        CurveWriter(directory / "curve.jsonl"),
        *([] if kill is None else [KillAfter(kill)]),
        PeriodicCheckpoint(directory / "checkpoints", every_n_steps=3, every_s=None),
    ]
    factory = partial(Trainer, accelerator="cpu", **trainer)
    built = build_trainer(factory, directory=directory, max_steps=STEPS, callbacks=callbacks)
    with pytest.raises(KilledError) if kill is not None else nullcontext():
        fit(built, module, data, seed=3)
    return read_curve(directory / "curve.jsonl")


@pytest.mark.parametrize(("every", "validated"), [(None, [STEPS]), (2, list(range(2, STEPS + 1, 2)))])
def test_a_validation_stands_in_the_row_of_its_step(
    every: int | None, validated: list[int], folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    options = {} if every is None else {"val_check_interval": every}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    rows = reward_model_curve(folder, tmp_path / "whole", tokenizer, None, **options)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["step"] for row in rows if "validation/loss" in row] == validated
    assert all("train/loss" in row and ("validation/accuracy" in row) == (row["step"] in validated) for row in rows)
    assert len({row["validation/loss"] for row in rows if "validation/loss" in row}) == len(validated)
    reward_model_curve(folder, tmp_path / "killed", tokenizer, 5, **options)
    assert reward_model_curve(folder, tmp_path / "killed", tokenizer, None, **options) == rows
