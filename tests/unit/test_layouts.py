"""Layouts that ship: rows in the schema of each, found by ``format=auto`` and read as their documentation says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rlaif.cli.labels import main
from rlaif.data.formats.base import BarePrompt, LabeledPair, OtherTaskError, Record, SingleResponse
from rlaif.data.formats.layouts import layout_names
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.errors import DataError
from rlaif.types import Turn

ASK, GOOD, BAD, THIRD = "Which river runs through Paris?", "The Seine.", "The Thames does, I think.", "A river."
BRIEF = "Answer briefly."


def user(text: str = ASK) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str = BRIEF) -> dict[str, str]:
    return {"role": "system", "content": text}


def sharegpt(name: str, text: str) -> dict[str, str]:
    return {"from": name, "value": text}


WITH_SYSTEM = (Turn("system", BRIEF), Turn("user", ASK))
Case = tuple[str, list[Mapping[str, Any]], list[tuple[str, str, float | None]]]
PAIR = [(GOOD, BAD, 1.0)]
"""Preferred, other, P(preferred)."""

CASES: list[Case] = [
    ("table", [{"prompt": ASK, "first": BAD, "second": GOOD, "p_first": 0.25}], [(GOOD, BAD, 0.75)]),
    ("winner", [{"prompt": ASK, "response_a": BAD, "response_b": GOOD, "winner": " model_B "}], PAIR),
    ("winner", [{"question": ASK, "answer_a": GOOD, "answer_b": BAD, "label": "A>B"}], PAIR),
    ("winner", [{"prompt": ASK, "first": GOOD, "second": BAD, "winner": "Both are good"}], [(GOOD, BAD, 0.5)]),
    ("winner", [{"prompt": ASK, "first": GOOD, "second": BAD, "winner": "tie (inconsistent)"}], [(GOOD, BAD, 0.5)]),
    ("pairs", [{"prompt": ASK, "first": GOOD, "second": BAD}], [(GOOD, BAD, None)]),
    ("chosen_rejected", [{"prompt": ASK, "chosen": GOOD, "rejected": BAD}], PAIR),
    ("chosen_rejected", [{"prompt": [user()], "chosen": [says(GOOD)], "rejected": [says(BAD)]}], PAIR),
    ("chosen_rejected", [{"prompt": [user()], "chosen": says(GOOD), "rejected": says(BAD)}], PAIR),
    ("hh", [{"prompt": None, "chosen": [user(), says(GOOD)], "rejected": [user(), says(BAD)]}], PAIR),
    ("chosen_rejected", [{"prompt": ASK, "chosen": [user(), says(GOOD)], "rejected": [user(), says(BAD)]}], PAIR),
    ("chosen_rejected", [{"prompt": ASK, "chosen": GOOD, "rejected": BAD, "p_chosen": 0.75}], [(GOOD, BAD, 0.75)]),
    (
        "chosen_rejected",
        [
            {
                "prompt": f"\n\nHuman: {ASK}\n\nAssistant:",
                "chosen": f"\n\nHuman: {ASK}\n\nAssistant: {GOOD}",
                "rejected": f"\n\nHuman: {ASK}\n\nAssistant: {BAD}",
            }
        ],
        PAIR,
    ),
    (
        "ultrafeedback_binarized",
        [
            {
                "prompt": ASK,
                "prompt_id": "x",
                "chosen": [user(), says(GOOD)],
                "rejected": [user(), says(BAD)],
                "messages": [user(), says(GOOD)],
                "score_chosen": 8.0,
                "score_rejected": 2.0,
            }
        ],
        PAIR,
    ),
    (
        "ultrafeedback",
        [
            {
                "source": "s",
                "instruction": ASK,
                "models": ["a", "b", "c", "d"],
                "completions": [
                    {"model": "a", "response": BAD, "fine-grained_score": 2.5},
                    {"model": "b", "response": GOOD, "fine-grained_score": 4.75},
                    {"model": "c", "response": THIRD, "fine-grained_score": 2.5},
                    {"model": "d", "response": "?", "fine-grained_score": "N/A"},
                ],
            }
        ],
        [(GOOD, BAD, 1.0), (BAD, THIRD, 0.5), (GOOD, THIRD, 1.0)],
    ),
    (
        "helpsteer2",
        [
            {"prompt": ASK, "response": text, **dict.fromkeys(("helpfulness", "correctness"), score)}
            | {"coherence": 4, "complexity": 1, "verbosity": 1}
            for text, score in ((BAD, 1), (GOOD, 4))
        ],
        PAIR,
    ),
    (
        "helpsteer2_preference",
        [{"prompt": ASK, "response_1": BAD, "response_2": GOOD, "preference_strength": 3}],
        PAIR,
    ),
    (
        "helpsteer3",
        [{"context": [user()], "response1": GOOD, "response2": BAD, "overall_preference": -1.5}],
        [(GOOD, BAD, 0.75)],
    ),
    (
        "nectar",
        [
            {
                "prompt": f"\n\nHuman: {ASK}\n\nAssistant: ",
                "answers": [{"answer": GOOD, "model": "m", "rank": 1.0}, {"answer": BAD, "model": "n", "rank": 2.0}],
            }
        ],
        PAIR,
    ),
    ("orca", [{"system": BRIEF, "question": ASK, "chosen": GOOD, "rejected": BAD}], PAIR),
    (
        "pku_saferlhf",
        [{"prompt": ASK, "response_0": BAD, "response_1": GOOD, "better_response_id": 1, "safer_response_id": 0}],
        PAIR,
    ),
    ("shp", [{"history": ASK, "human_ref_A": GOOD, "human_ref_B": BAD, "labels": 1, "score_A": 9, "score_B": 2}], PAIR),
    (
        "webgpt",
        [{"question": {"full_text": ASK, "id": "q"}, "answer_0": BAD, "answer_1": GOOD, "score_0": -1, "score_1": 1}],
        PAIR,
    ),
    (
        "arena",
        [
            {
                "question_id": "q",
                "model_a": "m",
                "model_b": "n",
                "winner": "model_a",
                "judge": "arena_user_3",
                "conversation_a": [user(), says(GOOD)],
                "conversation_b": [user(), says(BAD)],
                "turn": 1,
                "anony": True,
                "language": "English",
                "tstamp": 1.0,
            }
        ],
        PAIR,
    ),
    (
        "arena",
        [
            {
                "model_a": "m",
                "model_b": "n",
                "winner": "model_b",
                "messages_a": [user(), says(BAD)],
                "messages_b": [user(), says(GOOD)],
                "turn": 1,
            }
        ],
        PAIR,
    ),
    (
        "arena_55k",
        [
            {
                "id": 1,
                "prompt": json.dumps([ASK]),
                "response_a": json.dumps([BAD]),
                "response_b": json.dumps([GOOD]),
                "winner_model_a": 0,
                "winner_model_b": 1,
                "winner_tie": 0,
            }
        ],
        PAIR,
    ),
    (
        "mt_bench",
        [
            {
                "question_id": 81,
                "model_a": "m",
                "model_b": "n",
                "winner": "model_b",
                "judge": "expert_1",
                "conversation_a": [user(), says(BAD), user("And Lyon?"), says("No.")],
                "conversation_b": [user(), says(GOOD), user("And Lyon?"), says("The Rhone.")],
                "turn": 1,
            }
        ],
        PAIR,
    ),
    (
        "oasst",
        [
            {
                "message_tree_id": "t",
                "prompt": {
                    "text": ASK,
                    "role": "prompter",
                    "replies": [
                        {"text": BAD, "role": "assistant", "rank": 1, "replies": []},
                        {"text": GOOD, "role": "assistant", "rank": 0, "replies": []},
                        {"text": "unranked", "role": "assistant", "rank": None, "replies": []},
                    ],
                },
            }
        ],
        PAIR,
    ),
    (
        "tldr_comparisons",
        [
            {
                "info": {"post": "I moved.", "title": "Moving", "subreddit": "life"},
                "summaries": [{"text": " " + GOOD, "policy": "a"}, {"text": " " + BAD, "policy": "b"}],
                "choice": 0,
                "batch": "batch3",
                "split": "train",
                "extra": {"confidence": 2},
            }
        ],
        PAIR,
    ),
    ("alpaca_eval", [{"instruction": ASK, "output_1": BAD, "output_2": GOOD, "preference": 1.75}], [(GOOD, BAD, 0.75)]),
    (
        "alpaca_eval",
        [{"instruction": ASK, "output_1": BAD, "output_2": GOOD, "preference": value} for value in (0, 2)],
        [(GOOD, BAD, 0.5), (GOOD, BAD, 1.0)],
    ),
    (
        "alpaca_eval",
        [{"instruction": ASK, "output_1": BAD, "output_2": GOOD, "p_output_2_preferred": 0.9}],
        [(GOOD, BAD, 0.9)],
    ),
    ("llmbar", [{"input": ASK, "output_1": BAD, "output_2": GOOD, "label": 2}], PAIR),
    ("judgebench", [{"pair_id": "p", "question": ASK, "response_A": GOOD, "response_B": BAD, "label": "A>B"}], PAIR),
    (
        "distilabel",
        [{"instruction": ASK, "generations": [BAD, GOOD, THIRD], "ratings": [2, 5, None]}],
        PAIR,
    ),
    (
        "distilabel_dpo",
        [
            {
                "instruction": ASK,
                "generations": [BAD, GOOD, THIRD],
                "ratings": [2, 5, 3],
                "prompt": ASK,
                "chosen": [user(), says(GOOD)],
                "rejected": [user(), says(BAD)],
            }
        ],
        PAIR,
    ),
    ("argilla_binarized", [{"instruction": ASK, "chosen_response": GOOD, "rejected_response": BAD}], PAIR),
    (
        "argilla_ranking",
        [
            {
                "prompt": ASK,
                "response-1": BAD,
                "response-2": GOOD,
                "ranking": [
                    {"user_id": "u", "value": [{"rank": 2, "value": "response-1"}, {"rank": 1, "value": "response-2"}]},
                    {"user_id": "v", "value": [{"rank": 1, "value": "response-1"}, {"rank": 1, "value": "response-2"}]},
                ],
            }
        ],
        [(GOOD, BAD, 0.75)],
    ),
    (
        "argilla_choice",
        [
            {
                "prompt": ASK,
                "response-1": GOOD,
                "response-2": BAD,
                "preference": [{"user_id": "u", "value": "response-1"}, {"user_id": "v", "value": "response-1"}],
            }
        ],
        PAIR,
    ),
    (
        "label_studio",
        [
            {
                "id": 1,
                "data": {"prompt": ASK, "answer1": GOOD, "answer2": BAD},
                "annotations": [
                    {"result": [{"type": "pairwise", "value": {"selected": "left"}}]},
                    {"result": [{"type": "pairwise", "value": {"selected": "left"}}]},
                    {"result": [{"type": "pairwise", "value": {"selected": "right"}}]},
                ],
            }
        ],
        [(GOOD, BAD, 2 / 3)],
    ),
    (
        "label_studio_min",
        [{"id": 1, "prompt": ASK, "answer1": BAD, "answer2": GOOD, "pw": [{"selected": "right"}], "annotation_id": 3}],
        PAIR,
    ),
    ("label_studio_min", [{"prompt": ASK, "text1": GOOD, "text2": BAD, "pw": "left", "annotation_id": 3}], PAIR),
    (
        "label_studio_min",
        [{"prompt": ASK, "text1": BAD, "text2": GOOD, "pw": '[{"selected": "right"}]', "annotation_id": 3}],
        PAIR,
    ),
    (
        "argilla_choice",
        [
            {"id": "x", "_server_id": "y", "prompt": ASK, "response1": GOOD, "response2": BAD}
            | {"preference.responses": ["response1", "response2", "response2"], "preference.suggestion": None}
            | {"preference.responses.status": ["submitted", "discarded", "draft"]}
            | {"preference.responses.users": ["u", "v", "w"]}
        ],
        PAIR,
    ),
    (
        "argilla_ranking",
        [
            {"prompt": ASK, "response_1": BAD, "response_2": GOOD}
            | {"ranking.responses": [["response_2", "response_1"]] * 3 + [["response_1", "response_2"]]}
            | {"ranking.responses.status": ["submitted", "submitted", "submitted", "submitted"]}
        ],
        [(GOOD, BAD, 0.75)],
    ),
    (
        "argilla_ranking",
        [
            {"prompt": ASK, "response-1": BAD, "response-2": GOOD}
            | {"ranking": [{"user_id": "u", "value": {"rank": [2, 1], "value": ["response-1", "response-2"]}}]}
        ],
        PAIR,
    ),
    (
        "argilla_ranking",
        [
            {"prompt": ASK, "response-1": BAD, "response-2": GOOD}
            | {
                "ranking": {
                    "user_id": ["u", "v"],
                    "value": [{"rank": [2, 1], "value": ["response-1", "response-2"]}] * 2,
                    "status": ["submitted", "discarded"],
                }
            }
        ],
        PAIR,
    ),
    (
        "ultrafeedback",
        [
            {
                "instruction": ASK,
                "completions": [
                    {"response": text, "annotations": {"honesty": {"Rating": rating}, "truth": {"Rating": "N/A"}}}
                    | {"overall_score": 10}
                    for text, rating in ((BAD, "2"), (GOOD, "4"))
                ],
            }
        ],
        PAIR,
    ),
    (
        "ultrafeedback",
        [
            {"instruction": ASK}
            | {"completions": [{"response": BAD, "overall_score": 2}, {"response": GOOD, "overall_score": 9}]}
        ],
        PAIR,
    ),
    (
        "oasst_messages",
        [
            {"message_id": name, "parent_id": parent, "message_tree_id": "t", "role": role, "text": text, "rank": rank}
            | {"deleted": False, "review_result": None}
            for name, parent, role, text, rank in (
                ("1", None, "prompter", ASK, None),
                ("2", "1", "assistant", BAD, 1.0),
                ("3", "1", "assistant", GOOD, 0.0),
            )
        ],
        PAIR,
    ),
    (
        "tldr_comparisons",
        [{"info.post": "I moved.", "summaries": [{"text": f" {GOOD}"}, {"text": f" {BAD}"}], "choice": 0}],
        PAIR,
    ),
    (
        "kto_conversations",
        [
            {"messages": [user(), says(BAD)], "label": False, "system": ""},
            {"messages": [user(), says(GOOD)], "label": True, "system": ""},
        ],
        PAIR,
    ),
    ("ms_swift_query", [{"query": ASK, "response": GOOD, "rejected_response": BAD, "history": None}], PAIR),
    (
        "winner",
        [
            {"prompt": ASK, "response_a": GOOD, "response_b": BAD}
            | {"winner": "gpt-4", "model_a": "gpt-4", "model_b": "llama"}
        ],
        PAIR,
    ),
    ("winner", [{"prompt": ASK, "response_1": BAD, "response_2": GOOD, "winner": "Response 2 is much better"}], PAIR),
    (
        "kto",
        [
            {"prompt": [user()], "completion": [says(BAD)], "label": False},
            {"prompt": [user()], "completion": [says(GOOD)], "label": True},
        ],
        PAIR,
    ),
    ("chosen_rejected_lists", [{"prompt": ASK, "chosen": [GOOD], "rejected": [BAD, THIRD]}], [*PAIR, (GOOD, THIRD, 1)]),
    (
        "rewardbench",
        [
            {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "chosen_model": "m", "rejected_model": "n"}
            | {"subset": "s"}
        ],
        PAIR,
    ),
    (
        "openai_preference",
        [
            {
                "input": {"messages": [user()], "tools": []},
                "preferred_output": [says(GOOD)],
                "non_preferred_output": [says(BAD)],
            }
        ],
        PAIR,
    ),
    (
        "vertex_preference",
        [
            {
                "contents": [{"role": "user", "parts": [{"text": ASK}]}],
                "completions": [
                    {"score": 0.0, "completion": {"role": "model", "parts": [{"text": BAD}]}},
                    {"score": 1.0, "completion": {"role": "model", "parts": [{"text": GOOD}]}},
                ],
            }
        ],
        PAIR,
    ),
    ("ms_swift", [{"messages": [user(), says(GOOD)], "rejected_response": BAD}], PAIR),
    (
        "nemo_rl",
        [
            {
                "context": [user()],
                "completions": [
                    {"rank": 0, "completion": [says(GOOD)]},
                    {"rank": 1, "completion": [says(BAD)]},
                ],
            }
        ],
        PAIR,
    ),
    (
        "conversation_chosen_rejected",
        [
            {
                "conversations": [sharegpt("human", ASK)],
                "chosen": sharegpt("gpt", GOOD),
                "rejected": sharegpt("gpt", BAD),
            }
        ],
        PAIR,
    ),
    ("conversation_chosen_rejected", [{"messages": [user()], "chosen": says(GOOD), "rejected": says(BAD)}], PAIR),
    ("input_chosen_rejected", [{"input": ASK, "chosen": GOOD, "rejected": BAD}], PAIR),
    ("instruction_chosen_rejected", [{"instruction": ASK, "input": "", "chosen": GOOD, "rejected": BAD}], PAIR),
    (
        "stack_exchange_answers",
        [{"qid": 1, "question": ASK, "answers": [{"text": BAD, "pm_score": 1}, {"text": GOOD, "pm_score": 4}]}],
        PAIR,
    ),
    ("stack_exchange", [{"question": ASK, "response_j": GOOD, "response_k": BAD}], PAIR),
    (
        "label_table",
        [
            {"prompt_id": "p", "comparison_id": "c", "prompt": "As one text.", "first": BAD, "second": GOOD}
            | {"p_first": 0.25, "turns": [{"role": "user", "text": ASK}]}
        ],
        [(GOOD, BAD, 0.75)],
    ),
    (
        "prodigy",
        [
            {"text": ASK, "options": [{"id": "A", "text": BAD}, {"id": "B", "text": GOOD}], "accept": ["B"]}
            | {"answer": "accept", "_task_hash": 1}
        ],
        PAIR,
    ),
    (
        "unified_feedback",
        [
            {"id": "0", "conv_A": [user(), says(BAD)], "conv_B": [user(), says(GOOD)], "num_turns": 1, "source": "s"}
            | {"conv_A_rating": 1.0, "conv_B_rating": 2.5}
        ],
        PAIR,
    ),
    ("scored_lists", [{"prompt": ASK, "responses": [BAD, GOOD], "scores": [0.25, 3]}], PAIR),
    ("scored_lists", [{"prompt": ASK, "candidates": [BAD, GOOD], "ranks": [2, 1]}], PAIR),
    ("scored_lists", [{"instruction": ASK, "completions": [BAD, GOOD, THIRD], "rewards": [1, 2, None]}], PAIR),
    (
        "scored_responses",
        [{"prompt": ASK, "responses": [{"text": BAD, "score": 1}, {"text": GOOD, "score": 4, "model": "m"}]}],
        PAIR,
    ),
    (
        "scored_responses",
        [{"question": ASK, "candidates": [{"response": t, "rating": r} for t, r in ((BAD, 1), (GOOD, 4))]}],
        PAIR,
    ),
    (
        "conversation_chosen_rejected",
        [{"task": "t", "trajectory": [sharegpt("user", ASK)], "chosen": GOOD, "rejected": BAD, "parent_id": None}],
        PAIR,
    ),
    (
        "tldr_axis",
        [
            {"info": {"post": "I moved.", "title": "Moving", "subreddit": "life"}, "batch": "axis1", "split": "test"}
            | {"worker": "w", "summary": {"text": f" {text}", "policy": "p", "axes": {"overall": overall}}}
            for text, overall in ((BAD, 2), (GOOD, 6))
        ],
        PAIR,
    ),
]
ALONE: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": [user(), says(GOOD)]}),
    ("messages", {"conversations": [sharegpt("human", ASK), sharegpt("gpt", GOOD)]}),
    ("prompt_completion", {"prompt": ASK, "completion": GOOD}),
    ("alpaca_sft", {"instruction": ASK, "input": "", "output": GOOD}),
    ("alpaca_sft", {"instruction": ASK, "input": "<noinput>", "output": GOOD}),
    ("alpaca_sft", {"instruction": ASK, "context": "", "response": GOOD, "category": "open_qa"}),
    (
        "messages",
        {"contents": [{"role": "user", "parts": [{"text": ASK}]}, {"role": "model", "parts": [{"text": GOOD}]}]},
    ),
    ("messages", {"input": ASK, "conversations": [sharegpt("human", ASK), sharegpt("gpt", GOOD)]}),
]
HH = [{"chosen": f"\n\nHuman: {ASK}\n\nAssistant: {GOOD}", "rejected": f"\n\nHuman: {ASK}\n\nAssistant: {BAD}"}]
NAMED: list[Case] = [
    ("hh", HH, PAIR),
    ("hh", [{"chosen": [user(), says(GOOD)], "rejected": [user(), says(BAD)]}], PAIR),
    (
        "pku_saferlhf_safety",
        [{"prompt": ASK, "response_0": GOOD, "response_1": BAD, "better_response_id": 1, "safer_response_id": 0}],
        PAIR,
    ),
    ("webgpt_flat", [{"question": ASK, "answer_0": BAD, "answer_1": GOOD, "score_0": -1, "score_1": 1}], PAIR),
]


def read(tmp_path: Path, rows: list[Mapping[str, Any]], **options: Any) -> tuple[PairFile, list[Record]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = PairFile(path, ReadingOptions(**options))
    found = list(file.read())
    assert [str(row.odd) for row in found if row.odd] == []
    return file, [record for row in found for record in row.records]


def told(record: Record) -> tuple[str, str, float | None]:
    assert isinstance(record, LabeledPair)
    if record.p_first is None or record.p_first >= 0.5:
        return record.first, record.second, record.p_first
    return record.second, record.first, 1.0 - record.p_first


def same(found: list[tuple[str, str, float | None]], wanted: list[tuple[str, str, float | None]]) -> bool:
    """Equal up to rounding; a tie or an unlabeled pair may stand in either order."""

    def plain(items: list[tuple[str, str, float | None]]) -> list[tuple[object, ...]]:
        return [
            (*(sorted((a, b)) if p in (None, 0.5) else (a, b)), None if p is None else round(p, 9)) for a, b, p in items
        ]

    return plain(found) == plain(wanted)


@pytest.mark.parametrize(("name", "rows", "wanted"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_auto_finds_the_layout_and_reads_it(tmp_path: Path, name: str, rows: list[Any], wanted: list[Any]) -> None:
    file, records = read(tmp_path, rows)
    assert file.layout.name == name
    assert same([told(record) for record in records], wanted)
    if not name.startswith("tldr_"):
        assert {record.turns or record.prompt.strip() for record in records} <= {
            ASK,
            f"Human: {ASK}\n\nAssistant:",
            WITH_SYSTEM,
        }
    named, again = read(tmp_path, rows, format=name)
    assert (named.layout, again) == (file.layout, records)
    prompts = len(rows) if name == "alpaca_eval" else len({record.prompt for record in records})
    assert sum(record.weight for record in records) == pytest.approx(prompts)


@pytest.mark.parametrize(("name", "rows", "wanted"), NAMED, ids=[case[0] for case in NAMED])
def test_layouts_that_are_named(tmp_path: Path, name: str, rows: list[Any], wanted: list[Any]) -> None:
    _, records = read(tmp_path, rows, format=name)
    assert same([told(record) for record in records], wanted)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "reference" / "layouts.md"
COMMANDS = dict(re.findall(r"^\| `(\w+)` \|.*\| `(rlaif-[^`]+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE))
"""The command of each layout in the documentation's table."""
ROWS = {name: rows for name, rows, _ in reversed([*CASES, *NAMED])}
GUANACO = f"### Human: {ASK}### Assistant: {GOOD}"
ROWS |= {"prompts": [{"prompt": ASK}], "text": [{"text": GUANACO}], **{name: [row] for name, row in reversed(ALONE)}}


