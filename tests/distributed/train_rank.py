"""Trains one of the modules for a few steps and saves its weights: started by ``test_two_processes.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from transformers import AutoTokenizer

from rlaif.data.batches.modules import Batching, PreferenceDataModule, SFTDataModule
from rlaif.models.classifiers import reward_model_from
from rlaif.models.load import load_causal_lm
from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.curves import CurveWriter
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.pipeline.worker import leave
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepSampler
from rlaif.tasks.base import Dialogue
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt

STEPS = 4
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: Say {n}.\n\nAssistant:") for n in range(12)]


def build(kind: str, folder: Path, max_tokens: int | None) -> tuple[LightningModule, LightningDataModule | None]:
    tokenizer, task = AutoTokenizer.from_pretrained(folder), Dialogue()
    model = load_causal_lm(str(folder))
    adam = partial(torch.optim.SGD, momentum=0.9)  # Adam divides by tiny gradients and magnifies rounding
    # The validation part is one batch, for two processes.
    batching = Batching(max_length=64, batch_size=4, num_batches=STEPS, validation_fraction=0.2)
    shared = {"task": task, "tokenizer": tokenizer, "batching": batching, "seed": 3}
    if kind == "dropout":
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.5
    if kind in ("sft", "dropout"):
        demonstrations = [Demonstration(prompt=prompt, response="yes " * (n + 1)) for n, prompt in enumerate(PROMPTS)]
        return SFTModule(
            model,
            optimization=OptimizerSettings(optimizer=adam, lr=0.05, max_grad_norm=1.0),
            max_tokens_per_forward=max_tokens,
        ), SFTDataModule(demonstrations, **shared)  # type: ignore[arg-type]
    scorer = reward_model_from(model, tokenizer.pad_token_id, head_std=1.0)
    if kind in ("reward_model", "length_debiased"):
        preferences = [
            Preference(
                comparison=Comparison(prompt=p, first=Completion(text="yes " * (n + 1)), second=Completion(text="no")),
                p_first=n / 12,
                weight=0.5 + n % 3,
            )
            for n, p in enumerate(PROMPTS)
        ]
        optimization = OptimizerSettings(optimizer=adam, lr=0.01, max_grad_norm=1.0)
        make: Callable[..., RewardModelModule] = RewardModelModule
        if kind == "length_debiased":
            make = partial(LengthDebiasedModule, weights=DebiasWeights(length=1.0, orthogonality=1.0))
        return make(scorer, optimization=optimization, max_tokens_per_forward=max_tokens), PreferenceDataModule(
            preferences, **shared
        )  # type: ignore[arg-type]
    responses = StepSampler(
        tokenizer,
        task=task,
        prompts=PROMPTS,
        prompts_per_step=4,
        samples_per_prompt=2,
        settings=SamplingSettings(max_new_tokens=6),
        seed=3,
    )
    policy = PolicyModule(
        model,
        reference=load_causal_lm(str(folder)),
        sampler=LocalSampler.of_model(model, tokenizer),
        responses=responses,
        reward=RewardModelReward(standardized=False).use(scorer, tokenizer, task=task),
        objective=Ppo(epochs=1, minibatches=2) if kind == "minibatches" else Reinforce(),
        optimization=OptimizerSettings(optimizer=adam, lr=1e-3, max_grad_norm=1.0),
        steps=STEPS,
        value_lr=1e-3,
        max_tokens_per_forward=max_tokens,
    )
    return policy, None


def main(kind: str, folder: str, output: str, devices: str, max_tokens: str) -> None:
    torch.set_num_threads(1)
    module, data = build(kind, Path(folder), int(max_tokens) or None)
    callbacks: list[Callback] = [CurveWriter(Path(output) / "curve.jsonl")]
    if kind == "dropout":
        callbacks.append(PeriodicCheckpoint(Path(output), every_n_steps=1, every_s=None, keep=STEPS))
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=int(devices), strategy="ddp" if int(devices) > 1 else "auto"),
        directory=Path(output),
        max_steps=STEPS,
        callbacks=callbacks,
    )
    fit(trainer, module, data, seed=0)
    if trainer.is_global_zero:
        torch.save(module.state_dict(), Path(output) / "weights.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave(0)
