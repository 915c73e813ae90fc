"""Files whose columns have other names: the error says what to type, and what it says reads the file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rlaif.cli.labels import main
from rlaif.data.formats.base import BarePrompt, LabeledPair
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.errors import DataError

ASK, GOOD, BAD = "Which river runs through Paris?", "The Seine.", "The Thames does, I think."
OPTIONS = re.compile(r"(?:type|perhaps) (data\.format=.*?)(?: \(| if that is|$)")


def write(tmp_path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def typed(error: str) -> dict[str, Any]:
    """The options that an error says to type, as ``rlaif-run`` reads them."""
    found = OPTIONS.search(error)
    assert found is not None, error
    overrides = OverridesParser.create().parse_overrides(shlex.split(found[1]))
    return {item.key_or_group.removeprefix("data."): item.value() for item in overrides}


def two(ask: str, first: str, second: str, **further: object) -> dict[str, object]:
    return {ask: ASK, first: GOOD, second: BAD, **further}


@pytest.mark.parametrize(
    ("row", "p_good"),
    [
        (two("Prompt", "Chosen ", "Rejected"), 1.0),
        (two("prompt", "Chosen Response", "Rejected Response"), 1.0),
        (two("prompt", "accepted", "rejected"), 1.0),
        (two("question", "win", "lose"), 1.0),
        (two("prompt", "winner", "loser"), 1.0),
        (two("prompt", "preferred", "dispreferred"), 1.0),
        (two("Human", "good_answer", "bad_answer"), 1.0),
        (two("query", "Response A", "Response B", Winner="B"), 0.0),
        (two("question", "answer_1", "answer_2", better=2), 0.0),
        (two("question", "Answer 1", "Answer 2", Label="tie"), 0.5),
        (two("question", "Answer 1", "Answer 2", Label=0), 1.0),
        (two("instruction", "output_1", "output_2", best="output_1"), 1.0),
        (two("user_input", "response_a", "response_b", human_says="B"), 0.0),
        (two("Question", "Answer 1", "Answer 2"), None),
        (two("INPUT:prompt", "INPUT:answer_a", "INPUT:answer_b", **{"OUTPUT:result": "b"}), 0.0),
        (two("Input.prompt", "Input.response_a", "Input.response_b", **{"Answer.choice": "response_a"}), 1.0),
        (two("context", "good_edited_response", "bad_edited_response", original_response="x"), 1.0),
        (two("prompt", "preferred", "non-preferred"), 1.0),
        (two("prompt", "response_a", "response_b", chosen="b", rejected="a"), 0.0),
        (two("context", "response_a", "response_b", label="b"), 0.0),
        ({"query": ASK, "pos": [GOOD], "neg": [BAD]}, 1.0),
        (two("prompt", "model_b_text", "model_a_text", model_a="m", model_b="n", best="model_a"), 0.0),
    ],
)
def test_what_the_error_says_to_type_reads_the_file(
    tmp_path: Path, row: dict[str, object], p_good: float | None
) -> None:
    path = write(tmp_path, [row])
    with pytest.raises(DataError) as caught:
        list(PairFile(path, ReadingOptions()).read())
    (read,) = PairFile(path, ReadingOptions(**typed(str(caught.value)))).read()
    (pair,) = read.records
    assert isinstance(pair, LabeledPair) and pair.prompt == ASK
    p_first = pair.p_first if pair.first == GOOD or pair.p_first is None else 1.0 - pair.p_first
    assert {pair.first, pair.second} == {GOOD, BAD} and p_first == p_good


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("thumbs_up", "thumbs_down"),
        ("yes", "no"),
        ("Good", "Bad"),
        (1, -1),
        (1, 0),
        (True, False),
        ("\U0001f44d", "no"),
    ],
)
@pytest.mark.parametrize(("response", "label"), [("completion", "label"), ("response", "feedback")])
def test_words_for_good_and_bad_responses(tmp_path: Path, good: object, bad: object, response: str, label: str) -> None:
    rows = [{"prompt": ASK, response: GOOD, label: good}, {"prompt": ASK, response: BAD, label: bad}]
    path = write(tmp_path, rows)
    options: dict[str, Any] = {}
    if response == "response":
        with pytest.raises(DataError, match="unread_") as caught:
            list(PairFile(path, ReadingOptions()).read())
        options = typed(str(caught.value))
    (pair,) = (record for row in PairFile(path, ReadingOptions(**options)).read() for record in row.records)
    assert isinstance(pair, LabeledPair) and (pair.first, pair.p_first) == (GOOD, 1.0)


def test_the_labels_command_says_it_in_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, [two("Prompt", "Chosen ", "Rejected")])
    with pytest.raises(SystemExit):
        main(["summary", str(path)])
    printed = capsys.readouterr()
    found = re.search(r"type (--format=.*?) if that is", printed.err + printed.out)
    assert found is not None
    with pytest.raises(SystemExit) as done:
        main(["summary", str(path), *shlex.split(found[1])])
    assert done.value.code == 0 and "preferred 'The Seine.'" in capsys.readouterr().out


TIES = [
    {"question": f"{ASK} {number}", "chosen": GOOD, "rejected": BAD, "rating": [9, 5], "status": status}
    for number, status in enumerate(("tie", "unchanged", "swapped", "unchanged"))
]
"""As Argilla's Intel Orca pairs have them."""


