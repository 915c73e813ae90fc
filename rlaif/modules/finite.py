"""Weights that are no numbers are not saved."""

from __future__ import annotations

import torch
from torch import nn

from rlaif.errors import TrainingError


def check_weights(model: nn.Module) -> None:
    """Look at the weights that a training leaves.

    Args:
        model: After the last optimizer step.

    Raises:
        TrainingError: One is not finite.
    """
    wrong = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if wrong:
        raise TrainingError(
            f"{len(wrong)} weights of the {type(model).__name__} are not finite after the training, the first is "
            f"{wrong[0]}; they are not saved: take a lower learning rate (lr), or clip gradients (max_grad_norm=1)"
        )
