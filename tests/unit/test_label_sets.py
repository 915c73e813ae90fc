"""Label sets, exports, imports, mixing, and the command that does them."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlaif.cli import labels as command
from rlaif.data.label_sets.cards import Card
from rlaif.data.label_sets.data_set import SplitOptions, write_label_set
from rlaif.data.label_sets.exports import ExportCounts, ExportOptions, export_rows, write_rows
from rlaif.data.label_sets.mixing import mix_labels
from rlaif.data.label_sets.show import label_lines
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.data.repeated import PairKey
from rlaif.data.transcripts import messages
from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, DataError
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Input
from rlaif.prompts.judge import JudgePrompts
from rlaif.reporting.terminal import RunDisplay
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt

HI = "\n\nHuman: Hi\n\nAssistant:"
LONGER = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: More?\n\nAssistant:"


def label(
    p_first: float | None, prompt: str = HI, first: str = "Hello.", second: str = "No.", **more: Any
) -> Preference:
    comparison = Comparison(
        prompt=Prompt(task="dialogue", text=prompt),
        first=Completion(text=first, token_ids=(5, 6, 2), source="sft"),
        second=Completion(text=second, source="teacher"),
    )
    fields: dict[str, Any] = {"labeler": "pairwise:ab", "source": "ai"} | more
    missing = "server gone" if p_first is None else None
    return Preference(comparison=comparison, p_first=p_first, missing=missing, **fields)


EVIDENCE = (
    Judgment(
        order="given",
        prompt="Which is better?\n1: Hello.\n2: No.\nBecause: polite.\nBetter:",
        reply="polite.",
        option_logprobs=(math.log(0.75), math.log(0.25)),
        p_slot1=0.75,
        num_prompt_tokens=21,
        num_reply_tokens=3,
    ),
    Judgment(order="swapped", prompt="Which is better?\n1: No.\n2: Hello.", missing="no verdict", unreadable=True),
)
LABELS = [
    label(0.75, judgments=EVIDENCE),
    label(0.25, LONGER, weight=2.0),
    label(0.5, "A post."),
    label(None, "Another post."),
    label(0.9, "A third post.", source="human"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels" / "labels.parquet"
    path.parent.mkdir()
    write_preferences(path, LABELS)
    return path


# Data sets


def test_load_dataset_reads_the_folder_split_by_prompt(tmp_path: Path) -> None:
    labels = [label(0.7, f"\n\nHuman: Question {i // 2}\n\nAssistant:", f"a{i}", f"b{i}") for i in range(400)]
    write_preferences(tmp_path / "labels.parquet", labels)
    options = SplitOptions(validation=0.2, test=0.1)
    counts = write_label_set(tmp_path / "labels.parquet", tmp_path / "set", Card(), options=options)
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == counts.rows
    assert sum(counts.rows.values()) == 400 and 20 <= counts.rows["test"] <= 60 <= counts.rows["validation"] <= 100
    prompts = [set(rows["prompt"]) for rows in loaded.values()]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 200
    assert loaded["train"][0]["first"] == "a0" or loaded["train"][0]["prompt_id"]
    again = write_label_set(tmp_path / "labels.parquet", tmp_path / "again", Card(), options=options)
    assert again == counts
    for name in ("README.md", "data/train.parquet", "data/validation.parquet", "data/test.parquet"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_one_conversation_at_two_lengths_is_in_one_split() -> None:
    options = SplitOptions(validation=0.3, test=0.3)
    assert options.split_of(HI) == options.split_of(LONGER)
    with pytest.raises(ConfigError, match=r"--validation=0\.5, --test=0\.5: must leave prompts"):
        SplitOptions(validation=0.5, test=0.5)


def test_a_pair_stands_once_per_source_and_a_label_before_none(tmp_path: Path) -> None:
    labels = [
        label(None),
        label(0.25, "Hi", "No.", " Hello."),
        label(0.7),
        label(1.0, source="human"),
        label(None, "A post."),
        label(None, "A post."),
    ]
    write_preferences(tmp_path / "labels.parquet", labels)
    options = SplitOptions(validation=0.0, test=0.0)
    counts = write_label_set(tmp_path / "labels.parquet", tmp_path / "set", Card(), options=options)
    kept = read_preferences(tmp_path / "set" / "data" / "train.parquet")
    assert kept == [labels[1], labels[3], labels[4]]
    assert (counts.num_repeated, counts.num_labels, dict(counts.missing)) == (3, 2, {"server gone": 1})
    assert not (tmp_path / "set" / "data" / "test.parquet").exists()


def test_the_evidence_stays_only_on_demand(table: Path, tmp_path: Path) -> None:
    options = SplitOptions(validation=0.0, test=0.0)
    write_label_set(table, tmp_path / "whole", Card(), options=options, with_evidence=True)
    assert read_preferences(tmp_path / "whole" / "data" / "train.parquet") == LABELS
    write_label_set(table, tmp_path / "lean", Card(), options=options)
    lean = tmp_path / "lean" / "data" / "train.parquet"
    assert "judgments" not in pq.read_schema(lean).names
    assert read_preferences(lean) == [replace(item, judgments=()) for item in LABELS]


def test_the_card_tells_what_is_known(table: Path, tmp_path: Path) -> None:
    run = table.parent.parent
    (table.parent / "provenance.json").write_text(
        json.dumps({"labeler": {"debias": "logit"}, "prompt_identity": "cafe", "model": "org/judge"})
    )
    (table.parent / "summary.json").write_text('{"same_slot_share": 0.25, "missing": {}}')
    (table.parent / "meta.json").write_text('{"seconds": 6.5, "libraries": {}}')
    figure = {"name": "labeler/alignment", "value": 0.731, "low": 0.7, "high": 0.76, "n": 1200}
    (run / "report.json").write_text(json.dumps([figure, {"name": "policy/kl", "value": 1.0}]))
    ties = {"name": "labeler/tie_rate", "value": 0.125, "low": None, "high": None, "n": 8}
    (run / "scorecard.json").write_text(json.dumps([ties]))
    write_label_set(table, tmp_path / "set", Card.beside(table))
    text = (tmp_path / "set" / "README.md").read_text()
    for line in (
        "| server gone | 1 |",
        "| of these ties | 1 |",
        "| prompt strategy (hash of its templates) | cafe |",
        "| model | org/judge |",
        ' "debias": "logit"',
        "| same_slot_share | 0.25 |",
        "| seconds | 6.5 |",
        "| labeler/alignment | 0.731 [0.7, 0.76], n = 1,200 |",
        "| labeler/tie_rate | 0.125, n = 8 |",
        "| source | human: 1 |",
        "## Licence",
    ):
        assert line in text, line
    assert "policy/kl" not in text


def test_a_labels_stage_leaves_a_data_set_beside_its_table(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    judge = ("labeler/engine=openai", "labeler.engine.model=org/judge", "labeler/prompt=base_2shot")
    plan = make_plan("pipeline=label", "labeler=pairwise", *judge)
    step, folder = plan.step("labels"), tmp_path / "labels"
    folder.mkdir()
    stage: Any = step.stage
    stage.labeler.engine = ScriptedEngine()
    data = replace(plan.memory["data"], preferences=LABELS)
    with RunDisplay().stage("labels") as display:
        work = plan.work(step, folder, display)
        stage.build(replace(work, inputs={"pairs": (Input(step="data", stage="data", data=data),)}))
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert sum(len(rows) for rows in loaded.values()) == len(LABELS)
    card = (folder / "README.md").read_text()
    assert f"| {JudgePrompts(num_exemplars=2).identity} |" in card and "| org/judge |" in card
    assert "| seconds |" not in card, "equal labels have equal cards"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["labeler"] == plan.composer.arguments["labels"].values["labeler"]
    assert provenance["task"] == "dialogue"
    assert [item.comparison for item in read_preferences(folder / "labels.parquet")] == [
        item.comparison for item in LABELS
    ]


# Exports: the columns that the other tools' own documents name


def exported(labels: list[Preference], **options: Any) -> tuple[list[dict[str, Any]], ExportCounts]:
    counts = ExportCounts()
    return list(export_rows(labels, ExportOptions(**options), counts)), counts


def test_trl_gets_chosen_and_rejected_and_neither_ties_nor_missing_ones() -> None:
    rows, counts = exported(LABELS, format="trl")
    assert rows[:2] == [
        {"prompt": HI, "chosen": " Hello.", "rejected": " No.", "p_chosen": 0.75, "weight": 1.0, "source": "ai"},
        {"prompt": LONGER, "chosen": " No.", "rejected": " Hello.", "p_chosen": 0.75, "weight": 2.0, "source": "ai"},
    ]
    assert (counts.written, dict(counts.left_out)) == (3, {"tie": 1, "missing label": 1})
    rows, counts = exported(LABELS, format="trl", min_margin=0.6, with_margin=True)
    assert [row["margin"] for row in rows] == [pytest.approx(0.8)]
    assert counts.left_out["margin below --min-margin"] == 2


@pytest.mark.parametrize("format", ["trl", "distilabel", "alpaca_eval"])
def test_a_label_that_does_not_count_is_left_out_and_told(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.parquet"
    write_preferences(path, [label(0.75), label(0.25, LONGER, weight=0.0), label(None, "A post.", weight=0.0)])
    assert run("export", path, tmp_path / "out.json", "--format", format) == 0
    printed = capsys.readouterr().out
    assert "1 labels written" in printed and "1 × weight 0" in printed and "1 × missing label" in printed
    assert len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))) == 1


def prompt_of(text: str) -> Prompt:
    return Prompt(task="dialogue", text=text)


def test_trl_gets_messages() -> None:
    rows, _ = exported(LABELS, format="trl", conversational=True)
    assert rows[1]["prompt"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "More?"},
    ]
    assert rows[1]["chosen"] == [{"role": "assistant", "content": "No."}]
    assert rows[2]["prompt"] == [{"role": "user", "content": "A third post."}]


def test_alpaca_eval_has_a_value_for_a_tie() -> None:
    rows, counts = exported(LABELS, format="alpaca_eval")
    assert rows[0] == {
        "instruction": "Hi",
        "output_1": "Hello.",
        "generator_1": "sft",
        "output_2": "No.",
        "generator_2": "teacher",
        "annotator": "pairwise:ab",
        "preference": 1.25,
    }
    assert [row["preference"] for row in rows] == [1.25, 1.75, 1.5, 1.1]
    assert dict(counts.left_out) == {"missing label": 1}


def test_distilabel_gets_generations_and_ratings() -> None:
    rows, _ = exported(LABELS, format="distilabel")
    assert rows[0]["instruction"] == "Hi"
    assert rows[0]["generations"] == ["Hello.", "No."] and rows[0]["generation_models"] == ["sft", "teacher"]
    assert rows[1]["ratings"] == [0.25, 0.75]


def test_wrong_export_options_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ExportOptions(format="alpaca_eval", min_margin=2, conversational=True, with_margin=True)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--min-margin=2",
        "--conversational",
        "--margin",
    ]
    with pytest.raises(ConfigError, match=r"must end with \.jsonl, \.json, \.parquet"):
        write_rows(tmp_path / "a.txt", [])


def essence(item: Preference) -> tuple[str, str, float | None, float, str]:
    """What every format keeps: the pair, its label in the order of the key, weight and source."""
    comparison = item.comparison
    key = PairKey.of(comparison.prompt.text, comparison.first.text, comparison.second.text)
    p_first = item.p_first if not key.turned or item.p_first is None else 1 - item.p_first
    return comparison.prompt.text, key.id, None if p_first is None else round(p_first, 12), item.weight, item.source


@pytest.mark.parametrize(
    ("export", "format", "name", "loses"),
    [
        (["--format", "trl"], "chosen_rejected", "a.jsonl", "tie"),
        (["--format", "trl", "--conversational"], "chosen_rejected", "a.parquet", "tie"),
        (["--format", "distilabel"], "distilabel", "a.parquet", "tie weight"),
        (["--format", "alpaca_eval"], "alpaca_eval", "a.json", "weight"),
    ],
)
def test_what_goes_out_comes_back(tmp_path: Path, export: list[str], format: str, name: str, loses: str) -> None:
    labels = [item for item in LABELS if item.comparison.prompt.text.startswith("\n\nHuman:")]
    labels += [label(0.5, "\n\nHuman: Tie?\n\nAssistant:"), label(None, "\n\nHuman: Gone?\n\nAssistant:")]
    write_preferences(tmp_path / "labels.parquet", labels)
    out, back = tmp_path / name, tmp_path / "back.parquet"
    assert run("export", tmp_path / "labels.parquet", out, *export) == 0
    loader = "parquet" if name.endswith(".parquet") else "json"
    loaded = datasets.load_dataset(loader, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == (2 if "tie" in loses else 3)
    assert run("import", out, back, "--format", format, "--source", "ai") == 0
    kept = [item for item in labels if item.p_first is not None and not ("tie" in loses and item.p_first == 0.5)]
    kept = [replace(item, weight=1.0) for item in kept] if "weight" in loses else kept
    assert [essence(item) for item in read_preferences(back)] == [essence(item) for item in kept]


def test_posts_come_back_without_turns_where_the_task_has_none(tmp_path: Path) -> None:
    post = replace(label(0.8).comparison, prompt=Prompt(task="summarization", text="A post."))
    write_preferences(tmp_path / "labels.parquet", [Preference(comparison=post, p_first=0.8, source="ai")])
    for export, format in ((["trl", "--conversational"], "chosen_rejected"), (["alpaca_eval"], "alpaca_eval")):
        back = tmp_path / f"{format}.parquet"
        assert run("export", tmp_path / "labels.parquet", tmp_path / "a.json", "--format", *export) == 0
        options = ("--format", format, "--source", "ai", "--task", "summarization")
        assert run("import", tmp_path / "a.json", back, *options) == 0
        assert read_preferences(back)[0].comparison.prompt == post.prompt


# Mixing


def test_mixing_multiplies_weights_and_keeps_both_sources() -> None:
    human = [label(1.0, source="human", weight=0.5), label(None, "A post.", source="human")]
    ai = [label(0.75), label(0.3, "Hi", "No.", "Hello."), label(0.2, "A post.")]
    mixed, num_repeated = mix_labels([(human, 4.0), (ai, 1.0)])
    assert [(item.source, item.p_first, item.weight) for item in mixed] == [
        ("human", 1.0, 2.0),
        ("human", None, 4.0),
        ("ai", 0.75, 1.0),
        ("ai", 0.2, 1.0),
    ]
    assert num_repeated == 1
    with pytest.raises(ConfigError, match="weight=-1: must be a finite number from 0"):
        mix_labels([(ai, -1.0)])
    assert [item.weight for item in mix_labels([(ai, 0.0)])[0]] == [0.0, 0.0]


# The command


def run(*arguments: object) -> int:
    """Exit code of the command in this process."""
    with pytest.raises(SystemExit) as stopped:
        command.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_show_prints_the_prompts_of_both_orders_as_they_were_read(table: Path, capsys: Any) -> None:
    assert run("show", table, "--row", "0") == 0
    printed = capsys.readouterr().out
    for judgment in EVIDENCE:
        assert f"\n{judgment.prompt}\n" in printed
    for line in (
        "p_first 0.75",
        "p_first by order: as given 0.75, swapped -",
        "option log-probabilities: -0.2876820724517809, -1.3862943611198906",
        "missing: no verdict (the answer held no verdict)",
        "21 tokens read, 3 written",
        "labeler pairwise:ab, source ai",
    ):
        assert line in printed
    by_id = LABELS[3].comparison.id
    assert run("show", table.parent, "--id", by_id[:10]) == 0
    assert f"row 3, comparison {by_id}" in (printed := capsys.readouterr().out)
    assert "missing: server gone" in printed and "no judge prompts" in printed


def test_the_place_of_a_reply_in_its_prompt_is_told() -> None:
    lines = list(label_lines(LABELS[0], 0))
    start = EVIDENCE[0].prompt.index("polite.") + 1
    assert any(f"begins at character {start} of" in line for line in lines)


def test_rows_that_are_not_there(table: Path, capsys: Any) -> None:
    assert run("show", table, "--row", "5") == 2
    assert "--row=5: no such label; the table has the rows 0 to 4" in capsys.readouterr().err
    assert run("show", table.parent.parent / "labels" / "none") == 2
    assert "there are no labels; give a label table" in capsys.readouterr().err


def test_summary_of_a_folder_of_other_files(tmp_path: Path, capsys: Any) -> None:
    rows = [{"prompt": "Q", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(2)]
    (tmp_path / "shards" / "data").mkdir(parents=True)
    for n, row in enumerate(rows):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "shards" / "data" / f"train-0000{n}-of-00002.parquet")
    assert run("summary", tmp_path / "shards") == 0
    assert "read as chosen_rejected" in (printed := capsys.readouterr().out) and "2 pairs, 2 with a label" in printed
    (tmp_path / "shards" / "test.jsonl").write_text(json.dumps(rows[0]) + "\n")
    assert run("summary", tmp_path / "shards") == 2
    assert f"choose one, e.g. '{tmp_path / 'shards'}/" in capsys.readouterr().err
    assert run("summary", tmp_path / "shard") == 2
    assert f"there is no such file; did you mean {tmp_path / 'shards'}?" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    assert run("summary", tmp_path / "run") == 2
    assert "there are no labels; give a label table" in capsys.readouterr().err


def test_summary_of_tables_and_of_files(table: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("summary", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "5 rows, 5 different pairs, 4 with a label" in printed and "missing: 1 × server gone" in printed
    assert "mean p_first 0.600000; 2 prefer the first, 1 the second, 1 ties; sum of weights 5" in printed
    (tmp_path / "votes.csv").write_text("post,a,b,winner\nQ,x,y,A\nQ,y,x,A\nQ,x,x,B\n")
    columns = ("--columns", "prompt=post", "first=a", "second=b", "preference=winner")
    words = ("--preference", '{"A": 1, "B": 0}')
    assert run("summary", tmp_path / "votes.csv", "--format", "table", *columns, *words) == 0
    printed = capsys.readouterr().out
    assert "3 rows read, 1 left out" in printed and "votes.csv:4: equal responses" in printed
    assert "0 rows repeat a pair with the same label, 1 with another" in printed
    assert "1 pairs, 1 with a label, mean p_first 0.500000" in printed


@pytest.mark.parametrize(
    ("name", "first_row", "guess"),
    [
        ("a.jsonl.gz", {"chosen": f"{HI} Hello.", "rejected": f"{HI} No."}, "hh"),
        ("a.jsonl", {"prompt": "Q", "chosen": "x", "rejected": "y"}, "chosen_rejected"),
        (
            "a.jsonl",
            {"chosen": messages(prompt_of(f"{HI} Hello.")), "rejected": messages(prompt_of(f"{HI} No."))},
            "hh",
        ),
        ("a.json", {"instruction": "Q", "output_1": "x", "output_2": "y", "preference": 1}, "alpaca_eval"),
        ("a.csv", {"prompt": "Q", "first": "x", "second": "y", "p_first": "1"}, "table"),
        ("a.parquet", {"post": "Q", "a": "x"}, None),
    ],
)
def test_a_file_in_another_format_is_read_by_the_layout_that_fits(
    name: str, first_row: Any, guess: str | None, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([first_row]), path)
    elif path.suffix == ".csv":
        path.write_text(",".join(first_row) + "\n" + ",".join(first_row.values()) + "\n")
    else:
        text = json.dumps([first_row] if path.suffix == ".json" else first_row)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    code = run("summary", path)
    printed = capsys.readouterr()
    if guess is None:
        assert code == 2 and "no layout reads its first rows, which have the columns 'post', 'a'" in printed.err
        assert "delete" not in printed.err
    else:
        assert code == 0 and f"read as {guess}" in printed.out and "| preferred '" in printed.out
    assert run("show", path) == 2
    command = f"rlaif-labels import {path} LABELS.parquet --format {guess or 'FORMAT'} --source WHO"
    assert command in capsys.readouterr().err


def test_a_scorecard_that_cannot_be_read_is_told(table: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "cut.json").write_text('[{"name": ')
    (tmp_path / "cost.json").write_text('{"num_labels": 3}')
    (tmp_path / "probe.json").write_text('[{"name": "probe/flip_rate", "value": 0.5}]')
    for name, message in (
        ("absent.json", "is no file; give a run's scorecard.json"),
        ("cut.json", "is not JSON"),
        ("cost.json", "is no list of figures"),
        ("probe.json", "holds no figure of a labeler; give a run's scorecard.json"),
    ):
        words = ("--format", "dataset", "--scorecard", tmp_path / name)
        assert run("export", table, tmp_path / "set", *words) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_a_damaged_table_is_not_told_to_be_deleted(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 and nothing more")
    for path in (tmp_path, tmp_path / "labels.parquet"):
        assert run("summary", path) == 2
        printed = capsys.readouterr().err
        assert "labels.parquet: " in printed and ("is not a readable Parquet" in printed or "is not a whole" in printed)
        assert "delete" not in printed


def test_a_file_that_is_no_table_is_told_as_what_it_is(tmp_path: Path, capsys: Any) -> None:
    files = {"a.jsonl": ('"no row"', ", line 1: is '\"no row\"', not JSON")}
    files["b.parquet"] = ("version https://git-lfs.github.com/spec/v1\nsize 7\n", ": is a pointer of git-LFS")
    for name, (content, message) in files.items():
        (tmp_path / name).write_text(content)
        for words in (("summary", tmp_path / name), ("export", tmp_path / name, "out.json", "--format", "trl")):
            assert run(*words) == 2
            assert f"rlaif-labels: {tmp_path / name}{message}" in capsys.readouterr().err


def test_export_mix_and_errors_name_the_option(table: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("export", table, tmp_path / "set", "--format", "dataset", "--validation", "0", "--test", "0") == 0
    assert (
        "5 rows written" in (printed := capsys.readouterr().out) and "kept without a label: 1 × server gone" in printed
    )
    assert run("mix", tmp_path / "mixed.parquet", table, tmp_path / "set", "--weights", "2", "1") == 0
    assert "5 labels written" in (printed := capsys.readouterr().out) and "5 left out: same source and pair" in printed
    assert [item.weight for item in read_preferences(tmp_path / "mixed.parquet")] == [2.0, 4.0, 2.0, 2.0, 2.0]
    assert run("mix", tmp_path / "mixed.parquet", table, "--weights", "2", "1") == 2
    assert "--weights: 2 numbers for 1 tables" in capsys.readouterr().err
    assert run("mix", tmp_path / "mixed2.parquet", table, "--weights", "nan") == 2
    assert "--weights=nan: must be a finite number from 0" in capsys.readouterr().err
    assert run("export", table, tmp_path / "other", "--format", "dataset", "--validation", "2") == 2
    assert "--validation=2: must be at least 0 and below 1" in capsys.readouterr().err
    assert run("import", table, tmp_path / "x.parquet", "--format", "table", "--source", "") == 2
    assert "--source: say who gave the labels" in capsys.readouterr().err
    with pytest.raises(DataError):
        read_preferences(tmp_path / "set" / "README.md")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("export T OUT --format dataset --min-margin 0.5 --margin", "--min-margin: not for --format dataset"),
        ("export T OUT --format trl --validation 0.2 --evidence", "--validation: only for --format dataset"),
        ("convert T OUT --to parquet --conversational", "--conversational: only for --to trl"),
        ("convert T OUT --to trl --where source=human", "--where: T holds label tables, which are read as they are"),
        ("convert T OUT --to trl --source human", "--source: T holds label tables"),
        ("summary T --confidences 9", "--confidences: T holds label tables"),
        ("summary T --encoding cp1252", "--encoding: T holds label tables"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    table: Path, tmp_path: Path, capsys: Any, words: str, told: str
) -> None:
    paths = {"T": table, "OUT": tmp_path / "out.parquet"}
    assert run(*(paths.get(word, word) for word in words.split())) == 2
    assert told.replace(" T ", f" {table} ") in capsys.readouterr().err and not (tmp_path / "out.parquet").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_set_never_replaces_what_is_no_set(table: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    thesis = tmp_path / "thesis"
    (thesis / "data").mkdir(parents=True)
    (thesis / "README.md").write_text("---\ntags:\n- preference\n- rlaif\n---\n\n# My thesis\n")
    (thesis / "data" / "validation.parquet").write_text("mine")
    before = contents(thesis)
    assert run("export", table, thesis, "--format", "dataset") == 2
    assert f"{thesis}: holds files (README.md, data) and no label set that rlaif wrote" in capsys.readouterr().err
    monkeypatch.chdir(thesis)
    assert run("export", table, ".", "--format", "dataset") == 2
    assert "name a folder that does not exist yet" in capsys.readouterr().err
    assert contents(thesis) == before
    write_label_set(table, table.parent, Card())
    before = contents(table.parent)
    for beside in (table, table.parent / "data" / "train.parquet"):
        assert run("export", beside, table.parent, "--format", "dataset") == 2
        assert "is in it, which a new set would replace" in capsys.readouterr().err
    write_preferences(tmp_path / "other.parquet", LABELS)
    assert run("export", tmp_path / "other.parquet", table.parent, "--format", "dataset") == 2
    assert "is a run's result (labels.parquet is in it)" in capsys.readouterr().err
    assert contents(table.parent) == before


def test_a_set_replaces_an_earlier_one_and_leaves_no_split_of_it(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    labels = [label(0.7, f"\n\nHuman: Question {i}\n\nAssistant:") for i in range(100)]
    write_preferences(tmp_path / "many.parquet", labels)
    (folder / "data").mkdir(parents=True)  # empty, as a disk that was full leaves it
    assert run("export", tmp_path / "many.parquet", folder, "--format", "dataset") == 0
    assert sorted(contents(folder)) == [
        "README.md",
        *(f"data/{name}.parquet" for name in ("test", "train", "validation")),
    ]
    (folder / "LICENSE").write_text("mine")
    (folder / "data" / "notes.txt").write_text("mine")
    (folder / "README.md").write_text((folder / "README.md").read_text().replace("tags:", "license: mit\ntags:"))
    assert run("export", table, folder, "--format", "dataset", "--validation", "0", "--test", "0") == 0
    assert sorted(contents(folder)) == ["LICENSE", "README.md", "data/notes.txt", "data/train.parquet"]
    assert len(read_preferences(folder / "data" / "train.parquet")) == len(LABELS)


@pytest.mark.parametrize("words", [["--format", "dataset"], ["--format", "trl"]])
def test_a_damaged_table_replaces_nothing(table: Path, tmp_path: Path, words: list[str], capsys: Any) -> None:
    out = tmp_path / ("set" if "dataset" in words else "pairs.jsonl")
    assert run("export", table, out, *words) == 0
    before = contents(tmp_path)
    content = bytearray(table.read_bytes())
    content[4:100] = bytes(96)  # the first column, not what stands at the end
    (tmp_path / "damaged.parquet").write_bytes(content)
    capsys.readouterr()
    assert run("export", tmp_path / "damaged.parquet", out, *words) == 2
    assert f"{tmp_path / 'damaged.parquet'}: the table is damaged" in capsys.readouterr().err
    assert contents(tmp_path) == before | {"damaged.parquet": bytes(content)}


def test_labels_are_never_written_over(table: Path, tmp_path: Path, capsys: Any) -> None:
    other, votes = tmp_path / "other.parquet", tmp_path / "votes.csv"
    write_preferences(other, LABELS[:1])
    votes.write_text("prompt,first,second,p_first\nQ,x,y,1\n")
    before = contents(tmp_path)
    for words in (
        ("mix", other, table),
        ("import", votes, other, "--format", "table", "--source", "human"),
        ("export", table, other, "--format", "trl"),
    ):
        assert run(*words) == 2
        assert f"{other}: is a label table already" in capsys.readouterr().err.replace("\n", "")
    for words in (
        ("import", votes, votes, "--format", "table", "--source", "human"),
        ("mix", table, table, other),
        ("export", table, table, "--format", "trl"),
    ):
        assert run(*words) == 2
        assert ": is what is read; give OUT another name" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_an_out_that_cannot_be_written_is_one_clear_line(table: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "votes.csv").write_text("prompt,first,second,p_first\nQ,x,y,1\n")
    for words, out in (
        (("export", table), "/proc/foo"),
        (("export", table), tmp_path / "file"),
        (("export", table), tmp_path / "file" / "below"),
    ):
        assert run(*words, out, "--format", "dataset") == 2
        assert f"{out}: cannot be written (" in (printed := capsys.readouterr().err) and "OUT" in printed
    for words in (
        ("export", table, "/proc/foo.jsonl", "--format", "trl"),
        ("mix", "/proc/foo.jsonl", table),
        ("import", tmp_path / "votes.csv", "/proc/foo.jsonl", "--format", "table", "--source", "human"),
    ):
        assert run(*words) == 2
        printed = capsys.readouterr().err
        assert "/proc/foo.jsonl: cannot be written (No such file or directory)" in printed
        assert "store.dir" not in printed and "start again" not in printed
    assert (tmp_path / "file").read_text() == "mine"


def test_the_command_starts_without_torch() -> None:
    code = "import sys, rlaif.cli.labels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
