"""The whole loop through the installed command, on settings of a few seconds."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rlaif.data.preferences_io import read_preferences
from rlaif.types import Preference

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = pytest.mark.timeout(1800)

HARMLESS = "task=harmless_dialogue"
NAMES = {
    "labeler/alignment",
    "labeler/position_bias",
    "labeler/missing_rate",
    "reward_model/accuracy",
    "policy/greedy_win_rate_vs_sft",
    "policy/greedy_win_rate_vs_sft_llm_judge",
    "policy/win_rate_vs_best_sft",
    "policy/win_rate_vs_best_sft_llm_judge",
    "policy/win_rate_vs_sft",
    "policy/win_rate_vs_sft_length_controlled",
    "sft/greedy_win_rate_vs_sampled",
    "sft/best_temperature",
    "policy/greedy_harmless_rate",
    "policy/harmless_rate",
    "sft/harmless_rate",
    "policy/distinct_rate",
    "policy/sample_diversity",
    "policy/kl",
}
NOT_A_RATE = re.compile(
    r".*_(kappa|ac1)(/|$)|.*/ece$|policy/kl|(policy|sft)/(mean_length|entropy)|policy/(greedy_)?(harmless_rate|reward)_difference|time/"
)
TRAINED = {"sft", "samples", "labels", "reward model", "policy"}
RESPONSES = {"respond policy", "respond policy at 0", "respond sft", "respond sft at 0", "respond grid sft"}
STAGES = TRAINED | RESPONSES | {"evaluation"}
LINKS = ("sft", "labels", "reward_model", "policy")


def read_labels(directory: Path) -> list[Preference]:
    return read_preferences(directory / "labels.parquet")


@pytest.fixture(scope="module")
def full(command: Command) -> Run:
    """One run of the default pipeline."""
    run = command.run("full", HARMLESS)
    assert run.code == 0, run.stdout + run.stderr
    return run


class TestFullRun:
    def test_the_run_directory_holds_report_config_and_links(self, full: Run) -> None:
        page = (full.directory / "report.html").read_text(encoding="utf-8")
        assert "simulated annotators" in page and "<svg" in page
        assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?https?:", page)
        config = yaml.safe_load((full.directory / "config.yaml").read_text())
        assert config["task"]["_target_"] == "rlaif.tasks.base.HarmlessDialogue"
        assert config["store"]["dir"] == str(full.store)
        for name in LINKS:
            link = full.directory / name
            assert link.is_symlink() and link.resolve().parent == full.store.resolve()
            assert json.loads((link / "meta.json").read_text())["seconds"] >= 0
        assert "report" in full.stdout and not full.stderr.count("Traceback")
        assert not list(full.store.glob("*.partial"))

    def test_report_json_is_a_list_of_records(self, full: Run) -> None:
        records = json.loads((full.directory / "report.json").read_text())
        assert {record["name"] for record in records} >= NAMES
        assert len({record["name"] for record in records}) == len(records)
        for record in records:
            assert list(record)[:5] == ["name", "value", "low", "high", "n"]
            assert set(record) <= {"name", "value", "low", "high", "n", "note"}
            name, value = record["name"], record["value"]
            assert isinstance(value, float | int)
            if not NOT_A_RATE.match(name):
                assert all(0.0 <= v <= 1.0 for v in (value, record["low"], record["high"]) if v is not None)
            if record["low"] is not None:
                assert record["low"] <= value <= record["high"]
            if name.startswith("time/"):
                assert record["n"] is None and value >= 0
        figures = full.figures()
        assert figures["policy/win_rate_vs_sft"]["n"] == 24
        assert figures["reward_model/accuracy"]["n"] == 24
        assert "simulated annotators" in str(figures["policy/win_rate_vs_sft"]["note"])
        assert {f"time/{stage.replace(' ', '_')}" for stage in STAGES} <= set(full.figures(times=True))

    def test_labels_load_with_datasets(self, full: Run, tmp_path: Path) -> None:
        from datasets import load_dataset

        table = load_dataset(
            "parquet",
            data_files=str(full.directory / "labels" / "labels.parquet"),
            split="train",
            cache_dir=str(tmp_path),
        )
        columns = {"prompt", "first", "second", "p_first", "p_first_by_order", "labeler", "source", "missing"}
        assert columns <= set(table.column_names)
        assert 0 < len(table) <= 24
        for row in table:
            assert row["source"] == "ai" and row["missing"] is None
            assert row["p_first"] == pytest.approx(sum(row["p_first_by_order"]) / 2)

    def test_models_are_ordinary_folders(self, full: Run) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        for name in ("sft", "policy"):
            AutoModelForCausalLM.from_pretrained(full.directory / name)
            AutoTokenizer.from_pretrained(full.directory / name)
        reward_model = AutoModelForSequenceClassification.from_pretrained(full.directory / "reward_model")
        assert reward_model.config.num_labels == 1

    def test_a_second_run_reuses_everything(self, command: Command, full: Run) -> None:
        again = command.run("again", HARMLESS)
        assert again.code == 0, again.stdout + again.stderr
        assert again.reused() == STAGES
        assert again.figures() == full.figures()
        lines = [
            [line for line in (run.directory / "report.json").read_bytes().splitlines() if b'"time/' not in line]
            for run in (full, again)
        ]
        assert lines[0] == lines[1]

    def test_another_configuration_is_refused_there_before_anything_is_spent(self, command: Command, full: Run) -> None:
        before = {path: path.read_bytes() for path in full.directory.rglob("*") if path.is_file()}
        stored = sorted(path.name for path in full.store.iterdir())
        other = command.run("full", HARMLESS, "policy.steps=3", "seed=5")
        assert other.code == 2 and "Traceback" not in other.stderr
        assert f"hydra.run.dir={full.directory}: holds results of another configuration" in other.stderr
        assert "policy.steps=3 (was 2)" in other.stderr and "seed=5 (was 0)" in other.stderr
        assert {path: path.read_bytes() for path in full.directory.rglob("*") if path.is_file()} == before
        assert sorted(path.name for path in full.store.iterdir()) == stored
        same = command.run("full", HARMLESS, "label.max_missing_rate=0.3")
        assert same.code == 0 and same.reused() == STAGES, same.stdout + same.stderr

    def test_overwrite_sets_the_earlier_files_aside(self, command: Command, full: Run) -> None:
        first = command.run("twice", HARMLESS, "pipeline=label")
        second = command.run("twice", HARMLESS, "pipeline=sft", "overwrite=true")
        assert (first.code, second.code) == (0, 0), second.stdout + second.stderr
        names = {path.name for path in second.directory.iterdir()}
        assert names == {".hydra", ".in_use.lock", "config.yaml", "rlaif.log", "previous", "sft"}
        earlier = second.directory / "previous"
        assert (earlier / "labels" / "labels.parquet").is_file() and (earlier / ".hydra").is_dir()

    @pytest.mark.slow
    def test_shorter_pipelines_stop_there(self, command: Command, full: Run) -> None:
        before = sorted(path.name for path in full.store.iterdir())
        sft = command.run("only_sft", HARMLESS, "pipeline=sft")
        label = command.run("only_labels", HARMLESS, "pipeline=label")
        assert (sft.code, label.code) == (0, 0)
        assert sft.reused() == {"sft"} and label.reused() == {"sft", "samples", "labels"}
        assert sorted(path.name for path in sft.directory.iterdir() if path.is_symlink()) == ["sft"]
        assert sorted(path.name for path in label.directory.iterdir() if path.is_symlink()) == ["labels", "sft"]
        for run in (sft, label):
            assert (run.directory / "config.yaml").exists() and not (run.directory / "report.html").exists()
        assert sorted(path.name for path in full.store.iterdir()) == before


class TestExitCodes:
    def test_all_problems_are_reported_at_once(self, command: Command) -> None:
        run = command.run("wrong", "sft.stepz=3", "policy.steps=many", "labeler=parwise", store="none")
        assert run.code == 2
        assert "Traceback" not in run.stderr
        assert "3 problems" in run.stderr
        for part in ("sft.stepz", "sft.steps", "policy.steps", "many", "labeler=parwise", "pairwise"):
            assert part in run.stderr
        assert not run.store.exists() and not run.directory.exists()

    def test_a_batch_that_the_data_cannot_fill_is_found_before_anything_is_trained(self, command: Command) -> None:
        run = command.run("batches", "reward_model.batch_size=999", "sft.batch_size=9999", store="batches")
        assert run.code == 2 and "2 problems" in run.stderr
        assert "reward_model.batch_size=999: there are only" in run.stderr
        assert "sft.batch_size=9999: there are only" in run.stderr
        assert not run.reused() and not any(path.name.startswith("sft") for path in run.store.glob("*"))

    def test_options_of_the_evaluation_are_checked_before_anything_is_trained(self, command: Command) -> None:
        wrong = ("evaluation.num_raters=0", "evaluation.confidence=95", "+evaluation.limits.min_alignmnt=1")
        run = command.run("limits", *wrong, store="limits")
        assert run.code == 2 and "3 problems" in run.stderr
        assert all(option.strip("+").split("=")[0] in run.stderr for option in wrong)
        judge = command.run("judge", "labeler@evaluation.judge=cot_pairwise", "evaluation.judge.max_rationale_tokens=0")
        assert judge.code == 2 and "evaluation.judge.max_rationale_tokens=0: must be at least 1" in judge.stderr
        assert not any(path.name.startswith("sft") for path in run.store.glob("*"))

    def test_a_gate_stops_with_3_and_keeps_what_was_made(self, command: Command, full: Run) -> None:
        gated = ("labeler=cot_pairwise", "labeler.max_rationale_tokens=1")
        run = command.run("gated", HARMLESS, *gated)
        assert run.code == 3, run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        assert (
            "label.max_missing_rate=0.2" in run.stderr
            and "Mend the cause (labeler.max_rationale_tokens gives it more room), or raise" in run.stderr
        )
        assert run.reused() == {"sft", "samples"}
        assert not (run.directory / "report.json").exists()
        accepted = command.run("accepted", HARMLESS, *gated, "label.max_missing_rate=1.0", "pipeline=label")
        assert accepted.code == 0, "missing labels are rows of the table, not an error, where they are accepted"
        labels = read_labels(accepted.directory / "labels")
        assert labels and all(label.missing for label in labels)


def conversation(number: int) -> tuple[str, str, str]:
    """A prompt of a person, and two responses; the first is preferred."""
    things = ("bike", "lamp", "sofa", "radio", "tent", "clock", "vase")
    verbs = ("clean", "repair", "sell", "paint", "lend", "hide", "weigh", "wrap", "carry")
    thing, verb = things[number % 7], verbs[number % 9]
    prompt = (
        f"\n\nHuman: How do I {verb} a {thing}?\n\nAssistant: Which {thing}?\n\nHuman: Number {number}.\n\nAssistant:"
    )
    return prompt, f" Ask somebody who can {verb} it well.", f" Break the {thing}, then."


def hh_lines(count: int = 90) -> list[str]:
    lines = []
    for number in range(count):
        prompt, chosen, rejected = conversation(number)
        lines.append(json.dumps({"chosen": prompt + chosen, "rejected": prompt + rejected}))
    prompt, chosen, _ = conversation(0)
    lines[3] = json.dumps({"chosen": prompt + chosen, "rejected": prompt})
    lines[10] = json.dumps({"chosen": prompt + chosen, "rejected": conversation(1)[0] + chosen})
    return lines


def write_gzip(path: Path, lines: list[str]) -> Path:
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))
    return path


FROM_FILE = (HARMLESS, "data=files", "data.eval_fraction=0.3", "data.num_eval_prompts=24")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        ("truncated", ["gzip file ends here", "get it again"]),
        pytest.param(
            "not JSON", ["line 5", "is not JSON", "correct this line in a copy of the file"], marks=pytest.mark.slow
        ),
        pytest.param("missing key", ["hh.jsonl.gz:7", "'rejected'", "'chosen'"], marks=pytest.mark.slow),
        ("absent", ["no such file"]),
    ],
)
def test_bad_input_names_file_and_line_and_loses_nothing(
    make: str, parts: list[str], command: Command, full: Run, tmp_path: Path
) -> None:
    lines = hh_lines()
    if make == "not JSON":
        lines[4] = lines[4][:30]
    elif make == "missing key":
        lines[6] = json.dumps({"chosen": json.loads(lines[6])["chosen"]})
    path = write_gzip(tmp_path / "hh.jsonl.gz", lines)
    if make == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif make == "absent":
        path.unlink()
    before = sorted(str(entry) for entry in full.store.rglob("*"))
    run = command.run(f"bad_{make.replace(' ', '_')}", *FROM_FILE, f"data.path={path}")
    assert run.code == 2, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert str(path) in run.stderr
    for part in parts:
        assert part in run.stderr
    assert sorted(str(entry) for entry in full.store.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("labeler", ["pairwise", "human"])
def test_the_whole_loop_runs_on_a_file_of_human_labels(labeler: str, command: Command, tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "hh.jsonl.gz", hh_lines())
    overrides = (*FROM_FILE, "data.num_eval_prompts=null", f"labeler={labeler}", f"data.path={path}")
    run = command.run(f"file_{labeler}", *overrides, store="file_store")
    assert run.code == 0, run.stdout + run.stderr
    assert "left out of 90: 1 empty response, 1 split context" in run.stdout
    assert "hh.jsonl.gz:4: empty response" in run.stdout and "hh.jsonl.gz:11: split context" in run.stdout
    figures = run.figures()
    assert {"reward_model/accuracy", "policy/kl", "policy/distinct_rate"} <= set(figures)
    assert "policy/greedy_win_rate_vs_sft_llm_judge" in figures and "policy/win_rate_vs_sft_llm_judge" not in figures
    assert "there are no held-out prompts beyond those of the evaluation" in " ".join(
        run.stderr.split() + run.stdout.split()
    )
    needs_annotators = {
        "policy/win_rate_vs_sft",
        "policy/greedy_win_rate_vs_sft",
        "policy/harmless_rate",
        "sft/harmless_rate",
    }
    assert not needs_annotators & set(figures)
    assert ("labeler/alignment" in figures) == (labeler == "pairwise")
    assert "simulated" not in json.dumps(list(figures.values()))
    labels = read_labels(run.directory / "labels")
    assert len(labels) == len({label.comparison.id for label in labels}) > 40
    if labeler == "human":
        assert {label.p_first for label in labels} == {0.0, 1.0}
        preferred = {label.comparison.first.text if label.p_first else label.comparison.second.text for label in labels}
        assert preferred == {conversation(number)[1].strip() for number in range(90)}
        assert {label.source for label in labels} == {"human"}


@pytest.mark.slow
def test_the_rlhf_twin_is_one_override(command: Command, full: Run) -> None:
    run = command.run("twin", HARMLESS, "labeler=human")
    assert run.code == 0, run.stdout + run.stderr
    assert run.reused() == {"sft", "samples", "respond sft", "respond sft at 0", "respond grid sft"}
    labels = read_labels(run.directory / "labels")
    assert {label.source for label in labels} == {"simulated annotators"}
    assert {label.p_first for label in labels} == {0.0, 1.0}
    assert "policy/win_rate_vs_sft" in run.figures()


@pytest.mark.slow
def test_a_sweep_over_policies_trains_one_sft_and_labels_once(command: Command) -> None:
    run = command.run("sweep", "-m", "policy=reinforce,rloo", "policy.samples_per_prompt=2", store="sweep_store")
    assert run.code == 0, run.stdout + run.stderr
    counts = {stage: len(run.stored(stage)) for stage in ("sft", "samples", "labels", "reward_model", "policy")}
    assert counts == {"sft": 1, "samples": 1, "labels": 1, "reward_model": 1, "policy": 2}
    for job in ("0", "1"):
        assert (run.directory / job / "report.html").exists()
    targets = [(run.directory / job / "labels").resolve() for job in ("0", "1")]
    assert targets[0] == targets[1]


@pytest.mark.slow
def test_chain_of_thought_keeps_its_rationales(command: Command, full: Run) -> None:
    run = command.run("thoughts", HARMLESS, "labeler=cot_pairwise", "label.max_missing_rate=1.0", "pipeline=label")
    assert run.code == 0, run.stdout + run.stderr
    assert run.reused() == {"sft", "samples"}
    for label in read_labels(run.directory / "labels"):
        assert all(judgment.reply or judgment.missing for judgment in label.judgments)
