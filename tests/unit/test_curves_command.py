"""``rlaif-runs curves`` on planted run directories, and the pooling of curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from scipy import stats

from rlaif.cli import runs
from rlaif.evaluation.pooled_curves import pool_curves
from rlaif.evaluation.records import ValidationCurves
from rlaif.reporting.curve_file import FORMATS

WINS = {0: (0.50, 0.60, 0.70), 1: (0.50, 0.66, 0.80), 2: (0.50, 0.63, 0.84)}


def plant(place: Path, seed: int, *, task: str = "Dialogue", validated: bool = True) -> Path:
    """A finished run whose policy was validated at steps 0, 20 and 40."""
    (place / "policy").mkdir(parents=True)
    config = {"task": {"_target_": f"rlaif.tasks.base.{task}"}, "data": {"seed": seed}, "seed": seed}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "report.json").write_text(json.dumps([{"name": "policy/kl", "value": 1.0, "n": 4}]))
    lines = [
        json.dumps({"step": 20 * index, "reward": 0.0, "win_rate/seen": wins, "win_rate/greedy/unseen": wins / 2})
        for index, wins in enumerate(WINS[seed])
    ]
    (place / "policy" / "validation.jsonl").write_text("\n".join([*lines, ""]) if validated else "")
    return place


def curves(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        runs.main(["curves", *map(str, words)])
    return int(str(caught.value.code))


def test_pooled_curves_have_the_mean_of_each_step_and_the_t_interval() -> None:
    found = pool_curves([ValidationCurves(win_rates={"seen, sampled": tuple(enumerate(WINS[seed]))}) for seed in WINS])
    (_, start), (_, middle), _ = found["seen, sampled"]
    assert (start.value, start.low, start.high) == (0.5, None, None), "equal by construction: no spread to judge by"
    expected = stats.t.interval(0.95, 2, loc=0.63, scale=stats.sem([0.60, 0.66, 0.63]))
    assert (middle.low, middle.high) == pytest.approx(expected)


def test_the_band_has_the_confidence_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr("rlaif.cli.curves.pool_curves", lambda *words: given.append(words[1]) or pool_curves(*words))
    place = plant(tmp_path / "run", 0)
    config = yaml.safe_load((place / "config.yaml").read_text()) | {"evaluation": {"confidence": 0.9}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    assert curves(place, "--file", tmp_path / "curve.svg") == 0
    assert given == [0.9]


def test_only_steps_and_curves_that_all_runs_have_are_pooled() -> None:
    one = ValidationCurves(win_rates={"a": ((0, 0.5), (20, 0.6), (40, 0.7)), "b": ((0, 0.5),)})
    other = ValidationCurves(win_rates={"a": ((0, 0.5), (40, 0.9))})
    found = pool_curves([one, other])
    assert [(step, each.value) for step, each in found["a"]] == [(0, 0.5), (40, pytest.approx(0.8))]
    assert list(found) == ["a"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_picture_is_written_and_the_same_again(form: str, tmp_path: Path) -> None:
    places = [plant(tmp_path / f"run-{seed}", seed) for seed in WINS]
    first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
    assert curves(*places, "--file", first) == curves(*places, "--file", second) == 0
    assert first.stat().st_size > 1_000
    assert first.read_bytes() == second.read_bytes()


def test_each_group_is_a_panel_with_its_number_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [plant(tmp_path / f"run-{seed}", seed) for seed in WINS]
    places += [plant(tmp_path / "other", 0, task="Summarization")]
    assert curves(*places, "--file", tmp_path / "both.svg") == 0
    assert "4 runs in 2 panels" in capsys.readouterr().out
    text = (tmp_path / "both.svg").read_text()
    for part in ("3 seeds", "seed=0", "seen, sampled", "unseen, greedy"):
        assert part in text


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, bare = plant(tmp_path / "run", 0), plant(tmp_path / "bare", 1, validated=False)
    refused = {
        ("--file", str(tmp_path / "curve.gif")): "must end in .svg, .png, .pdf",
        ("--file", str(tmp_path / "absent" / "curve.svg")): "there is no directory",
        (str(bare), "--file", str(tmp_path / "curve.svg")): "policy.validate_every",
        ("--step", "sft", "--file", str(tmp_path / "curve.svg")): "--step names another step",
    }
    for words, told in refused.items():
        assert curves(run, *words) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    lines = (tmp_path / "run" / "policy" / "validation.jsonl").read_text().replace("seen", "other")
    other = plant(tmp_path / "other", 2)
    (other / "policy" / "validation.jsonl").write_text(lines)
    assert curves(run, other, "--file", tmp_path / "curve.svg") == 2
    assert "no validation in common" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "curve.svg").exists()


def test_a_run_directory_that_was_moved_is_told_by_its_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plant(tmp_path / "run", 0)
    (run / "policy").rename(tmp_path / "stored")
    (run / "policy").symlink_to(Path("..") / "stored")
    assert curves(run, "--file", tmp_path / "curve.svg") == 0
    (tmp_path / "elsewhere").mkdir()
    moved = run.rename(tmp_path / "elsewhere" / "deep")
    assert curves(moved, "--file", tmp_path / "curve.svg") == 2
    assert "policy: its link to ../stored leads nowhere: the run's directory was moved" in capsys.readouterr().err
