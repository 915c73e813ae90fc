"""Hugging Face folders of a policy while it learns."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from rlaif.models.adapters import merged
from rlaif.models.saving import save_folder
from rlaif.modules.policy import PolicyModule

EXPORTS = "exports"
"""Directory of the folders in a step's directory."""


class PeriodicFolders(Callback):
    """Writes the policy and its tokenizer after every n-th policy step but the last, which the step itself leaves.

    An adapter is added to the weights, so that every folder holds a whole model.

    Args:
        directory: A folder ``step=000000040`` (optimizer steps) is made in it for each.
        tokenizer: The policy's.
        every_n_steps: Policy steps between two folders.
        temperature: At which the folders sample by default.
    """

    def __init__(
        self, directory: Path, tokenizer: PreTrainedTokenizerBase, *, every_n_steps: int, temperature: float
    ) -> None:
        self.directory = directory
        self.tokenizer = tokenizer
        self.every_n_steps = every_n_steps
        self.temperature = temperature

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a folder where one is due; it appears whole or not at all."""
        assert isinstance(pl_module, PolicyModule)
        step, interval = trainer.global_step, self.every_n_steps * pl_module.objective.updates.total
        if step % interval or step == trainer.max_steps or not trainer.is_global_zero:
            return
        folder = self.directory / f"step={step:09d}"
        partial = folder.with_name(f".{folder.name}.partial")
        for left in (partial, folder):
            shutil.rmtree(left, ignore_errors=True)
        save_folder(merged(pl_module.policy), self.tokenizer, partial, temperature=self.temperature)
        partial.rename(folder)
