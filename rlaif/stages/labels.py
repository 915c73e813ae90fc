"""Labeling: comparisons in, soft preferences out."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.engines.answer_cache import AnswerCache, open_cache
from rlaif.engines.spending import Ledger
from rlaif.errors import ConfigError, GateStopped
from rlaif.labeling.cost import Budget, Prices, cost_figures
from rlaif.labeling.plan import Plan
from rlaif.labeling.run import finished_run, label_part, too_many_missing
from rlaif.labeling.summary import summarize_labels
from rlaif.labeling.team import Team
from rlaif.labeling.wrapping import wrap_engines
from rlaif.stages.context import Context, preferences_id, write_json
from rlaif.stages.label_card import write_card
from rlaif.stages.labelers import build_labeler, labeler_options, prepare
from rlaif.stages.samples import sampled_pairs
from rlaif.stages.stage import Parts, Stage
from rlaif.types import Comparison, Preference

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

LABELS, SUMMARY, COST, BATCHES = "labels.parquet", "summary.json", "cost.json", "batches"
COUNTED = "counted"
"""``cost.json`` holds seconds and money, which depend on clock and machine; the others depend on the input alone."""


def comparisons_to_label(context: Context) -> list[Comparison]:
    """Pairs of the SFT policy's samples, or the data set's own (``data.pairs``)."""
    if context.cfg.data.pairs == "dataset":
        return [preference.comparison for preference in context.data.preferences]
    return sampled_pairs(context.result("samples"))


def _options(context: Context) -> dict[str, object]:
    options: dict[str, object] = {
        "batch_size": context.cfg.label.batch_size,
        "pairs": context.cfg.data.pairs,
        **labeler_options(context),
    }
    if context.cfg.data.pairs == "dataset":
        options["preferences"] = preferences_id(context.data.preferences)
    return options


def answer_cache(context: Context) -> AnswerCache | None:
    """The store's answers of engines, where ``label.cache`` says."""
    return open_cache(context.cfg.label.cache, context.store.root)


def prices_and_budget(context: Context) -> tuple[Prices, Budget]:
    """The config nodes ``cost`` and ``budget``, checked against each other.

    Raises:
        ConfigError: An option of theirs is out of range.
    """
    prices, budget = cast(Prices, instantiate(context.cfg.cost)), cast(Budget, instantiate(context.cfg.budget))
    budget.check_prices(prices)
    return prices, budget


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    """Label the whole plan; as a worker, this process's part of the batches."""
    work = _Work(context, directory, _team(directory / BATCHES))
    if work.team.size == 1:
        work.team.begin()
    try:
        work.label(display)
    except GateStopped as stopped:
        if work.team.size == 1:
            raise
        work.team.stop(str(stopped))
    if work.team.size == 1:
        work.write_results(context)


class _Work:
    """The plan, the labeler with its cache and ledger, and the limits of one process."""

    def __init__(self, context: Context, directory: Path, team: Team) -> None:
        self.options = context.cfg.label
        self.prices, self.budget = prices_and_budget(context)
        comparisons = comparisons_to_label(context)
        if not comparisons:
            raise ConfigError("label: there is no pair to label; every prompt's two samples are identical")
        self.directory = directory
        self.team = team
        self.plan = Plan(comparisons, self.options.batch_size)
        counted = open_cache(self.options.cache, team.directory / COUNTED)
        self.ledger = Ledger(team.directory, rank=team.rank, counted=counted)
        labeler = build_labeler(context, context.cfg.labeler)
        labeler = wrap_engines(labeler, cache=answer_cache(context), ledger=self.ledger)
        self.labeler = prepare(context, labeler, comparisons, team.directory, self._check_budget)

    def label(self, display: StageDisplay) -> None:
        label_part(
            self.labeler,
            self.plan,
            self.team,
            max_missing_rate=self.options.max_missing_rate,
            progress=display.progress(self.plan.num_distinct, unit="pairs"),
            before_asking=self._check_budget,
        )

    def _check_budget(self) -> None:
        self.budget.check(self.ledger, self.prices, self.team.directory)

    def write_results(self, context: Context) -> None:
        run = finished_run(self.labeler.identity, self.plan, self.team.directory, self.options.max_missing_rate)
        write_preferences(self.directory / LABELS, run)
        summary = summarize_labels(run)
        first = next(iter(run))
        judged = {"num_judged": self.plan.num_distinct, "num_judged_missing": sum(run.missing.values())}
        author = {"labeler": first.labeler, "source": first.source}
        write_json(self.directory / SUMMARY, {**asdict(summary), **judged, **author})
        cost = cost_figures(self.ledger, self.prices, summary.n - summary.num_missing)
        write_json(self.directory / COST, cost)
        write_card(context, self.directory / LABELS)
        self.ledger.close()
        shutil.rmtree(self.team.directory)


def _gather(context: Context, directory: Path) -> None:
    """Make the table from what the workers labeled."""
    _Work(context, directory, Team(directory / BATCHES)).write_results(context)


def _team(batches: Path) -> Team:
    """This process alone, or its place among the workers that torchrun started."""
    if "LOCAL_RANK" not in os.environ:
        return Team(batches)
    return Team(batches, rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]))


def _check_missing(context: Context, directory: Path) -> None:
    """Hold finished labels, which an earlier run may have accepted, against this run's limit."""
    summary = json.loads((directory / SUMMARY).read_text())
    limit, num_judged = context.cfg.label.max_missing_rate, summary["num_judged"]
    if summary["num_judged_missing"] > limit * num_judged:
        raise too_many_missing(
            summary["missing"],
            summary["n"],
            summary["n"],
            limit,
            f"These labels were accepted under another limit and are kept in {directory}: delete that directory and "
            "start again to ask for the missing ones (answers of a model come from the label cache).",
        )


def read_labels(directory: Path) -> list[Preference]:
    return read_preferences(directory / LABELS)


def _summary(context: Context, directory: Path) -> str:
    summary = json.loads((directory / SUMMARY).read_text())
    missing, failed = sum(summary["missing"].values()), sum(summary["failed_judgments"].values())
    line = f"{summary['n']:,} pairs by {summary['labeler'].split(':')[0] or summary['source']}, {missing} missing"
    return f"{line}, {failed} questions without an answer" if failed else line


LABEL = Stage(
    name="labels",
    inputs=("samples",),
    options=_options,
    code=("rlaif.stages.labels",),
    build=_build,
    summary=_summary,
    check=_check_missing,
    parts=Parts(
        when=lambda context: build_labeler(context, context.cfg.labeler).source == "ai",
        begin=lambda directory: Team(directory / BATCHES).begin(),
        gather=_gather,
    ),
)
