"""``rlaif-labels convert``: nothing is lost to Parquet, and what other formats cannot hold is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlaif.cli import labels as command
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Turn

SYSTEM, USER = Turn("system", "Be brief."), Turn("user", "Name a bird.")
HI = "\n\nHuman: Hi\n\nAssistant:"


def label(p_first: float | None, text: str = HI, turns: tuple[Turn, ...] = (), **more: Any) -> Preference:
    comparison = Comparison(
        prompt=Prompt(task="dialogue", text=text, turns=turns, stratum="seen"),
        first=Completion(text="    A gull.\n", token_ids=(5, 2), finished=False, source="sft"),
        second=Completion(text="A wren.", source="teacher"),
    )
    missing = "server gone" if p_first is None else None
    return Preference(
        comparison=comparison, p_first=p_first, missing=missing, labeler="pairwise:ab", source="ai", **more
    )


EVIDENCE = (
    Judgment(
        order="given",
        prompt="Which?\n1\n2",
        reply="Because.",
        option_logprobs=(-0.25, -1.5),
        options=("1", "2"),
        p_slot1=0.777,
        num_prompt_tokens=21,
        num_reply_tokens=3,
        judge="member",
        asks_for_worse=True,
    ),
    Judgment(order="swapped", prompt="Which?", missing="no verdict", unreadable=True),
    Judgment(order="first", prompt="How good?", option_logprobs=()),
)
LABELS = [
    label(0.75, judgments=EVIDENCE, weight=2.5, confidence=8.0),
    label(0.5),
    label(None, "A post."),
    label(1.0, HI + " Ho.", (SYSTEM, USER)),
    label(0.0, "A quote", (Turn("user", "What is\n\nHuman: this?"),)),
    label(0.25, "Weather?", (USER, Turn("assistant", "Asks."), Turn("tool", "17 °C"))),
    label(1.0, "Weightless", weight=0.0),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_preferences(tmp_path / "labels.parquet", LABELS)
    return tmp_path / "labels.parquet"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        command.main([str(word) for word in words])
    return int(ended.value.code or 0)


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_nothing_is_lost_to_parquet(table: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "new" / "folder" / "copy.parquet"
    assert run("convert", table, out, "--to", "parquet") == 0
    assert f"7 labels written to {out}" in capsys.readouterr().out
    assert read_preferences(out) == LABELS


def test_columns_that_are_no_fields_of_a_label_are_told(table: Path, tmp_path: Path, capsys: Any) -> None:
    more = pq.read_table(table).append_column("note", pa.array(["n"] * len(LABELS)))
    pq.write_table(more, tmp_path / "more.parquet")
    assert run("convert", tmp_path / "more.parquet", tmp_path / "copy.parquet", "--to", "parquet") == 0
    assert "left out: the column 'note', which is no field of a label" in capsys.readouterr().out


def test_openai_takes_whole_dialogues_and_hard_labels(table: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("convert", table, tmp_path / "dpo.jsonl", "--to", "openai") == 0
    told = capsys.readouterr().out.splitlines()
    rows = written(tmp_path / "dpo.jsonl")
    # The shape of OpenAI's own example (platform.openai.com, direct preference optimization).
    assert rows[1] == {
        "input": {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a bird."}],
            "tools": [],
            "parallel_tool_calls": True,
        },
        "preferred_output": [{"role": "assistant", "content": "    A gull.\n"}],
        "non_preferred_output": [{"role": "assistant", "content": "A wren."}],
    }
    assert rows[2]["preferred_output"][0]["content"] == "A wren."
    assert told[0].startswith("3 labels written to ")
    assert set(told[1:]) == {
        "left out: 1 × tie",
        "left out: 1 × missing label",
        "left out: 1 × weight 0",
        "left out: 1 × system, tool or quoted turns, which the format has no place for",
        "not kept: 1 × p between 0 and 1, written as a hard label",
        "not kept: 3 × which response came first",
        "not kept: 1 × weight other than 1",
        "not kept: 1 × confidence",
        "not kept: 1 × evidence (judge prompts and replies)",
        "not kept: 3 × who wrote the responses",
        "not kept: 3 × source of the label",
        "not kept: 3 × name of the labeler",
    }
    assert run("convert", table, tmp_path / "dpo.parquet", "--to", "openai") == 2
    assert "the name must end with .jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "num_written", "left_out"),
    [
        (("trl",), 1, "3 × system, tool or quoted turns, which a text does not hold: add --conversational"),
        (("trl", "--conversational"), 4, None),
        (("alpaca_eval",), 3, "2 × system, tool or quoted turns, which the format has no place for"),
        (("distilabel",), 2, "2 × system, tool or quoted turns, which the format has no place for"),
    ],
)
def test_turns_without_a_place_are_left_out_and_counted(
    table: Path, tmp_path: Path, capsys: Any, words: tuple[str, ...], num_written: int, left_out: str | None
) -> None:
    assert run("convert", table, tmp_path / "out.jsonl", "--to", *words) == 0
    told = capsys.readouterr().out
    assert f"{num_written} labels written" in told and len(written(tmp_path / "out.jsonl")) == num_written
    assert (f"left out: {left_out}" in told) if left_out else (" turns" not in told)
    assert "left out: 1 × missing label" in told and "not kept: 1 × evidence" in told


def test_a_file_of_any_format_is_converted(tmp_path: Path, capsys: Any) -> None:
    rows = [
        {"instruction": "Bird?", "output_1": "A gull.", "output_2": "A wren.", "preference": p, "generator_1": "base"}
        for p in (1.25, 1.5)
    ]
    rows[1]["instruction"] = "Fish?"
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    words = ("convert", tmp_path / "annotations.json", tmp_path / "out.parquet", "--to", "parquet")
    assert run(*words) == 2
    assert "--source: say who gave the labels" in capsys.readouterr().err
    assert run(*words, "--format", "alpaca_eval", "--source", "gpt-4") == 0
    assert "2 rows read, 0 left out" in capsys.readouterr().out
    labels = read_preferences(tmp_path / "out.parquet")
    assert [(item.p_first, item.source, item.comparison.first.source) for item in labels] == [
        (0.75, "gpt-4", "base"),
        (0.5, "gpt-4", "base"),
    ]


def test_rows_pairs_and_soft_labels_are_chosen_as_in_a_run(tmp_path: Path, capsys: Any) -> None:
    row = {"prompt": "Bird?", "answers": [{"answer": text, "rank": rank} for rank, text in enumerate("xyz", 1)]}
    (tmp_path / "ranked.json").write_text(json.dumps([row | {"split": "a"}, row | {"prompt": "Fish?", "split": "b"}]))
    out = tmp_path / "out.parquet"
    words = ("import", tmp_path / "ranked.json", out, "--source", "x")
    assert run(*words, "--where", "split=[b,c]", "--pairing", "best_worst") == 0
    (item,) = read_preferences(out)
    assert "Fish?" in item.comparison.prompt.text and {item.comparison.first.text, item.comparison.second.text} == {
        "x",
        "z",
    }
    rated = {"instruction": "Bird?", "generations": ["x", "y"], "ratings": [4, 2]}
    (tmp_path / "rated.json").write_text(json.dumps([rated]))
    assert run("summary", tmp_path / "rated.json", "--score-temperature", "2") == 0
    assert "p 0.731059" in capsys.readouterr().out


def test_a_refusal_leaves_nothing_behind(table: Path, tmp_path: Path, capsys: Any) -> None:
    damaged = bytearray(table.read_bytes())
    damaged[4:100] = bytes(96)
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ("parquet", "x.parquet"),
        ("trl", "x.json"),
        ("openai", "x.jsonl"),
        ("trl", "x.txt"),
        ("parquet", "x.txt"),
    ):
        out = tmp_path / "new" / "folder" / words[1]
        assert run("convert", tmp_path / "damaged.parquet", out, "--to", words[0]) == 2
        assert "rlaif-labels: " in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--columns", "prompt"), "--columns prompt: write NAME=COLUMN, e.g. prompt=question"),
        (("--columns", "x=y"), "--columns.x: unknown, there are confidence, first"),
        (("--preference", '{"a":"first"}'), "--preference: a: 'first' must be between 0 and 1, or null for no label"),
        (("--preference", '{"a":null}'), "unknown preference (p_first: '1' is none of a)"),
        (("--preference", '{"a":true}'), "a: True must be between 0 and 1"),
        (("--preference", '{"a":2}'), "a: 2 must be between 0 and 1"),
        (("--preference", "{" * 100_000), "is not JSON"),
        (("--where", "split"), "--where split: write PATH=VALUE, e.g. split=[valid1,valid2]"),
        (
            ("--where", "split=a"),
            "lacks the key 'split'; it has 'prompt', 'first', 'second', 'p_first' (--where asks for it)",
        ),
        (("--pairing", "best"), "--pairing=best: allowed are all, best_worst, adjacent"),
        (("--score-temperature", "0"), "--score-temperature=0.0: must be a finite number above 0"),
        (("--preference", "frist"), "--preference=frist: allowed are p_first"),
        (("--encoding", "cp1525"), "--encoding=cp1525: is no encoding of texts; there are utf-8, utf-16, cp1252"),
        (("--format", "hh"), "pairs.csv, pairs.csv:2: lacks the key 'chosen', 'rejected'"),
    ],
)
def test_options_are_named_as_they_are_typed(tmp_path: Path, capsys: Any, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "pairs.csv").write_text("prompt,first,second,p_first\nQ,x,y,1\n")
    format = () if "--format" in words else ("--format", "table")
    assert run("summary", tmp_path / "pairs.csv", *format, *words) == 2
    told = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert message in told and "labeler." not in told