def test_the_condition_that_is_told_leaves_ties_out(tmp_path: Path) -> None:
    path = write(tmp_path, TIES)
    with pytest.raises(DataError, match="tie_in_row") as caught:
        list(PairFile(path, ReadingOptions()).read())
    found = re.search(r"leave them out with (data\.where='.*?'), or", str(caught.value))
    assert found is not None
    (override,) = OverridesParser.create().parse_overrides(shlex.split(found[1]))
    assert override.value() == {"status": ["unchanged", "swapped"]}
    read = list(PairFile(path, ReadingOptions(where=override.value())).read())
    assert [len(row.records) for row in read] == [0, 1, 1, 1] and str(read[0].odd) == "other status ('tie')"


def test_the_labels_command_takes_every_option_that_it_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, TIES)
    with pytest.raises(SystemExit):
        main(["summary", str(path)])
    told = re.search(r"leave them out with (--where .*?), or go on with (--accept \w+)", capsys.readouterr().err)
    assert told is not None
    for option, num_pairs in zip(told.groups(), (3, 4), strict=True):
        with pytest.raises(SystemExit) as done:
            main(["summary", str(path), *shlex.split(option)])
        assert done.value.code == 0 and f"{num_pairs} pairs, {num_pairs} with a label" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "sign"),
    [
        ({"prompt": ASK, "responses": [{"text": GOOD}, {"text": BAD}]}, "no_label"),
        ({"prompt": ASK, "outputs": [GOOD, BAD]}, "unread_responses"),
        ({"prompt": ASK, "ranked_responses": [GOOD, BAD]}, "unread_responses"),
        ({"question": ASK, "human_answers": [GOOD], "chatgpt_answers": [BAD]}, "unread_responses"),
        ({"prompt": ASK, "chosen": "A", "rejected": "B"}, "words_as_responses"),
        ({"prompt": ASK, "response_a": GOOD, "response_b": BAD, "prefers_b": 1}, "unread_label"),
        (
            {"prompt": ASK, "response_a": GOOD, "response_b": BAD, "annotator 1": "A", "annotator 2": "B"},
            "unread_label",
        ),
        ({"prompt": ASK, "response_a": GOOD, "response_b": BAD, "annotations": ["A", "B", "A"]}, "unread_label"),
        ({"instruction": ASK, "response1": GOOD, "response2": BAD, "annotator1": 1, "annotator2": 0}, "unread_label"),
        ({"prompt": f"{ASK}</s>", "chosen": GOOD, "rejected": BAD}, "template_marks"),
        ({"prompt": ASK, "response": GOOD, "candidates": [GOOD, BAD]}, "unread_responses"),
        ({"prompt": ASK, "response_1": GOOD, "response_2": BAD, "response_3": "No."}, "unread_responses"),
        ({"prompt": ASK, "answer_a": GOOD, "answer_b": BAD, "answer_c": "No.", "label": "A"}, "unread_responses"),
        ({"question": ASK, "chosen": GOOD, "rejected": BAD, "image": {"bytes": "x", "path": None}}, "unread_context"),
        ({"question": ASK, "chosen": GOOD, "rejected": BAD, "image_path": "a.jpg"}, "unread_context"),
    ],
)
def test_what_is_left_unread_stops_the_run(tmp_path: Path, row: dict[str, object], sign: str) -> None:
    with pytest.raises(DataError, match=rf"{sign}: .*data\.accept=\[{sign}\]"):
        list(PairFile(write(tmp_path, [row]), ReadingOptions()).read())


