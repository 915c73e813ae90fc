"""Groups of runs that differ in their seed alone, and refusal of runs that do not belong into one table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from rlaif.cli.run_results import RunResult
from rlaif.config.run_directory import RUNTIME
from rlaif.config.secrets import without_secrets
from rlaif.config.values import show
from rlaif.errors import ConfigError
from rlaif.near_miss import near_miss

SAME = ("data.split", "evaluation.confidence")
"""Options in which runs of one table may not differ: their figures are not of one kind."""
PLACES = ("evaluation.against*", "*.against.*")
"""Options that name other runs' directories, which differ with the seed."""
PROMPTS = ("task.*", "data.*", "evaluation.num_prompts")
"""Options that say on which prompts a figure is measured."""
NUM_SHOWN = 3
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs with the same options but seeds."""

    name: str
    """What sets it apart from the other groups, as typed; empty for a single group."""
    runs: tuple[RunResult, ...]

    @property
    def shares_prompts(self) -> bool:
        """True where the data have no seed of their own, so that all runs read the same prompts."""
        data = [{key: seed for key, seed in run.seeds.items() if key.startswith("data.")} for run in self.runs]
        return len(self.runs) > 1 and len({tuple(sorted(seeds.items())) for seeds in data}) == 1

    def with_seeds_of(self, other: Group) -> tuple[RunResult, ...]:
        """Its runs without the seeds that no run of the other group has; as they are where two would then be one draw.

        A labeler that draws has a seed of its own, and is compared seed by seed with one that does not.
        """
        shared = {key for run in other.runs for key in run.seeds}
        runs = [replace(run, seeds={key: run.seeds[key] for key in run.seeds if key in shared}) for run in self.runs]
        return tuple(runs) if len({run.seed for run in runs}) == len(runs) else self.runs

    def option(self, key: str) -> object:
        """Value of an option; None where it is not there."""
        return self.runs[0].options.get(key)

    def options_like(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """The options whose names match, with their values, as typed."""
        keys = sorted(key for key in self.runs[0].options if any(fnmatchcase(key, pattern) for pattern in patterns))
        return tuple(f"{key}={_shown(self.runs[0], key)}" for key in keys)


def group_runs(runs: Sequence[RunResult], ignored: Sequence[str] = ()) -> list[Group]:
    """Group runs, in the order of their first one.

    Args:
        runs: Of one kind.
        ignored: Patterns of further options in which runs of one group may differ.

    Raises:
        ConfigError: Runs are of different data splits or confidence, or one seed is in a group twice.
    """
    _refuse_mixtures(runs)
    differing = _differing(runs, (*PLACES, *ignored))
    found: defaultdict[tuple[str, ...], list[RunResult]] = defaultdict(list)
    for run in runs:
        found[tuple(_shown(run, key) for key in differing)].append(run)
    _refuse_repeats(list(found.values()))
    names = _names(list(found.values()), differing)
    return [Group(name=name, runs=tuple(group)) for name, group in zip(names, found.values(), strict=True)]


def confidence_of(groups: Sequence[Group]) -> float:
    """Coverage of the intervals of all runs (``evaluation.confidence``), which one table's runs share."""
    value = groups[0].option("evaluation.confidence")
    return float(value) if isinstance(value, int | float) else 0.95


