"""The bandit of arXiv 2402.12366 as a page: policies, learned reward, students of other qualities, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rlaif.evaluation.bandit import Bandit, Policies, Quality, crossing, quality
from rlaif.evaluation.checks import Check
from rlaif.evaluation.records import LinePanel, LinePlot, Table
from rlaif.reporting.page_content import Page, RunInfo, environment
from rlaif.types import Figure

PUBLISHED = {"student": 40.0, "teacher": 78.5, "rlaif": 51.8, "sft": 70.7}
"""Mean actions of the paper's bandit; a run with its settings must come within 1."""
LABELS = {"student": "student", "teacher": "teacher", "rlaif": "RLAIF", "sft": "SFT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditStudy:
    """All that the page shows."""

    bandit: Bandit
    expected: Policies
    """With expectations in place of draws."""
    simulated: Policies
    """Learned from draws."""
    centers: tuple[float, ...]
    """Students of other qualities, and the mean action of RLAIF from each."""
    rlaif_means: tuple[float, ...]

    @property
    def crossings(self) -> dict[str, float]:
        """Student centers from which on RLAIF is better than SFT as trained, and than the teacher, where in range."""
        levels = {"sft": quality(self.expected.sft).mean, "teacher": quality(self.expected.teacher).mean}
        found = {name: crossing(self.centers, self.rlaif_means, level) for name, level in levels.items()}
        return {name: center for name, center in found.items() if center is not None}


def bandit_page(study: BanditStudy, command: str) -> Page:
    """The page of a study.

    Args:
        study: What was computed.
        command: The command as typed.
    """
    means = {name: quality(policy).mean for name, policy in study.expected.by_name.items()}
    better = "RLAIF" if means["rlaif"] > means["sft"] else "SFT"
    return Page(
        kind="bandit",
        title="Feedback on a weak student, or imitation of a strong teacher",
        task="bandit of arXiv 2402.12366",
        verdict=f"Mean action {means['rlaif']:.1f} after RLAIF from the student, {means['sft']:.1f} after SFT on the "
        f"teacher: {better} is better.{_crossing_words(study)}",
        figures=tuple(_figures(study, means)),
        checks=tuple(_checks(study, means)),
        sections=(bandit_table(study), _plot(study)),
        run=RunInfo(command=command, provenance=environment()),
    )


def bandit_table(study: BanditStudy) -> Table:
    """Each policy in numbers, in expectation and simulated."""
    expected, simulated = study.expected.by_name, study.simulated.by_name
    drawn = {name: f"{quality(simulated[name]).mean:.2f}" for name in ("rlaif", "sft")}
    rows = [(label, *_cells(quality(expected[name]), drawn.get(name, "–"))) for name, label in LABELS.items()]
    return Table(
        title="Mean actions",
        columns=("policy", "mean", "from draws", "deviation", "mode", "peak"),
        rows=tuple(rows),
        hint="Actions 0 to 99 are sorted by quality; the mean action is the expected true reward. From draws: learned "
        "from pairs and demonstrations that were drawn, as in the paper. Peak: probability of the mode.",
    )


def _cells(expected: Quality, drawn: str) -> tuple[str, ...]:
    return f"{expected.mean:.2f}", drawn, f"{expected.deviation:.1f}", str(expected.mode), f"{expected.peak:.3f}"


def _crossing_words(study: BanditStudy) -> str:
    found = study.crossings
    if "sft" not in found:
        return ""
    words = f" RLAIF is better from a student at {found['sft']:.1f} on"
    return f"{words}; against the teacher itself from {found['teacher']:.1f} on." if "teacher" in found else f"{words}."


def _figures(study: BanditStudy, means: dict[str, float]) -> list[Figure]:
    figures = [Figure(name=f"bandit/{name}", value=value, note="in expectation") for name, value in means.items()]
    crossings = study.crossings.items()
    return figures + [Figure(name=f"bandit/crosses_{name}_at_student", value=value) for name, value in crossings]


def _checks(study: BanditStudy, means: dict[str, float]) -> list[Check]:
    """The published figures, for a run with the published settings."""
    if study.bandit != Bandit():
        return []
    return [
        Check(
            name=f"{LABELS[name]} is within 1 of the paper's",
            passed=abs(means[name] - published) <= 1.0,
            detail=f"{means[name]:.2f}; the paper's bandit has {published}",
            figure=f"bandit/{name}",
        )
        for name, published in PUBLISHED.items()
    ]


def _plot(study: BanditStudy) -> LinePlot:
    policies = {LABELS[name]: _points(policy) for name, policy in study.expected.by_name.items()}
    rewards = {"in expectation": study.expected.rewards, "from draws": study.simulated.rewards}
    levels = {"SFT": study.expected.sft, "teacher": study.expected.teacher}
    by_student = {"RLAIF": tuple(zip(study.centers, study.rlaif_means, strict=True))} | {
        label: tuple((center, quality(policy).mean) for center in study.centers) for label, policy in levels.items()
    }
    return LinePlot(
        title="Where feedback moves the student",
        panels=(
            LinePanel(title="probability", x_label="action", lines=policies),
            LinePanel(
                title="learned reward",
                x_label="action",
                lines={label: _points(reward) for label, reward in rewards.items()},
            ),
            LinePanel(title="mean action", x_label="student's best action", lines=by_student),
        ),
        hint="The critic is perfect. Actions that the student never takes are in no pair and keep the reward 0, so "
        "RLAIF moves the student to the end of its own range, however good the teacher is.",
    )


def _points(values_A: Tensor) -> tuple[tuple[float, float], ...]:
    values: Sequence[float] = values_A.tolist()
    return tuple((float(action), value) for action, value in enumerate(values))
