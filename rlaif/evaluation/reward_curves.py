"""The parts of a policy's reward over its training, and what was missing, as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.evaluation.records import LinePanel, LinePlot, Section, Table

PART = "policy/reward/"
DISAGREEMENT = "disagreement"
MOST_LINES = 4


def reward_sections(rows: Sequence[Mapping[str, float]]) -> list[Section]:
    """Sections about the reward that a training's curve file holds.

    Args:
        rows: ``step`` and metrics named ``policy/…``.

    Returns:
        The parts of the reward by step, its disagreement by KL, and a table of what had no reward and why, each where
        there is any.
    """
    return [*_parts(rows), *_missing(rows)]


def _parts(rows: Sequence[Mapping[str, float]]) -> list[Section]:
    found = dict.fromkeys(name for row in rows for name in row if name.startswith(PART))
    names = [name.removeprefix(PART) for name in found]
    shown = [name for name in names if "/" not in name and name != DISAGREEMENT]
    panels = []
    if shown:
        lines = {name: _points(rows, "step", PART + name) for name in shown[:MOST_LINES]}
        panels.append(LinePanel(title="parts of the reward, without weights", x_label="optimizer step", lines=lines))
    if DISAGREEMENT in names:
        lines = {"steps, by their KL": _points(rows, "policy/kl", PART + DISAGREEMENT)}
        title = "disagreement of the reward models"
        panels.append(LinePanel(title=title, x_label="KL from SFT, nats per response", lines=lines))
    if not panels:
        return []
    more = f"{len(shown) - MOST_LINES} further parts are in curve.jsonl." if len(shown) > MOST_LINES else ""
    return [LinePlot(title="The reward in parts", panels=tuple(panels), hint=more)]


def _points(rows: Sequence[Mapping[str, float]], x: str, y: str) -> tuple[tuple[float, float], ...]:
    """The rows that have both figures, by the first."""
    return tuple(sorted((row[x], row[y]) for row in rows if x in row and y in row))


def _missing(rows: Sequence[Mapping[str, float]]) -> list[Section]:
    """Where a response had no reward, or one of exactly 0, in any step."""
    causes = {
        "policy/unreadable": "no reward: the judge's reply holds no verdict",
        "policy/failed": "no reward: the judge gave no reply",
        "policy/missing": "no reward, all causes",
        "policy/zero_reward": "a reward of exactly 0 (share of those with a reward)",
    }
    means = {name: _mean(rows, name) for name in causes if rows and name in rows[-1]}
    if not any(means.values()):
        return []
    shown = tuple(
        (causes[name], f"{100 * mean:.2f} %", f"{100 * _most(rows, name):.2f} %") for name, mean in means.items()
    )
    return [
        Table(
            title="Responses without a reward",
            columns=("responses", "mean over steps", "in the worst step"),
            rows=shown,
            hint="A response without a reward counts in no mean and gives no gradient; a reward of 0 counts.",
        )
    ]


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rows) / len(rows)


def _most(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return max(row.get(name, 0.0) for row in rows)
