"""The content of a page: figures, checks, sections, and provenance of the run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import torch

from rlaif.evaluation.checks import Check
from rlaif.evaluation.records import Section
from rlaif.types import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The run that a page is about: command, configuration, versions and times."""

    command: str = ""
    """The command as typed."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Names to fingerprints, versions and devices, in the order to show; see :func:`environment`."""
    config: str = ""
    """The composed configuration as YAML."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage to seconds, in the order they ran; 0 for a stage that was reused from the store."""


def environment() -> dict[str, str]:
    """Versions of the libraries and the hardware of this process, for :attr:`RunInfo.provenance`."""
    libraries = {name: version(name) for name in ("rlaif", "torch", "transformers", "lightning")}
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return {**libraries, "python": platform.python_version(), "hardware": hardware}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything a page shows. What is empty is left out of it."""

    kind: str = "report"
    """Kind of report: printed above the headline, and with ``.json`` and ``.html`` the names of the files."""
    title: str
    """Headline, e.g. ``"Canonical RLAIF, dialogue"``."""
    task: str
    """Name of the task."""
    verdict: str
    """The one sentence below the headline."""
    figures: tuple[Figure, ...] = ()
    """Every figure; the notes name the judge before the first semicolon."""
    checks: tuple[Check, ...] = ()
    sections: tuple[Section, ...] = ()
    """In any order; the page places them by their type."""
    notes: tuple[str, ...] = ()
    """What was cut or left out, a sentence each."""
    run: RunInfo = RunInfo()
    confidence: float = 0.95
    """Coverage of every interval."""
