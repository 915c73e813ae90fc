"""``rlaif-bandit``: the page with its picture, and options that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif.cli import bandit

SHORT = ["--reward-steps", "40", "--sft-steps", "40", "--num-draws", "500"]


def run(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        bandit.main(words)
    return ended.value.code


def test_it_draws_a_page_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SHORT, "--out", str(tmp_path / "made")) == 0
    printed = capsys.readouterr().out
    assert "40.02" in printed and "78.54" in printed and "bandit.html" in printed
    assert "✓" not in printed and "✗" not in printed, "the published figures are of the published settings"
    figures = {row["name"]: row["value"] for row in json.loads((tmp_path / "made" / "bandit.json").read_text())}
    assert figures["bandit/student"] == pytest.approx(40.02, abs=0.01)
    page = (tmp_path / "made" / "bandit.html").read_text()
    assert page.count('<svg role="img"') == 1 and "learned reward" in page and "--reward-steps 40" in page


def test_what_cannot_be_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for variance, shown in (("0", "0.0"), ("inf", "inf")):
        assert run("--variance", variance, "--num-draws", "-1", "--out", str(tmp_path)) == 2
        told = capsys.readouterr().err
        assert f"--variance={shown}: must be a finite number above 0" in told
        assert "--num-draws=-1: must be at least 1" in told
    (tmp_path / "file").write_text("")
    assert run(*SHORT, "--out", str(tmp_path / "file" / "below")) == 2
    assert "this folder cannot be made" in capsys.readouterr().err
