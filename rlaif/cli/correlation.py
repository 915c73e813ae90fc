"""``rlaif-runs correlate``: does a better labeler give a better policy, and which of its figures tells?"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from rlaif.cli.run_groups import PLACES, PROMPTS, Group, code_notices, confidence_of, group_runs, unmatched_notices
from rlaif.cli.run_results import RunResult, find_runs
from rlaif.cli.table_files import print_alone, tell, write_texts
from rlaif.config.secrets import without_secrets
from rlaif.errors import ConfigError
from rlaif.evaluation.catalogue import describe, sort_figures
from rlaif.evaluation.predictors import LabelerMeans, Predictor, Source, rank_predictors
from rlaif.reporting.correlation_tables import correlation_json, correlation_markdown, correlation_table

OF_LABELERS = ("labeler.*", "label.*")
"""Options in which the runs of one table may differ."""
MEASURED = ("task.*", "data.*", "labeler.*")
"""Options that a scorecard must share with a run."""
FEWEST = 4
DEFAULT = ("labeler/*", "reward_model/*")
"""Figures that are correlated unless named."""
Tables = dict[str, list[Predictor]]


def correlate(arguments: argparse.Namespace) -> None:
    """Read runs, correlate their labelers' figures with their policies', and show or write the tables.

    Raises:
        ConfigError: A word names no finished run, runs differ in more than labeler and seed, or there are too few.
    """
    runs, _, left_out = find_runs(arguments.runs, "report")
    confidence = _one_confidence(runs)
    scorecards = find_runs(arguments.scorecards, "scorecard") if arguments.scorecards else ([], "", [])
    by_prompts: defaultdict[tuple[str, ...], list[RunResult]] = defaultdict(list)
    for run in runs:
        by_prompts[Group(name="", runs=(run,)).options_like(PROMPTS)].append(run)
    tables: Tables = {}
    matched: set[Path] = set()
    unmatched = unmatched_notices([*runs, *scorecards[0]], arguments.figures, arguments.ignore)
    notices = [*left_out, *scorecards[2], *unmatched, *code_notices(runs)]
    for same in by_prompts.values():
        groups = group_runs(same, arguments.ignore)
        _refuse_other_differences(groups, arguments.ignore)
        cards, told = _scorecards(groups, scorecards[0])
        names = _unique([group.name for group in groups])
        labelers = [_means(*row, arguments.outcome) for row in zip(names, groups, cards, strict=True)]
        sources = _sources(groups, cards, arguments.figures or DEFAULT)
        title = _title(same, tables)
        tables[title] = rank_predictors(labelers, sources, confidence=confidence)
        notices += [*told, *_uneven_seeds(groups, title), *_in_some_seeds(names, groups, sources)]
        matched.update(card.directory for found in cards for card in found)
    notices += _unmatched(scorecards[0], matched)
    _refuse_too_few(tables, arguments.figures or DEFAULT)
    notices += _notices(tables, arguments.outcome, confidence)
    texts = {
        "markdown": correlation_markdown(tables, arguments.outcome, confidence),
        "json": correlation_json(tables, arguments.outcome, notices),
    }
    if not print_alone(arguments, texts, notices):
        _show(tables, notices, arguments.outcome, confidence)
    write_texts(arguments, texts)


def _one_confidence(runs: Sequence[RunResult]) -> float:
    """Coverage of the intervals, which all tables share.

    Raises:
        ConfigError: The runs differ in it.
    """
    found = {confidence_of(group_runs([run])) for run in runs}
    if len(found) > 1:
        values = ", ".join(f"{value:g}" for value in sorted(found))
        raise ConfigError(f"evaluation.confidence: the runs differ in it ({values}); give runs of one at a time")
    return found.pop()


def _refuse_other_differences(groups: Sequence[Group], ignored: Sequence[str]) -> None:
    """A policy must owe what sets it apart to its labeler."""
    free = (*OF_LABELERS, *PLACES, *ignored)
    problems = []
    for key in sorted({key for group in groups for key in group.runs[0].options}):
        values = {words[0] if (words := group.options_like((key,))) else f"no {key}" for group in groups}
        if len(values) > 1 and not any(fnmatchcase(key, pattern) for pattern in free):
            problems.append(
                f"{key}: the runs differ in it ({', '.join(sorted(values))}), so their policies differ in more than the"
                f" labeler; give runs of one training, or pass it over with --ignore {key}"
            )
    if problems:
        raise ConfigError(problems)


def _scorecards(
    groups: Sequence[Group], scorecards: Sequence[RunResult]
) -> tuple[list[tuple[RunResult, ...]], list[str]]:
    """The scorecards of each group's labeler on its task and data, and lines about groups without one.

    Raises:
        ConfigError: Scorecards of one labeler differ in more than their seed, or have one seed twice.
    """
    if not scorecards:
        return [()] * len(groups), []
    of = [Group(name="", runs=(card,)).options_like(MEASURED) for card in scorecards]
    cards = [
        tuple(card for card, words in zip(scorecards, of, strict=True) if words == group.options_like(MEASURED))
        for group in groups
    ]
    lacking = [group.name or "the runs" for group, found in zip(groups, cards, strict=True) if not found]
    told = [f"{name}: none of the scorecards is of this labeler with this task and data" for name in lacking]
    for found in cards:
        # One labeler's scorecards are one measurement: averaged over seeds, and over nothing else.
        if found and len(group_runs(found)) > 1:
            places = ", ".join(str(card.directory) for card in found)
            raise ConfigError(
                f"--scorecards: {places}: are of one labeler and differ in other options; give one of them"
            )
    return cards, told


def _unmatched(scorecards: Sequence[RunResult], matched: Set[Path]) -> list[str]:
    """Lines about scorecards that no run has the labeler, task and data of."""
    left = [card.directory for card in scorecards if card.directory not in matched]
    return [f"{directory}: left out, no run has its labeler, task and data" for directory in left]


def _unique(names: Sequence[str]) -> list[str]:
    """Names of groups, numbered where what is shown of their options is the same."""
    counts = Counter(names)
    return [f"{name} ({number})" if counts[name] > 1 else name for number, name in enumerate(names, 1)]


def _means(name: str, group: Group, scorecards: Sequence[RunResult], outcome: str) -> LabelerMeans:
    figures = {
        **{("report", name): value for name, value in _mean_figures(group.runs).items()},
        **{("scorecard", name): value for name, value in _mean_figures(scorecards).items()},
    }
    without = [run for run in group.runs if outcome not in run.figures]
    if without and len(without) < len(group.runs):
        places = ", ".join(str(run.directory) for run in without)
        raise ConfigError(
            f"--outcome={outcome}: {places}: have no such figure, which other seeds of their labeler have; start these"
            " runs again, or leave them out"
        )
    if ("report", outcome) not in figures:
        have = sorted(name for name in group.runs[0].figures if name.startswith("policy/"))
        raise ConfigError(
            f"--outcome={outcome}: {group.runs[0].directory} has no such figure; of its policy it has"
            f" {', '.join(have) or 'none'}"
        )
    return LabelerMeans(name=name, outcome=figures["report", outcome], figures=figures)


def _mean_figures(runs: Sequence[RunResult]) -> Mapping[str, float]:
    """Of the figures that all runs have: a mean over some of the seeds would be another one."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, figure in run.figures.items():
            values[name].append(figure.value)
    # fsum: the same in any order of the seeds
    return {name: math.fsum(found) / len(found) for name, found in values.items() if len(found) == len(runs)}


