"""A sweep's jobs: their configurations, and the table it ends with, also when some of them failed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rlaif.conf_files import conf_dir
from rlaif.config.jobs import compose_sweep
from rlaif.config.run_directory import as_typed, job_directories, job_overrides
from rlaif.errors import ConfigError
from rlaif.evaluation.catalogue import sweep_columns
from rlaif.reporting.tables import Job, row_names, terminal_table, write_tables
from rlaif.types import Figure

ERROR = "error.txt"
"""In a job's directory: what stopped it."""
TABLES = {"scorecard.json": "scorecards", "probe.json": "probes"}
"""The file that a job leaves, and the name of the table over all jobs."""
NO_RESULT = "it left no result"

started: list[Path] = []
"""Directories of the sweeps of this process; Hydra tells a callback of a sweep's end only if no job failed."""


class RememberSweep(Callback):
    """Keeps where a sweep's jobs write, for :func:`show_tables`. ``hydra.callbacks.sweeps``."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the directory of a sweep that starts."""
        started.append(Path(str(config.hydra.sweep.dir)))


def show_tables() -> None:
    """Print and write the tables of the sweeps that ran in this process, and forget them."""
    while started:
        directory = started.pop()
        for result, name in TABLES.items():
            if any((place / result).is_file() for place in job_directories(directory)):
                _show(directory, result, name)


def _show(directory: Path, result: str, name: str) -> None:
    jobs = read_jobs(directory, result)
    columns = sweep_columns(name)
    path = write_tables(jobs, columns, directory, name)
    console = Console(highlight=False)
    console.print()
    console.print(terminal_table(jobs, columns, console.width))
    for row, job in zip(row_names(jobs), jobs, strict=True):
        if job.failed is not None:
            console.print(f"✗ {row}: {job.failed}", style="red", markup=False, soft_wrap=True)
    console.print(f"\ntable  {path}", markup=False, soft_wrap=True)


def read_jobs(directory: Path, result: str) -> list[Job]:
    """The jobs of a sweep in the order of their numbers.

    Args:
        directory: Of the sweep; every job's directory in it holds ``.hydra/overrides.yaml``.
        result: Name of the file with a finished job's figures.
    """
    found: list[tuple[int, Job]] = []
    for place in job_directories(directory):
        overrides = job_overrides(place)
        number = int(OmegaConf.select(OmegaConf.load(place / ".hydra" / "hydra.yaml"), "hydra.job.num", default=0))
        if (place / result).is_file() and not (place / ERROR).is_file():  # a gate stops behind the scorecard
            records = json.loads((place / result).read_text("utf-8"))
            job = Job(overrides=overrides, figures=tuple(Figure(**record) for record in records))
        else:
            job = Job(overrides=overrides, failed=_reason(place / ERROR))
        found.append((number, job))
    return [job for _, job in sorted(found, key=lambda item: item[0])]


def _reason(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.is_file() else NO_RESULT


def print_job_configs(parsed: argparse.Namespace) -> None:
    """Print the configuration of every job of a sweep as one YAML document each, and run nothing.

    Args:
        parsed: The command line, with ``--multirun`` and ``--cfg``.

    Raises:
        ConfigError: The sweeper chooses its jobs as it goes.
    """
    jobs = compose_sweep(parsed.overrides, config_name=parsed.config_name or "config", config_dir=parsed.config_dir)
    if jobs is None:
        raise ConfigError("-m --cfg: this hydra/sweeper chooses its jobs as it goes; leave out -m, or the sweeper")
    flags = [f"--cfg={parsed.cfg}", *(["--resolve"] if parsed.resolve else [])]
    places = {"--package": parsed.package, "--config-name": parsed.config_name, "--config-dir": parsed.config_dir}
    flags += [f"{flag}={value}" for flag, value in places.items() if value is not None]
    of_hydra = [line for line in parsed.overrides if line.lstrip("+~").startswith(("hydra.", "hydra/"))]
    show = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(lambda cfg: None)
    command = sys.argv
    try:
        for number, job in enumerate(jobs):
            print(f"---\n# job {number}: {' '.join(map(as_typed, job))}")
            sys.argv = [command[0], *flags, *of_hydra, *job]
            show()
    finally:
        sys.argv = command
