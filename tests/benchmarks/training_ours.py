"""Our side of ``training.py``: the modules under Lightning, as the stages build them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader
from training_data import END, NEW_TOKENS, PAD, SAMPLES, Example, Size, Stage, reward_of

from rlaif.artifacts.curve import read_curve
from rlaif.data.batches.examples import PairExample, TokenExample, Tokenized, collate_pairs, collate_tokens
from rlaif.data.batches.modules import Batching, SplitDataModule
from rlaif.data.batches.preferences import PreferenceExample, collate_preferences
from rlaif.inference.linear import fast_linear
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.preference import PreferenceModule
from rlaif.modules.reference_logprobs import ReferenceLogprobs
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.rloo import Rloo
from rlaif.rewards.base import RewardBatch
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepResponses
from rlaif.types import Completion, Prompt, Sampling

PROMPT = Prompt(task="dialogue", text="")


@dataclass(frozen=True)
class Job:
    """What is trained on what."""

    stage: Stage
    model: Any
    """Learns; its linear layers become ours."""
    reference: Any
    """The frozen model of DPO and of rollouts; None for the others."""
    examples: Sequence[Example]
    """In the order of the steps, where they are replayed."""
    size: Size
    optimization: OptimizerSettings

    @property
    def samples(self) -> bool:
        """True where responses are rolled out."""
        return self.stage in ("grpo", "rloo")


class Clock(Callback):
    """Seconds from the start of the first optimizer step to the end of the last."""

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *arguments: object) -> None:
        self.end = time.perf_counter()


class EvenTokens:
    """The reward of ``reward_of``."""

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values_B = torch.tensor([reward_of(response.token_ids) for response in responses])
        return RewardBatch(values_B, torch.ones_like(values_B, dtype=torch.bool))

    def to(self, device: object) -> None:
        """Nothing to move."""


class Responses:
    """The responses of each step to the next prompts: those of the examples, or fresh samples."""

    def __init__(self, examples: Sequence[Example], prompts_per_step: int, *, replayed: bool) -> None:
        self.examples = examples
        self.prompts_per_step = prompts_per_step
        self.samples_per_prompt = SAMPLES
        self.replayed = replayed
        self.settings = SamplingSettings(temperature=1.0, max_new_tokens=NEW_TOKENS)

    def draw(self, sampler: LocalSampler, step: int, *, rank: int = 0, world_size: int = 1) -> StepResponses:
        """As :class:`rlaif.rollouts.step.StepSampler`, without texts."""
        chosen = self.examples[step * self.prompts_per_step : (step + 1) * self.prompts_per_step]
        prompts = [list(example.prompt) for example in chosen]
        rollouts = _replayed(chosen, prompts) if self.replayed else self._sampled(sampler, prompts, step)
        lengths = rollouts.mask_BT.sum(-1).tolist()
        rows = [tuple(row[:length]) for row, length in zip(rollouts.tokens_BT.tolist(), lengths, strict=True)]
        return StepResponses([PROMPT] * len(rows), [Completion(text="", token_ids=row) for row in rows], rollouts)

    def _sampled(self, sampler: LocalSampler, prompts: list[list[int]], step: int) -> Rollouts:
        seeds = [step * 1_000 + row for row in range(len(prompts) * SAMPLES)]
        sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=1.0)
        return sampler.sample(prompts, num_samples=SAMPLES, sampling=sampling, seeds=seeds)


def _replayed(chosen: Sequence[Example], prompts: list[list[int]]) -> Rollouts:
    tokens_BT = torch.tensor([row for example in chosen for row in example.sampled])
    return Rollouts(
        prompt_ids=prompts,
        tokens_BT=tokens_BT,
        mask_BT=torch.ones_like(tokens_BT, dtype=torch.bool),
        finished_B=torch.zeros(len(tokens_BT), dtype=torch.bool),
        samples_per_prompt=SAMPLES,
    )


def train(job: Job, *, precision: str, in_order: bool) -> tuple[list[float], float]:
    """One pass over the examples.

    Args:
        job: What is trained on what.
        precision: Of the trainer.
        in_order: Replay the examples in their order instead of our own batches.

    Returns:
        The losses, and seconds of all steps with the reference's pass.
    """
    fast_linear(job.model)
    with tempfile.TemporaryDirectory() as folder:
        directory, clock = Path(folder), Clock()
        per_step = job.size.prompts_per_step if job.samples else job.size.batch_size
        trainer = build_trainer(
            partial(Trainer, accelerator="cpu", devices=1, precision=precision),  # type: ignore[arg-type]
            directory=directory,
            max_steps=max(1, len(job.examples) // per_step),
            callbacks=[CurveWriter(directory / "curve.jsonl"), clock],
        )
        if job.samples:
            module = _policy(job, replayed=in_order)
            start = time.perf_counter()
            fit(trainer, module, seed=0)
            name = "policy/loss"
        else:
            supervised, data = _supervised(job, directory)
            start = time.perf_counter()
            trainer.fit(supervised, **_source(data, job.size, in_order))
            name = "train/loss"
        losses = [row[name] for row in read_curve(directory / "curve.jsonl")]
    return losses, clock.end - start


def _policy(job: Job, *, replayed: bool) -> PolicyModule:
    grpo = Grpo(beta=0.04, kl="k3", advantages="unscaled", importance_cap=None)
    rloo = Rloo(beta=0.05, advantages="unscaled", reward_weight="one", importance_cap=None)
    prompts_per_step = job.size.prompts_per_step
    return PolicyModule(
        job.model,
        reference=fast_linear(job.reference),
        sampler=LocalSampler(job.model, eos_id=END, pad_id=PAD),
        responses=Responses(job.examples, prompts_per_step, replayed=replayed),  # type: ignore[arg-type]
        reward=EvenTokens(),  # type: ignore[arg-type]
        objective=grpo if job.stage == "grpo" else rloo,
        optimization=job.optimization,
        steps=len(job.examples) // prompts_per_step,
        value_lr=job.optimization.lr,
    )


def _supervised(job: Job, directory: Path) -> tuple[LightningModule, SplitDataModule[Any, Any]]:
    batching = Batching(batch_size=job.size.batch_size, max_length=2048, epochs=1.0, validation_fraction=0.0)

    def data(items: list[Any], collate: Any) -> SplitDataModule[Any, Any]:
        return SplitDataModule(Tokenized(examples=items), collate, batching=batching, name=job.stage, seed=0)

    if job.stage == "sft":
        rows = [TokenExample((*e.prompt, *e.first), len(e.prompt), str(n)) for n, e in enumerate(job.examples)]
        return SFTModule(job.model, optimization=job.optimization), data(rows, partial(collate_tokens, pad_id=PAD))
    if job.stage == "reward_model":
        pairs = [
            PairExample((*e.prompt, *e.first), (*e.prompt, *e.second), 1.0, str(n), len(e.prompt))
            for n, e in enumerate(job.examples)
        ]
        module = RewardModelModule(job.model, optimization=job.optimization)
        return module, data(pairs, partial(collate_pairs, pad_id=PAD))
    labels = [PreferenceExample(n, e.prompt, e.first, e.second, 1.0, 1.0, str(n)) for n, e in enumerate(job.examples)]
    kept = ReferenceLogprobs(
        directory / "reference.json", labels, lambda: fast_linear(job.reference), batch_size=job.size.batch_size
    )
    objective = Dpo(beta=0.1)
    policy = PreferenceModule(job.model, reference=kept, objective=objective, optimization=job.optimization)
    return policy, data(labels, collate_preferences)


def _source(data: SplitDataModule[Any, Any], size: Size, in_order: bool) -> dict[str, Any]:
    """Our own batches, or those of the given order."""
    if not in_order:
        module: LightningDataModule = data
        return {"datamodule": module}
    rows: list[Any] = data.tokenized.examples
    starts = range(0, len(rows) - size.batch_size + 1, size.batch_size)
    batches: Iterable[Any] = [data.collate(rows[start : start + size.batch_size]) for start in starts]
    return {"train_dataloaders": DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)}  # type: ignore[arg-type]
