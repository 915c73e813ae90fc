"""What a stage is: a function of configuration and earlier stages that fills one directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay
    from rlaif.stages.context import Context


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A stage whose work is split over processes, one per device: each builds its part, then one gathers them."""

    when: Callable[[Context], bool]
    """Whether splitting is worth it in this run."""
    begin: Callable[[Path], None]
    """Prepares the directory before the processes are started."""
    gather: Callable[[Context, Path], None]
    """Makes the result from the parts."""


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
    check: Callable[[Context, Path], None] = lambda context, directory: None
    """Holds a finished directory, also one that another run built, against this run's limits; raises to stop."""
    parts: Parts | None = None
    """How processes share the stage; None where one does it all, or where Lightning shares it (``trains``)."""
    trains: bool = False
    """True for stages under a Lightning Trainer, which may run on several devices."""