def _in_some_seeds(names: Sequence[str], groups: Sequence[Group], sources: Sequence[Source]) -> Iterator[str]:
    """Lines about figures that a labeler has with some of its seeds only."""
    for name, group in zip(names, groups, strict=True):
        counts = Counter(figure for run in group.runs for figure in run.figures)
        partly = [figure for kind, figure in sources if kind == "report" and 0 < counts[figure] < len(group.runs)]
        if partly:
            yield f"{name or 'the runs'}: left out of {', '.join(partly)}, which not all of its seeds have"


def _sources(
    groups: Sequence[Group], scorecards: Sequence[Sequence[RunResult]], patterns: Sequence[str]
) -> list[Source]:
    """The figures that any labeler has and that are asked for, in the order of the tables."""
    kinds = {
        "report": [run for group in groups for run in group.runs],
        "scorecard": [card for found in scorecards for card in found],
    }
    found = []
    for kind, runs in kinds.items():
        figures = {figure.name: figure for run in runs for figure in run.figures.values()}
        wanted = [f for f in figures.values() if any(fnmatchcase(f.name, pattern) for pattern in patterns)]
        found += [(kind, figure.name) for figure in sort_figures(wanted)]
    return found


def _title(runs: Sequence[RunResult], taken: Tables) -> str:
    """Task and data as typed; runs whose data differ in what was not typed get a number."""
    words = [word for word in runs[0].overrides if word.startswith(("task", "data"))]
    title = without_secrets(" ".join(words)) or "task and data as configured"
    return title if title not in taken else f"{title} ({len(taken) + 1})"


def _uneven_seeds(groups: Sequence[Group], title: str) -> list[str]:
    """What means over different seeds mix up."""
    seeds = {frozenset(str(run.seeds.get("seed")) for run in group.runs) for group in groups}
    if len(seeds) == 1:
        return []
    counts = ", ".join(str(count) for count in sorted({len(names) for names in seeds}))
    return [f"{title}: the labelers have not the same seeds ({counts} of them), which may differ more than labelers do"]


def _refuse_too_few(tables: Tables, patterns: Sequence[str]) -> None:
    if not any(tables.values()):
        raise ConfigError(f"--figures {' '.join(patterns)}: no run has such a figure")
    every = [row for rows in tables.values() for row in rows]
    if all(row.correlation.n < FEWEST for row in every):
        most = max(row.correlation.n + row.missing for row in every)
        if most < FEWEST:
            raise ConfigError(
                f"RUN: a rank correlation takes at least {FEWEST} labelers on one task, here are {most}; give runs of"
                " more labelers"
            )
        raise ConfigError(
            f"--figures {' '.join(patterns)}: of {most} labelers fewer than {FEWEST} have such a figure; name others"
        )


def _notices(tables: Tables, outcome: str, confidence: float) -> list[str]:
    shown = [row for rows in tables.values() for row in rows if row.correlation.low is not None]
    return [
        f"Spearman's rank correlation with {outcome} over labelers, each the mean over its seeds; intervals are those"
        " of Bonett and Wright, of labelers drawn like these",
        f"of {len(shown)} intervals of figures that say nothing, {(1 - confidence) * len(shown):.1f} leave 0 out on"
        " average",
    ]


def _show(tables: Tables, notices: Sequence[str], outcome: str, confidence: float) -> None:
    console = Console(highlight=False)
    for title, rows in ((title, rows) for title, rows in tables.items() if rows):
        name = f"{title}: rank correlation with {describe(outcome).label}"
        console.print(correlation_table(rows, name, confidence))
        console.print()
    tell(console, notices)
