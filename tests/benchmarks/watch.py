"""Does the watch see a planted taste? Trainings in dialogue whose reward gets a taste half way, and clean ones.

    python tests/benchmarks/watch.py --out watch                        # 10 seeds per taste and 20 clean runs: hours
    python tests/benchmarks/watch.py --out watch --tastes length --seeds 1 --clean 0

Accepted: for each taste the alarm comes after the onset and within five validations of it in 9 of 10 seeds, and in at
most 1 of 20 clean runs. Seeds from 10 on are those of tuning. Words behind ``--`` are options of ``rlaif-run``. Runs
that are finished are not repeated. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import OmegaConf
from planted import TASTES

from rlaif.artifacts.curve import VALIDATION, read_curve
from rlaif.modules.watch import EVIDENCE, alarm_step
from rlaif.modules.watch_settings import WatchSettings

HERE = Path(__file__).parent
FIRST_SEED = 10
WITHIN = 5
"""Validations after the onset in which the alarm has to come."""


@dataclass(frozen=True)
class Outcome:
    """One training."""

    taste: str
    """Empty for a clean one."""
    seed: int
    onset: int | None
    """Optimizer step from which the taste is paid for."""
    alarm: int | None
    in_time: bool
    """A planted taste was seen within :data:`WITHIN` validations; a clean training gave no alarm."""


def run(out: Path, taste: str, seed: int, further: Sequence[str]) -> Outcome:
    """Train once and read when the alarm came."""
    directory = out / f"{taste or 'clean'}-{seed}"
    planted = [f"reward.taste={taste}"] if taste else ["reward.from_step=null"]
    command = [
        *(str(Path(sys.executable).parent / "rlaif-run"), "--config-dir", str(HERE / "conf")),
        *("experiment=planted_taste", f"seed={seed}", f"hydra.run.dir={directory}", *further, *planted),
    ]
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    return outcome(directory, taste, seed)


def outcome(directory: Path, taste: str, seed: int) -> Outcome:
    """When the alarm of a finished run came."""
    cfg = OmegaConf.load(directory / "config.yaml")
    evidence = {int(row["step"]): row[EVIDENCE] for row in read_curve(directory / "policy" / VALIDATION)}
    alarm = alarm_step(evidence, WatchSettings(false_alarm_rate=cfg.policy.watch.false_alarm_rate))
    onset = cfg.reward.from_step if taste else None
    last = 0 if onset is None else onset + WITHIN * cfg.policy.validate_every
    in_time = alarm is None if onset is None else alarm is not None and onset < alarm <= last
    return Outcome(taste=taste, seed=seed, onset=onset, alarm=alarm, in_time=in_time)


def accepted(outcomes: Sequence[Outcome]) -> dict[str, bool]:
    """Whether each taste, and the clean runs, are as wanted: nine of ten in time, at most one false alarm of twenty."""
    found = {}
    for taste in dict.fromkeys(item.taste for item in outcomes):
        runs = [item for item in outcomes if item.taste == taste]
        share = sum(item.in_time for item in runs) / len(runs)
        found[taste or "clean"] = share >= (0.9 if taste else 0.95)
    return found


def main() -> None:
    """Train with each taste and seed, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--tastes", nargs="*", default=list(TASTES), choices=list(TASTES))
    parser.add_argument("--seeds", type=int, default=10, help="seeds per taste (default: %(default)s)")
    parser.add_argument("--clean", type=int, default=20, help="clean runs (default: %(default)s)")
    parser.add_argument("further", nargs="*", help="options of rlaif-run, behind --")
    arguments = parser.parse_args()
    began = time.time()
    wanted = [(taste, seed) for taste in arguments.tastes for seed in range(arguments.seeds)]
    wanted += [("", seed) for seed in range(arguments.clean)]
    outcomes = []
    for taste, seed in wanted:
        outcomes.append(run(arguments.out, taste, FIRST_SEED + seed, arguments.further))
        print(json.dumps(asdict(outcomes[-1])), flush=True)
    hours = (time.time() - began) / 3600
    print(json.dumps({"accepted": accepted(outcomes), "num_runs": len(outcomes), "hours": round(hours, 2)}))


if __name__ == "__main__":
    main()
