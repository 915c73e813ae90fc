"""Token batches small enough to read: lengths, rows that are taken out, room for a response, a seed's order."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from records import assert_fixed
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlaif.data.batches.examples import (
    PairExample,
    TokenExample,
    Tokenized,
    collate_pairs,
    collate_tokens,
    completion_ids,
    pad_id,
    pad_right,
    pair_examples,
    prompt_turns,
    sft_examples,
)
from rlaif.data.batches.loader import BatchPlan, EvaluationLoader, ResumableLoader
from rlaif.data.batches.modules import Batching, SplitDataModule
from rlaif.data.batches.preferences import PreferenceExample, collate_preferences, preference_examples
from rlaif.tasks.base import Dialogue, Summarization
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt, Turn

TOKENS = [
    TokenExample((1, 2, 3, 4, 5), 2, "p"),
    TokenExample((6, 7), 1, "q"),
    TokenExample((8, 9, 10), 2, "r"),
]
PAIRS = [
    PairExample((1, 2, 3, 4), (1, 2, 5), 0.75, "p", 2),
    PairExample((6, 7, 8), (6, 9, 10, 11, 12, 13), 0.25, "q", 1, 2.0),
    PairExample((14, 15), (14, 16), 1.0, "r", 1, 0.5),
]
PREFERENCES = [
    PreferenceExample(0, (1, 2), (3, 4, 5), (6,), 0.75, 1.0, "p"),
    PreferenceExample(1, (7,), (8, 9), (10, 11, 12, 13), 0.25, 2.0, "q"),
    PreferenceExample(2, (14, 15, 16), (17,), (18,), 1.0, 0.5, "r"),
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, an end token and no pad token."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")


def labeled(first: str, second: str, p_first: float | None = 0.9, weight: float = 1.0, text: str = "Q:") -> Preference:
    pair = Comparison(
        prompt=Prompt(task="dialogue", text=text), first=Completion(text=first), second=Completion(text=second)
    )
    missing = None if p_first is not None else "no"
    return Preference(comparison=pair, p_first=p_first, missing=missing, weight=weight)


def test_lengths_of_examples() -> None:
    assert [example.length for example in TOKENS] == [5, 2, 3]
    assert [example.length for example in PAIRS] == [4, 6, 2]
    assert [example.length for example in PREFERENCES] == [5, 5, 4]
    assert PAIRS[0].weight == 1.0, "a pair counts once where nothing else is said"


def test_demonstrations_as_a_batch_and_some_rows_of_it() -> None:
    batch = collate_tokens(TOKENS, pad_id=99)
    assert batch.input_ids_BT.tolist() == [[1, 2, 3, 4, 5], [6, 7, 99, 99, 99], [8, 9, 10, 99, 99]]
    assert batch.row_tokens() == [5, 2, 3]
    rows = batch.rows([2, 1])
    assert rows.input_ids_BT.tolist() == [[8, 9, 10], [6, 7, 99]] and rows.lengths_B.tolist() == [3, 2]
    assert rows.loss_mask_BT.tolist() == [[False, False, True], [False, True, False]]
    assert batch.loss_mask_BT.dtype == torch.bool and batch.loss_mask_BT.sum(-1).tolist() == [3, 1, 1]


def test_pairs_as_a_batch_and_some_rows_of_it() -> None:
    batch = collate_pairs(PAIRS, pad_id=99)
    assert batch.first_ids_BT.tolist() == [[1, 2, 3, 4], [6, 7, 8, 99], [14, 15, 99, 99]]
    assert batch.row_tokens() == [4 + 3, 3 + 6, 2 + 2]
    assert batch.response_lengths().tolist() == [[2, 2, 1], [1, 5, 1]]
    assert batch.p_first_B.tolist() == [0.75, 0.25, 1.0] and batch.weight_B.tolist() == [1.0, 2.0, 0.5]
    rows = batch.rows([2, 0])
    assert rows.first_ids_BT.tolist() == [[14, 15, 99, 99], [1, 2, 3, 4]]
    assert rows.second_ids_BT.tolist() == [[14, 16, 99], [1, 2, 5]]
    assert [values.tolist() for values in rows[4:]] == [[1.0, 0.75], [0.5, 1.0], [1, 2]]
    assert rows.first_lengths_B.tolist() == [2, 4] and rows.second_lengths_B.tolist() == [2, 3]


def test_pairs_of_a_policy_as_a_batch_and_some_rows_of_it() -> None:
    batch = collate_preferences(PREFERENCES)
    assert batch.tokens_BT.tolist() == [
        [3, 4, 5, 0],
        [6, 0, 0, 0],
        [8, 9, 0, 0],
        [10, 11, 12, 13],
        [17, 0, 0, 0],
        [18, 0, 0, 0],
    ]
    assert batch.mask_BT.sum(-1).tolist() == [3, 1, 2, 4, 1, 1]
    assert batch.row_tokens() == [2 * (2 + 3), 2 * (1 + 4), 2 * (3 + 1)]
    rows = batch.rows([2, 0])
    assert rows.tokens_BT.tolist() == [[17, 0, 0], [18, 0, 0], [3, 4, 5], [6, 0, 0]]
    assert rows.mask_BT.tolist() == [[True, False, False]] * 2 + [[True] * 3, [True, False, False]]
    assert rows.prompts == [(14, 15, 16), (1, 2)] and rows.place_B.tolist() == [2, 0]
    assert rows.p_first_B.tolist() == [1.0, 0.75] and rows.weight_B.tolist() == [0.5, 1.0]
    assert batch.p_first_B.dtype == batch.weight_B.dtype == torch.float32


def test_padding_of_one_and_of_several() -> None:
    ids_BT, lengths_B = pad_right([[5], [6, 7]], pad_id=3)
    assert ids_BT.tolist() == [[5, 3], [6, 7]] and lengths_B.tolist() == [1, 2]


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.pad_token_id is None and pad_id(tokenizer) == tokenizer.eos_token_id
    assert pad_id(SimpleNamespace(pad_token_id=0, eos_token_id=7)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("max_length", "kept"), [(5, ["Q: a"]), (4, [": a"]), (3, []), (2, [])])
def test_a_response_needs_room_for_one_token_of_its_prompt(
    max_length: int, kept: list[str], tokenizer: PreTrainedTokenizerFast
) -> None:
    """The longest response has three tokens: a space, its letter and the end token."""
    demonstration = Demonstration(prompt=Prompt(task="dialogue", text="Q:"), response="a")
    too_long, cut = int(not kept), int(max_length == 4)
    tokenized = sft_examples([demonstration], Dialogue(), tokenizer, max_length)
    assert [tokenizer.decode(example.input_ids[:-1]) for example in tokenized.examples] == kept
    assert (tokenized.num_too_long, tokenized.num_cut_prompts) == (too_long, cut)
    for make in (pair_examples, preference_examples):
        pairs = make([labeled("a", ""), labeled("", "a")], Dialogue(), tokenizer, max_length)
        assert len(pairs.examples) == 2 * len(kept)
        assert (pairs.num_too_long, pairs.num_cut_prompts) == (2 * too_long, 2 * cut)


def test_labels_that_are_left_out_are_counted_by_their_reason(tokenizer: PreTrainedTokenizerFast) -> None:
    labels = [labeled("a", "b")] * 2 + [labeled("a", "b", None)] * 10 + [labeled("a", "b", weight=0.0)] * 5
    labels += [labeled("a" * 50, "b"), labeled("a", "b", weight=0.5)]
    for make in (pair_examples, preference_examples):
        tokenized = make(labels, Dialogue(), tokenizer, 20)
        assert tokenized.counts == {
            "num_examples": 3,
            "num_cut_prompts": 0,
            "num_too_long": 1,
            "num_missing": 10,
            "num_without_weight": 5,
        }
        assert [example.weight for example in tokenized.examples] == [1.0, 1.0, 0.5]


def test_what_is_not_counted_is_0_and_records_stay_as_given() -> None:
    tokenized: Tokenized[Any] = Tokenized(examples=TOKENS)
    assert tokenized.counts == {
        "num_examples": 3,
        "num_cut_prompts": 0,
        "num_too_long": 0,
        "num_missing": 0,
        "num_without_weight": 0,
    }
    assert_fixed(tokenized, has_slots=False)
    assert_fixed(plan(3, 1), has_slots=False)
    assert_fixed(evaluation((3, 1), 1), has_slots=False)
    assert_fixed(Batching(batch_size=1, max_length=8))
    with pytest.raises(FrozenInstanceError):
        tokenized.num_missing = 1  # type: ignore[misc]


def test_a_completion_that_was_cut_has_no_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    pieces, end = PromptTokenizer(tokenizer), tokenizer.eos_token_id
    whole, cut = (completion_ids(pieces, Completion(text="ab", finished=finished)) for finished in (True, False))
    assert whole == [*cut, end] and tokenizer.decode(cut) == " ab"
    sampled = Completion(text=pieces.response_text((7, 8)), token_ids=(7, 8))
    assert completion_ids(pieces, sampled) == [7, 8], "as they were sampled"


def test_turns_of_a_prompt_are_its_own_where_they_say_more_than_its_text() -> None:
    own = (Turn("system", "Be brief."), Turn("user", "Hi"))
    plain, with_own = Prompt(task="x", text="Hi"), Prompt(task="x", text="Hi", turns=own)
    assert prompt_turns(Dialogue(), with_own) == own
    assert prompt_turns(Dialogue(), plain) == (Turn("user", "Hi"),)
    assert prompt_turns(Summarization(), plain) == (Turn("user", "Hi\n\nTL;DR:"),)


def plan(count: int, batch_size: int) -> BatchPlan:
    return BatchPlan(lengths=tuple(range(10, 10 + count)), batch_size=batch_size, seed=0)


def evaluation(lengths: tuple[int, ...], batch_size: int, **place: int) -> EvaluationLoader[int, list[int]]:
    return EvaluationLoader(examples=range(len(lengths)), lengths=lengths, collate=list, batch_size=batch_size, **place)


def test_the_order_of_a_seed_is_the_same_in_every_version() -> None:
    """A restart of an older training goes on with the batches that it would have had."""
    assert plan(7, 2).epoch(0) == [[0, 2], [3, 4], [5, 6]]
    assert [batch[0] for batch in plan(20, 1).epoch(1)] == [
        0,
        5,
        11,
        10,
        17,
        12,
        1,
        14,
        16,
        8,
        9,
        19,
        6,
        3,
        13,
        2,
        4,
        18,
        7,
        15,
    ]


def test_buckets_of_sixteen_batches_are_sorted_by_length() -> None:
    """Lengths follow positions here: neighbours among 64 of 192 are 9 apart over a batch of 4, a shuffle's are 115."""
    batches = plan(192, 4).epoch(0)
    assert sorted(i for batch in batches for i in batch) == list(range(192))
    assert all(batch == sorted(batch) for batch in batches)
    assert sum(batch[-1] - batch[0] for batch in batches) / len(batches) < 15


