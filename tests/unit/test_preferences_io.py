"""Label tables and sample tables."""

import math
from dataclasses import fields, replace
from random import Random

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.data.preferences_io import (
    PREFERENCE_SCHEMA,
    ROWS_AT_ONCE,
    SAMPLE_SCHEMA,
    iterate_preferences,
    read_preferences,
    read_samples,
    write_preferences,
    write_samples,
)
from rlaif.errors import DataError
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Turn, content_id

PROMPT = Prompt(task="dialogue", text="\n\nHuman: Håll å?\n\nAssistant:", stratum="unseen")
PAIR = Comparison(
    prompt=PROMPT,
    first=Completion(text="One.", token_ids=(4, 5, 2), source="sft"),
    second=Completion(text="", token_ids=(9,), finished=False, source="sft"),
)
JUDGMENTS = (
    Judgment(
        order="given",
        prompt="Which?",
        reply="because",
        option_logprobs=(math.log(0.7), math.log(0.2)),
        p_slot1=7 / 9,
        num_prompt_tokens=12,
        num_reply_tokens=3,
    ),
    Judgment(order="swapped", prompt="Which?", missing="no answer", unreadable=True, num_prompt_tokens=12),
)
PREFERENCES = [
    Preference(comparison=PAIR, p_first=0.1 + 0.2, judgments=JUDGMENTS[:1], labeler="pairwise", source="ai"),
    Preference(comparison=PAIR, p_first=None, missing="swapped: no answer", judgments=JUDGMENTS, source="ai"),
    Preference(comparison=PAIR, p_first=1.0, source="human", confidence=9.0, weight=2.5),
]


def test_preferences_come_back_equal_and_in_order(tmp_path):
    path = tmp_path / "labels.parquet"
    write_preferences(path, PREFERENCES)
    assert read_preferences(path) == PREFERENCES


def test_equal_rows_are_equal_bytes(tmp_path):
    write_preferences(tmp_path / "a.parquet", PREFERENCES)
    write_preferences(tmp_path / "b.parquet", read_preferences(tmp_path / "a.parquet"))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_table_from_before_weights_reads_with_weight_one(tmp_path):
    write_preferences(tmp_path / "new.parquet", PREFERENCES[:2])
    pq.write_table(pq.read_table(tmp_path / "new.parquet").drop_columns("weight"), tmp_path / "old.parquet")
    assert read_preferences(tmp_path / "old.parquet") == PREFERENCES[:2]


def prompt_with(*turns: Turn) -> Prompt:
    return Prompt(task="dialogue", text="\n\nHuman: What did\n\nHuman: Hi\n\nAssistant:", turns=turns)


QUOTING = prompt_with(Turn("user", "What did\n\nHuman: Hi"))
"""A user quotes a turn mark: read alone, the text would be two turns."""


