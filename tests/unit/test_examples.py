"""Records to token batches."""

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlaif.data.batches.examples import collate_pairs, collate_tokens, pair_examples, sft_examples
from rlaif.data.batches.modules import Batching, PreferenceDataModule, SFTDataModule
from rlaif.errors import ConfigError
from rlaif.stages.supervised import EXAMPLES, examples_told
from rlaif.tasks.base import Dialogue, Summarization
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt

EOS, PAD = 256, 257


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<end>"), AddedToken("<pad>")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<pad>")


def prompt(text: str = "Q:") -> Prompt:
    return Prompt(task="dialogue", text=text)


def pair(first: Completion, second: Completion, p_first: float | None = 0.75, text: str = "Q:") -> Preference:
    comparison = Comparison(prompt=prompt(text), first=first, second=second)
    return Preference(comparison=comparison, p_first=p_first, missing="no" if p_first is None else None)


def test_a_demonstration_is_prompt_space_response_end(tokenizer):
    [example] = sft_examples([Demonstration(prompt=prompt(), response="Hi")], Dialogue(), tokenizer, 99).examples
    assert tokenizer.decode(example.input_ids) == "Q: Hi<end>"
    assert example.num_prompt_tokens == 2 and example.length == 6
    [example] = sft_examples([Demonstration(prompt=prompt(), response="Hi")], Summarization(), tokenizer, 99).examples
    assert tokenizer.decode(example.input_ids) == "Q:\n\nTL;DR: Hi<end>"


def test_the_indentation_of_a_response_is_learned(tokenizer):
    code = Demonstration(prompt=prompt(), response="\n\n    return 1\n")
    [example] = sft_examples([code], Dialogue(), tokenizer, 99).examples
    assert tokenizer.decode(example.input_ids) == "Q:     return 1<end>"
    learned = list(example.input_ids[example.num_prompt_tokens : -1])
    assert PromptTokenizer(tokenizer).response_text(learned) == "    return 1"


def test_special_tokens_in_data_are_characters(tokenizer):
    demonstration = Demonstration(prompt=prompt("<pad>Q:"), response="a<end>b")
    [example] = sft_examples([demonstration], Dialogue(), tokenizer, 99).examples
    assert example.input_ids.count(EOS) == 1 and example.input_ids[-1] == EOS
    assert PAD not in example.input_ids


def test_long_prompts_are_cut_from_the_left_and_counted(tokenizer):
    demonstrations = [Demonstration(prompt=prompt("0123456789"), response=r) for r in ("abc", "a", "x" * 20)]
    tokenized = sft_examples(demonstrations, Dialogue(), tokenizer, 13)
    assert [tokenizer.decode(e.input_ids) for e in tokenized.examples] == ["23456789 abc<end>", "0123456789 a<end>"]
    assert (tokenized.num_cut_prompts, tokenized.num_too_long) == (1, 1)


def test_pairs_share_the_cut_and_missing_ones_are_left_out(tokenizer):
    first, second = Completion(text="abc"), Completion(text="()", token_ids=(7, 8), finished=False)
    preferences = [pair(first, second, text="0123456789"), pair(first, second, None), pair(second, first, 0.0)]
    tokenized = pair_examples(preferences, Dialogue(), tokenizer, 12)
    assert (len(tokenized.examples), tokenized.num_missing, tokenized.num_cut_prompts) == (2, 1, 1)
    example = tokenized.examples[0]
    assert tokenizer.decode(example.first_ids) == "3456789 abc<end>"
    assert example.second_ids[:7] == example.first_ids[:7] and example.second_ids[7:] == (7, 8)
    assert [e.p_first for e in tokenized.examples] == [0.75, 0.0]
    assert collate_pairs([example], pad_id=PAD).response_lengths().tolist() == [[5], [2]], "without the prompt"


def test_weights_reach_the_batch_and_weight_zero_is_left_out(tokenizer):
    labels = [replace(pair(Completion(text="abc"), Completion(text="d")), weight=w) for w in (2.0, 0.0, 0.25)]
    tokenized = pair_examples(labels, Dialogue(), tokenizer, 99)
    assert (tokenized.num_without_weight, tokenized.num_missing) == (1, 0)
    assert collate_pairs(tokenized.examples, pad_id=PAD).weight_B.tolist() == [2.0, 0.25]


def test_collation_pads_right_and_masks_the_response(tokenizer):
    demonstrations = [Demonstration(prompt=prompt("Q"), response=r) for r in ("abc", "")]
    batch = collate_tokens(sft_examples(demonstrations, Dialogue(), tokenizer, 99).examples, pad_id=PAD)
    assert batch.input_ids_BT.shape == (2, 6) and batch.lengths_B.tolist() == [6, 3]
    assert batch.input_ids_BT[1, 3:].tolist() == [PAD] * 3
    assert batch.loss_mask_BT.tolist() == [[False, *[True] * 5], [False, True, True, False, False, False]]
    assert batch.loss_mask_BT.dtype == torch.bool

    pairs = pair_examples([pair(Completion(text="abc"), Completion(text="d"))], Dialogue(), tokenizer, 99).examples
    pair_batch = collate_pairs(pairs, pad_id=PAD)
    assert pair_batch.first_ids_BT.shape == (1, 7) and pair_batch.second_ids_BT.shape == (1, 5)
    assert pair_batch.first_lengths_B.tolist() == [7] and pair_batch.p_first_B.tolist() == [0.75]


