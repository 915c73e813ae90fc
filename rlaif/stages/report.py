"""The last step of a run: report.html and report.json in the run directory, one table on the terminal."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from rlaif.evaluation.alignment import labeler_in_words
from rlaif.evaluation.responses import time_figures
from rlaif.evaluation.votes import Votes, annotator_votes
from rlaif.labeling.results import read_labels
from rlaif.modules.curves import read_curve
from rlaif.reporting.checks import CheckLimits, run_checks
from rlaif.reporting.page import write_report
from rlaif.reporting.records import CurvePoint, ReportInput, SideBySide
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.context import Context
from rlaif.stages.evaluation import read_figures, read_judged, read_reliability, read_responses
from rlaif.stages.training import CURVE
from rlaif.types import Comparison, Preference

NUM_SAMPLES, NUM_LABELS = 12, 8
"""Responses side by side, and labels with their raw replies, in the report."""


def report_run(context: Context, directory: Path, display: RunDisplay, seconds: Mapping[str, float]) -> float | None:
    """Write the report and show the final table; returns the win rate against SFT, or None."""
    evaluation = context.result("evaluation")
    figures = [*read_figures(evaluation), *time_figures(seconds)]
    limits = CheckLimits(**(context.cfg.evaluation.get("limits") or {}))
    checks = run_checks(figures, limits)
    labels = read_labels(context.result("labels")) if context.runs("labels") else []
    path = write_report(
        ReportInput(
            **run_fields(context, _labeler(context, labels), seconds),
            figures=tuple(figures),
            checks=tuple(checks),
            p_first=tuple(label.p_first for label in labels if label.p_first is not None),
            preferences=tuple(labels[:NUM_LABELS]),
            curves=tuple(
                CurvePoint(
                    step=int(row["step"]),
                    reward=row.get("policy/reward"),
                    kl=row.get("policy/kl"),
                    length=row.get("policy/length"),
                )
                for row in read_curve(context.result("policy") / CURVE)
            ),
            reliability=tuple(read_reliability(evaluation)),
            samples=tuple(_side_by_side(context, evaluation)),
            stage_seconds=seconds,
        ),
        directory,
    )
    display.summary(figures, checks, path, confidence=float(context.cfg.evaluation.confidence))
    return next((figure.value for figure in figures if figure.name == "policy/win_rate_vs_sft"), None)


def _labeler(context: Context, labels: Sequence[Preference]) -> str:
    """Who stands behind the reward, in words."""
    if labels:
        return labeler_in_words(labels[0]).split(":")[0]
    return f"direct RLAIF by {HydraConfig.get().runtime.choices['labeler']}"


def _side_by_side(context: Context, evaluation: Path) -> list[SideBySide]:
    judged = {label.comparison.id: label for label in read_judged(evaluation)}
    rows = read_responses(evaluation)[:NUM_SAMPLES]
    pairs = [Comparison(prompt=prompt, first=policy, second=sft) for prompt, (sft, policy) in rows]
    votes: Votes = [()] * len(pairs)
    if context.data.annotators is not None:
        votes = annotator_votes(context.data.annotators, pairs, context.cfg.evaluation.num_raters)
    return [
        SideBySide(
            prompt=pair.prompt.text,
            sft=pair.second.text,
            policy=pair.first.text,
            label=judged.get(pair.id),
            annotators=sum(vote) / len(vote) if vote else None,
        )
        for pair, vote in zip(pairs, votes, strict=True)
    ]


def run_fields(context: Context, who: str, ran: Iterable[str]) -> dict[str, Any]:
    """What every page tells of its run: fields of :class:`rlaif.reporting.records.ReportInput`.

    Args:
        context: The run.
        who: Whose page it is, in its title: the labeler.
        ran: Names of the stages that the page is about.
    """
    return {
        "title": f"{who} → {context.task.name.replace('_', ' ')}",
        "task": context.task.name,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "provenance": _provenance(context, ran),
        "config": OmegaConf.to_yaml(context.cfg, resolve=True),
        "confidence": float(context.cfg.evaluation.confidence),
    }


def _provenance(context: Context, ran: Iterable[str]) -> dict[str, str]:
    """Fingerprints of the stages that ran, and what they ran with."""
    names = set(ran)
    stages = {f"stage {name}": context.fingerprint(stage) for name, stage in context.stages.items() if name in names}
    libraries = {name: version(name) for name in ("rlaif", "torch", "transformers", "lightning")}
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return {**stages, **libraries, "python": platform.python_version(), "hardware": hardware}
