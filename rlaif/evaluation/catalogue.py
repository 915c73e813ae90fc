"""All declared figures, ours and those of other packages, and what a table needs to know of a figure's name."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from functools import cache

from rlaif.errors import PluginError
from rlaif.evaluation.checks import Check, CheckLimits
from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.registry import OWN_PACKAGE, Component, components, load_component
from rlaif.types import Figure

GROUP = "rlaif.figures"
"""Entry-point group whose values name tuples of :class:`FigureSpec`."""
HEADINGS = {
    "labeler": "Labeler",
    "people": "People",
    "probe": "Probe",
    "cost": "Cost",
    "reward_model": "Reward model",
    "policy": "Policy",
    "sft": "SFT policy",
    "time": "Time",
}
"""Group of a figure's name to its heading, in the order of the tables; other groups follow, sorted by name."""

log = logging.getLogger(__name__)


@cache
def declared_figures() -> Mapping[str, FigureSpec]:
    """Every declared figure by its name, ours first.

    A package that cannot be imported, or that declares a figure which an earlier one has, is left out with a warning.
    """
    found: dict[str, FigureSpec] = {}
    for component in sorted(components(GROUP), key=lambda component: (component.package != OWN_PACKAGE, component)):
        for spec in _specs(component):
            if found.setdefault(spec.name, spec) != spec:
                log.warning("%s: the figure %s is declared already; that of %s is ignored", GROUP, spec.name, component)
    return found


def _specs(component: Component) -> tuple[FigureSpec, ...]:
    try:
        return tuple(load_component(component))
    except PluginError as error:
        log.warning("its figures are shown without labels: %s", error)
        return ()


def split_name(name: str) -> tuple[str, str, str]:
    """Split a figure's name into group, figure and stratum.

    >>> split_name("policy/win_rate_vs_sft/unseen")
    ('policy', 'policy/win_rate_vs_sft', 'unseen')
    >>> split_name("policy/kl")
    ('policy', 'policy/kl', '')
    """
    group, figure, *stratum = name.split("/", 2)
    return group, f"{group}/{figure}", stratum[0] if stratum else ""


def describe(name: str) -> FigureSpec:
    """The declaration of the figure of that name; an undeclared figure is a number labeled by its name.

    >>> describe("policy/harmless_rate/seen").label
    'harmless rate · seen'
    >>> describe("policy/win_rate_vs_other_run").label
    'win rate against other run'
    >>> describe("labeler/my_probe").label
    'my probe'
    """
    _, base, stratum = split_name(name)
    spec = _declared(base) or FigureSpec(name=base, label=_words(base.partition("/")[2]), unit="number", order=1000)
    return dataclasses.replace(spec, label=f"{spec.label} · {stratum}") if stratum else spec


def _declared(base: str) -> FigureSpec | None:
    declared = declared_figures()
    if base in declared:
        return declared[base]
    for spec in declared.values():
        start, star, end = spec.name.partition("*")
        if star and base.startswith(start) and base.endswith(end) and len(base) > len(start) + len(end):
            rest = base[len(start) : len(base) - len(end)]
            return dataclasses.replace(spec, label=spec.label.replace("*", _words(rest)))
    return None


def _words(name: str) -> str:
    return name.replace("_", " ")


def heading(group: str) -> str:
    """The heading of a group of figures.

    >>> heading("reward_model"), heading("my_safety")
    ('Reward model', 'my safety')
    """
    return HEADINGS.get(group, _words(group))


def sort_figures(figures: Iterable[Figure]) -> list[Figure]:
    """Sort figures by group, by their position in the group, and by name; strata follow their whole."""
    return sorted(figures, key=_position)


def _position(figure: Figure) -> tuple[int, str, int, str, str]:
    _, base, stratum = split_name(figure.name)
    return *_group_position(figure.name), describe(figure.name).order, base, stratum


def _group_position(name: str) -> tuple[int, str]:
    group = split_name(name)[0]
    return (list(HEADINGS).index(group) if group in HEADINGS else len(HEADINGS)), group


def run_checks(figures: Iterable[Figure], limits: CheckLimits | None = None) -> list[Check]:
    """Check every figure that declares a check; a figure that is absent is not checked.

    Args:
        figures: The figures of one run.
        limits: The limits that declarations name; None takes the defaults.

    Returns:
        Failed checks first, each part in a fixed order.
    """
    limits = limits or CheckLimits()
    checks: list[Check] = []
    for figure, spec in sorted(_checked(figures), key=_check_position):
        outcome = spec.check.check(figure, spec.unit, limits) if spec.check else None
        checks += [outcome] if outcome else []
    return sorted(checks, key=lambda check: check.passed)


def _checked(figures: Iterable[Figure]) -> list[tuple[Figure, FigureSpec]]:
    rows = [(figure, describe(figure.name)) for figure in figures if not split_name(figure.name)[2]]
    return [(figure, spec) for figure, spec in rows if spec.check is not None]


def _check_position(row: tuple[Figure, FigureSpec]) -> tuple[int, str, int, int, str]:
    figure, spec = row
    return *_group_position(figure.name), spec.check.order if spec.check else 0, spec.order, figure.name


def sweep_columns(table: str) -> dict[str, Column]:
    """The columns of a sweep's table by the name of the figure that they show, in the table's order.

    >>> list(sweep_columns("scorecards"))[:2]
    ['labeler/alignment', 'labeler/alignment_kappa']
    """
    found = [
        (f"{spec.name}/{column.stratum}" if column.stratum else spec.name, column)
        for spec in declared_figures().values()
        for column in spec.columns
        if column.table == table
    ]
    return dict(sorted(found, key=lambda item: (item[1].order, item[0])))
