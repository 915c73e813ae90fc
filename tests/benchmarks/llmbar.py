"""Compare the scorecards of a sweep over recorded judges with published counts in the schema of LLMBar.

The counts are the sweep's: this script only multiplies each share by the number of pairs. No test runs it, as the data
are not part of the project.

    V='+labeler.where.strategy=CoT,Vanilla'  # those that a judge has verdicts of
    rlaif-run -m --config-dir tests/benchmarks/conf experiment=llmbar data.path=pairs.parquet \\
        labeler.path=verdicts.parquet +labeler.where.judge=GPT-4 "$V" \\
        +labeler.where.subset=natural,neighbor,gptinst,gptout,manual hydra.sweep.dir=llmbar/gpt-4
    python tests/benchmarks/llmbar.py published.parquet llmbar/gpt-4 …
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import OmegaConf

FIGURES = {
    "correct_given": "labeler/correct_given",
    "correct_swapped": "labeler/correct_swapped",
    "correct_both": "labeler/correct_both",
    "same_answer": "labeler/same_answer",
}
CELL = ("subset", "judge", "strategy")


def measured(sweeps: list[Path]) -> dict[tuple[str, ...], dict[str, int]]:
    """The counts of every finished job by its cell."""
    cells = {}
    for path in sorted(scorecard for sweep in sweeps for scorecard in sweep.glob("*/scorecard.json")):
        where = OmegaConf.load(path.parent / "config.yaml").labeler.where
        figures = {figure["name"]: figure["value"] for figure in json.loads(path.read_text("utf-8"))}
        num_pairs = len(pq.read_table(path.parent / "scorecard" / "labels.parquet"))
        counts = {column: round(figures[name] * num_pairs, 6) for column, name in FIGURES.items()}
        cells[tuple(str(where[column]) for column in CELL)] = {"n": num_pairs, **counts}
    return cells


def main() -> None:
    """Print every cell that differs, and how many match."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path, help="Parquet: subset, judge, strategy, n, correct_…, same_answer")
    parser.add_argument("sweeps", type=Path, nargs="+", help="directories of sweeps")
    arguments = parser.parse_args()
    cells, matched = measured(arguments.sweeps), 0
    published: list[dict[str, Any]] = pq.read_table(arguments.published).to_pylist()
    for row in published:
        cell = tuple(str(row[column]) for column in CELL)
        wanted = {column: row[column] for column in ("n", *FIGURES)}
        if cells.get(cell) == wanted:
            matched += 1
        else:
            print(*cell, "published", wanted, "measured", cells.get(cell))
    print(f"cells matched {matched} of {len(published)}")


if __name__ == "__main__":
    main()
