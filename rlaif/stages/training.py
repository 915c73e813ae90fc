"""What the three training stages share: a trainer with checkpoints, a curve and progress."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.data.batches.modules import SplitDataModule
from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.curves import CurveWriter
from rlaif.modules.progress import TrainingProgress
from rlaif.modules.settings import SupervisedSettings
from rlaif.modules.supervised import SupervisedModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.stages.context import Context

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

CURVE = "curve.jsonl"


def train(
    context: Context,
    directory: Path,
    display: StageDisplay,
    module: LightningModule,
    datamodule: LightningDataModule | None = None,
    *,
    max_steps: int,
    max_grad_norm: float | None,
    accumulate_grad_batches: int = 1,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Fit a module, or go on from the newest checkpoint in the directory."""
    progress = display.progress(max_steps, unit="steps")
    trainer = build_trainer(
        context.trainer_factory(),
        directory=directory,
        max_steps=max_steps,
        max_grad_norm=max_grad_norm,
        accumulate_grad_batches=accumulate_grad_batches,
        logger=context.logger(),
        callbacks=[
            *callbacks,
            TrainingProgress(progress),
            CurveWriter(directory / CURVE),
            PeriodicCheckpoint(directory / "checkpoints", every_s=float(context.cfg.store.checkpoint_every_s)),
        ],
    )
    fit(trainer, module, datamodule, seed=context.seed)
    return trainer


def train_supervised(
    context: Context,
    directory: Path,
    display: StageDisplay,
    module: SupervisedModule,
    data: SplitDataModule[Any, Any],
    settings: SupervisedSettings,
) -> None:
    """Fit a module to a fixed data set and write its model."""
    trainer = train(
        context,
        directory,
        display,
        module,
        data,
        max_steps=data.num_batches,
        max_grad_norm=settings.max_grad_norm,
    )
    save_model(trainer, module.model, context.tokenizer, directory)


def save_model(trainer: Trainer, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write a Hugging Face folder and drop the checkpoints, on the first process only."""
    trainer.strategy.barrier("before saving")
    if trainer.is_global_zero:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    trainer.strategy.barrier("after saving")
