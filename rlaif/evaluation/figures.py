"""The declaration of a figure: label, unit, explanation, check, plot and columns in the tables of a sweep.

A module that computes figures declares them in a tuple next to its functions, and the entry-point group
``rlaif.figures`` names the tuple (``alignment = "rlaif.evaluation.alignment:FIGURES"``). Another package declares
figures of its own in the same way; :mod:`rlaif.evaluation.catalogue` reads all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.evaluation.checks import Rule
from rlaif.evaluation.formats import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlot:
    """A plot of rates with their intervals, one row per figure that declares it."""

    name: str
    """Identifier on the page, for example ``win-rates``."""
    title: str
    """Heading of the plot's section."""
    hint: str = ""
    """A sentence or two below the heading; ``{confidence}`` is replaced by the coverage of the intervals in percent."""
    parity: bool = False
    """Draw a line at 50 %."""
    is_headline: bool = True
    """Place the plot above the table of figures; False places it below the reliability diagrams."""
    order: int = 100
    """Position among the plots, lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table over the jobs of a sweep."""

    table: str
    """``scorecards``, ``probes``, or the name of another table."""
    heading: str
    order: int
    """Position in the table, lowest first."""
    stratum: str = ""
    """The stratum (``name/stratum``) that the column shows; empty shows the figure over all rows."""
    on_terminal: bool = False
    """Show the column on the terminal as well, where space is scarce."""
    with_interval: bool = False
    """Show the interval on the terminal as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSpec:
    """The declaration of one figure."""

    name: str
    """``group/figure`` without a stratum. One ``*`` matches any text, as in ``policy/win_rate_vs_*``."""
    label: str
    """In words, without the judge; a ``*`` is replaced by the text that matches the ``*`` of the name."""
    unit: Unit = "rate"
    explanation: str = ""
    """One sentence for a reader who does not know the field."""
    order: int = 500
    """Position in the figure's group, lowest first; equal positions are sorted by name."""
    check: Rule | None = None
    """The rule that the figure must keep; None checks nothing."""
    plot: RatePlot | None = None
    """The plot that shows the figure and its strata; None shows it in the table alone."""
    columns: tuple[Column, ...] = ()
    """Columns in the tables of sweeps."""
