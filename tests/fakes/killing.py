"""A training that dies in the middle of a step, as under a signal."""

from lightning.pytorch import Callback, LightningModule, Trainer


class KilledError(Exception):
    """Raised in place of a signal."""


class KillAfter(Callback):
    """Dies inside the batch after ``step``.

    Args:
        step: Optimizer steps that end before.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step == self.step:
            raise KilledError
