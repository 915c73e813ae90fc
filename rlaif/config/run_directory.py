"""Refuses a run's or a sweep's directory that holds the results of another configuration.

A run writes its configuration, its report and links to its results into one directory. A second run there would mix
its files with those of the first. So the configuration that the directory keeps is compared with this run's before
anything is spent: where they differ, the directory is refused, or with ``overwrite=true`` its files are moved to
``previous/`` (``previous-2/`` and so on when that is there). The same configuration goes on in the same directory.

Options that cannot change a result are not compared (:data:`RUNTIME`): a run that a gate, limit or budget stopped goes
on in its directory when the limit is raised. A directory without results, where a run stopped at a mistake or only
printed its estimate, is free for any configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, ListConfig, OmegaConf
from yaml import YAMLError

from rlaif import registry
from rlaif.config.leaves import leaves
from rlaif.config.secrets import without_secrets
from rlaif.config.values import show
from rlaif.errors import ConfigError
from rlaif.signatures import SignatureError, read_signature

CONFIG = "config.yaml"
"""In a run directory: the composed configuration."""
RUNTIME = (
    *("overwrite", "estimate", "estimate_reply_tokens"),
    *("store.*", "budget.*", "cost.*", "logger", "logger.*"),
    *("label.cache", "label.max_missing_rate", "label.min_alignment", "evaluation.limits*", "probe.max_flip_rate"),
    *("label.ask_refused_again", "*.max_tokens_per_forward", "*.gradient_checkpointing", "*.attn_implementation"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps"),
    *("trainer.max_time", "trainer.max_time.*", "trainer.profiler", "trainer.detect_anomaly"),
    *("*.engine.batch_size", "labeler.batch_size"),
    *("*.device", "*.url", "*.key_env", "*_timeout_s", "*_backoff_s", "*.max_retries", "*.break_after"),
    *("*.max_concurrency", "*.requests_per_minute", "*.tokens_per_minute", "*.max_response_bytes"),
)
"""Options that no fingerprint holds: limits, prices, places, devices, memory, and how a server is reached."""
NUM_SHOWN = 4
IN_USE = ".in_use.lock"
"""Held by a run as long as it goes on."""
_PREVIOUS = re.compile(r"previous(-\d+)?")
_NO_RESULTS = ("error.txt", "*.log", "multirun.yaml", CONFIG)
"""Files that runs leave which stopped before their first result; so are all whose name begins with a dot."""
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that is about to start, alone or as a job of a sweep."""

    directory: Path
    """Absolute; need not be there."""
    config_yaml: str
    """The composed configuration, resolved, without the ``hydra`` node."""
    store: Path
    """Absolute; stays where it is, also below a run directory."""
    overrides: tuple[str, ...] = ()
    """As typed, those of the sweep chosen."""


def store_directory(cfg: DictConfig) -> Path:
    """The absolute directory of the option ``store.dir``; a leading ``~`` is the home directory."""
    return Path(str(cfg.store.dir)).expanduser().absolute()


def claim(job: Job, *, overwrite: bool, keep: Collection[str] = ()) -> None:
    """Make sure that a run directory holds no results of another configuration.

    Args:
        job: The run.
        overwrite: Move the files of another configuration to ``previous/`` instead of refusing.
        keep: Names in the directory that this run has written already, and that stay.

    Raises:
        ConfigError: There are such results, and they shall stay; or the current directory is the run directory.
    """
    if changes := _changes(job):
        what = "results of another configuration"
        _refuse_or_move(job.directory, "hydra.run.dir", what, changes, overwrite, job.store, keep)


