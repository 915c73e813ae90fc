"""``rlaif-runs summary`` on planted run directories."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from planted_runs import COMMIT, plant
from scipy import stats

from rlaif.cli import runs
from rlaif.evaluation.summary import standard_error
from rlaif.types import Figure

WINS = {0: 0.66, 1: 0.70, 2: 0.62}


def summary(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        runs.main(["summary", *map(str, words)])
    printed = capsys.readouterr()
    return int(str(caught.value.code)), printed.out, printed.err


def rows(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[dict[str, object]]:
    code, out, err = summary(capsys, *words, "--json", "-")
    assert code == 0, err
    found = json.loads(out)["rows"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [plant(tmp_path / f"run-{seed}", seed, {"policy/win_rate_vs_sft": win}) for seed, win in WINS.items()]


def test_mean_interval_and_spread_are_those_of_scipy(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, *three)
    reference = stats.ttest_1samp(list(WINS.values()), 0.0).confidence_interval()
    assert row["mean"] == pytest.approx(0.66) and row["spread"] == pytest.approx(0.04)
    assert (row["low"], row["high"]) == pytest.approx((reference.low, reference.high))
    assert (row["runs"], row["prompts"], row["note"]) == (3, 1200, "annotators")
    assert row["values"] == {"seed=0": 0.66, "seed=1": 0.70, "seed=2": 0.62}


def test_ends_of_a_rate_are_rates_in_every_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wins = {0: 0.99, 1: 0.90}
    names = ("policy/win_rate_vs_sft", "policy/kl")
    two = [plant(tmp_path / f"{seed}", seed, dict.fromkeys(names, win)) for seed, win in wins.items()]
    found = {row["figure"]: row for row in rows(capsys, *two)}
    reference = stats.ttest_1samp(list(wins.values()), 0.0).confidence_interval()
    assert reference.high > 1.0
    assert found["policy/win_rate_vs_sft"]["high"] == 1.0
    assert found["policy/win_rate_vs_sft"]["low"] == pytest.approx(reference.low)
    assert found["policy/kl"]["high"] == pytest.approx(reference.high)


def test_the_terminal_says_it_in_words(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = summary(capsys, *three)
    assert code == 0
    for words in ("Policy: win rate, same temperature", "66.0 %", "56.1–75.9 %", "4.0 pp", "3 runs 4.3"):
        assert words in out


def test_globs_and_sweeps_are_taken_apart(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    by_glob = rows(capsys, three[0].parent / "run-*")
    assert by_glob == rows(capsys, three[0].parent) == rows(capsys, *three)


def test_a_failed_job_of_a_sweep_is_told(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (three[2] / "report.json").unlink()
    (three[2] / "error.txt").write_text("the disk is full\n")
    code, out, _ = summary(capsys, three[0].parent)
    assert code == 0 and "run-2: left out, it holds no results (the disk is full)" in out.replace("\n", " ")


def test_groups_are_told_apart_and_compared_seed_by_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gains = {0: 0.05, 1: 0.06, 2: 0.07}
    for seed, win in WINS.items():
        plant(tmp_path / f"a{seed}", seed, {"policy/win_rate_vs_sft": win}, overrides=("task=dialogue",))
        plant(
            tmp_path / f"b{seed}",
            seed,
            {"policy/win_rate_vs_sft": win + gains[seed]},
            overrides=("task=dialogue", "policy.steps=320"),
            policy__steps=320,
        )
    one, two, difference = rows(capsys, tmp_path)
    assert [one["group"], two["group"]] == ["as configured", "policy.steps=320"]
    assert difference["group"] == "policy.steps=320 minus as configured" and difference["is_difference"]
    reference = stats.ttest_1samp(list(gains.values()), 0.0).confidence_interval()
    assert difference["mean"] == pytest.approx(0.06)
    assert (difference["low"], difference["high"]) == pytest.approx((reference.low, reference.high))
    assert one["high"] > two["low"]  # type: ignore[operator]


def test_a_labeler_with_a_seed_of_its_own_is_compared_with_one_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = {0: 0.05, 1: 0.06, 2: 0.07}
    for seed, win in WINS.items():
        for name, gain, own in (("scorer", 0.0, {}), ("draws", gains[seed], {"seed": 0})):
            figures = {"policy/win_rate_vs_sft": win + gain}
            plant(
                tmp_path / f"{name}{seed}", seed, figures, overrides=(f"labeler={name}",), labeler={"is": name, **own}
            )
    *_, difference = rows(capsys, tmp_path)
    assert difference["is_difference"] and difference["values"] == pytest.approx(
        {f"seed={seed}": -gain for seed, gain in gains.items()}
    )


def test_two_seeds_of_a_labeler_under_one_seed_are_no_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        plant(tmp_path / f"a{seed}", seed, {"policy/kl": 1.0}, overrides=("a=1",), labeler={"is": "scorer"})
        for own in (5, 6):
            labeler = {"is": "draws", "seed": own}
            plant(tmp_path / f"b{seed}{own}", seed, {"policy/kl": 2.0}, overrides=("b=1",), labeler=labeler)
    assert [row["runs"] for row in rows(capsys, tmp_path)] == [2, 4]


def test_runs_of_other_data_are_grouped_and_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        plant(tmp_path / f"a{seed}", seed, {"policy/kl": 1.0}, overrides=("task=dialogue",))
        words, task = ("task=summarization",), {"_target_": "rlaif.tasks.base.Summarization"}
        plant(tmp_path / f"b{seed}", seed, {"policy/kl": 2.0}, overrides=words, task=task)
    assert [row["group"] for row in rows(capsys, tmp_path)] == ["task=dialogue", "task=summarization"]


def test_options_that_change_no_result_make_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        plant(tmp_path / f"{seed}", seed, {"policy/kl": 1.0 + seed}, cost={"usd_per_hour": seed}, logger=f"x{seed}")
    assert [row["runs"] for row in rows(capsys, tmp_path)] == [2]


def test_ignored_options_make_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        plant(tmp_path / f"{seed}", seed, {"policy/kl": 1.0 + seed}, policy__steps=60 + seed)
    assert [row["runs"] for row in rows(capsys, tmp_path)] == [1, 1]
    assert [row["runs"] for row in rows(capsys, tmp_path, "--ignore", "policy.*")] == [2]


def test_other_splits_and_confidences_are_refused_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path / "a", 0, {"policy/kl": 1.0})
    plant(tmp_path / "b", 1, {"policy/kl": 1.0}, data__split="tuning", evaluation__confidence=0.9)
    code, _, err = summary(capsys, tmp_path)
    assert code == 2 and "2 problems" in err
    assert "data.split" in err and "tuning (1, e.g." in err and "evaluation.confidence" in err


def test_one_draw_does_not_count_twice(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    plant(three[0].parent / "copy", 0, {"policy/win_rate_vs_sft": 0.66})
    code, _, err = summary(capsys, three[0].parent)
    assert code == 2 and "seed=0" in err and "one draw" in err and "copy" in err


def test_the_same_directory_twice_is_one_run(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(capsys, *three, three[0]) == rows(capsys, *three)


def test_other_code_is_told(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    plant(three[0].parent / "later", 3, {"policy/win_rate_vs_sft": 0.7}, commit="ba9876543210+")
    code, out, _ = summary(capsys, three[0].parent)
    assert code == 0 and "different code" in out and COMMIT in out and "changed after its commit" in out


def test_words_that_name_nothing_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (plant(tmp_path / "unfinished", 0, {}) / "report.json").unlink()
    code, _, err = summary(capsys, tmp_path / "absent", tmp_path / "none*", tmp_path / "empty", tmp_path / "unfinished")
    assert code == 2 and "4 problems" in err
    for words in ("no such directory", "matches no directory", "neither a run's directory", "it did not finish"):
        assert words in " ".join(err.split())


def test_one_run_has_no_interval_and_says_so(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, three[0])
    assert (row["low"], row["high"], row["spread"]) == (None, None, None)
    _, out, _ = summary(capsys, three[0])
    assert "one run tells nothing about other seeds" in out


def test_a_figure_that_some_runs_lack(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    plant(three[0].parent / "more", 3, {"policy/win_rate_vs_sft": 0.7, "policy/kl": 4.0})
    code, out, _ = summary(capsys, three[0].parent, "--figures", "policy/kl")
    assert code == 0 and "1 of 4" in out and "win rate" not in out
    code, _, err = summary(capsys, three[0].parent, "--figures", "policy/klx")
    assert code == 2 and "no run has such a figure" in err


def test_kinds_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = plant(tmp_path / "a", 0, {"labeler/alignment": 0.7}, kind="scorecard")
    assert [row["figure"] for row in rows(capsys, place)] == ["labeler/alignment"]
    code, _, err = summary(capsys, place, "--kind", "probe")
    assert code == 2 and "holds no probe.json" in err


def test_files_that_are_written(three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = summary(capsys, *three, "--markdown", tmp_path / "t.md", "--csv", tmp_path / "t.csv")
    assert code == 0 and "66.0 %" in out
    assert (
        "| all | Policy: win rate, same temperature | 66.0 % (56.1–75.9 %) | 4.0 pp | 3 |"
        in (tmp_path / "t.md").read_text()
    )
    (record,) = csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text()))
    assert float(record["mean"]) == pytest.approx(0.66) and record["figure"] == "policy/win_rate_vs_sft"
    code, _, err = summary(capsys, *three, "--markdown", "-", "--csv", "-")
    assert code == 2 and "--csv -" in err
    code, _, err = summary(capsys, *three, "--csv", tmp_path / "absent" / "t.csv")
    assert code == 2 and "there is no directory" in err


def test_prompts_that_all_seeds_share_are_not_averaged_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(4):
        plant(tmp_path / str(seed), seed, {"policy/win_rate_vs_sft": 0.66}, data={"path": "x.jsonl", "split": "test"})
    (row,) = rows(capsys, tmp_path)
    error = standard_error(Figure(name="x", value=0.66, low=0.66 - 0.0392, high=0.66 + 0.0392))
    assert error == pytest.approx(0.02, rel=1e-3)
    assert row["high"] == pytest.approx(0.66 + 0.0392)


def test_a_pattern_that_matches_nothing_is_told(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--figures", "policy/win_rate_vs_sft", "policy/win_rate_vs_sftt", "--ignore", "policy.step", "store.*")
    code, out, _ = summary(capsys, *three, *words, "--json", "-")
    assert code == 0
    assert json.loads(out)["notices"][:2] == [
        "--figures policy/win_rate_vs_sftt: no run has such a figure; did you mean policy/win_rate_vs_sft?",
        "--ignore policy.step: no run has such an option; did you mean policy.steps?",
    ]


@pytest.mark.parametrize("width", [40, 60, 120])
def test_no_interval_is_broken_on_a_narrow_terminal(
    three: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = summary(capsys, *three)
    assert code == 0 and "56.1–75.9 %" in out and ("4.0 pp" in out) == (width > 40)