@pytest.mark.parametrize("name", layout_names())
def test_the_documented_command_of_a_layout_reads_its_rows(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *words = shlex.split(COMMANDS[name])
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    if command == "rlaif-labels":
        with pytest.raises(SystemExit) as done:
            main([words[0], str(path), *words[2:]])
        assert done.value.code == 0 and f"read as {name} " in capsys.readouterr().out
        return
    overrides = OverridesParser.create().parse_overrides(words)
    typed = {item.key_or_group.removeprefix("data."): item.value() for item in overrides}
    options = {part.name: typed[part.name] for part in fields(ReadingOptions) if part.name in typed}
    assert PairFile(path, ReadingOptions(**options)).layout.name == name


def test_every_layout_has_a_case() -> None:
    alone = {"messages", "prompt_completion", "alpaca_sft", "prompts", "text"}
    assert {name for name, _, _ in CASES} | {name for name, _, _ in NAMED} | alone == set(layout_names())


@pytest.mark.parametrize(("name", "row"), ALONE)
def test_demonstrations(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    file, records = read(tmp_path, [row])
    assert file.layout.name == name
    assert records == [SingleResponse(prompt=ASK, response=GOOD, is_instruction=True)]


def test_prompts_alone(tmp_path: Path) -> None:
    file, records = read(tmp_path, [{"prompt": ASK}])
    assert file.layout.name == "prompts" and records == [BarePrompt(prompt=ASK, is_instruction=True)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [system(), user()], "chosen": [says(GOOD)], "rejected": [says(BAD)]},
        {"system": BRIEF, "prompt": ASK, "chosen": GOOD, "rejected": BAD},
        {"system": BRIEF, "prompt": ASK, "chosen": [user(), says(GOOD)], "rejected": [user(), says(BAD)]},
        {"chosen": [system(), user(), says(GOOD)], "rejected": [system(), user(), says(BAD)]},
        {"system": BRIEF, "question": ASK, "chosen": GOOD, "rejected": BAD},
        {"system_prompt": BRIEF, "instruction": ASK, "generations": [GOOD, BAD], "ratings": [2, 1]},
        {
            "conversations": [sharegpt("system", BRIEF), sharegpt("human", ASK)],
            "chosen": says(GOOD),
            "rejected": says(BAD),
        },
        {"messages": [system(), user(), says(GOOD)], "rejected_response": BAD},
        {
            "input": {"messages": [system(), user()]},
            "preferred_output": [says(GOOD)],
            "non_preferred_output": [says(BAD)],
        },
        {"system": BRIEF, "instruction": ASK, "chosen": GOOD, "rejected": BAD},
        {"system": BRIEF, "messages": [user(), says(GOOD)]},
        {"system": [{"text": BRIEF}], "messages": [user(), says(GOOD)]},
        {
            "system": [{"type": "text", "text": BRIEF, "cache_control": {}}],
            "prompt": ASK,
            "chosen": GOOD,
            "rejected": BAD,
        },
        {"system": BRIEF, "chosen": [user(), says(GOOD)], "rejected": [user(), says(BAD)]},
        {"system": BRIEF, "messages": [user(), says(GOOD)], "rejected_response": BAD},
        {"systemInstruction": {"parts": [{"text": BRIEF}]}, "contents": [user(), says(GOOD)]},
    ],
)
def test_system_texts_belong_to_the_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    _, (record,) = read(tmp_path, [row])
    assert record.turns == WITH_SYSTEM
    assert record.prompt == f"\n\nSystem: {BRIEF}\n\nHuman: {ASK}\n\nAssistant:"
    prompt = record.as_prompt("dialogue", cue="")
    assert prompt.turns == WITH_SYSTEM and prompt.has_own_turns
    assert record.as_prompt("summarization", cue="TL;DR:").text == f"{BRIEF}\n\n{ASK}"


