"""``rlaif-runs curves``: win rates over the steps of RL, pooled over the seeds of finished runs, as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from rlaif.artifacts import atomic_write
from rlaif.artifacts.curve import VALIDATION, read_curve
from rlaif.cli.run_groups import Group, code_notices, confidence_of, group_runs, unmatched_notices
from rlaif.cli.run_results import RunResult, check_link, find_runs
from rlaif.errors import ConfigError
from rlaif.evaluation.pooled_curves import PooledCurve, pool_curves
from rlaif.evaluation.records import ValidationCurves
from rlaif.reporting.curve_file import FORMATS, curve_picture


def draw(arguments: argparse.Namespace) -> None:
    """Read the validations of runs, pool them over seeds, and write the picture.

    Raises:
        ConfigError: A word names no finished run, a run has no validations, or the file cannot be written.
    """
    file = Path(arguments.file)
    form = file.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ConfigError(f"--file={file}: must end in {', '.join('.' + name for name in FORMATS)}")
    if not file.parent.is_dir():
        raise ConfigError(f"--file={file}: there is no directory {file.parent}")
    runs, _, left_out = find_runs(arguments.runs)
    groups = group_runs(runs, arguments.ignore)
    confidence = confidence_of(groups)
    panels = [(_title(group), _pooled(group, arguments.step, confidence)) for group in groups]
    atomic_write(file, curve_picture(panels, form))
    console = Console(highlight=False)
    unmatched = unmatched_notices(runs, (), arguments.ignore)
    for line in [*left_out, *unmatched, *code_notices(runs), f"{file}: {len(runs)} runs in {len(groups)} panels"]:
        console.print(line, markup=False, soft_wrap=True)


def _title(group: Group) -> str:
    seeds = f"{len(group.runs)} seeds" if len(group.runs) > 1 else group.runs[0].seed
    return f"{group.name}, {seeds}" if group.name else seeds


def _pooled(group: Group, step: str, confidence: float) -> Mapping[str, PooledCurve]:
    found = pool_curves([_validations(run, step) for run in group.runs], confidence)
    if not any(found.values()):
        raise ConfigError(f"{', '.join(str(run.directory) for run in group.runs)}: have no validation in common")
    return found


def _validations(run: RunResult, step: str) -> ValidationCurves:
    check_link(run.directory / step)
    file = run.directory / step / VALIDATION
    curves = ValidationCurves.from_rows(read_curve(file))
    if not curves.win_rates:
        raise ConfigError(
            f"{file}: no win rates; the run was not validated against simulated annotators (policy.validate_every), or"
            " --step names another step"
        )
    return curves
