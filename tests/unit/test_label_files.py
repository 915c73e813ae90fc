"""Labels that stand in files: kinds of files, formats, encodings, and what becomes of odd and repeated rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import math
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.label_sets.label_table import LabelTable
from rlaif.data.label_sets.mixing import MixSettings
from rlaif.data.preferences_io import write_preferences
from rlaif.data.sources.files import FilesSource
from rlaif.data.transcripts import instruction_in, instruction_of, messages, transcript_of, with_turns
from rlaif.errors import ConfigError, DataError
from rlaif.labelers.file import FileLabeler
from rlaif.tasks.base import Dialogue, Summarization, Task
from rlaif.types import Comparison, Completion, Prompt, Turn

POST = "A post about a cat."


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if suffix == ".csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    else:
        text = json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def pair(first: str, second: str, prompt: str = POST) -> Comparison:
    return Comparison(
        prompt=Prompt(task="summarization", text=prompt), first=Completion(text=first), second=Completion(text=second)
    )


def row(first: str, second: str, p_first: float | None, prompt: str = POST) -> dict[str, Any]:
    return {"prompt": prompt, "first": first, "second": second, "p_first": p_first}


ROWS = [
    row("The cat sat.", 'A "cat", twice\nover.', 0.1),
    row("Purrs.", "Sleeps.", None),
    row("Null.", "Void.", 1.0, "Another post."),
]


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.csv", "a.csv.gz", "a.parquet", "without-ending"],
)
def test_every_kind_of_file_gives_the_same_labels_in_both_orders(tmp_path: Path, name: str) -> None:
    labeler = FileLabeler(write(tmp_path / name, ROWS), source="human")
    asked = [
        pair(ROWS[0]["first"], ROWS[0]["second"]),
        pair(f" {ROWS[0]['second']} ", ROWS[0]["first"]),
        pair("Purrs.", "Sleeps."),
        pair("Null.", "Void."),
    ]
    labels = labeler.label(asked)
    assert [label.p_first for label in labels] == [0.1, 0.9, None, None]
    assert [label.missing for label in labels] == [None, None, "null in file", "not in file"]
    assert {label.source for label in labels} == {"human"}
    assert (labeler.reading.num_rows, labeler.reading.num_pairs, labeler.reading.num_labels) == (3, 3, 2)
    assert labeler.reading.mean_p_first == pytest.approx(0.55)
    assert pickle.loads(pickle.dumps(labeler)).label(asked) == labels


def test_wrong_options_are_listed() -> None:
    with pytest.raises(ConfigError, match=r'labeler\.source="": say who'):
        FileLabeler("a.jsonl", source="")
    with pytest.raises(ConfigError, match=r"labeler\.format=trl: no layout has this name; there are auto, alpaca_eval"):
        FileLabeler("a.jsonl", source="x", format="trl")
    with pytest.raises(ConfigError, match=r"labeler\.columns\.winner: unknown, there are chosen, rejected"):
        FileLabeler("a.jsonl", source="x", format="hh", columns={"winner": "y"})
    with pytest.raises(ConfigError, match=r"labeler\.preference: only for a layout with one column"):
        FileLabeler("a.jsonl", source="x", format="hh", preference="index0")
    with pytest.raises(ConfigError, match=r"data\.preference=rank: allowed are p_first, .*own words"):
        FilesSource("a.csv", format="table", preference="rank")
    with pytest.raises(ConfigError, match=r"labeler\.preference: a: 2 must be between 0 and 1"):
        FileLabeler("a.csv", source="x", preference={"a": 2, "b": 0})
    with pytest.raises(ConfigError, match=r"labeler\.confidences=\[9\]: format hh has no confidences"):
        FileLabeler("a.csv", source="x", format="hh", confidences=[9])


def test_other_columns_weights_and_confidences(tmp_path: Path) -> None:
    rows = [
        {"post": POST, "a": "x", "b": "y", "winner": "model_b", "sure": 8, "weight": 2.5},
        {"post": POST, "a": "x", "b": "z", "winner": "model_a", "sure": 4, "weight": ""},
        {"post": POST, "a": "y", "b": "z", "winner": "model_a", "sure": 9, "weight": -1},
    ]
    columns = {"prompt": "post", "first": "a", "second": "b", "preference": "winner", "confidence": "sure"}
    options: dict[str, Any] = {"columns": columns, "preference": {"model_a": 1, "model_b": 0}, "source": "crowd"}
    path = write(tmp_path / "arena.csv", rows)
    labeler = FileLabeler(path, **options)
    labels = labeler.label([pair("x", "y"), pair("z", "x"), pair("y", "z")])
    assert [(label.p_first, label.confidence, label.weight) for label in labels[:2]] == [(0.0, 8, 2.5), (0.0, 4, 1.0)]
    assert labels[2].missing == "unusable label in file: no weight (weight=-1)"
    assert labeler.reading.skipped == {"no weight": 1}
    assert labeler.reading.examples == ("arena.csv:4: no weight (weight=-1)",)
    sure = FileLabeler(path, confidences=(8, 9), **options)
    assert sure.reading.skipped == {"other confidence": 1, "no weight": 1}
    identities = {labeler.identity, sure.identity, FileLabeler(path, **(options | {"source": "me"})).identity}
    assert len(identities) == 3
    assert FileLabeler(path, **options).identity == labeler.identity


def test_repeated_pairs_are_merged_and_contradictions_become_their_mean(tmp_path: Path) -> None:
    rows = [row("x", "y", 1.0), row("y", "x", 0.0), row("x", " y", 0.0), row("p", "q", 0.3), row("q", "p", 0.7)]
    labeler = FileLabeler(write(tmp_path / "a.jsonl", rows), source="crowd")
    labels = labeler.label([pair("x", "y"), pair("q", "p")])
    assert [label.p_first for label in labels] == [pytest.approx(2 / 3), pytest.approx(0.7)]
    reading = labeler.reading
    assert (reading.num_pairs, reading.repeated, reading.contradicting) == (2, 2, 1)
    assert "2 rows repeat a pair with the same label, 1 with another (the mean counts)" in reading.lines()


@pytest.mark.parametrize(
    ("weights", "p_first", "weight"),
    [
        ((1, 1, 1), 2 / 3, 1.0),
        ((2, 1, 1), 3 / 4, 4 / 3),
        ((1, 6, 2), 3 / 9, 3.0),
        ((1, 0, 3), 1.0, 2.0),
        ((0, 5, 0), 0.0, 5.0),
        ((0, 0, 0), 2 / 3, 0.0),
    ],
)
def test_labels_of_one_pair_count_by_their_weights(
    weights: tuple[int, ...], p_first: float, weight: float, tmp_path: Path
) -> None:
    """First, second, first, say three people; one of weight 0 is as if not asked."""
    rows = [row("x", "y", 1.0), row("y", "x", 1.0), row("x", "y", 1.0)]
    weighted = [values | {"weight": weight} for values, weight in zip(rows, weights, strict=True)]
    (given, swapped) = FileLabeler(write(tmp_path / "a.jsonl", weighted), source="crowd").label(
        [pair("x", "y"), pair("y", "x")]
    )
    assert (given.p_first, given.weight) == (pytest.approx(p_first), pytest.approx(weight))
    assert (swapped.p_first, swapped.weight) == (pytest.approx(1 - p_first), pytest.approx(weight))


def test_rows_that_cannot_be_used_are_counted_and_the_first_three_shown(tmp_path: Path) -> None:
    rows = [
        row("x", "x ", 1.0),
        row("x", "y", 7),
        row("x", None, 1.0),  # type: ignore[arg-type]
        row("x", "y", 0.5, " "),
        row("x", "y\ud83d", 0.5),
        row("x", "y", 0.25),
    ]
    labeler = FileLabeler(write(tmp_path / "a.jsonl", rows), source="human", format="table")
    assert labeler.label([pair("x", "y")])[0].p_first == 0.25
    assert labeler.reading.skipped == {
        "equal responses": 1,
        "unknown preference": 1,
        "no text": 1,
        "empty prompt": 1,
        "broken Unicode": 1,
    }
    assert labeler.reading.examples == (
        "a.jsonl:1: equal responses",
        "a.jsonl:2: unknown preference (p_first: 7 is not between 0 and 1)",
        "a.jsonl:3: no text (second is null)",
    )
    assert labeler.reading.lines()[0] == "6 rows read, 5 left out"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (1.7, "unknown preference (p_first: 1.7 is not between 0 and 1)"),
        (-0.1, "unknown preference (p_first: -0.1 is not between 0 and 1)"),
        ("70 %", "unknown preference (p_first: '70 %' is no number)"),
    ],
)
def test_a_pair_with_an_unusable_label_is_not_said_to_be_absent(
    cell: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row("a", "b", 1.0), row("x", " y", cell), row("p", "q", cell), row("q", "p", 0.25)]
    labeler = FileLabeler(write(tmp_path / "a.jsonl", rows), source="human", format="table")
    labels = labeler.label([pair("x", "y"), pair("y", "x"), pair("p", "q"), pair("x", "z")])
    assert [label.missing for label in labels] == [f"unusable label in file: {reason}"] * 2 + [None, "not in file"]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "left out: 2 × unknown preference" in warning and f"; the first: a.jsonl:2: {reason}" in warning


@pytest.mark.parametrize(
    ("options", "sixth_line"),
    [
        ({}, "0 rows repeat a pair with the same label, 0 with another (the mean counts)"),
        ({"rows": "orders"}, "1 pairs, 0 of them with a verdict in each order, 1 verdicts"),
    ],
)
def test_a_file_is_read_once_and_told_line_by_line(
    options: dict[str, Any], sixth_line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.jsonl", [row("x", "y", 1.0), row("x", "x", 1.0), row("p", "q", 7)])
    labeler = FileLabeler(path, source="human", format="table", **options)
    with caplog.at_level(logging.INFO, "rlaif.labelers.file"):
        labeler.check()
        assert labeler.holds(pair("x", "y")) and labeler.label([pair("a", "b")])[0].missing == "not in file"
    unusable = "unknown preference (p_first: 7 is not between 0 and 1)"
    lines = [
        "3 rows read, 2 left out",
        "left out: 1 × equal responses",
        "left out: 1 × unknown preference",
        "a.jsonl:2: equal responses",
        f"a.jsonl:3: {unusable}",
        sixth_line,
    ]
    told = [(record.levelname, record.getMessage().removeprefix(f"labeler.path={path}: ")) for record in caplog.records]
    assert told[:6] == [("INFO", line) for line in lines] and len(set(told)) == len(told)
    warning = "; ".join((*lines[:3], "the first: a.jsonl:2: equal responses"))
    assert [line for level, line in told if level != "INFO"] == [warning]


@pytest.mark.parametrize(
    ("format", "values", "reason"),
    [
        ("chosen_rejected", {"prompt": POST, "chosen": "x", "rejected": "y", "p_chosen": 90}, "90 is not between"),
        ("chosen_rejected", {"prompt": POST, "chosen": "x", "rejected": "y", "weight": -2}, "no weight (weight=-2)"),
        ("alpaca_eval", {"instruction": POST, "output_1": "x", "output_2": "y", "preference": 3}, "3 is not between"),
        (
            "distilabel",
            {"instruction": POST, "generations": ["x", "y"], "ratings": ["good", 1]},
            "row.ratings is no number",
        ),
        (
            "tldr_comparisons",
            {"info": {"post": "P"}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 2},
            "choice: 2 is none of 0, 1",
        ),
    ],
)
def test_every_format_tells_whose_label_is_unusable(
    format: Any, values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    usable = (
        json.loads(json.dumps(values).replace('"x"', '"z"'))
        | {
            "chosen_rejected": {"p_chosen": 1, "weight": 1},
            "alpaca_eval": {"preference": 1},
            "distilabel": {"ratings": [2, 1]},
            "tldr_comparisons": {"choice": 1},
        }[format]
    )
    labeler = FileLabeler(write(tmp_path / "a.jsonl", [values, usable]), source="human", format=format)
    prompt = "SUBREDDIT: r/\n\nTITLE: \n\nPOST: P" if format == "tldr_comparisons" else POST
    bad, good = labeler.label([pair("y", "x", prompt), pair("y", "z", prompt)])
    assert good.missing is None
    assert bad.missing is not None and bad.missing.startswith("unusable label in file: ") and reason in bad.missing


def test_a_file_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row("x", "y", 7)] * 4)
    with pytest.raises(DataError, match=r"labeler\.path=.*: not one of 4 rows can be used .*format=table right"):
        FileLabeler(path, source="human", format="table").label([pair("x", "y")])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"{", r"labeler\.path=.*a\.jsonl, line 1: is not JSON"),
        ("a.jsonl", b'{"prompt": ""}\n[1]', r"a\.jsonl:1: lacks the key 'first', 'second', 'preference\|p_first'"),
        ("a.jsonl", b'{"prompt": "", "first": "", "second": "", "p_frist": 1}', r"did you mean 'p_frist'\?.*columns"),
        ("a.jsonl", b'{"instruction": "", "output_1": "", "output_2": "", "preference": 1}', r"alpaca_eval would fit"),
        ("a.json", b'{"prompt": ""}', r"a\.json:1: lacks the key 'first', 'second', 'preference\|p_first'"),
        ("a.json", b"[\n1]", r"row 1 is 1, no JSON object; expected a JSON list of objects with prompt, first"),
        ("a.json", b'[{},\n{"a" 1}]', r"line 2: is not JSON"),
        ("a.csv", b"prompt,first\na,b,c\n", r"line 2: has 3 columns, the heading has 2"),
        ("a.csv", b'prompt,first\n"a"x,b\n', r"line 2: is not CSV"),
        (
            "a.csv",
            b"prompt,first,second,p_first\n",
            r"and no rows under it; expected rows with prompt, first, second",
        ),
        ("a.parquet", b"PAR1 and nothing more", r"after row 0: is not a whole Parquet file"),
        (
            "a.jsonl",
            b'\xff{"prompt"',
            r"line 1: is not UTF-8 \(byte 0xff\); give .*labeler\.encoding=cp1252",
        ),
        ("a.jsonl.gz", gzip.compress(json.dumps(ROWS[0]).encode() * 50)[:-12], r"the gzip file ends here"),
    ],
)
def test_files_that_cannot_be_read_say_where_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        FileLabeler(tmp_path / name, source="human", format="table").label([pair("x", "y")])


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"labeler\.path=absent\.jsonl: there is no such file"):
        FileLabeler("absent.jsonl", source="human").identity  # noqa: B018


# The formats that others publish, in rows of our own


def read(tmp_path: Path, format: str, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> LabelTable:
    file = PairFile(write(tmp_path / name, rows), ReadingOptions(group="labeler", format=format))
    return LabelTable(file, keep_pairs=True)


def alpaca(preference: float | None, instruction: str = "Name a bird.") -> dict[str, Any]:
    return {
        "instruction": instruction,
        "output_1": "A gull.",
        "generator_1": "base",
        "output_2": "A wren.",
        "generator_2": "tuned",
        "annotator": "someone",
        "preference": preference,
    }


def test_alpaca_eval_annotations(tmp_path: Path) -> None:
    rows = [alpaca(p, f"Name bird {i}.") for i, p in enumerate((1, 2, 1.25, 1.5, 0, None, 3))]
    table = read(tmp_path, "alpaca_eval", rows, "annotations.json")
    assert [item.p_first for item in table.pairs] == [1.0, 0.0, 0.75, 0.5, 0.5, None]
    assert table.reading.skipped == {"unknown preference": 1}
    assert (table.pairs[0].first_source, table.pairs[0].second_source) == ("base", "tuned")
    soft = {key: value for key, value in alpaca(None).items() if key != "preference"} | {"p_output_2_preferred": 0.75}
    assert read(tmp_path, "alpaca_eval", [soft]).pairs[0].p_first == 0.25


def test_an_instruction_is_found_with_and_without_turns(tmp_path: Path) -> None:
    labeler = FileLabeler(write(tmp_path / "a.jsonl", [alpaca(1.25)]), source="gpt-4", format="alpaca_eval")
    prompts = ("Name a bird.", "\n\nHuman: Name a bird.\n\nAssistant:", "\n\nHuman: Name a fish.\n\nAssistant:")
    labels = labeler.label([pair("A wren.", "A gull.", prompt) for prompt in prompts])
    assert [label.p_first for label in labels] == [0.25, 0.25, None]


def test_instructions_as_data_get_turns_where_the_policy_continues_a_dialogue(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [alpaca(1.25, f"Name bird {i}.") for i in range(3)])
    source = FilesSource(str(path), format="alpaca_eval", eval_fraction=0.0, source="gpt-4")
    label = source.load(Dialogue()).preferences[0]
    assert label.comparison.prompt.text == "\n\nHuman: Name bird 0.\n\nAssistant:"
    assert (label.p_first, label.source, label.comparison.second.source) == (0.75, "gpt-4", "tuned")
    assert source.load(Summarization()).preferences[0].comparison.prompt.text == "Name bird 0."


def comparison_row(**changes: Any) -> dict[str, Any]:
    return {
        "info": {"id": "t3_1", "post": "My cat left.", "title": "Gone", "subreddit": "cats"},
        "summaries": [{"text": " Cat left.", "policy": "sup1", "note": None}, {"text": " Dog left.", "policy": "ref"}],
        "choice": 0,
        "worker": "w",
        "batch": "batch5",
        "split": "train",
        "extra": {"confidence": 2},
    } | changes


def test_tldr_comparisons_with_their_confidence_filter(tmp_path: Path) -> None:
    info = comparison_row()["info"]
    rows = [
        comparison_row(),
        comparison_row(choice=1, extra={"confidence": 8}, info=info | {"post": "My dog left."}),
        comparison_row(extra={"confidence": 5}, info=info | {"post": "My fish left."}),
        comparison_row(extra={}, info=info | {"post": "My bird left."}),
        comparison_row(batch="batch0_cnndm"),
        comparison_row(choice=None),
        comparison_row(info=info | {"post": None}),
    ]
    path = write(tmp_path / "comparisons.jsonl", rows)
    labeler = FileLabeler(path, source="human", format="tldr_comparisons", confidences=[1, 2, 8, 9])
    assert labeler.reading.skipped == {
        "other confidence": 2,
        "empty prompt": 1,
    }
    prompt = "SUBREDDIT: r/cats\n\nTITLE: Gone\n\nPOST: My {} left."
    labels = labeler.label([pair("Cat left.", "Dog left.", prompt.format(animal)) for animal in ("cat", "dog", "fish")])
    assert [(label.p_first, label.confidence) for label in labels] == [(1.0, 2.0), (0.0, 8.0), (None, None)]
    data = FilesSource(str(path), format="tldr_comparisons", eval_fraction=0.0, max_skipped=0.4).load(Summarization())
    assert len(data.preferences) == 4 and data.preferences[0].comparison.prompt.text == prompt.format("cat")


@pytest.mark.parametrize(
    ("format", "values", "message"),
    [
        ("tldr_comparisons", comparison_row(info="a post"), r"empty prompt \(info.post is empty\)"),
        ("tldr_comparisons", comparison_row(summaries=[{"text": "x"}]), r"no text \(summaries\[1\].text is null\)"),
        ("distilabel", {"instruction": "Q", "generations": "x", "ratings": [1]}, "no list of responses"),
        ("alpaca_eval", alpaca(1) | {"output_1": ["x", "z"]}, "output_1 is a list of 2 texts"),
        ("alpaca_eval", alpaca(1) | {"output_1": {"x": 1}}, "no text"),
    ],
)
def test_values_of_another_kind_are_told_with_their_line(
    tmp_path: Path, format: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"not one of 1 rows can be used \(rows\.jsonl:1: .*{message}"):
        read(tmp_path, format, [values])


def test_trl_preferences_as_texts_and_as_messages(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Hi"}
    good, bad = ({"role": "assistant", "content": text} for text in ("Hello!", "No."))
    rows: list[dict[str, Any]] = [
        {"prompt": POST, "chosen": " Good.", "rejected": " Bad."},
        {"prompt": POST, "chosen": " Fine.", "rejected": " Bad.", "p_chosen": 0.75},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [{"role": "user", "content": "Bye"}, good], "rejected": [{"role": "user", "content": "Bye"}, bad]},
        {"prompt": [user, good, user], "chosen": [good], "rejected": [bad]},
        {"prompt": [{"role": "system", "content": "Be kind."}, user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, user, bad]},
    ]
    table = read(tmp_path, "chosen_rejected", rows)
    assert [item.prompt for item in table.pairs] == [
        POST,
        POST,
        "Hi",
        "Bye",
        "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Hi\n\nAssistant:",
        "\n\nSystem: Be kind.\n\nHuman: Hi\n\nAssistant:",
    ]
    sure = [item.p_first if item.first in ("Good.", "Fine.", "Hello!") else 1 - item.p_first for item in table.pairs]  # type: ignore[operator]
    assert sure == [1.0, 0.75, 1.0, 1.0, 1.0, 1.0]
    assert table.reading.skipped == {"split context": 1}


def test_distilabel_ratings_are_no_probabilities(tmp_path: Path) -> None:
    def rated(number: int, ratings: list[float | None], **more: Any) -> dict[str, Any]:
        generations = ["A gull.", "A wren.", "An auk."][: len(ratings)]
        return {"instruction": f"Bird {number}?", "generations": generations, "ratings": ratings, **more}

    rows = [
        rated(0, [4.0, 2.0], generation_models=["small", "large"]),
        rated(1, [3.0, 3.0]),
        rated(2, [None, 1.0]),
        rated(3, [0.9, 0.1], p_first=0.9),
        rated(4, [1.0, 2.0, 3.0]),
        rated(5, ["good", 2.0]),  # type: ignore[list-item]
        rated(6, [1, 2], generation_models=["small"]),
        rated(7, [math.nan, 2.0]),
    ]
    table = read(tmp_path, "distilabel", rows)
    assert [item.p_first for item in table.pairs] == [1.0, 0.5, None, 0.9, 0.0, 0.0, 0.0, 0.0, None]
    assert (table.pairs[0].first_source, table.pairs[0].second_source) == ("small", "large")
    assert table.reading.examples == ("rows.jsonl:6: row.ratings is no number ('good')",)


def test_turns_and_messages() -> None:
    dialogue = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: And now?\n\nAssistant:"
    told = messages(Prompt(task="dialogue", text=dialogue))
    assert transcript_of(Turn(item["role"], item["content"]) for item in told) == dialogue  # type: ignore[arg-type]
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert messages(Prompt(task="summarization", text=POST)) == [{"role": "user", "content": POST}]
    assert instruction_in(dialogue) == dialogue and instruction_in(with_turns(" Hi ")) == "Hi"


def test_a_prompt_with_turns_is_told_by_them() -> None:
    quoting = "What did\n\nHuman: Hi"
    one = Prompt(task="dialogue", text=with_turns(quoting), turns=(Turn("user", quoting),))
    assert messages(one) == [{"role": "user", "content": quoting}] and instruction_of(one) == quoting
    two = Prompt(task="dialogue", text=with_turns("Hi"), turns=(Turn("system", "Be brief."), Turn("user", "Hi")))
    assert [message["role"] for message in messages(two)] == ["system", "user"]
    assert instruction_of(two) == "Hi"


INDENTED = "    return 1\n"


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("hh", {"chosen": f"{with_turns('Hi')} {INDENTED}", "rejected": f"{with_turns('Hi')} No."}),
        ("table", {"prompt": "Hi", "first": INDENTED, "second": "No.", "p_first": 1.0}),
        ("chosen_rejected", {"prompt": "Hi", "chosen": f" {INDENTED}", "rejected": " No."}),
        (
            "chosen_rejected",
            {
                "prompt": [{"role": "user", "content": "Hi"}],
                "chosen": [{"role": "assistant", "content": INDENTED}],
                "rejected": [{"role": "assistant", "content": "No."}],
            },
        ),
        ("alpaca_eval", {"instruction": "Hi", "output_1": INDENTED, "output_2": "No.", "preference": 1.0}),
        ("distilabel", {"instruction": "Hi", "generations": [INDENTED, "No."], "ratings": [2, 1]}),
    ],
)
def test_a_response_keeps_its_indentation_and_its_place(format: str, row: dict[str, Any], tmp_path: Path) -> None:
    (pair,) = read(tmp_path, format, [row]).pairs
    assert INDENTED in (pair.first, pair.second)
    trimmed = json.loads(json.dumps(row).replace(json.dumps(INDENTED)[1:-1], INDENTED.strip()))
    (other,) = read(tmp_path, format, [trimmed]).pairs
    assert (pair.first.strip(), pair.second.strip(), pair.p_first) == (other.first, other.second, other.p_first)


TURNS = {
    "a system turn": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": POST}],
    "a quoted turn mark": [{"role": "user", "content": f"{POST}\n\nHuman: why?\n\nAssistant: because."}],
    "several turns": [
        {"role": name, "content": text} for name, text in (("user", POST), ("assistant", "A"), ("user", "B"))
    ],
    "one turn": [{"role": "user", "content": POST}],
}


@pytest.mark.parametrize("task", [Dialogue(), Summarization()], ids=lambda task: task.name)
@pytest.mark.parametrize("prompt", TURNS.values(), ids=TURNS)
def test_a_pair_is_found_by_the_turns_of_its_prompt_in_rows_and_in_label_tables(
    tmp_path: Path, task: Task, prompt: list[dict[str, str]]
) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"prompt": prompt, "chosen": "x", "rejected": "y"}])
    (known,) = FilesSource(str(rows), eval_fraction=0.0).load(task).preferences
    table = tmp_path / "labels.parquet"
    write_preferences(table, [known])
    for path in (rows, table):
        (found,) = FileLabeler(str(path), source="human").label([known.comparison])
        assert found.p_first == known.p_first
    mixed = MixSettings({"again": {"path": str(table), "source": "human"}}).mixed([], task, []).labels
    assert [label.comparison for label in mixed] == [known.comparison]
    assert FilesSource(str(table), eval_fraction=0.0).load(task).label_prompts[0] == known.comparison.prompt


@pytest.mark.parametrize("end", ["\n\nTL;DR:", "\nTL;DR: ", ""])
def test_what_a_task_writes_behind_a_prompt_stands_there_once(tmp_path: Path, end: str) -> None:
    """TRL's copies of the TL;DR data end their posts with the words that the task ends them with."""
    rows = write(tmp_path / "rows.jsonl", [{"prompt": f"{POST}{end}", "chosen": " x", "rejected": " y"}])
    data = FilesSource(str(rows), eval_fraction=0.0).load(Summarization())
    (prompt,) = data.label_prompts
    assert Summarization().policy_text(prompt.text) == f"{POST}\n\nTL;DR:" and prompt.turns == ()
    (known,) = data.preferences
    (found,) = FileLabeler(str(rows), source="human").label([known.comparison])
    assert found.p_first == known.p_first
    (prompt,) = FilesSource(str(rows), eval_fraction=0.0).load(Dialogue()).label_prompts
    assert prompt.text == f"\n\nHuman: {POST}{end.rstrip()}\n\nAssistant:"