def test_prompts_may_have_what_their_answers_are_checked_against(tmp_path: Path) -> None:
    row = {"prompt": ASK, "reference_answer": GOOD, "answer_type": "text"}
    (read,) = PairFile(write(tmp_path, [row]), ReadingOptions()).read()
    assert read.records == (BarePrompt(prompt=ASK, is_instruction=True),)


def test_no_label_is_suggested_where_nobody_can_read_it(tmp_path: Path) -> None:
    row = two("Prompt", "Response A", "Response B", **{"Preference (1-7)": 6})
    with pytest.raises(DataError, match=r"my_layout\.yaml"):
        list(PairFile(write(tmp_path, [row]), ReadingOptions()).read())
    row = {"text": ASK, "options": [{"id": "A", "text": GOOD}], "accept": ["A"], "answer": "accept"}
    with pytest.raises(DataError, match=r"my_layout\.yaml"):
        list(PairFile(write(tmp_path, [row]), ReadingOptions()).read())


def test_responses_that_are_not_read_stop_the_run_unless_they_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, [two("prompt", "accepted", "declined"), two("prompt", "accepted", "rejected")])
    with pytest.raises(DataError, match="lacks the key"):
        list(PairFile(path, ReadingOptions(format="chosen_rejected")).read())
    path = write(tmp_path, [two("prompt", "accepted", "rejected")])
    with pytest.raises(DataError, match=r"unread_responses: .*\(accepted\)"):
        list(PairFile(path, ReadingOptions()).read())
    assert len(list(PairFile(path, ReadingOptions(accept=["unread_responses"])).read())) == 1


@pytest.mark.parametrize("line", [1, 3])
def test_a_row_that_lacks_what_most_rows_have_is_named_with_its_line(tmp_path: Path, line: int) -> None:
    rows = [two("prompt", "chosen", "rejected") for _ in range(4)]
    del rows[line - 1]["rejected"]
    path = write(tmp_path, rows)
    with pytest.raises(
        DataError, match=rf":{line}: lacks the key 'rejected', with which 3 of the first 4 rows are read"
    ):
        list(PairFile(path, ReadingOptions()).read())
    few = [{"prompt": ASK}, {"prompt": ASK + "?"}, two("prompt", "chosen", "rejected")]
    with pytest.raises(DataError, match="unread_label"):
        list(PairFile(write(tmp_path, few), ReadingOptions()).read())


def test_a_condition_on_a_column_that_rows_lack_is_named_as_typed(tmp_path: Path) -> None:
    path = write(tmp_path, [two("prompt", "chosen", "rejected")])
    with pytest.raises(DataError) as raised:
        list(PairFile(path, ReadingOptions(where={"source": "x"})).read())
    assert str(raised.value).endswith(
        "lacks the key 'source'; it has 'prompt', 'chosen', 'rejected' (data.where asks for it)"
    )
    with pytest.raises(DataError, match=r"\(data\.where asks for it; did you mean 'chosen'\?\)$"):
        list(PairFile(path, ReadingOptions(where={"choosen": "x"})).read())


@pytest.mark.parametrize("nothing", [None, "", [], {}, "[]", " {} ", "null"])
def test_a_column_that_holds_nothing_is_no_sign(tmp_path: Path, nothing: object) -> None:
    path = write(tmp_path, [two("prompt", "chosen", "rejected", tools=nothing, history=nothing)])
    (read,) = PairFile(path, ReadingOptions()).read()
    assert len(read.records) == 1
    path = write(tmp_path, [two("prompt", "chosen", "rejected", tools='[{"name": "map"}]')])
    with pytest.raises(DataError, match="unread_context"):
        list(PairFile(path, ReadingOptions()).read())


def test_the_encoding_that_is_told_for_a_layout_can_be_typed(tmp_path: Path) -> None:
    rows = [{"instruction": f"{ASK} {n}", "output_1": GOOD, "output_2": BAD, "preference": n % 2} for n in range(4)]
    path = write(tmp_path, rows)
    with pytest.raises(
        DataError, match=r"say data\.format=alpaca_eval with data\.preference=index0 \(0 is the first\)"
    ):
        list(PairFile(path, ReadingOptions()).read())
    for encoding, first in (("index0", 1.0), ("p_first", 0.0)):
        found = PairFile(path, ReadingOptions(format="alpaca_eval", preference=encoding)).read()
        labels = [pair.p_first for row in found for pair in row.records if isinstance(pair, LabeledPair)]
        assert labels == [first, 1.0 - first] * 2
