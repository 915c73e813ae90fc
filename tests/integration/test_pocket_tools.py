"""The tools of the pocket world through the installed command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command


@pytest.mark.slow
def test_the_gate_measures_every_size_and_its_ceiling(command: Command) -> None:
    run = command.run("gate", "pipeline=pocket_gate", "data.num_eval_preferences=8", "data.num_eval_prompts=8")
    assert run.code == 0, run.stderr
    records = json.loads((run.stored("pocket_gate")[0] / "figures.json").read_text())
    figures = {figure["name"]: figure for figure in records}
    judged = [f"{size} {way}/alignment" for size in ("XS", "S", "L") for way in ("direct", "chain")]
    judged += [f"S {way}/alignment" for way in ("scorer", "binary")]
    judged += [f"L {way}/alignment" for way in ("scorer", "cot_scorer", "binary", "ranking", "criteria")]
    assert [figures[name]["n"] for name in judged] == [8] * 13
    assert figures["SFT against SFT"]["n"] == 8