def test_inputs_and_history_belong_to_the_prompt(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "Le pain.", "chosen": GOOD, "rejected": BAD}
    _, (record,) = read(tmp_path, [row])
    assert record.prompt == "Translate.\nLe pain."
    _, (record,) = read(tmp_path, [row | {"history": [["Hi", "Hello!"]]}])
    assert record.prompt == "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Translate.\nLe pain.\n\nAssistant:"


def test_tool_turns_and_parts_are_kept(tmp_path: Path) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Which "}, {"type": "text", "text": "river?"}]}
    calls = {"role": "assistant", "content": None, "tool_calls": [{"name": "map", "arguments": "{}"}]}
    rows = [{"prompt": [parts, calls, {"role": "tool", "content": "Seine"}], "chosen": GOOD, "rejected": BAD}]
    _, (record,) = read(tmp_path, rows)
    assert [(turn.role, turn.text) for turn in record.turns] == [
        ("user", "Which river?"),
        ("assistant", '[{"name": "map", "arguments": "{}"}]'),
        ("tool", "Seine"),
    ]
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}
    with pytest.raises(DataError, match="a part that is no text"):
        read(tmp_path, [{"prompt": [image], "chosen": GOOD, "rejected": BAD}])


def test_a_quoted_turn_mark_is_text(tmp_path: Path) -> None:
    quoted = "What is wrong in this log?\n\nHuman: a\n\nAssistant: b"
    for prompt in (quoted, [user(quoted)]):
        _, (record,) = read(tmp_path, [{"prompt": prompt, "chosen": GOOD, "rejected": BAD}])
        prompt = record.as_prompt("dialogue", cue="")
        assert prompt.turns == (Turn("user", quoted),)


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        (f"Human: {ASK}\n\nAssistant:", f" {GOOD}"),
        (f"\n\nHuman: {ASK}\n\nAssistant: ", GOOD),
        (f"\n\nHuman: {ASK}\n\nAssistant:", f" {GOOD}"),
    ],
)
def test_transcripts_are_the_same_however_they_are_trimmed(tmp_path: Path, prompt: str, chosen: str) -> None:
    _, (record,) = read(tmp_path, [{"prompt": prompt, "chosen": chosen, "rejected": BAD}])
    assert record.prompt == f"\n\nHuman: {ASK}\n\nAssistant:" and told(record)[0] == GOOD