@contextmanager
def in_use(job: Job) -> Iterator[None]:
    """Keep a run directory for this configuration while its run is going on.

    Processes of one configuration may share it: the ranks of a cluster's job, or the same command started twice.

    Raises:
        ConfigError: A run of another configuration is going on there.
    """
    job.directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(job.directory / IN_USE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if changes := _differences(job):
            told = ", ".join(changes[:NUM_SHOWN])
            raise ConfigError(
                f"hydra.run.dir={job.directory}: a run of another configuration is going on there ({told}); wait for"
                " it, or type another hydra.run.dir"
            ) from None
    except (OSError, NotImplementedError):  # a file system without locks, or one that cannot be written: told below
        pass
    try:
        yield
    finally:
        lock.release()


def claim_sweep(directory: Path, jobs: Sequence[Job], *, overwrite: bool, store: Path) -> None:
    """Make sure that a sweep's directory holds no jobs of another sweep, whose table would show them too.

    Args:
        directory: Of the sweep.
        jobs: All of them.
        overwrite: Move everything to ``previous/`` instead of refusing.
        store: Stays where it is, also below the sweep's directory.

    Raises:
        ConfigError: As :func:`claim`.
    """
    own = {job.directory.resolve() for job in jobs}
    changes = [f"job {job.directory.name}: {', '.join(found)}" for job in jobs if (found := _changes(job))]
    changes += [
        f"job {place.name}, {' '.join(job_overrides(place)) or 'as configured'}, is not of this one"
        for place in job_directories(directory)
        if place.resolve() not in own
    ]
    if changes:
        _refuse_or_move(directory, "hydra.sweep.dir", "jobs of another sweep", changes, overwrite, store)


def claim_unknown_sweep(directory: Path, overrides: Sequence[str], *, overwrite: bool, store: Path) -> None:
    """As :func:`claim_sweep`, for a sweeper that chooses its jobs as it goes.

    Args:
        directory: Of the sweep.
        overrides: What was typed, with its sweeps; the same line goes on in the same directory.
        overwrite: Move everything to ``previous/`` instead of refusing.
        store: Stays where it is, also below the sweep's directory.

    Raises:
        ConfigError: As :func:`claim`.
    """
    if not any(job_directories(directory)):
        return
    file = directory / "multirun.yaml"
    earlier = OmegaConf.select(OmegaConf.load(file), "hydra.overrides.task") if file.is_file() else None
    if earlier is None or list(earlier) != list(overrides):
        told = ["it is not known which"] if earlier is None else [" ".join(earlier)]
        _refuse_or_move(directory, "hydra.sweep.dir", "jobs of another sweep", told, overwrite, store)


def job_directories(sweep: Path) -> Iterator[Path]:
    """Directories of the jobs in a sweep's directory, sorted, without those moved to ``previous/``."""
    for file in sorted(sweep.rglob(".hydra/overrides.yaml")):
        place = file.parent.parent
        if not any(_PREVIOUS.fullmatch(part) for part in place.relative_to(sweep).parts):
            yield place


def job_overrides(place: Path) -> tuple[str, ...]:
    """The overrides that a job in a sweep's directory was started with."""
    file = place / ".hydra" / "overrides.yaml"
    try:
        found = OmegaConf.load(file)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not a list of overrides ({str(error).splitlines()[0]})") from error
    if not isinstance(found, ListConfig):
        raise ConfigError(f"{file}: is not a list of overrides")
    return tuple(as_typed(str(override)) for override in found)


def as_typed(override: str) -> str:
    """An override of a sweep's job without the marks that Hydra puts before colons, which nobody needs to type.

    >>> as_typed("labeler.engine.model=pocket\\\\:XS")
    'labeler.engine.model=pocket:XS'
    """
    return override.replace("\\:", ":")


def changed_options(earlier: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Options in which two configurations differ, ``key=value (was value)``; runtime options are passed over.

    Those of a package's component are its parameters that are annotated ``Runtime``.

    >>> changed_options({"seed": 0, "sft": {"lr": 0.1}, "estimate": True}, {"seed": 1, "sft": {"lr": 0.1}})
    ['seed=1 (was 0)']
    """
    old, new = dict(leaves(earlier)), dict(leaves(now))
    of_packages = {*_runtime_of_packages(earlier), *_runtime_of_packages(now)}
    return [
        without_secrets(f"{key}={_shown(new.get(key, _ABSENT))} (was {_shown(old.get(key, _ABSENT))})")
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
        and key not in of_packages
        and not any(fnmatchcase(key, pattern) for pattern in RUNTIME)
    ]


def _runtime_of_packages(cfg: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Options whose values packages' components leave out of every fingerprint."""
    target = cfg.get("_target_")
    if isinstance(target, str) and registry.owner_of(target) is not None:
        with suppress(SignatureError, SyntaxError):  # a broken package is told where it is used
            parameters = read_signature(target).parameters
            yield from (f"{prefix}{name}" for name, parameter in parameters.items() if parameter.runtime)
    for key, value in cfg.items():
        if isinstance(value, Mapping):
            yield from _runtime_of_packages(value, f"{prefix}{key}.")


def _changes(job: Job) -> list[str]:
    """Options that differ from the configuration of the results in the job's directory; empty without any."""
    holds_results = (job.directory / CONFIG).is_file() and _holds_results(job.directory, job.store)
    return _differences(job) if holds_results else []


def _differences(job: Job) -> list[str]:
    """Options that differ from the configuration in the job's directory; empty where there is none."""
    file = job.directory / CONFIG
    if not file.is_file():
        return []
    try:
        earlier = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, UnicodeDecodeError):
        earlier = None
    now = OmegaConf.to_container(OmegaConf.create(job.config_yaml))
    assert isinstance(now, dict)
    if not isinstance(earlier, dict):
        return [f"{CONFIG} is not a run's configuration"]
    return changed_options({str(k): v for k, v in earlier.items()}, {str(k): v for k, v in now.items()})


def _holds_results(directory: Path, store: Path) -> bool:
    names = [path.name for path in _movable(directory, store) if not path.name.startswith(".")]
    return any(not any(fnmatchcase(name, pattern) for pattern in _NO_RESULTS) for name in names)


def _movable(directory: Path, store: Path) -> list[Path]:
    """Files that runs wrote into a directory: all but earlier ``previous/`` and the store."""
    above_store = {store.resolve(), *store.resolve().parents}
    return [
        path
        for path in directory.iterdir()
        if path.name != IN_USE and not _PREVIOUS.fullmatch(path.name) and path.resolve() not in above_store
    ]


def _shown(value: object) -> str:
    return "nothing" if value is _ABSENT else show(value)


def _refuse_or_move(
    directory: Path,
    option: str,
    what: str,
    changes: Sequence[str],
    overwrite: bool,
    store: Path,
    keep: Collection[str] = (),
) -> None:
    typed = f"{option}={directory}"
    if not overwrite:
        more = f"; and {len(changes) - NUM_SHOWN} more" if len(changes) > NUM_SHOWN else ""
        raise ConfigError(
            f"{typed}: holds {what} ({'; '.join(changes[:NUM_SHOWN])}{more}); choose another directory, or add"
            f" overwrite=true to move them to {_free(directory)}"
        )
    is_here, is_store = Path.cwd().is_relative_to(directory.resolve()), directory.resolve() == store.resolve()
    if is_here or is_store:
        name = "the store" if is_store else "the directory you are in"
        raise ConfigError(f"{typed}: overwrite=true would move {name}; choose another directory")
    set_aside(directory, [path for path in _movable(directory, store) if path.name not in keep])


def set_aside(directory: Path, moved: Sequence[Path]) -> Path:
    """Move files into a new ``previous/`` in their directory; relative links keep their targets.

    Args:
        directory: Of a run or a sweep.
        moved: What in it is moved.

    Returns:
        The new directory.
    """
    target = _free(directory)
    links = {link: _destination(link) for path in moved for link in _links(path)}
    target.mkdir()
    for path in moved:
        path.rename(target / path.name)
    roots = [directory.resolve() / path.name for path in moved]
    for link, destination in links.items():
        if not any(destination.is_relative_to(root) for root in roots):
            place = target / link.relative_to(directory)
            place.unlink()
            place.symlink_to(os.path.relpath(destination, place.parent.resolve()))
    return target


def _links(path: Path) -> list[Path]:
    """Relative links at or below a path."""
    below = [] if path.is_symlink() else path.rglob("*")
    return [item for item in (path, *below) if item.is_symlink() and not item.readlink().is_absolute()]


def _destination(link: Path) -> Path:
    return Path(os.path.normpath(link.parent.resolve() / link.readlink()))


def _free(directory: Path) -> Path:
    """``previous``, or with the first number that is free."""
    numbers = (directory / ("previous" if number == 1 else f"previous-{number}") for number in count(1))
    return next(place for place in numbers if not place.exists())
