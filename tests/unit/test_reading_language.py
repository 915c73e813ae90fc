"""The reading language: layouts of a user's own, options, refusals, signs of a wrong reading, ``format=auto``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlaif.data.formats.base import LabeledPair, SingleResponse
from rlaif.data.formats.labels import pairs_of
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.formats.paths import ABSENT, PathError, path_of
from rlaif.data.formats.words import folded
from rlaif.data.label_sets.label_table import LabelTable
from rlaif.data.sources.files import FilesSource
from rlaif.errors import ConfigError, DataError
from rlaif.tasks.base import Dialogue, Summarization

ASK, GOOD, BAD = "Which river runs through Paris?", "The Seine.", "The Thames does, I think."


def write(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, rows: list[Mapping[str, Any]], **options: Any) -> list[LabeledPair]:
    file = PairFile(write(tmp_path / "rows.jsonl", rows), ReadingOptions(**options))
    pairs = [record for row in file.read() for record in row.records]
    assert all(isinstance(pair, LabeledPair) for pair in pairs)
    return pairs  # type: ignore[return-value]


def own_layout(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


TABLES = {"t": {"u": ["x", "y"], "v": ["1", "2"]}, "flat.a.b": 7, "flat.a": [8, 9]}
"""An object of columns, and columns whose names hold dots, as flat tables write them."""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("b[values][*].d", [2, 3]),
        ("t[v!=2].u", ["x"]),
        ("flat.a.b", 7),
        ("flat.a[*]", [8, 9]),
        ("a", 1),
        ("b.c", [{"d": 2}, {"d": 3}]),
        ("b.c[1].d", 3),
        ("b.c[-2].d", 2),
        ("b.c[*].d", [2, 3]),
        ("b.c[7].d", ABSENT),
        ("none|a", 1),
        ("(none)", ABSENT),
        ("with.dot", 4),
    ],
)
def test_paths_lead_to_values(path: str, value: object) -> None:
    assert path_of(path).value({"a": 1, "b": {"c": [{"d": 2}, {"d": 3}]}, "with.dot": 4, **TABLES}) == value


@pytest.mark.parametrize("path", ["", "[0].a", "a[x]", "a[", "."])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(PathError):
        path_of(path)


def test_a_layout_of_ones_own_needs_no_python(tmp_path: Path) -> None:
    layout = own_layout(
        tmp_path,
        """