@pytest.mark.parametrize("break_", ["\n", ""])
def test_the_turns_of_a_helpsteer_prompt_are_turns(tmp_path: Path, break_: str) -> None:
    """A third of HelpSteer2's prompts; the first turn has no mark."""
    asked = f"{ASK}{break_}<extra_id_1>Assistant\n{GOOD}{break_}<extra_id_1>User\nAnd Lyon?"
    scores = {"helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    rows = [
        {"prompt": asked, "response": "The Rhone."} | scores,
        {"prompt": asked, "response": "No."} | scores | {"helpfulness": 0},
    ]
    file, (record,) = read(tmp_path, rows)
    assert file.layout.name == "helpsteer2" and told(record) == ("The Rhone.", "No.", 1.0)
    assert record.prompt == f"\n\nHuman: {ASK}\n\nAssistant: {GOOD}\n\nHuman: And Lyon?\n\nAssistant:"


def test_leading_white_space_of_a_response_is_part_of_it(tmp_path: Path) -> None:
    rows = [{"prompt": "def f(x):\n", "chosen": "    return 2 * x\n", "rejected": "    return x\n"}]
    _, (record,) = read(tmp_path, rows)
    assert told(record)[:2] == ("    return 2 * x\n", "    return x\n")


def test_numbers_are_texts(tmp_path: Path) -> None:
    _, (record,) = read(tmp_path, [{"prompt": "6 * 7?", "first": 42, "second": 41, "p_first": 1}])
    assert told(record) == ("42", "41", 1.0)


