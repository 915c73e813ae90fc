"""Notices of Lightning and transformers about themselves, kept off the terminal; importing this loads neither."""

from __future__ import annotations

import logging
import sys
import warnings

_NOISE = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*in eval mode at the start of training.*",
    ".*The `srun` command is available on your system.*",
    ".*across ranks is zero.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*distributed.nn.functional.all_gather is deprecated.*",  # Lightning's own call
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)


def quiet_lightning() -> None:
    """Keep Lightning's notices about itself off the terminal; its warnings and errors stay."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)


def quiet_transformers() -> None:
    """Keep the progress bars of transformers, which it writes between our lines, off the terminal, where it is loaded.

    A step that asks no model never loads it, which takes seconds.
    """
    if "transformers" in sys.modules:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
