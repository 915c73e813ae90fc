"""The sections of a page as records: stages return them, and ``reporting`` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rlaif.types import Figure, Preference

if TYPE_CHECKING:
    from rlaif.evaluation.figures import RatePlot


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One RL step; None where nothing was measured."""

    step: int
    reward: float | None = None
    """Mean reward-model score of the step's responses, without the KL term."""
    kl: float | None = None
    """Mean KL from the SFT policy, nats per response."""
    length: float | None = None
    """Mean length of the step's responses, in tokens."""
    margin: float | None = None
    """Mean margin of the judged pairs, in nats: in the place of a reward that is 0 by construction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Reward or margin, KL and length over the steps of RL."""

    points: tuple[CurvePoint, ...]
    title: str = "Reinforcement learning"

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, float]],
        title: str = "Reinforcement learning",
        *,
        is_relative: bool = False,
    ) -> Curves:
        """Read the rows of a training's curve file.

        Args:
            rows: ``step`` and metrics named ``policy/…``.
            title: Of the section.
            is_relative: Whether the mean reward is 0 by construction, so that the margin is read in its place.
        """
        return cls(title=title, points=tuple(_point(row, "margin" if is_relative else "reward") for row in rows))


def _point(row: Mapping[str, float], learned: Literal["reward", "margin"]) -> CurvePoint:
    figures = {name: row.get(f"policy/{name}") for name in (learned, "kl", "length")}
    return CurvePoint(step=int(row["step"]), **figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationCurves:
    """Validations of a policy over the steps of RL."""

    win_rates: Mapping[str, tuple[tuple[int, float], ...]]
    """Stratum (empty for all prompts) and decoding, e.g. ``"unseen, greedy"``, to (step, win rate against SFT)."""
    rewards: tuple[tuple[int, float], ...] = ()
    """(step, mean reward)."""
    title: str = "Validation during reinforcement learning"

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float]]) -> ValidationCurves:
        """Read the rows of a validation file; with strata, the curves of all prompts together are left out."""
        names = [name for name in (rows[0] if rows else ()) if name.startswith("win_rate")]
        strata = [name for name in names if name.removeprefix("win_rate").removeprefix("/greedy")]
        win_rates = {_curve_label(name): _points(rows, name) for name in strata or names}
        return cls(win_rates=win_rates, rewards=_points(rows, "reward"))


def _points(rows: Sequence[Mapping[str, float]], name: str) -> tuple[tuple[int, float], ...]:
    return tuple((int(row["step"]), row[name]) for row in rows if name in row)


def _curve_label(name: str) -> str:
    """``win_rate/greedy/unseen`` as ``unseen, greedy``."""
    parts = name.split("/")[1:]
    stratum = "".join(part for part in parts if part != "greedy") or "all prompts"
    return f"{stratum}, {'greedy' if 'greedy' in parts else 'sampled'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Predictions of about one size."""

    predicted: float
    """Mean predicted P(first) of the bin."""
    observed: float
    """Share of the bin's verdicts for the first response."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityDiagram:
    """Predicted against observed shares: is a P(first) of 0.8 right in 80 % of pairs?"""

    title: str
    """Source of the probabilities, for example ``"Labeler"``."""
    bins: tuple[ReliabilityBin, ...]
    """Without empty bins."""
    judged_by: str
    """The judge whose verdicts were observed, for example ``"simulated annotators"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PFirstHistogram:
    """A histogram of labels' P(first)."""

    p_first: tuple[float, ...]
    """Of the labels that are not missing."""
    title: str = "Labels"

    @classmethod
    def of(cls, labels: Iterable[Preference], title: str = "Labels") -> PFirstHistogram:
        """The histogram of labels, missing ones left out."""
        return cls(p_first=tuple(label.p_first for label in labels if label.p_first is not None), title=title)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSamples:
    """A few labels with both candidates and everything that the labeler wrote."""

    labels: tuple[Preference, ...]
    hint: str = "A few of the pairs that the reward model learned from, with everything the labeler wrote."
    """One sentence about the choice of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySideRow:
    """One held-out prompt with the responses of both policies."""

    prompt: str
    sft: str
    policy: str
    label: Preference | None = None
    """A label of (first = policy, second = SFT) with both orders; None where no judge was asked."""
    annotators: float | None = None
    """Share of simulated annotators who preferred the policy's response; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Responses of the SFT policy and of the policy to the same prompts."""

    rows: tuple[SideBySideRow, ...]
    title: str = "SFT and policy side by side"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossTable:
    """Figures of several kinds for each of several things: one row per thing, one column per kind.

    The figures of a cross table are left out of the page's table of figures.
    """

    title: str
    hint: str
    """A sentence or two below the title; ``{confidence}`` is replaced by the coverage of the intervals in percent."""
    row_heading: str
    """Heading of the first column."""
    columns: Mapping[str, str]
    """Kind of a figure to its heading, in order; every kind is shown as a rate."""
    rows: Mapping[str, Mapping[str, Figure]]
    """Name of a row to its figures by kind; a kind may be absent."""
    row_words: Mapping[str, str] = field(default_factory=dict)
    """Name of a row to a description below it."""
    plot: RatePlot | None = None
    """The plot below the table; None for none."""
    plotted: tuple[Figure, ...] = ()
    """The figures of the plot, top row first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePanel:
    """One panel of lines over a common axis."""

    title: str
    x_label: str
    lines: Mapping[str, tuple[tuple[float, float], ...]]
    """Label of each line to its points (x, y), at most four lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlot:
    """Panels of lines, side by side or one above the other."""

    title: str
    panels: tuple[LinePanel, ...]
    hint: str = ""
    """A sentence or two below the panels."""
    is_stacked: bool = False
    """True where the panels lie one above the other on one horizontal axis."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """Label to x of lines that cross all panels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plain table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A few paragraphs, separated by empty lines."""

    title: str
    text: str


Section = (
    Curves
    | ValidationCurves
    | ReliabilityDiagram
    | PFirstHistogram
    | LabelSamples
    | SideBySide
    | CrossTable
    | LinePlot
    | Table
    | Text
)
"""Every kind of section that a stage may return for a page."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of an evaluator: figures and sections of a page."""

    figures: tuple[Figure, ...] = ()
    sections: tuple[Section, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.figures + other.figures, self.sections + other.sections)