@pytest.mark.parametrize(
    ("panels", "columns", "selected", "p_first"),
    [
        ("txt-1,txt-2", ("answer1", "answer2"), "left", 1.0),
        ("txt-2,txt-1", ("answer1", "answer2"), "left", 0.0),
        (["answer2", "answer1"], ("answer1", "answer2"), "right", 1.0),
        ("chat_b, chat_a", ("response_a", "response_b"), "left", 0.0),
        ("left,right", ("response1", "response2"), "right", 0.0),
    ],
)
def test_label_studio_names_what_stood_on_the_left(
    tmp_path: Path, panels: object, columns: tuple[str, str], selected: str, p_first: float
) -> None:
    _, (pair,) = read(tmp_path, [studio(panels, columns, selected)])
    assert isinstance(pair, LabeledPair) and (pair.first, pair.second, pair.p_first) == (GOOD, BAD, p_first)


@pytest.mark.parametrize("panels", ["alpha,beta", "right,left", "txt", "txt-1,txt-1", ["a", "b", "c"]])
def test_panels_that_do_not_say_what_they_show_are_refused(tmp_path: Path, panels: object) -> None:
    with pytest.raises(DataError, match=r"unknown panels .* write there answer1,answer2 or answer2,answer1"):
        read(tmp_path, [studio(panels, ("answer1", "answer2"), "left")])


