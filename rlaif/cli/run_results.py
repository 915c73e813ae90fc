"""Finished runs as they lie on the disk: options, seed, figures, and what code made them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path

from omegaconf import OmegaConf
from yaml import YAMLError

from rlaif.artifacts.links import lost_target
from rlaif.config.leaves import leaves
from rlaif.config.run_directory import CONFIG, RUNTIME, job_directories, job_overrides
from rlaif.errors import ConfigError
from rlaif.types import Figure

KINDS = ("report", "scorecard", "probe")
"""Files of figures that a run may leave, the first that every run has is read."""
IS_SEED = ("seed", "*.seed")
"""Options in which runs of one group may differ."""
OVERRIDES = Path(".hydra") / "overrides.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run."""

    directory: Path
    options: Mapping[str, object]
    """Every option of the composed configuration that a result depends on, by its full name, without seeds."""
    seeds: Mapping[str, object]
    """``seed`` and every option whose last part is ``seed``."""
    overrides: tuple[str, ...]
    """As typed, without seeds."""
    figures: Mapping[str, Figure]
    code: tuple[str, ...]
    """Commits of the package that made its steps, or its version where it was no checkout; empty where unknown."""

    @property
    def seed(self) -> str:
        """All seeds, as one name."""
        own = self.seeds.get("seed")
        other = [f"{key}={value}" for key, value in sorted(self.seeds.items()) if value != own]
        return " ".join([f"seed={own}", *other])


def find_runs(words: Sequence[str], kind: str | None = None) -> tuple[list[RunResult], str, list[str]]:
    """Read runs.

    Args:
        words: Run directories, directories of sweeps (all of their jobs), and globs of both, as typed.
        kind: Of :data:`KINDS`; None takes the first that every run has.

    Returns:
        The runs in the order given, the kind, and a line for each job of a sweep without results.

    Raises:
        ConfigError: A word names nothing, or a run without results; all such words at once.
    """
    problems: list[str] = []
    found: dict[Path, Path] = {}
    left_out: list[str] = []
    for word in words:
        places = [Path(place) for place in sorted(glob(word))] if _is_glob(word) else [Path(word)]
        for place in places:
            runs, told = _runs_at(place, word)
            problems += [] if runs else told
            left_out += told if runs else []
            found.update({run.resolve(): run for run in runs})
        problems += [] if places else [f"{word}: matches no directory"]
    if problems:
        raise ConfigError(problems)
    chosen = _kind(list(found.values()), kind)
    return [_read(run, chosen) for run in found.values()], chosen, left_out


def _is_glob(word: str) -> bool:
    return not Path(word).exists() and any(sign in word for sign in "*?[")


def _runs_at(place: Path, word: str) -> tuple[list[Path], list[str]]:
    """The runs at a path, and lines about what there holds no results."""
    if not place.is_dir():
        return [], [f"{place}: there is no such directory" if str(place) == word else f"{place}: is no directory"]
    if (place / CONFIG).is_file():
        return ([place], []) if _kinds(place) else ([], [f"{place}: holds no results ({_why(place)})"])
    jobs = [job for job in job_directories(place) if job != place]
    finished = [job for job in jobs if (job / CONFIG).is_file() and _kinds(job)]
    failed = [f"{job}: left out, it holds no results ({_why(job)})" for job in jobs if job not in finished]
    if jobs:
        return finished, failed
    return [], [f"{place}: is neither a run's directory nor a sweep's; they hold {CONFIG} or jobs with {OVERRIDES}"]


def _why(place: Path) -> str:
    reason = place / "error.txt"
    if reason.is_file():
        return reason.read_text("utf-8").strip()
    return "it did not finish, or its pipeline makes no report"


def check_link(link: Path) -> None:
    """Refuse a result of a run directory whose link leads nowhere.

    Raises:
        ConfigError: It does.
    """
    if (told := lost_target(link)) is not None:
        raise ConfigError(f"{link}: {told}")


def _kinds(place: Path) -> list[str]:
    return [kind for kind in KINDS if (place / f"{kind}.json").is_file()]


def _kind(runs: Sequence[Path], kind: str | None) -> str:
    """The kind asked for, or the first that all runs have."""
    shared = [name for name in KINDS if all((run / f"{name}.json").is_file() for run in runs)]
    if kind is None and not shared:
        raise ConfigError(f"RUN: no kind of figures is in all runs ({', '.join(KINDS)}); name one with --kind")
    if kind is not None and kind not in shared:
        lacking = [str(run) for run in runs if not (run / f"{kind}.json").is_file()]
        raise ConfigError([f"{run}: holds no {kind}.json" for run in lacking])
    return kind or shared[0]


def _read(place: Path, kind: str) -> RunResult:
    options = dict(leaves(_mapping(place / CONFIG)))
    is_seed = {key: any(fnmatchcase(key, pattern) for pattern in IS_SEED) for key in options}
    kept = {key: value for key, value in options.items() if not any(fnmatchcase(key, p) for p in RUNTIME)}
    typed = job_overrides(place) if (place / OVERRIDES).is_file() else ()
    return RunResult(
        directory=place,
        options={key: value for key, value in kept.items() if not is_seed[key]},
        seeds={key: value for key, value in options.items() if is_seed[key]},
        overrides=tuple(word for word in typed if not any(fnmatchcase(_key(word), p) for p in (*IS_SEED, *RUNTIME))),
        figures={figure.name: figure for figure in _figures(place / f"{kind}.json")},
        code=tuple(sorted(set(_code(place)))),
    )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _mapping(file: Path) -> dict[str, object]:
    try:
        found = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not a run's configuration ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: is not a run's configuration")
    return {str(key): value for key, value in found.items()}


def _figures(file: Path) -> list[Figure]:
    try:
        figures = [Figure(**record) for record in json.loads(file.read_text("utf-8"))]
        if unreadable := [figure.name for figure in figures if not math.isfinite(figure.value)]:
            raise ValueError(f"{', '.join(unreadable)}: no finite number")
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file}: is not a list of figures ({error}); start its run again") from error
    return figures


def _code(place: Path) -> Iterator[str]:
    """Of every step that the run directory links to."""
    for file in place.glob("*/meta.json"):
        try:
            meta = json.loads(file.read_text("utf-8"))
            version = meta.get("libraries", {}).get("rlaif")
            commit = meta.get("commit")
        except (ValueError, AttributeError) as error:
            raise ConfigError(
                f"{file}: is not what a step writes about itself ({error}); start its run again"
            ) from error
        if commit or version:
            yield str(commit) if commit else f"version {version}"
