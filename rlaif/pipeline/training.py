"""The Lightning trainer that steps under Lightning are given: checkpoints, a curve and progress."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.artifacts.curve import CURVE
from rlaif.models.saving import save_folder
from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.curves import CurveWriter
from rlaif.modules.finite import check_weights
from rlaif.modules.policy import PolicyModule
from rlaif.modules.progress import TrainingProgress
from rlaif.modules.trainer import build_trainer, fit
from rlaif.ranges import NonNegative
from rlaif.reporting.terminal import StageDisplay


@dataclass(frozen=True, kw_only=True)
class LightningTraining:
    """Trains in a step's directory, and goes on from the newest checkpoint there."""

    directory: Path
    """Directory of the step."""
    display: StageDisplay
    """Shows the steps: those of a policy as ``policy.steps`` counts them."""
    trainer: Callable[..., Trainer]
    """The config group ``trainer``: a partial of ``lightning.Trainer`` with the hardware options."""
    logger: Any
    """Lightning logger of the config group ``logger``; False for none."""
    checkpoint_every_s: NonNegative
    """Seconds between checkpoints."""
    seed: int
    """Seed of torch's global random state, which dropout reads."""
    world_size: int
    """Processes that train together."""

    def fit(
        self,
        module: LightningModule,
        datamodule: LightningDataModule | None = None,
        *,
        max_steps: int,
        callbacks: Sequence[Callback] = (),
    ) -> Trainer:
        """Train to ``max_steps`` optimizer steps, from the newest checkpoint in the step's directory."""
        num_updates = module.objective.updates.total if isinstance(module, PolicyModule) else 1
        trainer = build_trainer(
            self.trainer,
            directory=self.directory,
            max_steps=max_steps,
            logger=self.logger,
            callbacks=[
                TrainingProgress(
                    lambda: self.display.progress(max_steps // num_updates, unit="steps"), num_updates=num_updates
                ),
                CurveWriter(self.directory / CURVE),
                *callbacks,
                PeriodicCheckpoint(self.directory / "checkpoints", every_s=self.checkpoint_every_s),
            ],
        )
        fit(trainer, module, datamodule, seed=self.seed)
        return trainer

    def save(
        self,
        trainer: Trainer,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        temperature: float = 1.0,
    ) -> None:
        """As :meth:`rlaif.pipeline.stage.Training.save`."""
        check_weights(model)
        trainer.strategy.barrier("before saving")
        if trainer.is_global_zero:
            save_folder(model, tokenizer, self.directory, temperature=temperature)
            shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)
        trainer.strategy.barrier("after saving")