def studio(panels: object, columns: tuple[str, str], selected: str) -> dict[str, Any]:
    result = {"type": "pairwise", "from_name": "pw", "to_name": panels, "value": {"selected": selected}}
    data = {"prompt": ASK, columns[0]: GOOD, columns[1]: BAD}
    return {"id": 1, "data": data, "annotations": [{"was_cancelled": False, "result": [result]}]}


def test_single_messages_of_trees_are_compared_with_all_that_was_said_before(tmp_path: Path) -> None:
    said = [
        ("1", None, "prompter", ASK, None), ("2", "1", "assistant", GOOD, 0), ("3", "2", "prompter", "And Lyon?", None),
        ("4", "3", "assistant", "No.", 1), ("5", "3", "assistant", "The Rhone.", 0), ("6", "9", "assistant", "?", 0),
    ]  # fmt: skip
    keys = ("message_id", "parent_id", "role", "text", "rank")
    rows = [{"message_tree_id": "t", **dict(zip(keys, row, strict=True))} for row in said]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(PairFile(path, ReadingOptions(format="oasst_messages")).read())
    (pair,) = (record for row in found for record in row.records)
    assert told(pair) == ("The Rhone.", "No.", 1.0)
    assert pair.prompt == f"\n\nHuman: {ASK}\n\nAssistant: {GOOD}\n\nHuman: And Lyon?\n\nAssistant:"
    assert [str(row.odd) for row in found if row.odd] == [
        "only one ranked answer",
        "a message before it is not in the file (9)",
    ]


