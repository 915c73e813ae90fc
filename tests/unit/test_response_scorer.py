"""A response's score is what the classifier itself gives this response alone, whatever is scored beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rlaif.data.batches.examples import pad_right
from rlaif.data.transcripts import with_turns
from rlaif.errors import ConfigError, EngineError
from rlaif.labelers.reward_model import RewardModelLabeler
from rlaif.models.classifier_text import ClassifierText
from rlaif.models.classifiers import load_classifier, load_reward_model
from rlaif.models.load import load_tokenizer
from rlaif.models.response_scorer import ResponseScorer, classifier_logits
from rlaif.tasks.base import Dialogue
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import tiny_tokenizer
from rlaif.types import Comparison, Completion, Prompt

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
    sequences = [single._scorer.text(pair.prompt, side).ids for pair in pairs for side in (pair.first, pair.second)]
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


def word_pieces() -> PreTrainedTokenizerFast:
    """A tokenizer as BERT has it: no end token, ``[CLS] first [SEP] second [SEP]``, types of the two texts."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "how", "do", "the", "to", "bus", "station", "?", ","]
    letters = [f"{mark}{letter}" for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz[]."]
    model = WordPiece({word: index for index, word in enumerate([*words, *letters])}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.normalizer, backend.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    backend.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=64,
    )


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    folder = publish(bert(0), tmp_path, tokenizer_pads=True)
    word_pieces().save_pretrained(folder)
    return folder


def asked(question: str, *answers: str) -> Comparison:
    first, second = (Completion(text=answer) for answer in answers)
    return Comparison(prompt=Prompt(task="dialogue", text=with_turns(question)), first=first, second=second)


def test_an_encoder_reads_a_pair_as_its_own_tokenizer_writes_it(encoder: str) -> None:
    pair = asked("How do I get to the station?", "Take the bus.", "Sure, human: a cab.")
    (label,) = RewardModelLabeler(encoder, text_format="pair").label([pair])
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(encoder).eval()
    answers = [pair.first.text, pair.second.text]
    with torch.no_grad():
        s_first, s_second = (
            model(**tokenizer("How do I get to the station?", answer, return_tensors="pt")).logits.item()
            for answer in answers
        )
    assert label.p_first == pytest.approx(torch.sigmoid(torch.tensor(s_first - s_second)).item(), abs=1e-5)
    assert abs(s_first - s_second) > 0.01


def test_no_text_of_a_pair_writes_a_special_token_and_long_ones_are_cut(encoder: str) -> None:
    text = ClassifierText(load_tokenizer(encoder, needs_end=False), "pair", max_length=16)
    prompt = Prompt(task="dialogue", text=with_turns("[SEP] how do i get to the station"))
    read = text(prompt, Completion(text="take [CLS] the bus"))
    assert [index for index, token in enumerate(read.ids) if token == 3] == [read.type_ids.index(1) - 1, 15]
    assert read.ids.count(2) == 1 and len(read.ids) == len(read.type_ids) == 16
    assert len(text(prompt, Completion(text="bus " * 99)).ids) == 16
    with pytest.raises(EngineError, match=r"no end token .* labeler\.text_format=pair"):
        RewardModelLabeler(encoder).label([asked("how", "sure", "bus")])


CHAT = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def test_a_chat_is_written_by_the_tokenizers_own_template() -> None:
    tokenizer = tiny_tokenizer(VOCAB)
    text = ClassifierText(tokenizer, "chat", max_length=512)
    prompt = Prompt(task="dialogue", text="\n\nHuman: hi there\n\nAssistant: hello\n\nHuman: the bus?\n\nAssistant:")
    with pytest.raises(EngineError, match=r"labeler\.text_format=chat: .* no chat template"):
        text(prompt, Completion(text="sure"))
    tokenizer.chat_template = CHAT
    read = text(prompt, Completion(text="\nsure </s>\n"))
    turns = [("user", "hi there"), ("assistant", "hello"), ("user", "the bus?"), ("assistant", "sure </s>")]
    whole = tokenizer.apply_chat_template([{"role": a, "content": b} for a, b in turns], tokenize=False)
    assert tokenizer.decode(read.ids, clean_up_tokenization_spaces=False) == whole
    begin, end = (tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>"))
    assert read.ids.count(begin) == read.ids.count(end) == len(turns)  # the one in the response is text
    assert len(ClassifierText(tokenizer, "chat", max_length=20)(prompt, Completion(text="sure")).ids) == 20


def test_a_template_that_refuses_the_turns_or_rewrites_them_is_named() -> None:
    tokenizer = tiny_tokenizer(VOCAB)
    for template, said in (
        ("{{ raise_exception('users only') }}", "refuses the turns user, assistant: users only"),
        ("{{ messages[0].content }}", "writes 1 texts where there are 2"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(EngineError, match=f"labeler.text_format=chat: .*{said}"):
            ClassifierText(tokenizer, "chat", max_length=9)(asked("hi", "a", "b").prompt, Completion(text="a"))


def test_another_text_format_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"labeler\.text_format=xml: must be one of plain, pair, chat"):
        RewardModelLabeler("somewhere", text_format="xml")  # type: ignore[arg-type]


def test_a_cut_response_is_read_without_an_end_token(tmp_path: Path) -> None:
    folder = publish(llama(PAD), tmp_path, tokenizer_pads=True)
    labeler, prompt = RewardModelLabeler(folder), sample_comparisons()[0].prompt
    cut, ended = Completion(text="Yes, I", finished=False), Completion(text="Yes, I")
    (label,) = labeler.label([Comparison(prompt=prompt, first=cut, second=ended)])
    whole = labeler._scorer.text(prompt, ended).ids
    scores = torch.tensor(own_scores(folder, [whole[:-1], whole]))
    assert label.p_first == pytest.approx(torch.sigmoid(scores[0] - scores[1]).item(), abs=1e-5)
    assert label.p_first != pytest.approx(0.5, abs=1e-4)


def test_the_model_is_hashed_once_not_with_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labeler, hashed = RewardModelLabeler(publish(llama(PAD), tmp_path, tokenizer_pads=True)), []
    monkeypatch.setattr("rlaif.labelers.reward_model.model_identity", lambda spec: hashed.append(spec) or "weights")
    for pair in sample_comparisons():
        labeler.label([pair])
    assert len(hashed) == 1


@pytest.mark.parametrize(("batch_size", "budget"), [(64, 10_000), (64, 60), (3, 10_000), (64, 1)])
def test_long_responses_are_scored_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, budget: int
) -> None:
    folder = publish(llama(PAD), tmp_path, tokenizer_pads=True)
    model, tokenizer = load_classifier(folder), load_tokenizer(folder)
    rows = [(Prompt(task="dialogue", text="Human: Hi"), Completion(text=" yes" * length)) for length in (1, 9, 2, 30)]
    scorer = ResponseScorer(model, ClassifierText(tokenizer, max_length=64, task=Dialogue()), batch_size=batch_size)
    alone = torch.cat([scorer([prompt], [response]) for prompt, response in rows])
    monkeypatch.setattr("rlaif.models.response_scorer.max_tokens_to_read", lambda model: budget)
    shapes: list[torch.Size] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, given: shapes.append(given["input_ids"].shape), with_kwargs=True
    )
    together = scorer([prompt for prompt, _ in rows], [response for _, response in rows])
    hook.remove()
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert alone.unique().numel() == 4 and sum(shape[0] for shape in shapes) == 4
    assert all(shape[0] <= batch_size and (shape[0] == 1 or shape.numel() <= budget) for shape in shapes)
