"""Labeling: comparisons in, soft preferences out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate

from rlaif.data.label_sets.beside import LabelSetBesideTable
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.errors import ConfigError
from rlaif.labeling.asking import Asking
from rlaif.labeling.cost import Budget, Prices
from rlaif.labeling.results import check_missing, labels_in_words, write_labels
from rlaif.labeling.sharded import ShardedLabeling, team_of_processes
from rlaif.labeling.team import Team
from rlaif.stages.context import Context, preferences_id
from rlaif.stages.label_card import provenance
from rlaif.stages.labelers import build_labeler, labeler_options, people_of
from rlaif.stages.samples import sampled_pairs
from rlaif.stages.stage import Parts, Stage
from rlaif.types import Comparison

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

BATCHES = "batches"


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


def answers_of(context: Context) -> AnswerPlace:
    """The store's answers of engines, where ``label.cache`` says."""
    return AnswerPlace(context.cfg.label.cache, context.store.root)


def prices_and_budget(context: Context) -> tuple[Prices, Budget]:
    """The config nodes ``cost`` and ``budget``, checked against each other.

    Raises:
        ConfigError: An option of theirs is out of range.
    """
    prices, budget = cast(Prices, instantiate(context.cfg.cost)), cast(Budget, instantiate(context.cfg.budget))
    budget.check_prices(prices)
    return prices, budget


def asking(
    context: Context,
    directory: Path | None,
    *,
    answers: AnswerPlace | None = None,
    rank: int = 0,
    option: str = "labeler",
) -> Asking:
    """How this run asks models.

    Args:
        context: The run.
        directory: Where its ledger is kept.
        answers: Where answers are kept; None takes the store's.
        rank: This process among those that share the ledger.
        option: Where the labeler is composed, for messages.
    """
    prices, budget = prices_and_budget(context)
    return Asking(
        directory,
        answers=answers or answers_of(context),
        prices=prices,
        budget=budget,
        batch_size=context.cfg.label.batch_size,
        max_missing_rate=context.cfg.label.max_missing_rate,
        rank=rank,
        option=option,
    )


def _labeling(context: Context, team: Team) -> ShardedLabeling:
    comparisons = comparisons_to_label(context)
    if not comparisons:
        raise ConfigError("label: there is no pair to label; every prompt's two samples are identical")
    asked = asking(context, team.directory, rank=team.rank)
    return ShardedLabeling(build_labeler(context, context.cfg.labeler), comparisons, asked, people_of(context), team)


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    """Label the whole plan; as a worker, this process's part of the batches."""
    labeling = _labeling(context, team_of_processes(directory / BATCHES))
    labeling.label(display)
    if labeling.team.size == 1:
        write_labels(labeling, directory, LabelSetBesideTable(), provenance(context))


def _gather(context: Context, directory: Path) -> None:
    """Make the table from what the workers labeled."""
    labeling = _labeling(context, Team(directory / BATCHES))
    write_labels(labeling, directory, LabelSetBesideTable(), provenance(context))


LABEL = Stage(
    name="labels",
    inputs=("samples",),
    options=_options,
    code=("rlaif.stages.labels",),
    build=_build,
    summary=lambda context, directory: labels_in_words(directory),
    check=lambda context, directory: check_missing(directory, context.cfg.label.max_missing_rate),
    parts=Parts(
        when=lambda context: build_labeler(context, context.cfg.labeler).source == "ai",
        begin=lambda directory: Team(directory / BATCHES).begin(),
        gather=_gather,
    ),
)
