"""What a run prints: plain lines in a file, redrawn lines in a terminal, never wider than 80 columns."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.probe import attack_table
from rlaif.evaluation.records import Table
from rlaif.reporting.terminal import RunDisplay, cross_table
from rlaif.types import Figure

SIMULATED = "simulated annotators"
FIGURES = [
    Figure(name="policy/win_rate_vs_sft", value=0.71, low=0.67, high=0.75, n=400, note=f"{SIMULATED}; 3 raters"),
    Figure(name="policy/win_rate_vs_sft/unseen", value=0.66, low=0.56, high=0.75, n=80, note=SIMULATED),
    Figure(name="policy/win_rate_vs_sft_length_controlled", value=0.6, low=0.48, high=0.7, n=400, note=SIMULATED),
    Figure(name="policy/harmless_rate_difference", value=0.2, low=0.1, high=0.3, n=400, note=SIMULATED),
    Figure(name="labeler/missing_rate", value=0.0, n=2000, note="a labeler with a very long name"),
    Figure(name="policy/kl", value=6.25, low=6.0, high=6.5, n=400),
    Figure(name="time/total", value=300.0),
]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[RunDisplay, io.StringIO, Clock]:
    file, clock = io.StringIO(), Clock()
    return RunDisplay(Console(file=file, width=80, highlight=False), clock=clock), file, clock


def test_plain_lines_have_no_control_characters() -> None:
    display, file, clock = plain()
    display.header("rlaif-run task=dialogue " + "x=1 " * 30, "outputs/run")
    with display.stage("sft") as stage:
        stage.reused("3f9a77c2")
    with display.stage("labels") as stage:
        progress = stage.progress(2000, unit="pairs", completed=1000)
        clock.now = 20.0
        progress.advance(500)
        progress.advance(1)
        stage.note("2,000 pairs, 0.3 % missing")
        clock.now = 75.0
    lines = file.getvalue().splitlines()
    assert lines[-3:] == [
        "✓ sft                  reused from store · 3f9a77c2",
        "  labels               1,500/2,000 pairs, 20 s left",
        "✓ labels               2,000 pairs, 0.3 % missing · 1:15",
    ]
    assert not any(ord(character) < 32 and character != "\n" for character in file.getvalue())


def test_a_note_of_several_stages_is_shown_once() -> None:
    display, file, _ = plain()
    display.notes(("3 prompts are cut", "no KL [bold]"))
    display.notes(("3 prompts are cut",))
    assert file.getvalue().splitlines() == ["    3 prompts are cut", "    no KL [bold]"]


def test_cells_that_a_model_wrote_are_shown_as_they_are() -> None:
    display, file, _ = plain()
    display.table(Table(title="Criteria", columns=("criterion",), rows=(("Does it end with [/INST] or [bold]?",),)))
    assert "Does it end with [/INST] or [bold]?" in file.getvalue()


def test_summary_is_one_table_within_80_columns_and_the_path_last() -> None:
    display, file, _ = plain()
    display.summary(FIGURES, run_checks(FIGURES), Path("outputs/run/report.html"))
    text = file.getvalue()
    lines = text.splitlines()
    assert lines[-1] == "report  outputs/run/report.html"
    assert max(map(len, lines)) <= 80 and all(line == line.rstrip() for line in lines)
    assert "✓ win rate, same temperature    71.0 %     67.0–75.0   400 simulated annotators" in lines
    assert any(line.startswith("✗ same temperature, length") for line in lines)
    assert any(
        line.startswith("✗ not shown: the policy beats SFT at the same temperature and length") for line in lines
    )
    assert "+20.0 pp +10.0 … +30.0" in text and "5:00" not in text


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, ["value", "95 % interval", "n", "judged by"]),
        (80, ["value", "95 % interval", "n", "judged by"]),
        (60, ["value", "95 % interval", "n"]),
        (40, ["value", "95 % interval"]),
        (26, ["value"]),
    ],
)
def test_names_stay_on_a_narrow_terminal_and_other_columns_go_first(width: int, shown: list[str]) -> None:
    file = io.StringIO()
    RunDisplay(Console(file=file, width=width, highlight=False)).summary(FIGURES, run_checks(FIGURES))
    lines = file.getvalue().splitlines()
    table = lines[1 : lines.index("", 1)]
    assert max(map(len, table)) <= width
    assert [word for word in ("value", "95 % interval", "n", "judged by") if f" {word}" in table[0]] == shown
    words = " ".join(" ".join(table).split())
    for value in ("71.0 %", "66.0 %", "60.0 %", "+20.0 pp", "6.25 nats", "0.0 %"):
        assert value in words, "no value is cut"
    for label in (
        "win rate, same temperature",
        "same temperature, length",
        "harmless rate minus SFT's",
        "missing labels",
    ):
        for word in label.split():
            assert word[:14] in words, f"{word} of {label!r} is cut at {width} columns"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_cross_table_keeps_its_rows_names(width: int) -> None:
    figures = [
        Figure(name=f"probe/{kind}/fake_verdict_2", value=0.25, n=30)
        for kind in ("flip_rate", "win_rate_vs_good", "win_rate_vs_worse", "missing_rate")
    ]
    file = io.StringIO()
    Console(file=file, width=width).print(cross_table(attack_table(figures), width=width))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "fake_verdict_2" in lines[-1] and "25.0 %" in lines[-1]
    assert lines[-1].count("25.0 %") == (4 if width >= 60 else 2)


def test_a_stage_that_fails_says_so_and_raises() -> None:
    display, file, _ = plain()
    with pytest.raises(KeyboardInterrupt), display.stage("reward_model"):
        raise KeyboardInterrupt
    assert file.getvalue() == "✗ reward model         stopped after 0.0 s\n"


def test_terminal_redraws_and_ends_with_one_line() -> None:
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=True, width=80, color_system=None, legacy_windows=False, _environ={})
    display = RunDisplay(console, clock=clock)
    assert display.is_live
    with display.stage("policy") as stage:
        progress = stage.progress(60, unit="steps")
        clock.now = 30.0
        progress(15)
        rendered = io.StringIO()
        Console(file=rendered, width=80).print(stage._render())
        assert "15/60 steps" in rendered.getvalue() and "1:30 left" in rendered.getvalue()
        stage.note("60 steps")
    last = file.getvalue().splitlines()[-1]
    assert last.split() == ["✓", "policy", "60", "steps", "30", "s"] or last.endswith("30 s")


def test_quiet_console_prints_nothing() -> None:
    file = io.StringIO()
    display = RunDisplay(Console(file=file, quiet=True))
    with display.stage("sft") as stage:
        stage.progress(3).advance()
    display.summary(FIGURES, [], None)
    assert file.getvalue() == ""
