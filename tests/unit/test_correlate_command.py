"""``rlaif-runs correlate`` on planted run directories: policies of several labelers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planted_runs import plant
from scipy import stats

from rlaif.cli import runs

ALIGNMENT = {"length": 0.60, "pairwise": 0.70, "scorer": 0.66, "cot": 0.76, "panel": 0.72}
BIAS = {"length": 0.0, "pairwise": 0.4, "scorer": 0.1, "cot": 0.2, "panel": 0.3}
WINS = {"length": 0.50, "pairwise": 0.68, "scorer": 0.65, "cot": 0.75, "panel": 0.66}
"""In their order the alignments are 1, 2, 4, 3, 5 and the biases 1, 2, 4, 5, 3: ρ = 1 − 6 Σd² / 120 is 0.9 and 0.7."""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Two seeds a labeler; what the seeds add to the wins cancels in their mean and would change the order alone."""
    for name, win in WINS.items():
        for seed, noise in ((0, 0.05), (1, -0.05)):
            figures = {
                "labeler/alignment": ALIGNMENT[name] + noise,
                "labeler/position_bias": BIAS[name],
                "policy/greedy_win_rate_vs_sft": win + (noise if name == "panel" else 0.0),
                "policy/kl": 3.0,
            }
            place = tmp_path / "policies" / f"{name}-{seed}"
            plant(place, seed, figures, overrides=("task=dialogue", f"labeler={name}"), labeler={"name": name})
    return tmp_path / "policies"


