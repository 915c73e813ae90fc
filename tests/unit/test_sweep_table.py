"""The table of a sweep: rows, names, failed jobs, and what is absent."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console

from rlaif.cli.run import run_job
from rlaif.cli.sweeps import NO_RESULT, RememberSweep, read_jobs, show_tables
from rlaif.evaluation.catalogue import sweep_columns
from rlaif.reporting.page import figures_json
from rlaif.reporting.tables import (
    Job,
    csv_text,
    markdown,
    row_names,
    terminal_table,
    write_tables,
)
from rlaif.types import Figure

SCORECARD_COLUMNS = sweep_columns("scorecards")

PAIRWISE = Job(
    overrides=("pipeline=scorecard", "labeler=pairwise", "seed=0"),
    figures=(
        Figure(name="labeler/alignment", value=0.7, low=0.65, high=0.75, n=500),
        Figure(name="labeler/position_bias", value=0.2, low=0.15, high=0.25, n=500),
        Figure(name="labeler/slot_p_value", value=1.5e-8, n=100),
    ),
)
LENGTH = Job(
    overrides=("pipeline=scorecard", "labeler=length", "seed=0"),
    figures=(Figure(name="labeler/alignment", value=0.6, low=0.55, high=0.65, n=500),),
)
BROKEN = Job(overrides=("pipeline=scorecard", "labeler=a|b", "seed=0"), failed="no such\nmodel")
JOBS = [PAIRWISE, LENGTH, BROKEN]


def test_rows_are_named_by_the_overrides_that_differ() -> None:
    assert row_names(JOBS) == ["labeler=pairwise", "labeler=length", "labeler=a|b"]
    assert row_names([PAIRWISE]) == ["pipeline=scorecard labeler=pairwise seed=0"]
    assert row_names([]) == []
    assert row_names([PAIRWISE, PAIRWISE]) == ["as configured", "as configured"]


def test_markdown_shows_intervals_failures_and_gaps() -> None:
    lines = markdown(JOBS, SCORECARD_COLUMNS).splitlines()
    assert lines == [
        "|  | alignment | same slot | p | n |",
        "|---|---|---|---|---|",
        "| labeler=pairwise | 70.0 % (65.0–75.0) | 20.0 % (15.0–25.0) | 1.5e-08 | 500 |",
        "| labeler=length | 60.0 % (55.0–65.0) | – | – | 500 |",
        "| labeler=a\\|b | failed: no such model |  |  |  |",
    ]


def test_csv_holds_plain_numbers_and_nothing_where_absent() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(JOBS, SCORECARD_COLUMNS))))
    assert (rows[0]["labeler/alignment"], rows[0]["labeler/alignment/low"]) == ("0.7", "0.65")
    assert rows[1]["labeler/position_bias"] == "" and rows[2]["failed"] == "no such\nmodel"


def test_the_terminal_table_fits_80_columns_and_names_failures() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(JOBS, SCORECARD_COLUMNS))
    text = console.export_text()
    assert "70.0 % (65.0–75.0)" in text and "failed" in text and "labeler=pairwise" in text
    assert "ECE" not in text  # no job has it
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_keeps_the_names_of_the_jobs(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(JOBS, SCORECARD_COLUMNS, width))
    text = console.export_text()
    assert "labeler=pairwise" in text and "70.0 % (65.0–75.0)" in text
    assert ("20.0 %" in text) == (width == 60)
    assert max(len(line) for line in text.splitlines()) <= width


def job_directory(sweep: Path, number: int, overrides: list[str]) -> Path:
    place = sweep / str(number)
    (place / ".hydra").mkdir(parents=True)
    (place / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    (place / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"job": {"num": number}}}))
    return place


def test_jobs_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        place = job_directory(tmp_path, number, [f"seed={number}"])
        if number != 1:
            (place / "scorecard.json").write_text(figures_json(LENGTH.figures), encoding="utf-8")
    (tmp_path / "1" / "error.txt").write_text("it broke\n")
    stopped = job_directory(tmp_path, 12, ["seed=12"])
    (stopped / "scorecard.json").write_text(figures_json(LENGTH.figures), encoding="utf-8")
    (stopped / "error.txt").write_text("stopped by the gate\n")
    job_directory(tmp_path, 11, ["model=pocket\\:XS"])
    jobs = read_jobs(tmp_path, "scorecard.json")
    assert [job.overrides for job in jobs] == [
        ("seed=1",),
        ("seed=2",),
        ("seed=10",),
        ("model=pocket:XS",),
        ("seed=12",),
    ]
    assert [job.failed for job in jobs] == ["it broke", None, None, NO_RESULT, "stopped by the gate"]
    assert jobs[1].figures == LENGTH.figures


def test_a_sweep_without_results_has_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_directory(tmp_path, 0, ["seed=0"])
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    RememberSweep().on_multirun_start(config)
    show_tables()
    assert capsys.readouterr().out == ""
    (tmp_path / "0" / "scorecard.json").write_text(figures_json(LENGTH.figures), encoding="utf-8")
    RememberSweep().on_multirun_start(config)
    show_tables()
    assert "60.0 % (55.0–65.0)" in capsys.readouterr().out
    assert (tmp_path / "scorecards.md").is_file()


def test_files_are_written_beside_each_other(tmp_path: Path) -> None:
    assert write_tables(JOBS, SCORECARD_COLUMNS, tmp_path, "scorecards") == tmp_path / "scorecards.md"
    rows = json.loads((tmp_path / "scorecards.json").read_text("utf-8"))
    assert [row["failed"] for row in rows] == [None, None, "no such\nmodel"]
    assert rows[0]["figures"][0]["low"] == 0.65


def test_a_sweep_below_a_directory_with_brackets_ends_with_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "[/data]"
    place = job_directory(sweep, 0, ["data.path=[/data/a.jsonl]"])
    (place / "scorecard.json").write_text(figures_json(LENGTH.figures), encoding="utf-8")
    RememberSweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}}))
    show_tables()
    assert f"{sweep}/scorecards.md" in capsys.readouterr().out


def test_the_overrides_of_a_job_are_shown_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = SimpleNamespace(
        mode=RunMode.MULTIRUN,
        runtime=SimpleNamespace(output_dir=str(tmp_path)),
        job=SimpleNamespace(num=0, name="rlaif"),
        overrides=SimpleNamespace(task=["data.path=[/a.jsonl,/b.jsonl]"]),
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    monkeypatch.setattr("rlaif.pipeline.run.run", lambda cfg: 0.5)
    assert run_job(OmegaConf.create({})) == 0.5
    assert "job 0: data.path=[/a.jsonl,/b.jsonl]" in capsys.readouterr().err
