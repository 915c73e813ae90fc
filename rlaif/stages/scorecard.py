"""The labeler's scorecard on held-out pairs that people judged, and the gate ``label.min_alignment``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig, OmegaConf

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.errors import ConfigError, GateStopped
from rlaif.evaluation.alignment import labeler_in_words
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.cost import LabelCost, cost_figures
from rlaif.evaluation.evaluators import ScorecardEvaluator
from rlaif.evaluation.files import read_diagrams, read_figures, write_diagrams, write_figures
from rlaif.evaluation.formats import format_interval, format_value
from rlaif.evaluation.judges import label_sources
from rlaif.evaluation.records import LabelSamples, PFirstHistogram, ReliabilityDiagram
from rlaif.evaluation.scorecard import alignment_in_words, confident_mistakes, scorecard_verdict
from rlaif.evaluation.scorecard import held_out_pairs as first_held_out_pairs
from rlaif.evaluation.votes import SIMULATED, Votes, annotator_votes, label_votes
from rlaif.labelers.base import Labeler
from rlaif.reporting.page import write_page
from rlaif.reporting.records import Page
from rlaif.stages.asking import ask
from rlaif.stages.context import Context, annotators_code, preferences_id, write_json
from rlaif.stages.labelers import asks_own_model, build_labeler, composed_labeler, labeler_options, raters_among
from rlaif.stages.labels import LABELS
from rlaif.stages.policy import rewards_by_labeler
from rlaif.stages.report import run_info, title_of
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Preference

if TYPE_CHECKING:
    from rlaif.reporting.terminal import RunDisplay, StageDisplay

NUM_LABELS = 8
"""Labels with their raw replies on the page."""
ASKED = "asked.json"
"""Time and money of a label: apart from the figures, which are the same in every equal run."""


def held_out_pairs(context: Context, limit: int | None) -> list[Preference]:
    """Pairs that people judged and no training reads, in the order of their hashes."""
    return first_held_out_pairs(context.data.eval_preferences, limit)


def people_votes(context: Context, held_out: Sequence[Preference], labeler: Labeler) -> tuple[Votes, str]:
    """Several simulated annotators, none of them the labeler, where there are any; else the data's own labels."""
    if context.data.annotators is None:
        return label_votes(held_out), label_sources(held_out)
    pairs = [label.comparison for label in held_out]
    num_raters = int(context.cfg.evaluation.num_raters)
    return annotator_votes(context.data.annotators, pairs, num_raters, first_rater=raters_among(labeler)), SIMULATED


def _options(context: Context) -> dict[str, object]:
    return {
        "pairs": preferences_id(held_out_pairs(context, context.cfg.label.scorecard_pairs)),
        "num_raters": context.cfg.evaluation.num_raters,
        "confidence": context.cfg.evaluation.confidence,
        "annotators": annotators_code(context),
        "batch_size": context.cfg.label.batch_size,
        "max_missing_rate": context.cfg.label.max_missing_rate,
        **labeler_options(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    held_out = held_out_pairs(context, context.cfg.label.scorecard_pairs)
    pairs = [label.comparison for label in held_out]
    labeler = build_labeler(context, context.cfg.labeler)
    (labels,), asked = ask(context, labeler, [pairs], display)
    again = _ask_again(context, pairs, display)
    votes, judge = people_votes(context, held_out, labeler)
    evaluator = ScorecardEvaluator(confidence=float(context.cfg.evaluation.confidence))
    findings = evaluator.evaluate(labels, votes, judge, again)
    write_preferences(directory / LABELS, labels)
    write_figures(directory, findings.figures)
    write_diagrams(directory, [item for item in findings.sections if isinstance(item, ReliabilityDiagram)])
    write_json(directory / ASKED, asdict(asked))


def _ask_again(context: Context, pairs: Sequence[Comparison], display: StageDisplay) -> list[Preference] | None:
    """The same pairs under the next seed, for a labeler that has one."""
    seed = context.cfg.labeler.get("seed")
    if seed is None:
        return None
    node = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(context.cfg.labeler, resolve=True)))
    node.seed = seed + 1
    (labels,), _ = ask(context, build_labeler(context, node), [pairs], display)
    return labels


def _summary(context: Context, directory: Path) -> str:
    return alignment_in_words(read_figures(directory))


def with_gate(context: Context, names: Sequence[str]) -> list[str]:
    """The pipeline with the scorecard put before whatever costs something, where ``label.min_alignment`` is set.

    It stands right behind the data; a labeler that asks the run's own SFT policy is measured right behind that.
    People's own labels are not measured where there are no other people.
    """
    asks = "labels" in names or ("policy" in names and rewards_by_labeler(context))
    if context.cfg.label.min_alignment is None or not asks or "scorecard" in names or measures_people(context):
        return list(names)
    place = names.index("sft" if asks_own_model(context.cfg.labeler) else "data") + 1
    return [*names[:place], "scorecard", *names[place:]]