def test_a_plan_of_one_batch_and_of_one_example_too_few() -> None:
    assert plan(3, 3).batches_per_epoch == 1 and sorted(plan(3, 3).epoch(0)[0]) == [0, 1, 2]
    with pytest.raises(Exception, match=r"train\.batch_size=4: there are only 3 training examples"):
        plan(3, 4)


def loader(count: int, batch_size: int, **place: int) -> ResumableLoader[int, list[int]]:
    return ResumableLoader(
        examples=range(100, 100 + count), plan=plan(count, batch_size), collate=list, num_batches=5, **place
    )


def test_the_stream_is_that_of_the_plan_epoch_after_epoch() -> None:
    stream = loader(7, 2)
    planned = [[100 + i for i in batch] for epoch in range(3) for batch in plan(7, 2).epoch(epoch)]
    assert stream.state_dict() == {"num_yielded": 0} and len(stream) == 5
    assert list(islice(stream, 9)) == planned
    assert stream.state_dict() == {"num_yielded": 9}


def test_every_rank_takes_its_examples_of_a_batch_in_turn() -> None:
    whole = next(iter(loader(8, 4)))
    assert next(iter(loader(8, 4, rank=0, world_size=2))) == whole[::2]
    assert next(iter(loader(8, 4, rank=1, world_size=2))) == whole[1::2]


