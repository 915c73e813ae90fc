"""A recorded judge through the installed command: a file in the schema of LLMBar, wording of our own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.timeout(900)

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ANSWERS: dict[str, list[tuple[int, int | None, int | None]]] = {
    "rivers": [(1, 1, 1), (2, 2, 1), (2, 1, 1), (1, 2, 2), (2, 2, None), (1, None, None)],
    "birds": [(2, 2, 2), (1, 2, 1)],
}
"""By subset: the better output, then the winners as given and swapped, named by their output."""
COUNTS = {
    "rivers": {"n": 6, "correct_given": 3, "correct_swapped": 1, "correct_both": 1, "same_answer": 4},
    "birds": {"n": 2, "correct_given": 1, "correct_swapped": 2, "correct_both": 1, "same_answer": 1},
}
"""By hand; a null is wrong, two nulls are the same answer."""


def write_files(folder: Path) -> None:
    """Pairs with long outputs, verdicts of two judges without texts, and the counts of one of them."""
    pairs: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for subset, rows in ANSWERS.items():
        for number, (label, given, swapped) in enumerate(rows):
            name = f"{subset}-{number}"
            texts = {"prompt": f"Tell me of {name}.", "output_1": "It flows. " * 400, "output_2": f"No {number}."}
            pairs.append({"id": name, "subset": subset, **texts, "label": label})
            winners = {"winner_as_given": given, "winner_when_swapped": swapped}
            verdicts.append({"id": name, "judge": "Owl", "strategy": "plain", **winners})
            verdicts.append(
                {"id": name, "judge": "Crow", "strategy": "plain", "winner_as_given": 1} | {"winner_when_swapped": 1}
            )
    pairs.append({**pairs[0], "id": "never asked", "prompt": "Nobody was asked this."})
    published = [{"subset": subset, "judge": "Owl", "strategy": "plain", **counts} for subset, counts in COUNTS.items()]
    for name, rows_of in (("pairs", pairs), ("verdicts", verdicts), ("published", published)):
        pq.write_table(pa.Table.from_pylist(rows_of), folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both subsets of one judge in one process; the model that no step needs does not exist."""
    home = tmp_path_factory.mktemp("recorded")
    write_files(home)
    command = [
        Path(sys.executable).parent / "rlaif-run",
        "-m",
        "--config-dir",
        BENCHMARKS / "conf",
        "experiment=llmbar",
    ]
    command += ["data.path=pairs.parquet", "labeler.path=verdicts.parquet", "model=hub", "model.name=no/such-model"]
    command += ["+labeler.where.judge=Owl", "+labeler.where.strategy=plain", "+labeler.where.subset=rivers,birds"]
    command += ["hydra.sweep.dir=sweep", "store.dir=store"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    ran = subprocess.run(
        list(map(str, command)), cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "κ" in ran.stdout, "the table of the sweep shows kappa"
    return home / "sweep"


def figures_of(sweep: Path, job: int) -> dict[str, Any]:
    records = json.loads((sweep / str(job) / "scorecard.json").read_text("utf-8"))
    return {record["name"]: record for record in records}


def test_every_pair_that_the_judge_was_asked_about_is_measured_and_no_other(sweep: Path) -> None:
    """Also those whose output is longer than ``data.max_response_tokens``, and none for training."""
    rivers, birds = figures_of(sweep, 0), figures_of(sweep, 1)
    assert (rivers["labeler/missing_rate"]["n"], birds["labeler/missing_rate"]["n"]) == (6, 2)
    assert rivers["labeler/missing_rate"]["value"] == pytest.approx(2 / 6)
    assert rivers["labeler/position_bias"]["value"] == pytest.approx(1 / 4), "of those with a verdict in each order"
    assert rivers["labeler/alignment_given"]["value"] == pytest.approx(3 / 5)
    assert rivers["labeler/correct_given"]["value"] == pytest.approx(3 / 6)
    assert rivers["labeler/alignment"]["value"] == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert rivers["labeler/alignment"]["note"].startswith("human labels of the data")


def test_the_benchmark_compares_counts_cell_by_cell(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("llmbar_benchmark", BENCHMARKS / "llmbar.py")
    assert spec is not None and spec.loader is not None
    benchmark: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    published = sweep.parent / "published.parquet"
    monkeypatch.setattr(sys, "argv", ["llmbar.py", str(published), str(sweep)])
    benchmark.main()
    assert capsys.readouterr().out.splitlines() == ["cells matched 2 of 2"]
    rows = pq.read_table(published).to_pylist()
    rows[0]["same_answer"] += 1
    pq.write_table(pa.Table.from_pylist(rows), published)
    benchmark.main()
    assert capsys.readouterr().out.splitlines()[-1] == "cells matched 1 of 2"
