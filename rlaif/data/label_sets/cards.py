"""The card of a label set: contents, labelers, and measured quality of the labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlaif.errors import DataError

SPLITS = ("train", "validation", "test")
PROVENANCE = "provenance.json"
SUMMARY = "summary.json"
META = "meta.json"
COST = "cost.json"
REPORT = "report.json"
SCORECARD = "scorecard.json"
TITLE = "# Preference labels: "
TAG = "- rlaif"

LOAD = """```python
from datasets import load_dataset

labels = load_dataset("FOLDER")
```"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Provenance, counts and figures of a label table."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Provenance: the labeler's composed options, identities of prompt strategy and labeler."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Counts of the labeling: same-slot answers, tokens."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Seconds, dates and money."""
    scorecard: Mapping[str, str] = field(default_factory=dict)
    """Figures of the labeler's trial against people, by name."""

    @classmethod
    def beside(cls, table: Path) -> Card:
        """Read the card from the files in a table's directory, and from the figures of its run."""
        folder = table.parent
        return cls(
            provenance=_read_json(folder / PROVENANCE),
            summary=_read_json(folder / SUMMARY),
            meta={**_read_json(folder / COST), **_read_json(folder / META)},
            scorecard={**cls.figures(folder.parent / REPORT), **cls.figures(folder.parent / SCORECARD)},
        )

    @staticmethod
    def figures(report: Path) -> dict[str, str]:
        """The labeler's figures in a run's ``scorecard.json`` or ``report.json``; none without such a file.

        Raises:
            DataError: The file holds something else.
        """
        records = _read_json(report)
        try:
            return {record["name"]: _figure(record) for record in records if record["name"].startswith("labeler/")}
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise DataError(
                f"{report}: is no list of figures ({error!r}); give a run's scorecard.json or report.json"
            ) from error


@dataclass(kw_only=True)
class SetCounts:
    """Counts over the rows of a label set."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """By split."""
    missing: Counter[str] = field(default_factory=Counter)
    """Labels that were not obtained, by reason."""
    sources: Counter[str] = field(default_factory=Counter)
    labelers: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    num_ties: int = 0
    """Labels of exactly one half."""
    num_repeated: int = 0
    """Rows left out: the same source had labeled the pair before, in either order."""
    sum_p_first: float = 0.0

    @property
    def num_rows(self) -> int:
        """Rows over all splits."""
        return sum(self.rows.values())

    @property
    def num_labels(self) -> int:
        """Rows with a label."""
        return self.num_rows - self.missing.total()

    def add(self, row: Mapping[str, Any], split: str) -> None:
        """Count one row of a split."""
        self.rows[split] += 1
        self.sources[row["source"]] += 1
        self.labelers[row["labeler"]] += 1
        self.tasks[row["task"]] += 1
        if row["p_first"] is None:
            self.missing[row["missing"]] += 1
        else:
            self.sum_p_first += row["p_first"]
            self.num_ties += row["p_first"] == 0.5


def card_text(card: Card, counts: SetCounts, *, evidence: bool) -> str:
    """The card as Markdown, with the front matter by which ``load_dataset`` finds the splits.

    Args:
        card: What is known of the labels.
        counts: Counts over the rows of the set.
        evidence: Whether the column ``judgments`` is there.
    """
    tasks = ", ".join(sorted(counts.tasks)) or "no task"
    sections = [
        _front_matter(counts),
        f"{TITLE}{tasks}",
        "Soft preferences over pairs of responses: `p_first` is the probability that `first` is the better one, null"
        " where no label was obtained, with the reason in `missing`. A missing label is never filled in.",
        _section("Rows", _rows(counts)),
        _section("Missing, by reason", [(reason, f"{n:,}") for reason, n in counts.missing.most_common()]),
        _section("Labeler", _labeler(card, counts)),
        _options(card.provenance),
        _section("Scorecard", list(card.scorecard.items())),
        _section("Labeling", _plain(card.summary)),
        _section("Time and cost", _plain(card.meta))
        or f"Time and cost of the labeling are in the directory of the label table, in `{COST}` and `{META}`.",
        "## How to load\n\n" + LOAD,
        "The evidence of each label (judge prompts, replies, log-probabilities) is in `judgments`."
        if evidence
        else "The judge prompts and replies of each label are in the label table that this set was made from.",
        "## Licence\n\nNone is given here. Prompts and responses keep the licences of the data and of the models that"
        " wrote them; labels may be bound by the terms of the model that gave them. Look these up before you share"
        " the set.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def is_card(path: Path) -> bool:
    """True when a file is a card of :func:`card_text`, edited since or not: it has its tag and title."""
    if not path.is_file():
        return False
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return TAG in lines and any(line.startswith(TITLE) for line in lines)


def _front_matter(counts: SetCounts) -> str:
    files = [
        f"  - split: {split}\n    path: data/{split}.parquet" for split, num_rows in counts.rows.items() if num_rows
    ]
    lines = ["---", "configs:", "- config_name: default", "  data_files:", *files, "tags:", "- preference", TAG]
    return "\n".join([*lines, "---"])


def _rows(counts: SetCounts) -> list[tuple[str, str]]:
    rows = [(split, f"{num_rows:,}") for split, num_rows in counts.rows.items()]
    rows += [("with a label", f"{counts.num_labels:,}"), ("of these ties", f"{counts.num_ties:,}")]
    if counts.num_labels:
        rows.append(("mean p_first", f"{counts.sum_p_first / counts.num_labels:.4f}"))
    rows.append(("repeated pairs left out", f"{counts.num_repeated:,}"))
    return rows


def _labeler(card: Card, counts: SetCounts) -> list[tuple[str, str]]:
    rows = [("labeler (name and hash)", f"{name}: {n:,}") for name, n in counts.labelers.most_common() if name]
    rows += [("source", f"{name}: {n:,}") for name, n in counts.sources.most_common()]
    names = {"prompt_identity": "prompt strategy (hash of its templates)", "model": "model"}
    return rows + [(text, str(card.provenance[key])) for key, text in names.items() if card.provenance.get(key)]


def _options(provenance: Mapping[str, Any]) -> str:
    if "labeler" not in provenance:
        return ""
    return "Its options:\n\n```json\n" + json.dumps(provenance["labeler"], indent=1, sort_keys=True) + "\n```"


def _plain(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    plain = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
    return [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in plain.items()]


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *(f"| {_cell(a)} | {_cell(b)} |" for a, b in rows)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _figure(figure: Mapping[str, Any]) -> str:
    interval = "" if figure.get("low") is None else f" [{figure['low']:.4g}, {figure['high']:.4g}]"
    return f"{figure['value']:.4g}{interval}" + (f", n = {figure['n']:,}" if figure.get("n") is not None else "")


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); get it again, or make the card without it") from error
