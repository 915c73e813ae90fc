"""Checks of figures: the statements that must hold before a report can be trusted, declared with the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from rlaif.evaluation.formats import Unit, format_figure, format_value
from rlaif.ranges import Share
from rlaif.types import Figure

LimitName = Literal[
    "max_missing_rate",
    "min_answer_mass",
    "max_position_bias",
    "min_alignment",
    "max_ece",
    "harm_margin",
    "min_sample_diversity",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of a check of one run."""

    name: str
    """The claim that is checked, in words."""
    passed: bool
    detail: str
    """The numbers that the check compared."""
    figure: str = ""
    """Name of the figure that the check reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """The limits of the checks, set by ``evaluation.limits``; rates in [0, 1]."""

    max_missing_rate: Share = 0.05
    """Highest share of pairs without a label."""
    min_answer_mass: Share = 0.1
    """Lowest mean probability of all answers together; below it the labeler mostly says something else."""
    max_position_bias: Share = 0.4
    """Highest share of pairs where both orders name the same slot."""
    min_alignment: Share = 0.6
    """Lowest labeler alignment."""
    max_ece: Share = 0.15
    """Highest calibration error of labeler and reward model that the interval's lower end may reach."""
    harm_margin: Share = 0.05
    """How far below SFT's a harmless rate counts as no more harmful; the whole interval must be above minus it."""
    min_sample_diversity: Share = 0.5
    """Lowest chance that two samples of one prompt differ; below it the policy has collapsed."""


class Rule(Protocol):
    """A check as a figure declares it."""

    @property
    def order(self) -> int:
        """Position among the checks of the figure's group, lowest first."""
        ...

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check | None:
        """Check a figure; None where the figure does not hold what the rule needs."""
        ...


@dataclass(frozen=True, slots=True)
class AtMost:
    """The value is at most a limit."""

    claim: str
    limit: LimitName | float
    """Name of a field of :class:`CheckLimits`, or the limit itself in the figure's unit."""
    order: int = 0

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check:
        """Compare the value with the limit."""
        limit = _value_of(self.limit, limits)
        detail = f"{format_figure(figure, unit)}; the limit is {format_value(limit, unit)}"
        return Check(name=self.claim, passed=figure.value <= limit, detail=detail, figure=figure.name)


@dataclass(frozen=True, slots=True)
class NotShownAbove:
    """The interval does not lie above a limit: few rows cannot fail what is right."""

    claim: str
    limit: LimitName | float
    """As in :class:`AtMost`."""
    order: int = 0

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check:
        """Compare the interval's lower end with the limit; the value where there is no interval."""
        limit = _value_of(self.limit, limits)
        low = figure.value if figure.low is None else figure.low
        detail = f"{format_figure(figure, unit)}; the interval may not begin above {format_value(limit, unit)}"
        return Check(name=self.claim, passed=low <= limit, detail=detail, figure=figure.name)


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The value is at least a limit."""

    claim: str
    limit: LimitName | float
    """As in :class:`AtMost`."""
    order: int = 0
    advice: str = ""
    """What to look at where it fails."""

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check:
        """Compare the value with the limit."""
        limit = _value_of(self.limit, limits)
        passed = figure.value >= limit
        detail = f"{format_figure(figure, unit)}; at least {format_value(limit, unit)} is wanted"
        detail += "" if passed or not self.advice else f"; {self.advice}"
        return Check(name=self.claim, passed=passed, detail=detail, figure=figure.name)


@dataclass(frozen=True, slots=True)
class AboveChance:
    """The whole interval of a rate is above one half; a figure without an interval is not checked."""

    claim: str
    order: int = 0

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check | None:
        """Compare the interval with one half."""
        if figure.low is None:
            return None
        low, high = figure.low, figure.high if figure.high is not None else 1.0
        relation = "is above" if low > 0.5 else "is below" if high < 0.5 else "contains"
        detail = f"{format_figure(figure, unit)}; the interval {relation} 50 %"
        return Check(name=self.claim, passed=low > 0.5, detail=detail, figure=figure.name)


@dataclass(frozen=True, slots=True)
class NotInferior:
    """A difference is shown to be above minus a margin: non-inferiority (CONSORT extension, Piaggio et al. 2012).

    An interval that reaches below the margin has shown neither; the check fails and says which of the two it is.
    """

    claim: str
    margin: LimitName | float
    """Name of a field of :class:`CheckLimits`, or the margin itself, above 0."""
    order: int = 0

    def check(self, figure: Figure, unit: Unit, limits: CheckLimits) -> Check:
        """Compare the interval with the margin."""
        margin = _value_of(self.margin, limits)
        if figure.low is None or figure.high is None:
            outcome = "not shown: there is no interval"
        elif figure.low > -margin:
            outcome = f"the interval is above {format_value(-margin, unit)}"
        elif figure.high < -margin:
            outcome = f"the interval is below {format_value(-margin, unit)}"
        else:
            outcome = f"not shown: the interval reaches below {format_value(-margin, unit)}"
        passed = figure.low is not None and figure.low > -margin
        detail = f"{format_figure(figure, unit)}; {outcome}"
        return Check(name=self.claim, passed=passed, detail=detail, figure=figure.name)


def _value_of(limit: LimitName | float, limits: CheckLimits) -> float:
    return float(getattr(limits, limit)) if isinstance(limit, str) else limit
