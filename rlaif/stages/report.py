"""The last step of a run: report.html and report.json in the run directory, one table on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from rlaif.evaluation.alignment import labeler_in_words
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.files import read_diagrams, read_figures
from rlaif.evaluation.records import Curves, LabelSamples, PFirstHistogram, SideBySide
from rlaif.evaluation.responses import side_by_side, time_figures
from rlaif.evaluation.votes import Votes, annotator_votes, pair
from rlaif.evaluation.win_rate import policy_verdict
from rlaif.modules.curves import read_curve
from rlaif.reporting.page import write_page
from rlaif.reporting.records import Page, RunInfo, environment
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.context import Context
from rlaif.stages.evaluation import read_judged, read_responses
from rlaif.stages.labels import read_labels
from rlaif.stages.training import CURVE
from rlaif.types import Preference

NUM_SAMPLES, NUM_LABELS = 12, 8
"""Responses side by side, and labels with their raw replies, in the report."""


def report_run(context: Context, directory: Path, display: RunDisplay, seconds: Mapping[str, float]) -> float | None:
    """Write the report and show the final table; returns the win rate against SFT, or None."""
    evaluation = context.result("evaluation")
    figures = [*read_figures(evaluation), *time_figures(seconds)]
    limits = CheckLimits(**(context.cfg.evaluation.get("limits") or {}))
    checks = run_checks(figures, limits)
    labels = read_labels(context.result("labels")) if context.runs("labels") else []
    confidence = float(context.cfg.evaluation.confidence)
    path = write_page(
        Page(
            title=title_of(context, _labeler(context, labels)),
            task=context.task.name,
            verdict=policy_verdict(figures, context.task.name, confidence),
            figures=tuple(figures),
            checks=tuple(checks),
            sections=(
                PFirstHistogram.of(labels),
                LabelSamples(labels=tuple(labels[:NUM_LABELS])),
                Curves.from_rows(read_curve(context.result("policy") / CURVE)),
                *read_diagrams(evaluation),
                _side_by_side(context, evaluation),
            ),
            run=run_info(context, seconds, seconds),
            confidence=confidence,
        ),
        directory,
    )
    display.summary(figures, checks, path, confidence=confidence)
    return next((figure.value for figure in figures if figure.name == "policy/win_rate_vs_sft"), None)


def _labeler(context: Context, labels: Sequence[Preference]) -> str:
    """Who stands behind the reward, in words."""
    if labels:
        return labeler_in_words(labels[0]).split(":")[0]
    return f"direct RLAIF by {HydraConfig.get().runtime.choices['labeler']}"


def _side_by_side(context: Context, evaluation: Path) -> SideBySide:
    rows = read_responses(evaluation)[:NUM_SAMPLES]
    pairs = pair([prompt for prompt, _ in rows], [policy for _, (_, policy) in rows], [sft for _, (sft, _) in rows])
    votes: Votes = [()] * len(pairs)
    if context.data.annotators is not None:
        votes = annotator_votes(context.data.annotators, pairs, context.cfg.evaluation.num_raters)
    return side_by_side(pairs, votes, read_judged(evaluation))


def title_of(context: Context, labeler: str) -> str:
    """The headline of a page."""
    return f"{labeler} → {context.task.name.replace('_', ' ')}"


def run_info(context: Context, ran: Iterable[str], stage_seconds: Mapping[str, float] | None = None) -> RunInfo:
    """The run that a page is about.

    Args:
        context: The run.
        ran: Names of the stages that the page is about.
        stage_seconds: Their times, where the page shows them.
    """
    names = set(ran)
    stages = {f"stage {name}": context.fingerprint(stage) for name, stage in context.stages.items() if name in names}
    return RunInfo(
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        provenance={**stages, **environment()},
        config=OmegaConf.to_yaml(context.cfg, resolve=True),
        stage_seconds=stage_seconds or {},
    )
