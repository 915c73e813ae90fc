"""The runs that a command line starts, composed before the first of them: one, or the jobs of a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from rlaif.config.hydra_internals import BasicSweeper, ConfigLoaderImpl
from rlaif.config.loader import open_loader
from rlaif.config.run_directory import Job, claim, claim_sweep, claim_unknown_sweep, job_directories, store_directory


def claim_directories(
    overrides: Sequence[str], *, multirun: bool = False, config_name: str = "config", config_dir: str | None = None
) -> None:
    """Make sure that the directories of a run, or of a sweep's jobs, hold no results of another configuration.

    Args:
        overrides: As typed, checked by :func:`rlaif.config.check.check`.
        multirun: True under ``-m``.
        config_name: Root config.
        config_dir: Another directory with configs (``--config-dir``).

    Raises:
        ConfigError: They hold such results, and ``overwrite`` is not true.
    """
    loader, _ = open_loader(config_dir)
    cfg = loader.load_configuration(config_name, list(overrides), RunMode.MULTIRUN if multirun else RunMode.RUN)
    HydraConfig.instance().set_config(cfg)
    if not multirun and cfg.hydra.mode != RunMode.MULTIRUN:
        claim(_job(cfg, Path(str(cfg.hydra.run.dir))), overwrite=bool(cfg.overwrite))
        return
    directory = Path(str(cfg.hydra.sweep.dir)).absolute()
    if not any(job_directories(directory)):
        return  # the usual sweep has a new directory, and composing all of its jobs would take seconds
    store = store_directory(cfg)
    job_lines = sweep_jobs(loader, cfg)
    if job_lines is None:
        typed = [str(line) for line in cfg.hydra.overrides.task]
        claim_unknown_sweep(directory, typed, overwrite=bool(cfg.overwrite), store=store)
        return
    jobs = [_sweep_job(loader, cfg, number, lines) for number, lines in enumerate(job_lines)]
    claim_sweep(directory, jobs, overwrite=bool(cfg.overwrite), store=store)


def compose_sweep(overrides: Sequence[str], *, config_name: str, config_dir: str | None) -> list[list[str]] | None:
    """The overrides of each job of a sweep; None when its sweeper chooses them as it goes.

    Args:
        overrides: As typed, checked by :func:`rlaif.config.check.check`.
        config_name: Root config.
        config_dir: Another directory with configs (``--config-dir``).
    """
    loader, _ = open_loader(config_dir)
    cfg = loader.load_configuration(config_name, list(overrides), RunMode.MULTIRUN)
    return sweep_jobs(loader, cfg)


def sweep_jobs(loader: ConfigLoaderImpl, cfg: DictConfig) -> list[list[str]] | None:
    """As :func:`compose_sweep`, of a configuration composed for a sweep."""
    if cfg.hydra.sweeper._target_ != f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}":
        return None
    fixed = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides([*fixed, *map(str, cfg.hydra.overrides.task)])
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


def _sweep_job(loader: ConfigLoaderImpl, sweep: DictConfig, number: int, overrides: list[str]) -> Job:
    cfg = loader.load_sweep_config(sweep, overrides)
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    HydraConfig.instance().set_config(cfg)
    directory = Path(str(cfg.hydra.sweep.dir)) / str(cfg.hydra.sweep.subdir)
    return _job(cfg, directory, tuple(overrides))


def _job(cfg: DictConfig, directory: Path, overrides: tuple[str, ...] = ()) -> Job:
    directory = directory.absolute()
    with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
        cfg.hydra.runtime.output_dir = os.fspath(directory)
    HydraConfig.instance().set_config(cfg)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    return Job(
        directory=directory,
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        store=store_directory(cfg),
        overrides=overrides,
    )