def odd(
    tmp_path: Path, rows: list[Mapping[str, Any]], **options: Any
) -> tuple[list[tuple[str, str, float | None]], list[str]]:
    """What rows became, and why others became nothing."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(PairFile(path, ReadingOptions(**options)).read())
    return [told(record) for row in found for record in row.records], [str(row.odd) for row in found if row.odd]


def test_arena_rows_of_several_turns_are_no_defects_of_the_file(tmp_path: Path) -> None:
    """Each side's second turn follows an answer of its own; a third of the rows of some of these files are so."""
    one = {"model_a": "m", "model_b": "n", "winner": "model_a", "turn": 1}
    one |= {"conversation_a": [user(), says(GOOD)], "conversation_b": [user(), says(BAD)]}
    two = one | {f"conversation_{side}": [user(), says(side), user("And?"), says(GOOD + side)] for side in "ab"}
    shared = one | {f"conversation_{side}": [user(), says("So."), user("And?"), says(side)] for side in "ab"}
    pairs, why = odd(tmp_path, [one, two, shared])
    assert pairs == [(GOOD, BAD, 1.0), ("a", "b", 1.0)] and why == ["split context"]
    path = tmp_path / "rows.jsonl"
    (left_out,) = (row.odd for row in PairFile(path, ReadingOptions()).read() if row.odd)
    assert isinstance(left_out, OtherTaskError)


def test_several_chosen_are_compared_with_the_rejected_and_never_with_each_other(tmp_path: Path) -> None:
    lists = {"prompt": ASK, "chosen": [GOOD, "Lyon?"], "rejected": [BAD]}
    whole = [(GOOD, BAD, 1.0), ("Lyon?", BAD, 1.0)]
    pairs, why = odd(tmp_path, [lists] * 9 + [lists | {"rejected": BAD}])
    assert same(pairs, whole * 10) and not why
    for nothing in ([], None, "", " "):
        pairs, why = odd(tmp_path, [lists] * 9 + [lists | {"rejected": nothing}])
        assert same(pairs, whole * 9) and why == ["no response (rejected[*] has none)"]


def test_a_row_that_says_that_it_is_a_tie_is_left_out_however_few_there_are(tmp_path: Path) -> None:
    plain = {"prompt": ASK, "chosen": GOOD, "rejected": BAD}
    rows = [plain | {"is_tie": number in (7, 1_500)} for number in range(1_600)]
    pairs, why = odd(tmp_path, rows)
    assert len(pairs) == 1_598 and why == ["says that it is a tie"] * 2
    assert len(odd(tmp_path, rows, accept=["tie_in_row"])[0]) == 1_600
    assert odd(tmp_path, [plain | {"status": "tie"}] + [plain | {"status": "1"}] * 9)[1] == ["says that it is a tie"]
    with pytest.raises(DataError, match="tie_in_row"):
        odd(tmp_path, [plain | {"is_tie": True}, plain])


def test_a_named_column_that_no_row_has_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": ASK, "first": GOOD, "second": BAD, "p_first": 0.9, "human_p": 0.1, "all": {"n": [2.0]}}]
    with pytest.raises(DataError, match=r"data\.columns\.preference=human_pp: no row has .* did you mean human_p\?"):
        odd(tmp_path, rows, format="table", columns={"preference": "human_pp"})
    with pytest.raises(DataError, match=r"data\.columns\.weight=x: no row has this column; they have prompt, first"):
        odd(tmp_path, rows, format="table", columns={"weight": "x"})
    assert odd(tmp_path, rows, format="table", columns={"preference": "human_p"})[0] == [(BAD, GOOD, 0.9)]
    _, (weighted,) = read(tmp_path, rows, format="table", columns={"weight": "all.n[0]"})
    assert weighted.weight == 2.0


def test_answers_to_several_questions_of_label_studio_are_not_averaged(tmp_path: Path) -> None:
    two = studio("txt-1,txt-2", ("answer1", "answer2"), "left")
    (result,) = two["annotations"][0]["result"]
    harmless = result | {"from_name": "harmless", "value": {"selected": "right"}}
    comment = {"type": "textarea", "from_name": "why", "to_name": "x", "value": {"text": ["Because."]}}
    two["annotations"][0]["result"] += [comment, harmless]
    with pytest.raises(
        DataError, match=r"answers to several questions \(from_name: harmless, pw; .*from_name!=harmless"
    ):
        read(tmp_path, [two])
    two["annotations"][0]["result"].pop()
    _, (pair,) = read(tmp_path, [two])
    assert isinstance(pair, LabeledPair) and pair.p_first == 1.0