prompt: {template: "Title: {meta.title}\\n\\n{meta.text}"}
responses: {each: drafts, text: body, source: by}
label: {scores: {style: 1, facts: 2}}
where: {meta.language: [en, EN-GB]}
""",
    )
    row = {
        "meta": {"title": "T", "text": "Long.", "language": "En"},
        "drafts": [
            {"body": GOOD, "by": "ann", "style": 1, "facts": "3"},
            {"body": BAD, "by": "bob", "style": 5, "facts": 1},
        ],
    }
    other = {**row, "meta": {**row["meta"], "language": "fr"}}
    file = PairFile(write(tmp_path / "rows.jsonl", [row, other]), ReadingOptions(format=layout))
    kept, left = file.read()
    (pair,) = kept.records
    assert isinstance(pair, LabeledPair)
    assert (pair.prompt, pair.first, pair.second, pair.p_first) == ("Title: T\n\nLong.", GOOD, BAD, 0.5)
    assert (pair.first_source, pair.second_source) == ("ann", "bob")
    assert str(left.odd) == "other meta.language ('fr')"


def test_every_mistake_in_a_layout_is_told(tmp_path: Path) -> None:
    layout = own_layout(
        tmp_path,
        "promt: question\nresponses: [a, 'b[']\nlabel: {words: [[A, 2]], at: winner}\npairing: some\n",
    )
    with pytest.raises(ConfigError) as caught:
        ReadingOptions(format=layout)
    text = str(caught.value)
    assert "promt: unknown key" in text and "'b[' is no path" in text
    assert "A: 2 must be between 0 and 1" in text and "pairing: 'some'" in text
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 2: cannot be read as YAML"):
        ReadingOptions(format=own_layout(tmp_path, "a: b\n]"))
    with pytest.raises(
        ConfigError, match=r"data\.format=chosen_reject: no layout has this name \(did you mean chosen_"
    ):
        ReadingOptions(format="chosen_reject")
    with pytest.raises(ConfigError, match="there is no such file"):
        ReadingOptions(format="absent.yaml")


@pytest.mark.parametrize(
    ("preference", "cells"),
    [
        ("p_first", {0: 0.0, 0.25: 0.25, "1": 1.0}),
        ("p_second", {0: 1.0, "0.25": 0.75}),
        ("index0", {0: 1.0, 1: 0.0, "1.0": 0.0}),
        ("index1", {1: 1.0, 2: 0.0, 1.25: 0.75, 1.5: 0.5, 0: 0.5}),
        ("words", {"First": 1.0, "second ": 0.0, "tie": 0.5, "": None}),
        ([["A>B", 1], ["B>A", 0], ["skip", None]], {"a>b": 1.0, " B>A": 0.0, "skip": None}),
        ({"left": 1, "right": 0, 7: 0.5}, {"left": 1.0, "RIGHT": 0.0, 7.0: 0.5}),
    ],
)
def test_encodings_of_a_preference(tmp_path: Path, preference: Any, cells: dict[Any, float]) -> None:
    rows = [{"q": f"{ASK} {n}", "first": GOOD, "second": BAD, "v": cell} for n, cell in enumerate(cells)]
    found = read(tmp_path, rows, preference=preference, columns={"prompt": "q", "preference": "v"})
    assert [pair.p_first for pair in found] == list(cells.values())


@pytest.mark.parametrize(
    ("preference", "cell"),
    [
        ("p_first", 1.5), ("p_first", True), ("p_first", "x"), ("p_first", 1e308), ("p_second", -0.1),
        ("index0", 2), ("index0", 0.5), ("index1", 3), ("index1", 0.5), ("words", "1"), ([["left", 1]], "right"),
    ],
)  # fmt: skip
def test_a_value_without_meaning_is_never_guessed(tmp_path: Path, preference: Any, cell: object) -> None:
    rows = [{"prompt": ASK, "first": GOOD, "second": BAD, "p_first": cell}]
    path = write(tmp_path / "rows.jsonl", rows)
    (row,) = PairFile(path, ReadingOptions(format="table", preference=preference)).read()
    assert row.odd is not None and "p_first" in str(row.odd)


@pytest.mark.parametrize("preference", ["first", [["a", 2]], [["a"]], {"a": None, "b": "x"}, [], {}])
def test_encodings_that_do_not_exist(preference: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.preference"):
        ReadingOptions(format="table", preference=preference)


def test_a_layout_that_says_its_labels_takes_no_encoding() -> None:
    with pytest.raises(ConfigError, match=r"data\.preference: only for a layout with one column"):
        ReadingOptions(format="chosen_rejected", preference="index0")


def test_columns_rename_for_every_layout(tmp_path: Path) -> None:
    rows = [{"Frage": ASK, "gut": GOOD, "schlecht": BAD}]
    columns = {"prompt": "Frage", "chosen": "gut", "rejected": "schlecht"}
    (pair,) = read(tmp_path, rows, columns=columns)
    assert pair.prompt == ASK and {pair.first, pair.second} == {GOOD, BAD}


SCORED = {"instruction": ASK, "generations": ["w", "x", "y", "z"], "ratings": [1, 4, 2, 4]}


@pytest.mark.parametrize(
    ("pairing", "wanted"),
    [
        ("all", {("w", "x", 0.0), ("w", "y", 0.0), ("w", "z", 0.0), ("x", "y", 1.0), ("x", "z", 0.5), ("y", "z", 0.0)}),
        ("best_worst", {("x", "w", 1.0)}),
        ("adjacent", {("x", "z", 0.5), ("z", "y", 1.0), ("y", "w", 1.0)}),
    ],
)
def test_pairs_of_k_responses_weigh_one_together(tmp_path: Path, pairing: str, wanted: set[Any]) -> None:
    pairs = read(tmp_path, [SCORED], pairing=pairing)
    assert {(pair.first, pair.second, pair.p_first) for pair in pairs} == wanted
    assert sum(pair.weight for pair in pairs) == pytest.approx(1.0)
    assert len(pairs_of(4, pairing, [1, 4, 2, 4])) == len(wanted)


def test_scores_give_soft_labels_by_a_temperature(tmp_path: Path) -> None:
    (pair,) = read(tmp_path, [SCORED], pairing="best_worst", score_temperature=2.0)
    assert pair.p_first == pytest.approx(1.0 / (1.0 + math.exp(-(4 - 1) / 2.0)))
    with pytest.raises(ConfigError, match=r"data\.score_temperature=0"):
        ReadingOptions(score_temperature=0)


def test_values_compare_without_case_and_by_number() -> None:
    assert folded(" Tie ") == "tie" and folded("1.0") == folded(1) == "1" and folded(True) == "true"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "rejected": "\n\nHuman: a\n\nAssistant: d"},
         "human turn"),
        ({"prompt": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Well,"}],
          "chosen": GOOD, "rejected": BAD}, "prompt ends with an assistant turn"),
        ({"prompt": "Other?", "chosen": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": GOOD}],
          "rejected": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": BAD}]},
         "prompt not in the conversation"),
        ({"prompt": ASK, "chosen": [{"role": "wizard", "content": GOOD}], "rejected": BAD}, "unknown role"),
        ({"prompt": ASK, "first": GOOD, "second": BAD, "winner": "7"}, "'7' is none of"),
        ({"instruction": ASK, "generations": ["w", "x", "y"], "ratings": [1, 4]}, "2 in ratings for 3 responses"),
        ({"instruction": ASK, "generations": ["w", "x"], "ratings": [1, 4, 2]}, "3 in ratings for 2 responses"),
        ({"a": 1}, "no layout reads its first rows, which have the columns 'a'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_right_is_refused_with_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(tmp_path, [row])
    assert "data.format=" in str(caught.value)


@pytest.mark.parametrize(
    ("sign", "rows", "options"),
    [
        ("role_in_response", {"prompt": ASK, "chosen": f"Assistant: {GOOD}", "rejected": f"Assistant: {BAD}"}, {}),
        ("prompt_in_response", {"prompt": ASK, "chosen": f"{ASK} {GOOD}", "rejected": f"{ASK} {BAD}"}, {}),
        ("serialized_list", {"prompt": ASK, "chosen": "[{'role': 'assistant'}]", "rejected": "['b']"}, {}),
        ("zero_one", {"prompt": ASK, "first": GOOD, "second": BAD, "better": 0}, {"columns": {"preference": "better"}}),
        ("unread_label", {"prompt": ASK, "first": GOOD, "second": BAD, "score_first": 3}, {}),
        ("unread_context", {"prompt": ASK, "first": GOOD, "second": BAD, "p_first": 1, "context": "Geography."}, {}),
    ],
)
def test_signs_of_a_wrong_reading_stop_the_run(
    tmp_path: Path, sign: str, rows: dict[str, Any], options: dict[str, Any]
) -> None:
    table = [{**rows, "prompt": f"{rows['prompt']} {n}" if sign != "prompt_in_response" else ASK} for n in range(5)]
    with pytest.raises(DataError, match=rf"{sign}: .*data\.accept=\[{sign}\]"):
        read(tmp_path, table, **options)
    assert len(read(tmp_path, table, accept=[sign], **options)) == 5
    rare = table[:1] + [{"prompt": f"{ASK} {n}", **_plain(rows)} for n in range(5, 15)]
    if sign in ("role_in_response", "prompt_in_response", "serialized_list"):
        assert len(read(tmp_path, rare, **options)) == 11


def _plain(row: Mapping[str, Any]) -> dict[str, str]:
    return {"chosen": GOOD, "rejected": BAD} if "chosen" in row else {"first": GOOD, "second": BAD}


def test_a_sign_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"data\.accept=\[roles\]: unknown; there are role_in_response"):
        ReadingOptions(accept=["roles"])


def test_two_readings_that_differ_are_an_error_that_names_both(tmp_path: Path) -> None:
    row = {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "first": BAD, "second": GOOD, "p_first": 1.0}
    with pytest.raises(DataError, match=r"can be read as \w+ and as \w+, with other results: .*p_first"):
        read(tmp_path, [row])
    assert len(read(tmp_path, [row], format="table")) == 1


def test_what_was_read_is_shown(tmp_path: Path) -> None:
    file = PairFile(
        write(tmp_path / "rows.jsonl", [{"prompt": ASK, "chosen": GOOD, "rejected": BAD}] * 5), ReadingOptions()
    )
    assert len(file.shown) == 4 and file.shown[0].startswith("read as chosen_rejected")
    assert file.shown[1] == f"prompt …'{ASK}' | preferred '{GOOD}' | other '{BAD}' | p 1"


def test_all_may_be_held_out_and_held_out_rows_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    rows = [{"prompt": f"{ASK} {n}", "chosen": GOOD, "rejected": BAD} for n in range(8)]
    path = str(write(tmp_path / "train.jsonl", rows))
    data = FilesSource(path, eval_fraction=1.0).load(Summarization())
    assert (len(data.preferences), len(data.eval_preferences), len(data.demonstrations)) == (0, 8, 0)
    held_out = str(write(tmp_path / "test.jsonl", [*rows[:2], {"prompt": "New?", "chosen": GOOD, "rejected": BAD}]))
    data = FilesSource(path, eval_path=held_out).load(Summarization())
    assert (len(data.preferences), len(data.eval_preferences)) == (6, 3)
    assert not {item.comparison.prompt.id for item in data.preferences} & {prompt.id for prompt in data.eval_prompts}


def test_prompts_and_unlabeled_pairs_are_data(tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"{ASK} {n}"} for n in range(3)])
    data = FilesSource(str(prompts), eval_fraction=0.0, pairs="policy").load(Dialogue())
    assert len(data.label_prompts) == 3 and not data.preferences
    pairs = write(tmp_path / "pairs.jsonl", [{"prompt": f"{ASK} {n}", "first": GOOD, "second": BAD} for n in range(3)])
    data = FilesSource(str(pairs), eval_fraction=0.0).load(Dialogue())
    assert [item.missing for item in data.preferences] == ["no label in the data"] * 3 and not data.demonstrations


def test_a_long_dialogue_with_a_system_turn_keeps_it(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two three"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "five"},
    ]
    path = write(tmp_path / "rows.jsonl", [{"prompt": messages, "chosen": GOOD, "rejected": BAD}])
    data = FilesSource(str(path), eval_fraction=0.0, max_prompt_tokens=6).load(Dialogue())
    (prompt,) = data.label_prompts
    assert [(turn.role, turn.text) for turn in prompt.turns] == [("system", "Be brief."), ("user", "five")]
    assert prompt.text == "\n\nSystem: Be brief.\n\nHuman: five\n\nAssistant:"


def test_an_empty_cell_of_a_table_is_no_text_and_no_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "a?", "system": NaN, "chosen": "x", "rejected": "y"}\n'
        '{"prompt": "b?", "system": NaN, "chosen": "x", "rejected": NaN}\n'
    )
    kept, left = PairFile(path, ReadingOptions(format="chosen_rejected")).read()
    assert kept.records[0].turns == () and str(left.odd) == "no text (rejected is null)"


@pytest.mark.parametrize(
    ("word", "p_first"),
    [
        ("**B**", 0.0),
        ("(a).", 1.0),
        ("Option B", 0.0),
        ("[[C]]", 0.5),
        ("None", None),
        ("skip", None),
        ("Both bad", 0.5),
    ],
)
def test_words_whatever_stands_around_them(tmp_path: Path, word: str, p_first: float | None) -> None:
    rows = [{"prompt": ASK, "response_a": GOOD, "response_b": BAD, "winner": word}]
    (pair,) = read(tmp_path, rows, format="winner")
    assert pair.p_first == p_first


def test_cancelled_and_discarded_answers_do_not_count(tmp_path: Path) -> None:
    picked = [
        {"was_cancelled": cancelled, "result": [{"value": {"selected": side}}]}
        for cancelled, side in ((True, "left"), (False, "right"))
    ]
    studio = {"data": {"prompt": ASK, "answer1": BAD, "answer2": GOOD}, "annotations": picked}
    answers = [{"value": "response-1", "status": "discarded"}, {"value": "response-2", "status": "submitted"}]
    argilla = {"prompt": ASK, "response-1": BAD, "response-2": GOOD, "preference": answers}
    for row in (studio, argilla):
        (pair,) = read(tmp_path, [row])
        assert pair.p_first == 0.0
    replies = [
        {"text": text, "role": "assistant", "rank": rank, "deleted": deleted}
        for rank, (text, deleted) in enumerate([("gone", True), (GOOD, False), (BAD, False)])
    ]
    tree = {"message_tree_id": "t", "prompt": {"text": ASK, "role": "prompter", "replies": replies}}
    (pair,) = read(tmp_path, [tree])
    assert {pair.first, pair.second} == {GOOD, BAD}


@pytest.mark.parametrize(
    ("sign", "row"),
    [
        ("zero_one", {"prompt": ASK, "first": GOOD, "second": BAD, "preference": 1}),
        ("tie_in_row", {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "is_tie": True}),
        ("tie_in_row", {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "status": "tie"}),
        ("unread_responses", {"question": ASK, "choices": [GOOD, BAD], "answer": 0}),
        ("zero_one", {"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 0}),
        ("no_label", {"instruction": ASK, "completions": [{"response": GOOD}, {"response": BAD}]}),
        ("unread_label", {"prompt": ASK, "first": GOOD, "second": BAD, "human_label": "x"}),
        ("unread_label", {"prompt": ASK, "first": GOOD, "second": BAD, "Which response is better?": "x"}),
        ("unread_label", {"instruction": ASK, "input": "", "output": BAD, "kto_tag": False}),
        ("unread_context", {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "document": "A text."}),
        (
            "unread_context",
            {"prompt": ASK, "query": "Other?", "chosen": GOOD, "rejected": BAD, "tools": [{"name": "x"}]},
        ),
        ("template_marks", {"prompt": f"<|im_start|>user\n{ASK}<|im_end|>", "chosen": GOOD, "rejected": BAD}),
        ("template_marks", {"prompt": f"Q: {ASK}\nA:", "chosen": GOOD, "rejected": BAD}),
        ("template_marks", {"prompt": f"prompter: {ASK}\nassistant:", "chosen": GOOD, "rejected": BAD}),
        (
            "template_marks",
            {
                "prompt": f"\n\nSystem: Be brief.\n\nHuman: {ASK}\n\nAssistant:",
                "first": GOOD,
                "second": BAD,
                "p_first": 1,
            },
        ),
    ],
)
def test_further_signs(tmp_path: Path, sign: str, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=rf"{sign}: "):
        read(tmp_path, [row])


def test_text_labels_and_single_responses_of_kto(tmp_path: Path) -> None:
    rows = [
        {"prompt": ASK, "completion": GOOD, "label": "True"},
        {"prompt": ASK, "completion": BAD, "label": "False"},
        {"prompt": "Alone?", "completion": "Yes.", "label": "True"},
    ]
    file = PairFile(write(tmp_path / "rows.jsonl", rows), ReadingOptions())
    assert file.layout.name == "kto"
    assert [len(row.records) for row in file.read()] == [1, 0]


@pytest.mark.parametrize(
    ("votes", "p_first"), [((3, 1, 0), 0.75), ((1, 1, 2), 0.5), ((0, 2, 2), 0.25), ((3, None, 0), None)]
)
def test_counted_votes_are_shares_and_an_absent_count_is_none(
    tmp_path: Path, votes: tuple[int | None, ...], p_first: float | None
) -> None:
    layout = own_layout(tmp_path, "prompt: q\nresponses: [a, b]\nlabel: {votes: [n_a, n_b, n_tie]}\n")
    row = {"q": ASK, "a": GOOD, "b": BAD, **dict(zip(("n_a", "n_b", "n_tie"), votes, strict=True))}
    (pair,) = read(tmp_path, [row], format=layout)
    assert pair.p_first == p_first


def test_an_answer_that_its_reviewers_rejected_is_not_compared(tmp_path: Path) -> None:
    replies = [
        {"text": text, "role": "assistant", "rank": rank, "review_result": accepted}
        for rank, (text, accepted) in enumerate([("spam", False), (GOOD, True), (BAD, None)])
    ]
    tree = {"message_tree_id": "t", "prompt": {"text": ASK, "role": "prompter", "replies": replies}}
    (pair,) = read(tmp_path, [tree])
    assert {pair.first, pair.second} == {GOOD, BAD}


def test_rows_that_where_leaves_out_are_not_held_against_the_data(tmp_path: Path) -> None:
    rows = [{"prompt": f"{ASK} {n}", "chosen": GOOD, "rejected": BAD, "split": f"part{n % 4}"} for n in range(8)]
    path = str(write(tmp_path / "rows.jsonl", rows))
    data = FilesSource(path, where={"split": "part0"}, eval_fraction=0.0, max_skipped=0.0).load(Summarization())
    assert len(data.preferences) == 2 and data.skipped.counts == {"other split": 6}


SIDES = {"prompt": ASK, "chosen": GOOD, "rejected": BAD}


@pytest.mark.parametrize(
    ("row", "against"),
    [
        ({**SIDES, "score_chosen": 2.0, "score_rejected": 8.0}, True),
        ({**SIDES, "score_chosen": 8.0, "score_rejected": 2.0}, False),
        ({**SIDES, "score_chosen": 8.0, "score_rejected": 8.0}, False),
        ({**SIDES, "chosen-rating": [1, 2], "rejected-rating": [2, 3]}, True),
        ({**SIDES, "chosenScore": "1", "rejectedScore": "2"}, True),
        ({**SIDES, "ratings": [2, 3]}, True),
        ({**SIDES, "rating": [2, 3], "order": ["rejected", "chosen"]}, False),
        ({**SIDES, "score_chosen": None, "score_rejected": 2}, False),
        ({**SIDES, "chosen_rank": 2, "rejected_rank": 1}, True),
        ({**SIDES, "chosen_rank": 1, "rejected_rank": 2}, False),
        ({**SIDES, "margin": -0.5}, True),
        ({**SIDES, "margin": 0.5}, False),
        ({**SIDES, "preference": "rejected"}, True),
        ({**SIDES, "winner": "chosen"}, False),
        ({**SIDES, "chosen_tokens": 2, "rejected_tokens": 9}, False),
        ({"instruction": ASK, "chosen_response": GOOD, "rejected_response": BAD, "chosen_avg_rating": 2.0}
         | {"rejected_avg_rating": 3.5}, True),
        ({"prompt": ASK, "response_a": GOOD, "response_b": BAD, "winner": "A", "score_a": 2, "score_b": 3}, True),
        ({"prompt": ASK, "response_a": GOOD, "response_b": BAD, "winner": "B", "score_a": 2, "score_b": 3}, False),
        ({"prompt": ASK, "response_a": GOOD, "response_b": BAD, "winner": "tie", "score_a": 2, "score_b": 3}, False),
    ],
)  # fmt: skip
def test_scores_that_contradict_the_order_stop_the_run(tmp_path: Path, row: dict[str, Any], against: bool) -> None:
    if not against:
        assert len(read(tmp_path, [row])) == 1
        return
    with pytest.raises(DataError, match=r"scores_against_order: .*1 of 1 rows whose scores differ"):
        read(tmp_path, [row])
    assert len(read(tmp_path, [row], accept=["scores_against_order"])) == 1


def test_few_contradicting_scores_are_none_and_swapped_columns_are_read_with_their_own_scores(tmp_path: Path) -> None:
    rows = [{**SIDES, "prompt": f"{ASK} {n}", "score_chosen": 3 if n else 1, "score_rejected": 2} for n in range(6)]
    assert len(read(tmp_path, rows)) == 6
    swapped = {"chosen": "rejected", "rejected": "chosen"}
    (pair,) = read(tmp_path, rows[:1], columns=swapped)
    assert (BAD if pair.p_first == 1.0 else GOOD) == pair.first
    with pytest.raises(DataError, match="scores_against_order"):
        read(tmp_path, rows[1:], columns=swapped)


def says(text: str) -> str:
    return json.dumps({"role": "assistant", "content": text})


def test_json_in_a_response_is_a_message_only_where_most_rows_have_one(tmp_path: Path) -> None:
    code = json.dumps({"role": "user", "content": "hi"})
    rows: list[Mapping[str, Any]] = [{**SIDES, "prompt": f"{ASK} {n}"} for n in range(5)]
    (pair, *_) = read(tmp_path, [{"prompt": "Write a message.", "chosen": code, "rejected": "No."}, *rows])
    assert {pair.first, pair.second} == {code, "No."}
    table = [{**row, "chosen": says(GOOD), "rejected": says(BAD)} for row in rows]
    (pair, *_) = read(tmp_path, table)
    assert {pair.first, pair.second} == {GOOD, BAD}


def test_what_is_not_read_and_what_a_model_thought_is_told(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": GOOD, "reasoning_content": "Rivers of France."}
    row = {"prompt": ASK, "chosen": [thought], "rejected": [{"role": "assistant", "content": BAD}], "id": 7}
    file = PairFile(write(tmp_path / "rows.jsonl", [row, row]), ReadingOptions())
    assert file.shown[-2:] == [
        "columns that are not read: id",
        "what a model thought (reasoning_content of messages) in 2 of the first 2 rows is left out: it is no part of a"
        " prompt or a response",
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": GOOD}]},
        {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": GOOD}]},
        {"content": GOOD, "reasoning": "hm"},
        {"content": None, "refusal": GOOD},
    ],
)
def test_thoughts_are_no_part_of_a_response_and_refusals_are_one(tmp_path: Path, message: dict[str, Any]) -> None:
    row = {"prompt": ASK, "chosen": [{"role": "assistant", **message}], "rejected": BAD}
    file = PairFile(write(tmp_path / "rows.jsonl", [row]), ReadingOptions())
    (pair,) = (record for read in file.read() for record in read.records)
    assert isinstance(pair, LabeledPair) and {pair.first, pair.second} == {GOOD, BAD}
    assert any("thought" in line for line in file.shown) == ("hm" in str(message))


def test_what_was_said_on_the_channel_of_analysis_is_a_thought(tmp_path: Path) -> None:
    said = [{"role": "user", "content": ASK}, {"role": "assistant", "channel": "analysis", "content": "hm"}]
    row = {"messages": [*said, {"role": "assistant", "channel": "final", "content": GOOD}]}
    file = PairFile(write(tmp_path / "rows.jsonl", [row]), ReadingOptions())
    (record,) = (record for read in file.read() for record in read.records)
    assert record == SingleResponse(prompt=ASK, response=GOOD, is_instruction=True)
    assert "thinking of messages" in file.shown[-1]


HH = f"\n\nHuman: {ASK}\n\nAssistant:"


@pytest.mark.parametrize(
    ("human", "assistant"),
    [
        ("\r\n\r\nHuman:", "\r\n\r\nAssistant:"), ("Human:", "\nAssistant:"), ("User:", "\nAssistant:"),
        ("USER:", "\nASSISTANT:"), ("User:", "\nAI:"), ("### Human:", "\n### Assistant:"),
        ("### Instruction:\n", "\n\n### Response:\n"),
        ("<|user|>\n", "\n<|assistant|>\n"), ("<human>:", "\n<bot>:"),
    ],
)  # fmt: skip
def test_transcripts_with_other_marks_and_line_ends(tmp_path: Path, human: str, assistant: str) -> None:
    texts = {"chosen": f"{human} {ASK}{assistant} {GOOD}", "rejected": f"{human} {ASK}{assistant} {BAD}"}
    asked = {"prompt": f"{human} {ASK}{assistant}", "chosen": GOOD, "rejected": BAD}
    for row, prompt in ((texts, HH), (asked, HH), ({"prompt": ASK, **texts}, ASK)):
        (pair,) = read(tmp_path, [row])
        assert pair.prompt == prompt
        assert (pair.first, pair.second) == ((GOOD, BAD) if pair.p_first else (BAD, GOOD))


def test_a_conversation_that_a_response_quotes_stays_its_text(tmp_path: Path) -> None:
    quoted = "User: Hi\nAssistant: Hello!"
    rows = [{**SIDES, "prompt": f"{ASK} {n}"} for n in range(5)]
    (pair, *_) = read(tmp_path, [{"prompt": "Write a dialogue.", "chosen": quoted, "rejected": BAD}, *rows])
    assert {pair.first, pair.second} == {quoted, BAD}


def test_rows_of_several_turns_and_empty_responses_are_told(tmp_path: Path) -> None:
    turns = [ASK], [ASK, "And Lyon?"]
    rows = [
        {"prompt": json.dumps(asked), "response_a": json.dumps([GOOD, "x"][: len(asked)])}
        | {"response_b": json.dumps([""] * len(asked)), "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
        for asked in turns
    ]
    reading = LabelTable(PairFile(write(tmp_path / "rows.jsonl", rows), ReadingOptions())).reading
    assert (reading.num_rows, reading.num_pairs, reading.num_skipped) == (1, 1, 0)
    assert {"not asked for: 1 × prompt[1] is there", "1 pairs have an empty response"} <= set(reading.lines())


def test_a_star_alone_stands_for_other_characters_in_a_condition(tmp_path: Path) -> None:
    values = ("[[A]]", "[[B]]", "why?", "whys", "part1")
    rows = [{**SIDES, "prompt": f"{ASK} {n}", "w": value} for n, value in enumerate(values)]
    path = write(tmp_path / "rows.jsonl", rows)
    for wanted, kept in (("[[A]]", [0]), (["[[b]]", "why?"], [1, 2]), ("why*", [2, 3]), ("*", [0, 1, 2, 3, 4])):
        found = PairFile(path, ReadingOptions(where={"w": wanted})).read()
        assert [n for n, row in enumerate(found) if row.records] == kept


@pytest.mark.parametrize("row", [{"prompt": "P"}, {"prompt": "P", "completion": GOOD}, {**SIDES, "prompt": "P"}])
def test_a_prompt_with_half_a_character_is_left_out(tmp_path: Path, row: dict[str, Any]) -> None:
    prompts = [*(f"{ASK} {n}" for n in range(7)), "half \ud83d"]
    path = write(tmp_path / "rows.jsonl", [{**row, "prompt": prompt} for prompt in prompts])
    *whole, half = PairFile(path, ReadingOptions()).read()
    assert [len(read.records) for read in whole] == [1] * 7 and str(half.odd) == "broken Unicode"


def test_good_and_bad_responses_to_different_prompts_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"{ASK} {n}", "completion": GOOD, "label": n % 2 == 0} for n in range(4)]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match="not one row makes a pair: 4 × only one response to its prompt"):
        LabelTable(PairFile(path, ReadingOptions(group="labeler", format="kto")))
    with pytest.raises(DataError, match=r"not one of 4 rows can be used \(only one response to its prompt: 4\)"):
        FilesSource(str(path), format="kto").load(Dialogue())


@pytest.mark.parametrize("format", ["kto", "oasst_messages"])
def test_a_sign_in_one_pair_counts_once_however_many_rows_make_pairs(tmp_path: Path, format: str) -> None:
    def rows(n: int, text: str) -> list[Mapping[str, Any]]:
        if format == "kto":
            return [{"prompt": f"{ASK} {n}", "completion": said, "label": said == text} for said in (text, BAD)]
        said = ((f"{n}", None, "prompter", f"{ASK} {n}", None), (f"{n}a", f"{n}", "assistant", text, 0))
        keys = ("message_id", "parent_id", "role", "text", "rank")
        replies = (*said, (f"{n}b", f"{n}", "assistant", BAD, 1))
        return [{"message_tree_id": f"{n}", **dict(zip(keys, reply, strict=True))} for reply in replies]

    many = [row for n in range(20) for row in rows(n, GOOD if n else f"Assistant: {GOOD}")]
    assert len(read(tmp_path, many)) == 20
    with pytest.raises(DataError, match=r"role_in_response: .*4 of the first 20 rows"):
        read(tmp_path, [row for n in range(20) for row in rows(n, GOOD if n > 3 else f"Assistant: {GOOD}")])


def test_options_that_change_nothing_in_a_layout_are_refused(tmp_path: Path) -> None:
    rated = {**SIDES, "score_chosen": 8.0, "score_rejected": 2.0}
    for options in ({}, {"format": "chosen_rejected"}):
        with pytest.raises(
            ConfigError, match=r"data\.score_temperature=2: has no effect.*of chosen_rejected are no scores"
        ):
            read(tmp_path, [rated], score_temperature=2.0, **options)
        with pytest.raises(ConfigError, match=r"data\.pairing=adjacent: has no effect, as chosen_rejected names both"):
            read(tmp_path, [rated], pairing="adjacent", **options)
    layout = own_layout(
        tmp_path, "like: chosen_rejected\nlabel: {scores: [score_chosen, score_rejected]}\npresent: [score_chosen]\n"
    )
    (pair,) = read(tmp_path, [rated], format=layout, score_temperature=6.0)
    assert pair.p_first == pytest.approx(1.0 / (1.0 + math.exp(-1.0)))
