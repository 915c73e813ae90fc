"""A response's score is what the classifier itself gives this response alone, whatever is scored beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from rlaif.data.examples import pad_right
from rlaif.labelers.reward_model import RewardModelLabeler
from rlaif.models.load import load_classifier, load_reward_model
from rlaif.models.response_scorer import classifier_logits
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import tiny_tokenizer

VOCAB, PAD, EOS = 320, 0, 2
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
Make = Callable[[int | None], PreTrainedModel]


def bert(pad: int | None) -> PreTrainedModel:
    model = BertForSequenceClassification(BertConfig(vocab_size=VOCAB, num_labels=1, **SIZES))
    model.config.pad_token_id = pad
    return model


def gpt2(pad: int | None) -> PreTrainedModel:
    config = GPT2Config(vocab_size=VOCAB, num_labels=1, pad_token_id=pad, n_embd=16, n_layer=2, n_head=2)
    return GPT2ForSequenceClassification(config)


def llama(pad: int | None) -> PreTrainedModel:
    return LlamaForSequenceClassification(LlamaConfig(vocab_size=VOCAB, num_labels=1, pad_token_id=pad, **SIZES))


def publish(model: PreTrainedModel, folder: Path, *, tokenizer_pads: bool) -> str:
    """Save a classifier as others do, with weights that make scores differ by more than rounding."""
    generator = torch.Generator().manual_seed(0)
    for matrix in (parameter for parameter in model.parameters() if parameter.ndim > 1):
        matrix.data.copy_(torch.randn(matrix.shape, generator=generator) * 0.5)
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer(VOCAB)
    if not tokenizer_pads:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return str(folder)


def own_scores(folder: str, sequences: list[list[int]]) -> list[float]:
    """By transformers alone, one row at a time and without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits.item() for ids in sequences]


@pytest.mark.parametrize("tokenizer_pads", [True, False])
@pytest.mark.parametrize("pad", [PAD, EOS, None])
@pytest.mark.parametrize("make", [bert, gpt2, llama])
def test_a_label_does_not_depend_on_what_else_is_in_the_batch(
    make: Make, pad: int | None, tokenizer_pads: bool, tmp_path: Path
) -> None:
    folder, pairs = publish(make(pad), tmp_path, tokenizer_pads=tokenizer_pads), sample_comparisons()
    together = RewardModelLabeler(folder).label(pairs)
    single = RewardModelLabeler(folder, batch_size=1)
    alone = [label.p_first for pair in pairs for label in single.label([pair])]
    assert [label.p_first for label in together] == pytest.approx(alone, abs=1e-5)
    sequences = [single._scorer._sequence(pair.prompt, side) for pair in pairs for side in (pair.first, pair.second)]
    scores = torch.tensor(own_scores(folder, sequences)).view(-1, 2)
    assert alone == pytest.approx(torch.sigmoid(scores[:, 0] - scores[:, 1]).tolist(), abs=1e-5)
    assert scores.std() > 0.01


@pytest.mark.parametrize("load", [load_classifier, load_reward_model])
@pytest.mark.parametrize("padding", [PAD, EOS, 9])
@pytest.mark.parametrize("make", [bert, gpt2, llama])
def test_whatever_a_batch_is_padded_with_the_model_does_not_see_it(
    make: Make, padding: int, load: Callable[[str], PreTrainedModel], tmp_path: Path
) -> None:
    folder = publish(make(None), tmp_path, tokenizer_pads=True)
    sequences = [[5, 6, 7, EOS], [8, EOS], [9, 10, 11, 12, 13, 14, EOS], [EOS, EOS, 4, EOS]]
    with torch.no_grad():
        logits_BT = classifier_logits(load(folder), *pad_right(sequences, padding))
    assert logits_BT[:, 0].tolist() == pytest.approx(own_scores(folder, sequences), abs=1e-5)


def test_the_model_is_hashed_once_not_with_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labeler, hashed = RewardModelLabeler(publish(llama(PAD), tmp_path, tokenizer_pads=True)), []
    monkeypatch.setattr("rlaif.labelers.reward_model.model_identity", lambda spec: hashed.append(spec) or "weights")
    for pair in sample_comparisons():
        labeler.label([pair])
    assert len(hashed) == 1
