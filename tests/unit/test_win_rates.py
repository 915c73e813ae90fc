"""Win rates by a column, through the command: every row with a label counts, ties one half, equal responses too."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from rlaif.cli import labels as command
from rlaif.data.preferences_io import write_preferences
from rlaif.types import Comparison, Completion, Preference, Prompt


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        command.main(["summary", *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), (shown.out + shown.err).splitlines()


def annotation(number: int, model: str, preference: float | None, output: str = "longer") -> dict[str, Any]:
    texts = {"instruction": f"Question {number}", "output_1": "base", "output_2": output}
    return {**texts, "generator_1": "baseline", "generator_2": model, "preference": preference}


def test_win_rates_of_alpaca_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Preferences from 1 to 2; 0 is a tie; the same pair of two models counts for each."""
    rows = [annotation(n, "hare", 2) for n in range(6)] + [annotation(n, "hare", 1) for n in range(6, 9)]
    rows += [annotation(9, "hare", 0), annotation(0, "tortoise", 1.25), annotation(1, "tortoise", 1.5, "base")]
    rows.append(annotation(2, "tortoise", None))
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    code, lines = run(capsys, str(path), "--format", "alpaca_eval", "--by", "generator_2")
    assert code == 0
    assert re.fullmatch(r"hare +65\.00 % \[\S+, \S+\]  \(first 35\.00 %\)  10 prompts, 10 labels", lines[-2])
    assert lines[-1].split()[:3] == ["tortoise", "37.50", "%"]
    assert lines[-1].endswith("2 prompts, 2 labels, 1 without a label")


def test_the_interval_is_wilsons_where_every_row_has_its_own_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([annotation(n, "hare", 2 if n < 7 else 1) for n in range(10)]), encoding="utf-8")
    _, lines = run(capsys, str(path), "--format", "alpaca_eval", "--by", "generator_2")
    low, high = (100 * end for end in proportion_confint(7, 10, method="wilson"))
    assert f"70.00 % [{low:.2f}, {high:.2f}]" in lines[-1]


def test_equal_responses_to_different_prompts_are_different_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "annotations.json"
    rows = [annotation(n, "hare", 1.5, "base" if n < 5 else "longer") for n in range(9)]
    path.write_text(json.dumps(rows), encoding="utf-8")
    _, lines = run(capsys, str(path), "--format", "alpaca_eval", "--by", "generator_2")
    assert lines[-1].endswith("9 prompts, 9 labels")


def test_a_label_table_by_its_writers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt(task="dialogue", text="Hi")
    pair = Comparison(
        prompt=prompt, first=Completion(text="a", source="sft"), second=Completion(text="b", source="policy")
    )
    write_preferences(tmp_path / "labels.parquet", [Preference(comparison=pair, p_first=0.2, source="ai")])
    code, lines = run(capsys, str(tmp_path / "labels.parquet"), "--by", "second_source")
    assert code == 0 and lines[-1].split()[:3] == ["policy", "80.00", "%"]
    code, lines = run(capsys, str(tmp_path / "labels.parquet"), "--by", "model")
    assert code == 2 and "--by model: a label table is grouped by first_source, second_source" in " ".join(lines)


def test_a_column_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([annotation(0, "hare", 2)]), encoding="utf-8")
    code, lines = run(capsys, str(path), "--format", "alpaca_eval", "--by", "model")
    assert code == 2
    assert "--by model: there is no such column; a row has instruction, output_1" in " ".join(lines)


def test_rows_that_list_the_better_response_first_have_no_second_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    row = {"prompt": "Q", "chosen": "good", "rejected": "bad", "model": "hare"}
    path.write_text("".join(json.dumps(row | {"prompt": f"Q{n}"}) + "\n" for n in range(9)))
    code, lines = run(capsys, str(path), "--by", "model")
    assert code == 2 and "a win rate of the second response would say nothing" in "\n".join(lines)


def test_only_rows_of_the_confidences_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {
            "prompt": f"Q{n}",
            "first": "a",
            "second": "b",
            "p_first": float(n < 3),
            "confidence": 9 if n < 2 else 1,
            "of": "x",
        }
        for n in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, lines = run(capsys, str(path), "--format", "table", "--confidences", "9", "--by", "of")
    assert "  0.00 %" in lines[-1] and lines[-1].endswith("2 prompts, 2 labels")


def test_rows_that_nobody_asked_for_are_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "annotations.json"
    rows = [annotation(n, ("hare", "tortoise")[n % 2], 2) for n in range(8)]
    path.write_text(json.dumps(rows), encoding="utf-8")
    _, lines = run(capsys, str(path), "--where", "generator_2=hare", "--by", "generator_2")
    assert "not asked for: 4 × other generator_2" in lines
    assert lines[-1].endswith("4 prompts, 4 labels") and not any(line.startswith("tortoise") for line in lines)