def check_scorecard(context: Context, names: Sequence[str]) -> None:
    """Find what a scorecard could not work with before anything is asked.

    Raises:
        ConfigError: There is nothing to measure the labeler against.
    """
    problems = []
    if "scorecard" in with_gate(context, names):
        if "scorecard" in names and measures_people(context):
            problems.append(
                "labeler=human: here people's labels are what others are measured against; choose another labeler"
            )
        if not any(label.p_first is not None for label in context.data.eval_preferences):
            problems.append(
                "data: holds no held-out pair that people judged, so no labeler can be measured; raise "
                "data.eval_fraction or data.num_eval_preferences, or take other data"
            )
    if problems:
        raise ConfigError(problems)


def measures_people(context: Context) -> bool:
    """True where the people themselves label, alone or on a panel, and there is nobody else to hold them against."""
    return context.data.annotators is None and raters_among(composed_labeler(context)) > 0


def check_gate(context: Context, run_directory: Path) -> None:
    """Stop when the labeler's alignment, as estimated, is below ``label.min_alignment``.

    Raises:
        GateStopped: It is below, or cannot be measured because every label is missing.
    """
    limit = context.cfg.label.min_alignment
    if limit is None:
        return
    directory = context.result("scorecard")
    found = {item.name: item for item in read_figures(directory)}
    name = _labeler_name(read_preferences(directory / LABELS))
    aligned = found.get("labeler/alignment")
    if aligned is None:
        raise GateStopped(
            f"label.min_alignment={limit:g}: every label of {name} is missing, so its alignment is unknown; see "
            f"{run_directory / 'scorecard.html'}"
        )
    if aligned.value >= limit:
        return
    raise GateStopped(
        f"label.min_alignment={limit:g}: {name} agrees with {aligned.note.partition(';')[0]} on "
        f"{format_value(aligned.value, 'rate')} of their verdicts ({format_interval(aligned, 'rate')}, {aligned.n:,} "
        f"held-out prompts); the estimate itself is compared. Nothing was labeled. Take a better labeler, model or "
        f"prompt (rlaif-run -m pipeline=scorecard labeler=… compares several), or lower label.min_alignment. "
        f"The scorecard is in {run_directory / 'scorecard.html'}"
    )


def report_scorecard(context: Context, run_directory: Path, display: RunDisplay | None) -> float | None:
    """Write ``scorecard.json`` and ``scorecard.html`` into the run directory, and show the table.

    Args:
        context: The run.
        run_directory: Where the page goes.
        display: Shows the table; None writes the files alone.

    Returns:
        The labeler's alignment, for sweepers that optimize; None where it is not determined.
    """
    directory = context.result("scorecard")
    labels = read_preferences(directory / LABELS)
    asked = LabelCost(**json.loads((directory / ASKED).read_text()))
    figures = [*read_figures(directory), *cost_figures(labels, asked)]
    held_out = held_out_pairs(context, context.cfg.label.scorecard_pairs)
    votes, judge = people_votes(context, held_out, build_labeler(context, context.cfg.labeler))
    checks = run_checks(figures, _limits(context))
    name = _labeler_name(labels)
    mistakes = tuple(confident_mistakes(labels, votes, NUM_LABELS))
    hint = f"Where the labeler is surest of what most {judge} deny, with everything it wrote."
    path = write_page(
        Page(
            kind="scorecard",
            title=title_of(context, name),
            task=context.task.name,
            verdict=scorecard_verdict(figures, name, context.task.name),
            figures=tuple(figures),
            checks=tuple(checks),
            sections=(
                PFirstHistogram.of(labels),
                LabelSamples(labels=mistakes, hint=hint),
                *read_diagrams(directory),
            ),
            run=run_info(context, ["scorecard"]),
            confidence=float(context.cfg.evaluation.confidence),
        ),
        run_directory,
    )
    if display is not None:
        display.summary(figures, checks, path, confidence=float(context.cfg.evaluation.confidence))
    return next((figure.value for figure in figures if figure.name == "labeler/alignment"), None)


def _limits(context: Context) -> CheckLimits:
    limits = dict(context.cfg.evaluation.get("limits") or {})
    if context.cfg.label.min_alignment is not None:
        limits["min_alignment"] = context.cfg.label.min_alignment
    return CheckLimits(**limits)


def _labeler_name(labels: Sequence[Preference]) -> str:
    return labeler_in_words(labels[0]).split(":")[0]


SCORECARD = Stage(
    name="scorecard",
    inputs=(),
    options=_options,
    code=("rlaif.stages.scorecard",),
    build=_build,
    summary=_summary,
)