def comparable(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Pairs of groups whose runs have the same prompts under the same seed: each with the first of its task and data.

    Args:
        groups: Of one table.
    """
    bases: dict[tuple[str, ...], Group] = {}
    pairs = []
    for group in groups:
        base = bases.setdefault(group.options_like(PROMPTS), group)
        pairs += [] if base is group else [(group, base)]
    return pairs


def code_notices(runs: Sequence[RunResult]) -> list[str]:
    """Lines about runs whose steps were made by different code, or by code that is not known."""
    by_code: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for run in runs:
        by_code[run.code].append(str(run.directory))
    notices = []
    if len(by_code) > 1:
        parts = [f"{', '.join(code) or 'unknown'} ({len(places)}: {places[0]} …)" for code, places in by_code.items()]
        notices.append(
            f"these runs were made by different code, which may differ more than seeds do: {'; '.join(parts)}"
        )
    changed = sorted({commit for code in by_code for commit in code if commit.endswith("+")})
    if changed:
        notices.append(f"code that was changed after its commit made some steps: {', '.join(changed)}")
    return notices


def unmatched_notices(runs: Sequence[RunResult], figures: Sequence[str], ignored: Sequence[str]) -> list[str]:
    """Lines about typed patterns that match nothing, so that a misspelt one is not missed.

    Args:
        runs: All runs that are read.
        figures: Patterns of ``--figures``.
        ignored: Patterns of ``--ignore``.
    """
    options = {key for run in runs for key in (*run.options, *run.seeds)}
    typed = [pattern for pattern in ignored if not any(fnmatchcase(pattern, known) for known in RUNTIME)]
    return [
        *_unmatched("--figures", figures, {name for run in runs for name in run.figures}, "a figure"),
        *_unmatched("--ignore", typed, options, "an option"),
    ]


def _unmatched(option: str, patterns: Sequence[str], names: Set[str], what: str) -> Iterator[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = near_miss(pattern, names)
            yield f"{option} {pattern}: no run has such {what}" + (f"; did you mean {near}?" if near else "")


def _refuse_mixtures(runs: Sequence[RunResult]) -> None:
    problems = []
    for key in SAME:
        values = Counter(_shown(run, key) for run in runs)
        if len(values) > 1:
            first = {value: next(run.directory for run in runs if _shown(run, key) == value) for value in values}
            told = ", ".join(f"{value} ({count}, e.g. {first[value]})" for value, count in values.items())
            problems.append(f"{key}: the runs differ in it: {told}; give runs of one at a time")
    if problems:
        raise ConfigError(problems)


def _refuse_repeats(groups: Sequence[Sequence[RunResult]]) -> None:
    problems = []
    for group in groups:
        by_seed: defaultdict[str, list[RunResult]] = defaultdict(list)
        for run in group:
            by_seed[run.seed].append(run)
        for seed, same in by_seed.items():
            if len(same) > 1:
                places = " and ".join(str(run.directory) for run in same)
                problems.append(f"{places}: have the same options and {seed}, so they are one draw; give one of them")
    if problems:
        raise ConfigError(problems)


def _differing(runs: Sequence[RunResult], ignored: Sequence[str]) -> list[str]:
    keys = sorted({key for run in runs for key in run.options})
    return [
        key
        for key in keys
        if not any(fnmatchcase(key, pattern) for pattern in ignored) and len({_shown(run, key) for run in runs}) > 1
    ]


def _shown(run: RunResult, key: str) -> str:
    value = run.options.get(key, _ABSENT)
    return "nothing" if value is _ABSENT else show(value)


def _names(groups: Sequence[Sequence[RunResult]], differing: Sequence[str]) -> list[str]:
    """The overrides that not all groups share; the options themselves where these do not set all groups apart."""
    if len(groups) == 1:
        return [""]
    typed = [_shared_overrides(group) for group in groups]
    common = set.intersection(*(set(words) for words in typed))
    names = [" ".join(word for word in words if word not in common) or "as configured" for words in typed]
    if len(set(names)) == len(names):
        return [without_secrets(name) for name in names]
    return [without_secrets(_by_options(group[0], differing)) for group in groups]


def _shared_overrides(group: Sequence[RunResult]) -> list[str]:
    others: list[Mapping[str, None]] = [dict.fromkeys(run.overrides) for run in group[1:]]
    return [word for word in group[0].overrides if all(word in words for words in others)]


def _by_options(run: RunResult, differing: Sequence[str]) -> str:
    words = [f"{key}={_shown(run, key)}" for key in differing]
    more = f" and {len(words) - NUM_SHOWN} more" if len(words) > NUM_SHOWN else ""
    return " ".join(words[:NUM_SHOWN]) + more