@pytest.mark.parametrize(
    "turns",
    [
        (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Let me see."), Turn("tool", '{"a": 1}')),
        QUOTING.turns,
        (),
    ],
)
def test_turns_come_back_from_labels_and_samples(tmp_path, turns):
    prompt = Prompt(task="dialogue", text=QUOTING.text, turns=turns)
    pair = Comparison(prompt=prompt, first=Completion(text="  a\n"), second=Completion(text="b"))
    write_preferences(tmp_path / "labels.parquet", [Preference(comparison=pair, p_first=1.0)])
    write_samples(tmp_path / "samples.parquet", [(prompt, (pair.first,))])
    assert read_preferences(tmp_path / "labels.parquet")[0].comparison == pair
    assert read_samples(tmp_path / "samples.parquet") == [(prompt, (pair.first,))]


def test_a_table_from_before_turns_reads_without_turns(tmp_path):
    write_preferences(tmp_path / "labels.parquet", PREFERENCES)
    write_samples(tmp_path / "samples.parquet", [(PROMPT, (PAIR.first,))])
    for name in ("labels", "samples"):
        table = pq.read_table(tmp_path / f"{name}.parquet").drop_columns("turns")
        pq.write_table(table, tmp_path / f"old_{name}.parquet")
    assert read_preferences(tmp_path / "old_labels.parquet") == PREFERENCES
    assert read_samples(tmp_path / "old_samples.parquet") == [(PROMPT, (PAIR.first,))]


def test_the_id_counts_turns_only_where_they_say_more_than_the_text():
    by_text = content_id("dialogue", QUOTING.text)
    assert prompt_with().id == by_text
    assert prompt_with(Turn("user", "What did"), Turn("user", "Hi")).id == by_text
    others = [QUOTING, prompt_with(Turn("system", "x"), Turn("user", "What did"), Turn("user", "Hi"))]
    others.append(prompt_with(Turn("user", "What did"), Turn("tool", "Hi")))
    assert len({prompt.id for prompt in others} | {by_text}) == 4
    post = Prompt(task="summarization", text="A post.", turns=(Turn("user", "A post."),))
    assert post.id == content_id("summarization", "A post.")


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_is_a_finite_number_from_zero(weight):
    with pytest.raises(ValueError, match="no finite number from 0"):
        Preference(comparison=PAIR, p_first=1.0, weight=weight)


def test_columns_are_those_that_are_promised(tmp_path):
    write_preferences(tmp_path / "labels.parquet", PREFERENCES)
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    promised = {"prompt", "first", "second", "p_first", "p_first_by_order", "labeler", "source", "missing"}
    assert promised <= rows[0].keys()
    assert [row["p_first"] for row in rows] == [0.1 + 0.2, None, 1.0]
    assert [row["missing"] for row in rows] == [None, "swapped: no answer", None]
    assert rows[1]["p_first_by_order"] == [7 / 9, None]


def test_every_field_of_a_record_has_a_column():
    judgment = PREFERENCE_SCHEMA.field("judgments").type.value_type
    assert [field.name for field in fields(Judgment)] == [judgment.field(i).name for i in range(judgment.num_fields)]
    completion = SAMPLE_SCHEMA.field("completions").type.value_type
    assert [field.name for field in fields(Completion)] == [completion.field(i).name for i in range(4)]
    assert {field.name for field in fields(Preference)} - {"comparison"} <= set(PREFERENCE_SCHEMA.names)


def test_load_dataset_reads_the_table(tmp_path):
    write_preferences(tmp_path / "labels.parquet", PREFERENCES)
    table = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "labels.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table["p_first"][:] == [0.1 + 0.2, None, 1.0]
    assert table[1]["judgments"][1]["missing"] == "no answer"


def test_an_empty_table_and_samples_round_trip(tmp_path):
    write_preferences(tmp_path / "empty.parquet", [])
    assert read_preferences(tmp_path / "empty.parquet") == []
    samples = [(PROMPT, (PAIR.first, PAIR.second)), (PROMPT, ())]
    write_samples(tmp_path / "samples.parquet", samples)
    assert read_samples(tmp_path / "samples.parquet") == samples


@given(text=st.text(st.characters(exclude_categories=["Cs"])), p_first=st.floats(0, 1))
def test_any_text_and_probability_survive(tmp_path_factory, text, p_first):
    path = tmp_path_factory.mktemp("any") / "labels.parquet"
    pair = Comparison(prompt=PROMPT, first=Completion(text=text), second=Completion(text="x"))
    write_preferences(path, [Preference(comparison=pair, p_first=p_first)])
    assert read_preferences(path) == [Preference(comparison=pair, p_first=p_first)]


def test_half_a_character_in_what_a_model_wrote_is_written_as_a_question_mark(tmp_path):
    path = tmp_path / "labels.parquet"
    judgment = Judgment(order="given", prompt="p\ud83d", reply="r\ud83d", missing="m\ud83d")
    comparison = Comparison(
        prompt=Prompt(task="summarization", text="x"), first=Completion(text="a"), second=Completion(text="b")
    )
    label = Preference(comparison=comparison, p_first=None, missing="m\ud83d", judgments=(judgment,))
    write_preferences(path, [label])
    (read,) = read_preferences(path)
    assert (read.missing, read.judgments) == ("m?", (Judgment(order="given", prompt="p?", reply="r?", missing="m?"),))


@pytest.mark.parametrize("in_one_group", [False, True])
def test_a_table_is_never_in_memory_whole(tmp_path, in_one_group):
    rng, letters = Random(0), "".join(map(chr, range(33, 127)))

    def labels():
        for number in range(24 * ROWS_AT_ONCE):
            text = f"{number} {''.join(rng.choices(letters, k=300))}"
            yield replace(PREFERENCES[0], comparison=replace(PAIR, first=Completion(text=text)))

    write_preferences(path := tmp_path / "labels.parquet", labels())
    if in_one_group:  # as other programs write it
        pq.write_table(pq.read_table(path), path, compression="zstd", data_page_size=2**16, use_dictionary=False)
    before, most = pa.total_allocated_bytes(), 0
    for _ in iterate_preferences(path):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < path.stat().st_size / 2


def test_what_is_no_table_is_explained(tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"text\.parquet: is not a readable Parquet file"):
        read_preferences(tmp_path / "text.parquet")
    write_samples(tmp_path / "samples.parquet", [])
    with pytest.raises(DataError, match=r"the columns first, second, .* are missing"):
        read_preferences(tmp_path / "samples.parquet")