def correlate(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        runs.main(["correlate", *map(str, words)])
    printed = capsys.readouterr()
    return int(str(caught.value.code)), printed.out, printed.err


def rows(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[tuple[str, str], dict[str, object]]:
    code, out, err = correlate(capsys, *words, "--json", "-")
    assert code == 0, err
    return {(row["file"], row["figure"]): row for row in json.loads(out)["rows"]}


def test_each_figure_is_correlated_over_the_means_of_labelers(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, policies / "*")
    assert list(found) == [("report", "labeler/alignment"), ("report", "labeler/position_bias")]
    alignment = found["report", "labeler/alignment"]
    assert alignment["correlation"] == pytest.approx(0.9)
    assert alignment["labelers"] == 5
    assert alignment["values"]["labeler=panel"] == pytest.approx([0.72, 0.66])  # type: ignore[index]
    assert found["report", "labeler/position_bias"]["correlation"] == pytest.approx(0.7)


def test_another_outcome_and_figures_can_be_named(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, policies / "*", "--outcome", "labeler/alignment", "--figures", "labeler/position_bias")
    assert found["report", "labeler/position_bias"]["correlation"] == pytest.approx(0.6)


def test_the_table_names_what_it_rests_on(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = correlate(capsys, policies / "*")
    assert code == 0
    assert "task=dialogue: rank correlation with win rate, both greedy" in out
    assert "Labeler: alignment" in out and "0.90" in out and "−0.17 … 1.00" in out
    assert "Bonett and Wright" in out


def test_scorecards_are_matched_by_their_labeler(
    policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, (name, value) in enumerate({"cot": 0.9, "length": 0.1, "pairwise": 0.8, "scorer": 0.2}.items()):
        plant(
            *(tmp_path / "cards" / str(place), 7, {"labeler/self_consistency": value}),
            **{"kind": "scorecard", "overrides": ("task=dialogue", f"labeler={name}"), "labeler": {"name": name}},
            label={"scorecard_pairs": 500},
        )  # type: ignore[arg-type]
    code, out, err = correlate(capsys, policies / "*", "--scorecards", tmp_path / "cards" / "*", "--json", "-")
    assert code == 0, err
    found = {(row["file"], row["figure"]): row for row in json.loads(out)["rows"]}
    consistency = found["scorecard", "labeler/self_consistency"]
    assert consistency["correlation"] == pytest.approx(1.0)
    assert (consistency["labelers"], consistency["labelers_without"]) == (4, 1)
    assert "labeler=panel: none of the scorecards is of this labeler with this task and data" in err


def test_policies_that_differ_in_more_than_the_labeler_are_refused(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"policy/greedy_win_rate_vs_sft": 0.7, "labeler/alignment": 0.7}
    plant(policies / "more", 0, figures, overrides=("labeler=more",), labeler={"name": "m"}, policy__steps=90)
    code, _, err = correlate(capsys, policies / "*")
    assert code == 2
    assert "policy.steps: the runs differ in it (policy.steps=60, policy.steps=90)" in err
    assert "--ignore policy.steps" in err
    assert correlate(capsys, policies / "*", "--ignore", "policy.steps")[0] == 0


def test_three_labelers_are_too_few(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = correlate(capsys, policies / "length-*", policies / "cot-*", policies / "panel-*")
    assert code == 2
    assert "takes at least 4 labelers on one task, here are 3" in err


def test_an_outcome_that_no_run_has_is_refused_with_those_it_has(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = correlate(capsys, policies / "*", "--outcome", "policy/wins")
    assert code == 2
    assert "--outcome=policy/wins" in err and "policy/greedy_win_rate_vs_sft, policy/kl" in err


def test_labelers_with_different_seeds_are_told(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "have not the same seeds" not in correlate(capsys, policies / "*")[1]
    code, out, _ = correlate(capsys, policies / "*-0", policies / "cot-1")
    assert code == 0
    assert "task=dialogue: the labelers have not the same seeds (1, 2 of them)" in out.replace("\n", " ")


def test_each_task_and_data_has_a_table_of_its_own(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, win in WINS.items():
        figures = {"labeler/alignment": 1 - win, "policy/greedy_win_rate_vs_sft": win}
        overrides = ("task=dialogue", f"labeler={name}")
        data = {"labeler": {"name": name}, "data__num_policy_prompts": 9}
        plant(policies / f"{name}-other", 0, figures, overrides=overrides, **data)  # type: ignore[arg-type]
    code, out, _ = correlate(capsys, policies / "*", "--figures", "labeler/alignment", "--json", "-")
    assert code == 0
    found = {row["runs"]: row["correlation"] for row in json.loads(out)["rows"]}
    assert found == {"task=dialogue": pytest.approx(0.9), "task=dialogue (2)": -1.0}


def test_labelers_whose_names_are_cut_to_the_same_words_stay_apart(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ways of typing the panel make the names fall back to the first three options that differ."""
    for number, win in enumerate((0.1, 0.2)):
        figures = {"labeler/alignment": 0.5 - win, "policy/greedy_win_rate_vs_sft": win}
        options = {"name": "panel", "a": 1, "b": 2, "c": 3, "d": number}
        place = policies / f"more-{number}-0"
        plant(place, 0, figures, overrides=("task=dialogue", "labeler=panel"), labeler=options)
    found = rows(capsys, policies / "*-0")
    assert found["report", "labeler/alignment"]["labelers"] == 7


def test_means_do_not_depend_on_the_order_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.2, 0.1), "c": (0.5, 0.5, 0.5), "d": (0.6, 0.6, 0.6)}
    for name, alignments in values.items():
        for seed, alignment in enumerate(alignments):
            figures = {"labeler/alignment": alignment, "policy/greedy_win_rate_vs_sft": ord(name) / 1000}
            plant(tmp_path / f"{name}-{seed}", seed, figures, overrides=(f"labeler={name}",), labeler={"name": name})
    correlation = rows(capsys, tmp_path / "*")["report", "labeler/alignment"]["correlation"]
    assert correlation == pytest.approx(stats.spearmanr([1.5, 1.5, 3, 4], [1, 2, 3, 4]).statistic)


def test_tables_of_other_confidence_are_refused(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in WINS:
        figures = {"labeler/alignment": 0.5, "policy/greedy_win_rate_vs_sft": 0.5}
        data = {"data__num_policy_prompts": 9, "evaluation__confidence": 0.8, "labeler": {"name": name}}
        plant(policies / f"{name}-other", 0, figures, overrides=(f"labeler={name}",), **data)  # type: ignore[arg-type]
    code, _, err = correlate(capsys, policies / "*")
    assert code == 2
    assert "evaluation.confidence: the runs differ in it (0.8, 0.95)" in err


def test_scorecards_on_other_data_are_left_out_and_told(
    policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(WINS):
        options = {"kind": "scorecard", "labeler": {"name": name}}
        plant(tmp_path / "same" / name, 0, {"labeler/self_consistency": number / 10}, **options)  # type: ignore[arg-type]
        other = {**options, "data__num_eval_prompts": 9}
        plant(tmp_path / "other" / name, 0, {"labeler/self_consistency": -number / 10}, **other)  # type: ignore[arg-type]
    code, out, err = correlate(
        capsys, policies / "*", "--scorecards", tmp_path / "same" / "*", tmp_path / "other" / "*", "--json", "-"
    )
    assert code == 0, err
    found = {row["figure"]: row for row in json.loads(out)["rows"] if row["file"] == "scorecard"}
    assert found["labeler/self_consistency"]["values"]["labeler=panel"][0] == 0.4
    assert err.count("left out, no run has its labeler, task and data") == 5


def test_scorecards_of_one_labeler_with_other_options_are_refused(
    policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (8, 9):
        place = tmp_path / f"card-{number}"
        options = {"kind": "scorecard", "labeler": {"name": "cot"}, "label": {"scorecard_pairs": number}}
        plant(place, 0, {"labeler/self_consistency": 0.5}, **options)  # type: ignore[arg-type]
    code, _, err = correlate(capsys, policies / "*", "--scorecards", tmp_path / "card-*")
    assert code == 2
    assert "card-8" in err and "are of one labeler and differ in other options" in err


def test_a_seed_of_the_labelers_own_is_not_another_seed(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        figures = {"labeler/alignment": 0.9, "policy/greedy_win_rate_vs_sft": 0.9}
        labeler = {"name": "votes", "seed": 0}
        plant(policies / f"votes-{seed}", seed, figures, overrides=("task=dialogue", "labeler=votes"), labeler=labeler)
    code, out, _ = correlate(capsys, policies / "*")
    assert code == 0 and "have not the same seeds" not in out


def test_a_figure_of_too_few_labelers_and_unreadable_figures_are_refused(
    policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cot", "panel", "length"):
        file = policies / f"{name}-0" / "report.json"
        file.write_text(json.dumps([*json.loads(file.read_text()), {"name": "labeler/extra", "value": 0.5}]))
    code, _, err = correlate(capsys, policies / "*", "--figures", "labeler/extra")
    assert code == 2 and "of 5 labelers fewer than 4 have such a figure" in err
    code, _, err = correlate(capsys, policies / "*", "--json", tmp_path)
    assert code == 2 and f"--json={tmp_path}: is a directory; name a file in it" in err
    code, _, err = correlate(capsys, policies / "*", "--json", "/proc/x.json")
    assert code == 2 and "--json=/proc/x.json: cannot be written" in err and "store.dir" not in err
    (policies / "cot-0" / "report.json").write_text('[{"name": "labeler/alignment", "value": NaN}]')
    code, _, err = correlate(capsys, policies / "*")
    assert code == 2 and "labeler/alignment: no finite number" in err


def test_a_figure_that_a_seed_lacks_leaves_its_labeler_out(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mean over the seeds that happen to have it would be held against means over others."""
    lacks(policies / "cot-1" / "report.json", "labeler/alignment")
    code, out, _ = correlate(capsys, policies / "*", "--json", "-")
    found = json.loads(out)
    assert code == 0 and "labeler=cot" not in found["rows"][0]["values"]
    assert (found["rows"][0]["labelers"], found["rows"][0]["labelers_without"]) == (4, 1)
    assert any("labeler=cot: left out of labeler/alignment" in notice for notice in found["notices"])
    lacks(policies / "cot-1" / "report.json", "policy/greedy_win_rate_vs_sft")
    code, _, err = correlate(capsys, policies / "*")
    assert code == 2 and "cot-1: have no such figure, which other seeds of their labeler have" in err


def lacks(file: Path, name: str) -> None:
    file.write_text(json.dumps([record for record in json.loads(file.read_text()) if record["name"] != name]))


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("sft/meta.json", "{broken", "is not what a step writes about itself"),
        ("sft/meta.json", "[1]", "is not what a step writes about itself"),
        (".hydra/overrides.yaml", "a: [", "is not a list of overrides"),
        (".hydra/overrides.yaml", "a: 1", "is not a list of overrides"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    file: str, text: str, told: str, policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = policies / "cot-1" / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    code, _, err = correlate(capsys, policies / "*")
    assert code == 2 and str(place.name) in err and told in " ".join(err.split())
