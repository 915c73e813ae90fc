"""What a stage is: a function of configuration and earlier stages that fills one directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlaif.evaluation.terminal import StageDisplay
    from rlaif.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the pipeline, stored under the fingerprint of everything it depends on."""

    name: str
    """Name in the store, on the terminal and of the link in the run directory."""
    inputs: tuple[str, ...]
    """Names of the stages whose results it reads, as far as the pipeline has them."""
    options: Callable[[Context], dict[str, object]]
    """Everything else that its result depends on, as plain values: options, data and model hashes."""
    code: tuple[str, ...]
    """Modules whose code (with all they import) its result depends on."""
    build: Callable[[Context, Path, StageDisplay], None]
    """Fills the directory; goes on from what a killed attempt left there."""
    summary: Callable[[Context, Path], str] = lambda context, directory: ""
    """One line about a finished directory."""
    trains: bool = False
    """True for stages under a Lightning Trainer, which may run on several devices."""