def test_an_epoch_is_planned_once_and_kept_no_longer_than_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []
    epoch = BatchPlan.epoch
    monkeypatch.setattr(BatchPlan, "epoch", lambda self, number: planned.append(number) or epoch(self, number))
    stream = loader(4, 2)
    list(islice(stream, 6))
    assert planned == [0, 1, 2]
    stream.load_state_dict({"num_yielded": 3})
    next(iter(stream))
    assert planned == [0, 1, 2, 1], "only the epoch at hand is in memory"


def test_examples_must_be_those_of_the_plan() -> None:
    for count in (6, 8):
        with pytest.raises(AssertionError):
            ResumableLoader(examples=range(count), plan=plan(7, 2), collate=list, num_batches=5)
    with pytest.raises(TypeError, match="num_yielded"):
        loader(7, 2, num_yielded=3)


def test_evaluation_begins_with_the_longest() -> None:
    assert list(evaluation((3, 9, 5, 9, 1), 2)) == [[1, 3], [2, 0], [4]]
    assert list(evaluation((3, 9, 5, 9, 1), 2, rank=1, world_size=2)) == [[2, 0]]
    assert len(evaluation((3, 9, 5, 9, 1), 2, rank=0, world_size=2)) == 2


def module(count: int, **batching: Any) -> SplitDataModule[TokenExample, Any]:
    examples = [TokenExample((1,) * (1 + number % 5), 0, f"prompt {number}") for number in range(count)]
    settings = Batching(**{"batch_size": 2, "max_length": 8, "validation_fraction": 0.0} | batching)
    return SplitDataModule(Tokenized(examples=examples), list, batching=settings, name="sft", seed=0)