def test_data_modules_hold_out_prompts_and_count_missing(tokenizer):
    demonstrations = [Demonstration(prompt=prompt(f"Q{i // 2}"), response=f"r{i}") for i in range(400)]
    options = {"task": Dialogue(), "tokenizer": tokenizer, "seed": 0}
    batching = Batching(batch_size=8, max_length=50, epochs=2.5, validation_fraction=0.2)
    module = SFTDataModule(demonstrations, batching=batching, **options)
    train = {e.prompt_id for e in module.train_examples}
    held_out = {e.prompt_id for e in module.validation_examples}
    assert not train & held_out and len(train | held_out) == 200 and 20 <= len(held_out) <= 60
    per_epoch = len(module.train_examples) // 8
    assert len(module.train_dataloader()) == -(-5 * per_epoch // 2)
    assert sum(len(batch.lengths_B) for batch in module.val_dataloader()) == len(module.validation_examples)

    preferences = [pair(Completion(text="a"), Completion(text="b"), text=f"Q{i}") for i in range(20)]
    missing = [pair(Completion(text="a"), Completion(text="b"), None)]
    batching = Batching(batch_size=8, max_length=50, num_batches=3, validation_fraction=0.0)
    module = PreferenceDataModule(preferences + missing, batching=batching, **options)
    assert module.tokenized.num_missing == 1 and module.val_dataloader() == []
    assert len(module.train_dataloader()) == 3


def test_why_too_few_examples_are_left_is_told(tokenizer):
    def module(batch_size, max_length, *labels):
        batching = Batching(batch_size=batch_size, max_length=max_length, validation_fraction=0.0)
        return PreferenceDataModule(list(labels), batching=batching, task=Dialogue(), tokenizer=tokenizer, seed=0)

    short = pair(Completion(text="a"), Completion(text="b"))
    long = pair(Completion(text="a" * 9), Completion(text="b"))
    missing = pair(Completion(text="a"), Completion(text="b"), None)
    told = r"reward_model\.batch_size=2: no training examples are left, without 2 with a response too long for"
    with pytest.raises(ConfigError, match=rf"{told} reward_model\.max_length=5; type a larger reward_model"):
        module(2, 5, long, long)
    told = r"1 training examples are left, without 1 .*max_length=8 and 1 without a label; type a larger .*, or .*=1 "
    with pytest.raises(ConfigError, match=told):
        module(2, 8, short, long, missing)
    with pytest.raises(ConfigError, match="examples are left, without 1 without a label; give more labeled"):
        module(1, 8, missing)
    with pytest.raises(ConfigError, match=r"reward_model\.batch_size=1: there are no training examples; give data"):
        module(1, 8)


def test_a_cut_prompt_keeps_its_begin_token(tokenizer, monkeypatch):
    monkeypatch.setattr("rlaif.tokenization._frame", lambda *arguments: ([EOS], []))
    pieces = PromptTokenizer(tokenizer)
    whole = pieces.policy_ids("0123456789")
    assert whole[0] == EOS
    for room in (2, 5, len(whole)):
        kept = pieces.cut(whole, room)
        assert len(kept) == room and kept[0] == EOS and kept[1:] == whole[len(whole) - room + 1 :]
    assert pieces.cut(whole, 1) == whole[-1:]
    example = sft_examples([Demonstration(prompt=prompt("Q" * 40), response="r")], Dialogue(), tokenizer, 12).examples[
        0
    ]
    assert example.length == 12 and example.input_ids[0] == EOS


def test_examples_that_were_cut_or_left_out_are_told(tokenizer, tmp_path):
    demonstrations = [Demonstration(prompt=prompt("Q" * n), response="r" * n) for n in (1, 4, 30)]
    tokenized = sft_examples(demonstrations, Dialogue(), tokenizer, 8)
    (tmp_path / EXAMPLES).write_text(json.dumps(tokenized.counts))
    assert examples_told(tmp_path, "sft", 8) == ", 1 prompts cut and 1 left out (sft.max_length=8)"
    (tmp_path / EXAMPLES).write_text(json.dumps(sft_examples(demonstrations, Dialogue(), tokenizer, 99).counts))
    assert examples_told(tmp_path, "sft", 99) == ""


@pytest.mark.parametrize("ids", [(71, 72), (71, 999), (71, 72, EOS)])
def test_tokens_of_another_tokenizer_are_not_learned(tokenizer, ids):
    """They were sampled by a model with a vocabulary of its own, and are other text here, or none."""
    sampled = Completion(text="Hi", token_ids=ids)
    [example] = pair_examples([pair(sampled, Completion(text="No"))], Dialogue(), tokenizer, 99).examples
    assert tokenizer.decode(example.first_ids) == "Q: Hi<end>"


def test_tokens_of_this_tokenizer_are_learned_as_they_were_sampled(tokenizer):
    """Without the space before the text, and cut."""
    ids = tuple(tokenizer("Hi")["input_ids"])
    sampled = Completion(text="Hi", token_ids=ids, finished=False)
    [example] = pair_examples([pair(sampled, Completion(text="No"))], Dialogue(), tokenizer, 99).examples
    assert example.first_ids[2:] == ids