def test_two_good_responses_are_no_tie(tmp_path: Path) -> None:
    def row(text: str, label: bool, prompt: str = ASK) -> dict[str, Any]:
        return {"prompt": prompt, "completion": text, "label": label}

    rows = [
        row(GOOD, True),
        row("Lyon?", True),
        row(BAD, False),
        row("Yes.", True, "Really?"),
        row("Sure.", True, "Really?"),
    ]
    pairs, why = odd(tmp_path, rows, format="kto")
    assert same(pairs, [(GOOD, BAD, 1.0), ("Lyon?", BAD, 1.0)])
    assert why == ["only good or only bad responses to its prompt"]


@pytest.mark.parametrize("mark", ["Human: ", "User: ", "\nUSER: "])
def test_a_prompt_that_begins_with_a_role_is_told(tmp_path: Path, mark: str) -> None:
    row = {"prompt": f"{mark}{ASK}", "chosen": GOOD, "rejected": BAD}
    with pytest.raises(DataError, match="template_marks"):
        read(tmp_path, [row])
    assert odd(tmp_path, [row | {"prompt": f"The user: {ASK}"}])[1] == []


def test_a_text_that_holds_a_place_of_the_template_stays_as_it_is(tmp_path: Path) -> None:
    layout = tmp_path / "own.yaml"
    layout.write_text(
        'prompt: {template: "{question}\\n\\nContext: {context}"}\nresponses: [a, b]\nlabel: {order: first}\n'
    )
    row = {"question": "What does {context} do?", "context": "All {question} of it.", "a": GOOD, "b": BAD}
    _, (record,) = read(tmp_path, [row], format=str(layout))
    assert record.prompt.strip().endswith("What does {context} do?\n\nContext: All {question} of it.")


@pytest.mark.parametrize("other", ["question", "instruction", "input", "query"])
def test_a_column_prompt_is_the_prompt_whatever_stands_beside_it(tmp_path: Path, other: str) -> None:
    row = {"prompt": ASK, other: "A river.", "chosen": GOOD, "rejected": BAD}
    accepted = {"accept": ["unread_context"]} if other in ("instruction", "input") else {}
    file, (record,) = read(tmp_path, [row], **accepted)
    assert file.layout.name == "chosen_rejected" and record.prompt == ASK


def test_an_empty_list_of_system_parts_is_no_system_text(tmp_path: Path) -> None:
    _, (record,) = read(tmp_path, [{"system": [], "prompt": ASK, "chosen": GOOD, "rejected": BAD}])
    assert record.turns == () and record.prompt == ASK and told(record) == (GOOD, BAD, 1.0)


def test_a_conversation_in_one_text_is_a_demonstration(tmp_path: Path) -> None:
    file, records = read(
        tmp_path, [{"text": GUANACO}, {"text": f"{GUANACO}### Human: And Lyon?### Assistant: The Rhone."}]
    )
    asked = f"\n\nHuman: {ASK}\n\nAssistant:"
    assert file.layout.name == "text" and records == [
        SingleResponse(prompt=asked, response=GOOD),
        SingleResponse(prompt=f"{asked} {GOOD}\n\nHuman: And Lyon?\n\nAssistant:", response="The Rhone."),
    ]
    with pytest.raises(DataError, match="no layout reads its first rows"):
        read(tmp_path, [{"text": "A text without turns."}])


def test_picked_options_are_better_than_the_others_and_not_than_each_other(tmp_path: Path) -> None:
    options = [{"id": n, "text": text} for n, text in enumerate((GOOD, BAD, THIRD))]
    row = {"text": ASK, "options": options, "accept": [0, "2"], "answer": "accept"}
    rows = [row, row | {"accept": []}, row | {"answer": "ignore"}]
    pairs, why = odd(tmp_path, rows)
    assert same(pairs, [(GOOD, BAD, 1.0), (THIRD, BAD, 1.0)])
    assert why == ["only good or only bad responses to its prompt", "other answer ('ignore')"]
    layout = tmp_path / "own.yaml"
    layout.write_text("prompt: text\nresponses: {each: texts}\nlabel: {picked: best}\n")
    pairs, _ = odd(tmp_path, [{"text": ASK, "texts": [BAD, GOOD], "best": 1}], format=str(layout))
    assert same(pairs, PAIR)


@pytest.mark.parametrize("form", ["prompt", "conversation", "alone", "demonstration"])
def test_a_message_that_says_nothing_is_no_prompt(tmp_path: Path, form: str) -> None:
    def row(text: str) -> dict[str, Any]:
        asked = [system(), user(text)]
        match form:
            case "prompt":
                return {"prompt": asked, "chosen": [says(GOOD)], "rejected": [says(BAD)]}
            case "conversation":
                return {"chosen": [*asked, says(GOOD)], "rejected": [*asked, says(BAD)]}
            case "demonstration":
                return {"messages": [*asked, says(GOOD)]}
        return {"prompt": asked}

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(" " if n == 7 else f"{ASK} {n}")) + "\n" for n in range(8)))
    found = list(PairFile(path, ReadingOptions()).read())
    assert [len(read.records) for read in found] == [1] * 7 + [0] and str(found[7].odd) == "empty prompt"


@pytest.mark.parametrize("nothing", [[], "", GOOD, None])
def test_a_row_without_a_list_of_responses_is_no_prompt(tmp_path: Path, nothing: object) -> None:
    lists = {"prompt": ASK, "chosen": [GOOD], "rejected": [BAD]}
    pairs, why = odd(tmp_path, [lists] * 9 + [lists | {"chosen": nothing, "rejected": nothing}])
    assert same(pairs, PAIR * 9) and why == ["no response (chosen[*] has none)"]