@pytest.mark.parametrize(
    ("options", "num_batches"),
    [
        ({}, 10),
        ({"epochs": 1.1}, 11),  # 1.1 · 10 is 11.000000000000002 in floating point
        ({"epochs": 1.11}, 12),
        ({"epochs": 0.5}, 5),
        ({"epochs": 0.001}, 1),
        ({"epochs": 0.0}, 1),
        ({"num_batches": 7}, 7),
        ({"num_batches": 7, "epochs": 3.0}, 7),
    ],
)
def test_the_length_of_a_training(options: dict[str, Any], num_batches: int) -> None:
    assert len(module(20, **options).train_dataloader()) == num_batches


def test_one_prompt_in_twenty_is_held_out_unless_told() -> None:
    settings = Batching(batch_size=2, max_length=8)
    assert (settings.epochs, settings.num_batches, settings.validation_fraction) == (1.0, None, 0.05)
    made = module(400, validation_fraction=0.25)
    assert len(made.validation_examples) + len(made.train_examples) == 400
    assert 70 <= len(made.validation_examples) <= 130
    lengths = [example.length for batch in made.val_dataloader() for example in batch]  # type: ignore[union-attr]
    assert lengths == sorted((example.length for example in made.validation_examples), reverse=True)
    assert made.plan.lengths == tuple(example.length for example in made.train_examples)
    assert module(20).val_dataloader() == []


def test_a_data_module_without_a_trainer_is_one_process_and_with_one_the_trainers_place() -> None:
    made = module(400, validation_fraction=0.25)
    alone = made.train_dataloader(), made.val_dataloader()
    assert [(part.rank, part.world_size) for part in alone] == [(0, 1)] * 2  # type: ignore[union-attr]
    made.trainer = SimpleNamespace(global_rank=1, world_size=2)  # type: ignore[assignment]
    placed = made.train_dataloader(), made.val_dataloader()
    assert [(part.rank, part.world_size) for part in placed] == [(1, 2)] * 2  # type: ignore[union-attr]


def test_shuffles_differ_by_seed_name_and_epoch() -> None:
    one = plan(40, 2)
    others = [replace(one, seed=1), replace(one, name="sft")]
    orders = [str(one.epoch(0)), str(one.epoch(1)), *(str(other.epoch(0)) for other in others)]
    assert len(set(orders)) == 4
