"""Human-labeled pairs from files."""

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rlaif.data.demonstrations import DemonstrationFile
from rlaif.data.formats.base import chosen_and_rejected
from rlaif.data.held_out import conversation_start
from rlaif.data.sources.files import FilesSource
from rlaif.errors import ConfigError, DataError
from rlaif.labelers.file import FileLabeler
from rlaif.models.load import ModelSpec
from rlaif.pipeline.stage import Work
from rlaif.stages.data import DataStage, _skipped
from rlaif.tasks.base import HarmlessDialogue, Summarization
from rlaif.types import Prompt

TASK = HarmlessDialogue()


def hh(question: str, chosen: str = " Yes, of course.", rejected: str = " No.") -> dict[str, str]:
    context = f"\n\nHuman: {question}\n\nAssistant:"
    return {"chosen": context + chosen, "rejected": context + rejected}


def write(path: Path, rows: list[object]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


ROWS = [hh(f"May I ask question {i}?") for i in range(60)]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_hh_rows_become_records_split_by_prompt(tmp_path, name):
    data = FilesSource(write(tmp_path / name, ROWS), eval_fraction=0.2).load(TASK)
    assert len(data.preferences) + len(data.eval_preferences) == 60
    assert 4 <= len(data.eval_preferences) <= 20
    assert {d.response for d in data.demonstrations} == {"Yes, of course."}
    train = {p.id for p in data.label_prompts} | {p.id for p in data.policy_prompts}
    train |= {d.prompt.id for d in data.demonstrations} | {p.comparison.prompt.id for p in data.preferences}
    held_out = {p.id for p in data.eval_prompts}
    assert held_out == {p.comparison.prompt.id for p in data.eval_preferences}
    assert not train & held_out and len(train | held_out) == 60
    prompt = data.label_prompts[0]
    assert prompt.task == "harmless_dialogue"
    assert prompt.text == "\n\nHuman: May I ask question 0?\n\nAssistant:"
    assert data.preferences[0].source == "human" and data.annotators is None
    assert data.skipped.num_rows == 60 and data.skipped.counts == {}


def test_the_chosen_one_is_not_always_first_and_the_order_is_that_of_the_texts(tmp_path):
    data = FilesSource(write(tmp_path / "a.jsonl", ROWS), eval_fraction=0.0).load(TASK)
    labels = [preference.p_first for preference in data.preferences]
    assert set(labels) == {0.0, 1.0} and 15 < sum(labels) < 45
    turned = [{"chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS]
    other = FilesSource(write(tmp_path / "b.jsonl", turned), eval_fraction=0.0).load(TASK)
    assert [p.comparison.id for p in other.preferences] == [p.comparison.id for p in data.preferences]
    assert [p.p_first for p in other.preferences] == [1.0 - label for label in labels]


def test_one_conversation_at_two_lengths_stays_on_one_side():
    long = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: More?\n\nAssistant:"
    assert conversation_start(long) == conversation_start("\n\nHuman: Hi\n\nAssistant:")


def test_long_dialogues_lose_their_oldest_turns(tmp_path):
    context = "\n\nHuman: one two three\n\nAssistant: four five\n\nHuman: six seven\n\nAssistant:"
    row = {"chosen": context + " a", "rejected": context + " b"}
    path = write(tmp_path / "a.jsonl", [row])
    options = {"eval_fraction": 0.0, "max_skipped": 1.0}
    whole = FilesSource(path, max_prompt_tokens=11, **options).load(TASK)
    assert whole.label_prompts[0].text == context
    cut = FilesSource(path, max_prompt_tokens=10, **options).load(TASK)
    assert cut.label_prompts[0].text == "\n\nHuman: six seven\n\nAssistant:"
    by_characters = FilesSource(path, max_prompt_tokens=31, **options).load(TASK, count_tokens=len)
    assert by_characters.label_prompts[0].text == "\n\nHuman: six seven\n\nAssistant:"
    with pytest.raises(DataError, match="not one of 1 rows can be used"):
        FilesSource(path, max_prompt_tokens=3, **options).load(TASK)


def test_dialogues_that_lost_turns_are_counted(tmp_path):
    turns = "\n\nHuman: word" + " word" * 700 + "\n\nAssistant: Yes.\n\nHuman: And?\n\nAssistant:"
    long = {"chosen": turns + " Good.", "rejected": turns + " Bad."}
    data = FilesSource(write(tmp_path / "pairs.jsonl", [long, *ROWS]), max_prompt_tokens=600).load(TASK)
    assert data.skipped.num_cut == 1 and not data.skipped.counts
    assert _skipped(data.skipped) == "; 1 dialogues lost their oldest turns (data.max_prompt_tokens)"


def test_odd_rows_are_left_out_counted_and_shown(tmp_path):
    odd = [
        hh("empty?", chosen=" "),
        {"chosen": hh("one")["chosen"], "rejected": hh("two")["rejected"]},
        hh("equal?", chosen=" same", rejected=" same"),
        hh("long?", chosen=" word" * 513),
        hh("long " * 800),
        {"chosen": "hello", "rejected": "you"},
        hh("half a character \ud83d?"),
        hh("empty again?", rejected=""),
        hh("nothing to see?", chosen=" \u200b\ufeff"),
    ]
    data = FilesSource(write(tmp_path / "pairs.jsonl", odd + ROWS)).load(TASK)
    assert data.skipped.counts == {
        "empty response": 3,
        "split context": 1,
        "equal responses": 1,
        "response too long": 1,
        "prompt too long": 1,
        "no prompt": 1,
        "broken Unicode": 1,
    }
    assert data.skipped.num_rows == 69
    assert data.skipped.examples == (
        "pairs.jsonl:1: empty response",
        "pairs.jsonl:2: split context (the conversations part before the last assistant turn)",
        "pairs.jsonl:3: equal responses",
    )
    assert len(data.preferences) + len(data.eval_preferences) == 60


def test_too_many_odd_rows_stop_the_run(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [hh("empty?", chosen="")] * 16 + ROWS)
    message = r"16 of 76 rows cannot be used, more than data\.max_skipped=0\.2 allows \(empty response: 16\)"
    with pytest.raises(DataError, match=message):
        FilesSource(path).load(TASK)
    assert FilesSource(path, max_skipped=0.25).load(TASK).skipped.num_rows == 76


def test_rows_with_a_prompt(tmp_path):
    rows = [
        {"prompt": "A post.", "first": "good", "second": "bad", "p_first": 1},
        {"prompt": "Another post.", "first": " x ", "second": "y", "p_first": 0.75},
        {"prompt": "Third.", "first": "x", "second": "y", "p_first": None},
        {"prompt": "Fourth.", "first": "x", "second": "y", "p_first": 0.5},
        {"prompt": "Fifth.", "first": "x", "second": "y", "p_first": 1.5},
    ]
    source = FilesSource(write(tmp_path / "rows.jsonl", rows), format="table", eval_fraction=0.0, source="crowd")
    data = source.load(Summarization())
    assert [d.response for d in data.demonstrations] == ["good", " x "]
    assert [p.p_first for p in data.preferences][1:] == [0.75, None, 0.5]
    assert data.preferences[2].missing == "no label in the data"
    assert data.preferences[0].source == "crowd"
    assert data.skipped.counts == {"unknown preference": 1}
    assert data.skipped.examples == ("rows.jsonl:5: unknown preference (p_first: 1.5 is not between 0 and 1)",)


def test_files_that_cannot_be_read_say_where_and_what_to_do(tmp_path):
    good = json.dumps(ROWS[0]).encode() + b"\n"
    # Random-looking questions, so that half of the compressed file still holds whole lines.
    many = "".join(json.dumps(hh(f"{i * 7919 % 10007} {i**3}?")) + "\n" for i in range(3000)).encode()
    whole = gzip.compress(many)
    files = {
        "absent.jsonl": (None, r"data\.path=.*absent\.jsonl: there is no such file"),
        "empty.jsonl": (b"", r"the file is empty; expected rows with chosen, rejected"),
        "cut.jsonl.gz": (whole[: len(whole) // 2], r"cut\.jsonl\.gz, line \d{3,}: the gzip file ends here"),
        "damaged.jsonl.gz": (whole[:400] + bytes(200) + whole[600:], r"damaged\.jsonl\.gz, line \d+: the gzip"),
        "text.jsonl": (good + b"hello\n", r"text\.jsonl, line 2: is not JSON \(Expecting value at column 1\)"),
        "list.jsonl": (good + b"[1]\n", r"list\.jsonl, line 2: is \[1\], no JSON object"),
        "latin.jsonl": (
            good + b'{"chosen": "\xe5"}\n',
            r"latin\.jsonl, line 2: is not UTF-8 \(byte 0xe5 after '\{\"chosen\": \"'\)",
        ),
        "key.jsonl": (good + b'\n{"chosen": "a"}\n', r"key\.jsonl:3: lacks the key 'rejected'; it has 'chosen'"),
        "other.jsonl": (
            b'{"prompt": "a", "first": "b", "second": "c", "p_first": 1}\n',
            r"other\.jsonl:1: lacks the key 'chosen', 'rejected'; .* \(data\.format=auto or table would fit\)",
        ),
        "number.jsonl": (b'{"chosen": 3, "rejected": "a"}\n', r"no prompt: 1"),
    }
    for name, (content, message) in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            FilesSource(str(tmp_path / name), format="hh").load(TASK)
    with pytest.raises(DataError, match="holds several tables"):
        FilesSource(str(tmp_path)).load(TASK)


def test_wrong_options_are_listed(tmp_path):
    with pytest.raises(ConfigError) as caught:
        FilesSource("x", eval_fraction=1.1, max_skipped=2, max_rows=0)
    assert len(caught.value.problems) == 3
    with pytest.raises(
        ConfigError, match=r"data\.format=csv: no layout has this name; there are auto, alpaca_eval, alpaca_sft, arena"
    ):
        FilesSource("x", format="csv")


def test_identity_is_content_and_options_not_place(tmp_path):
    first = FilesSource(write(tmp_path / "a.jsonl", ROWS))
    assert first.identity == FilesSource(write(tmp_path / "b.jsonl", ROWS)).identity
    assert first.identity != FilesSource(write(tmp_path / "c.jsonl", ROWS[:-1])).identity
    assert first.identity != FilesSource(str(tmp_path / "a.jsonl"), eval_fraction=0.3).identity


def test_max_rows_and_num_eval_prompts(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    data = FilesSource(path, max_rows=30, eval_fraction=0.5, num_eval_prompts=3).load(TASK)
    assert data.skipped.num_rows == 30 and len(data.eval_prompts) == 3 < len(data.eval_preferences)


def test_tuning_prompts_are_held_out_beyond_the_evaluation_and_of_other_conversations(tmp_path):
    """Every conversation is there at two lengths; the evaluation keeps its prompts."""
    longer = [hh(f"May I ask question {i}?\n\nAssistant: You may.\n\nHuman: And more?") for i in range(60)]
    path = write(tmp_path / "a.jsonl", ROWS + longer)
    options = {"eval_fraction": 0.5, "num_eval_prompts": 10}
    data = FilesSource(path, **options, num_tuning_prompts=None).load(TASK)
    every = FilesSource(path, eval_fraction=0.5, num_eval_prompts=None).load(TASK)
    assert data.eval_prompts == every.eval_prompts[:10] and every.tuning_prompts == []
    starts = [{conversation_start(p.text) for p in part} for part in (data.eval_prompts, data.tuning_prompts)]
    assert not starts[0] & starts[1], "no conversation is on both sides, at whatever length"
    assert starts[0] | starts[1] == {conversation_start(p.text) for p in every.eval_prompts}
    assert not {p.id for p in data.tuning_prompts} & {p.id for p in (*data.label_prompts, *data.policy_prompts)}
    assert len(FilesSource(path, **options, num_tuning_prompts=3).load(TASK).tuning_prompts) == 3


def test_equal_texts_in_another_prompt_may_stand_in_another_order():
    firsts = {chosen_and_rejected(f"prompt {i}", "a", "b")[0] for i in range(20)}
    assert firsts == {"a", "b"}


def test_repeated_pairs_are_merged_and_not_held_against_the_data(tmp_path):
    votes = [
        {"prompt": "A post.", "first": "x", "second": "y", "p_first": p_first, "weight": weight}
        for p_first, weight in ((1, 1), (1, 3), (0.4, 2))
    ]
    turned = {"prompt": "A post.", "first": "y", "second": "x", "p_first": 0}
    data = FilesSource(
        write(tmp_path / "a.jsonl", [*votes, turned]), format="table", eval_fraction=0.0, max_skipped=0.0
    ).load(Summarization())
    [label] = data.preferences
    assert (label.comparison.first.text, label.p_first, label.weight) == ("x", pytest.approx(5.8 / 7), 1.75)
    assert data.skipped.counts == {"repeated pair, same label": 2, "repeated pair, other label": 1}
    odd = replace(data.skipped, num_rows=5, counts={"empty response": 1, **data.skipped.counts})
    work = Work(step="data", directory=tmp_path, inputs={}, seed=0, result=replace(data, skipped=odd))
    line = DataStage(FilesSource("x"), TASK, ModelSpec("x")).told(work).line
    assert "left out of 5: 1 empty response; merged of 5: 2 repeated pair, same label, 1 repeated pair, other" in line
    assert len(data.demonstrations) == 1


def demonstrated(question: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("own_eval_file", [False, True])
def test_demonstrations_of_a_file_are_those_of_training_prompts(tmp_path, own_eval_file):
    rows = [demonstrated(f"May I ask question {i}?", f"Answer {i}.") for i in range(60)]
    rows += [demonstrated(f"A new question {i}?", f"New answer {i}.") for i in range(30)] + [
        demonstrated("Empty?", " ")
    ]
    options = {"eval_path": write(tmp_path / "eval.jsonl", ROWS[:20])} if own_eval_file else {"eval_fraction": 0.2}
    source = FilesSource(
        write(tmp_path / "pairs.jsonl", ROWS),
        demonstrations="file",
        demonstrations_file=DemonstrationFile(path=write(tmp_path / "shown.jsonl", rows)),
        **options,
    )
    data = source.load(TASK)
    held_out = {prompt.text for prompt in data.eval_prompts}
    found = {item.prompt.text: item.response for item in data.demonstrations}
    old = {f"\n\nHuman: May I ask question {i}?\n\nAssistant:": f"Answer {i}." for i in range(60)}
    new = {f"\n\nHuman: A new question {i}?\n\nAssistant:": f"New answer {i}." for i in range(30)}
    assert {text: found.get(text) for text in old} == {
        text: None if text in held_out else answer for text, answer in old.items()
    }
    missing = [text for text in new if text not in found]
    assert not missing if own_eval_file else 0 < len(missing) < 15  # their conversations fall on the held-out side
    assert all(found[text] == answer for text, answer in new.items() if text in found)
    place, count = f"data.demonstrations_file.path={tmp_path / 'shown.jsonl'}", len(held_out) + len(missing)
    assert data.demonstrations_from == f"{place}; {count} held out; 1 left out: empty response"
    plain = FilesSource(write(tmp_path / "pairs.jsonl", ROWS), **options).load(TASK)
    for kind in ("label_prompts", "policy_prompts", "held_out_pairs", "people"):
        assert plain.content_id(kind) == data.content_id(kind)
    assert plain.content_id("demonstrations") != data.content_id("demonstrations")


def test_no_demonstrations_when_none_are_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    data = FilesSource(path, demonstrations="none").load(TASK)
    assert data.demonstrations == [] and data.label_prompts
    assert FilesSource(path, demonstrations="none").identity != FilesSource(path).identity


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"demonstrations": "file"}, "data.demonstrations=file: give the file as data.demonstrations_file.path="),
        ({"demonstrations_file": DemonstrationFile(path="x.jsonl")}, "type data.demonstrations=file"),
        ({"demonstrations": "chosen"}, "data.demonstrations=chosen: allowed are preferred, file, none"),
    ],
)
def test_places_of_demonstrations_that_cannot_be_meant(tmp_path, options, problem):
    with pytest.raises(ConfigError, match=problem):
        FilesSource(write(tmp_path / "a.jsonl", ROWS), **options)


def test_a_file_without_demonstrations_is_refused(tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"Question {i}?"} for i in range(5)])
    source = FilesSource(
        write(tmp_path / "a.jsonl", ROWS), demonstrations="file", demonstrations_file=DemonstrationFile(path=prompts)
    )
    with pytest.raises(
        DataError, match=r"data\.demonstrations_file\.path=.*prompts\.jsonl: holds no demonstration for training"
    ):
        source.load(TASK)


@pytest.mark.parametrize(("num_shared", "counts"), [(0, {}), (20, {"prompt also in data.eval_path": 20})])
def test_training_rows_that_the_evaluation_has_too_are_counted(
    tmp_path: Path, num_shared: int, counts: dict[str, int]
) -> None:
    others = [hh(f"Is this another question {i}?") for i in range(20 - num_shared)]
    held_out = write(tmp_path / "eval.jsonl", [*ROWS[:num_shared], *others])
    data = FilesSource(write(tmp_path / "pairs.jsonl", ROWS), eval_path=held_out).load(TASK)
    assert data.skipped.counts == counts
    assert (len(data.preferences), len(data.eval_preferences)) == (60 - num_shared, 20)


SPELLINGS = {
    "white space": ("A question {}: why", " A question {}: why \n"),
    "line ends": ("A question\n{}?", "A question\r\n{}?"),
    "accents": ("Le caf\u00e9 {}?", "Le cafe\u0301 {}?"),
}


@pytest.mark.parametrize("task", [TASK, Summarization()], ids=lambda task: task.name)
@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
def test_a_prompt_in_two_spellings_is_on_one_side_and_one_pair(tmp_path, task, spellings):
    def rows(spelling: str, chosen: str) -> list[dict[str, str]]:
        return [{"prompt": spelling.format(i), "chosen": chosen, "rejected": "No."} for i in range(40)]

    def asked(prompts: Sequence[Prompt]) -> set[str]:
        return {next(re.finditer(r"\d+", prompt.text))[0] for prompt in prompts}

    one, other = (write(tmp_path / f"{n}.jsonl", rows(text, "Yes.")) for n, text in enumerate(spellings))
    data = FilesSource([one, other], eval_fraction=0.5).load(task)
    assert data.skipped.counts == {"repeated pair, same label": 40}
    both = [*rows(spellings[0], "Yes."), *rows(spellings[1], "Well.")]
    data = FilesSource(write(tmp_path / "both.jsonl", both), eval_fraction=0.5).load(task)
    assert len(data.preferences) + len(data.eval_preferences) == 80
    assert not asked(data.label_prompts) & asked(data.eval_prompts)
    data = FilesSource(one, eval_path=other).load(task)
    assert len(data.label_prompts) == 0 and data.skipped.counts == {"prompt also in data.eval_path": 40}
    found = FileLabeler(one, source="human").label([pair.comparison for pair in data.eval_preferences])
    assert all(label.p_first in (0.0, 1.0) for label in found)


def test_what_is_told_of_a_file_of_demonstrations_can_be_typed(tmp_path):
    shown = tmp_path / "shown.csv"
    shown.write_bytes("prompt,first,second,preference\nUn caf\u00e9?,Oui.,Non.,0\n".encode("cp1252"))
    options = {"demonstrations": "file", "eval_fraction": 0.0}

    def load(**reading):
        file = DemonstrationFile(path=str(shown), **reading)
        return FilesSource(write(tmp_path / "a.jsonl", ROWS), **options, demonstrations_file=file).load(TASK)

    with pytest.raises(DataError, match=r"is not UTF-8 .* data\.demonstrations_file\.encoding=cp1252"):
        load()
    with pytest.raises(DataError, match=r"zero_one: .*data\.demonstrations_file\.preference=index0"):
        load(encoding="cp1252")
    (shown_one,) = load(encoding="cp1252", preference="index0").demonstrations
    assert shown_one.response == "Oui." and "caf\u00e9" in shown_one.prompt.text


def test_pairs_without_a_label_are_not_told_as_labeled(tmp_path):
    rows = [{"prompt": f"Q{n}?", "first": "Yes.", "second": "No.", "p_first": p} for n, p in enumerate((1, None, None))]
    for kept, told in ((rows, "3 pairs, 1 of them with a label"), (rows[:1], "1 labeled pairs")):
        data = FilesSource(write(tmp_path / "a.jsonl", kept), eval_fraction=0.0).load(TASK)
        work = Work(step="data", directory=tmp_path, inputs={}, seed=0, result=data)
        line = DataStage(FilesSource("x"), TASK, ModelSpec("x")).told(work).line
        assert f"{len(kept)} prompts to label, with {told}, 0 held out" in line
