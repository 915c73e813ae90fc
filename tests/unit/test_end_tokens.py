"""Every end token ends a response: in samples, training targets and rationales, here and in saved folders elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from rlaif.data.batches.examples import response_ids
from rlaif.engines.transformers import TransformersEngine
from rlaif.models.ends import end_token_ids
from rlaif.models.load import load_causal_lm, load_tokenizer
from rlaif.models.saving import save_folder
from rlaif.rollouts.sampler import LocalSampler
from rlaif.testing.tiny import make_tiny_model
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Sampling, Segment, StructuredPrompt

TURN, OTHER = "<|turn_end|>", "<|other_end|>"
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}" + TURN + "\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def always_next(model: LlamaForCausalLM, token: int) -> None:
    """Make a model write this token after everything."""
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.lm_head.weight = torch.nn.Parameter(torch.full_like(model.lm_head.weight, -1.0))
        model.lm_head.weight[token] = 1.0
    model.config.tie_word_embeddings = False


def chat_folder(folder: Path, *, writes: str, config_ends: list[int] | int | None = None) -> Path:
    """A model with a chat template, whose tokenizer's end token is ``</s>``, that writes one token only."""
    make_tiny_model(folder, vocab_size=300)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [TURN, OTHER]})
    tokenizer.chat_template = TEMPLATE
    model = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    always_next(model, tokenizer.convert_tokens_to_ids(writes))
    if config_ends is not None:
        model.generation_config.eos_token_id = config_ends
    model.generation_config.do_sample, model.generation_config.top_k = True, 7
    model.generation_config.repetition_penalty = 1.3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def turning(tmp_path: Path) -> Path:
    """Writes the chat template's end of turn, which no configuration names."""
    return chat_folder(tmp_path / "model", writes=TURN)


def finished_share(folder: Path) -> float:
    tokenizer = load_tokenizer(str(folder))
    drawn = LocalSampler.of_folder(folder, tokenizer).sample(
        [[5, 6, 7]], num_samples=4, sampling=Sampling(max_new_tokens=3, temperature=1.0), seeds=[1, 2, 3, 4]
    )
    return float(drawn.finished_B.float().mean())


def test_the_end_of_turn_of_the_chat_template_ends_samples_and_rationales(turning: Path) -> None:
    assert finished_share(turning) == 1.0
    (written,) = TransformersEngine(str(turning)).generate(
        [StructuredPrompt(segments=(Segment(text="Why?"),))], Sampling(max_new_tokens=3)
    )
    assert written.finished and written.text == ""


def test_all_ends_of_a_generation_configuration_count(tmp_path: Path) -> None:
    ids = load_tokenizer(str(chat_folder(tmp_path / "a", writes="a"))).convert_tokens_to_ids(["</s>", OTHER])
    folder = chat_folder(tmp_path / "b", writes=OTHER, config_ends=ids)
    assert finished_share(folder) == 1.0
    assert finished_share(tmp_path / "a") == 0.0


def test_an_ordinary_token_ends_nothing(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(chat_folder(tmp_path / "a", writes="a")))
    letter = tokenizer.convert_tokens_to_ids("a")
    folder = chat_folder(tmp_path / "b", writes="a", config_ends=[letter])
    assert letter not in end_token_ids(load_causal_lm(str(folder)), tokenizer)
    assert finished_share(folder) == 0.0


def test_a_training_target_ends_as_the_chat_template_ends_a_turn(turning: Path) -> None:
    tokenizer = PromptTokenizer(load_tokenizer(str(turning)))
    ids = response_ids(tokenizer, "Yes.")
    assert tokenizer.tokenizer.decode(ids) == f"Yes.{TURN}"
    assert tokenizer.response_text(ids) == "Yes."


def test_an_end_of_turn_that_is_no_special_token_is_no_text(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    tokenizer.add_tokens(["<turn>"])
    tokenizer.chat_template = TEMPLATE.replace(TURN, "<turn>")
    pieces = PromptTokenizer(tokenizer)
    ids = response_ids(pieces, "Yes.")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Yes.<turn>"
    assert pieces.response_text(ids) == "Yes."


def outside(folder: Path, **options: object) -> tuple[torch.Tensor, PreTrainedTokenizerBase]:
    """What the library writes with the folder's own defaults."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    written = model.generate(**chat, max_new_tokens=6, **options)
    return written[0, chat["input_ids"].shape[1] :], tokenizer


def test_a_saved_folder_stops_in_the_library_as_here(turning: Path, tmp_path: Path) -> None:
    before, _ = outside(turning)
    assert len(before) == 6, "the model itself does not stop"
    save_folder(load_causal_lm(str(turning)), load_tokenizer(str(turning)), tmp_path / "saved")
    after, tokenizer = outside(tmp_path / "saved")
    assert tokenizer.decode(after) == TURN
    assert tokenizer.chat_template == TEMPLATE


def test_a_saved_folder_samples_in_the_library_from_our_distribution(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path / "model", writes="a")
    save_folder(load_causal_lm(str(folder)), load_tokenizer(str(folder)), tmp_path / "saved", temperature=0.5)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = torch.tensor([[5, 6, 7]])
    written = model.generate(ids, max_new_tokens=1, output_scores=True, return_dict_in_generate=True)
    with torch.no_grad():
        logits = model(ids).logits[:, -1]
    torch.testing.assert_close(written.scores[0], logits / 0.5)
    assert model.generation_config.do_sample


def test_a_greedy_folder_is_greedy_in_the_library(turning: Path, tmp_path: Path) -> None:
    save_folder(load_causal_lm(str(turning)), load_tokenizer(str(turning)), tmp_path, temperature=0.0)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.do_sample is False


def test_a_saved_folder_pads_in_the_library_where_its_tokenizer_did(tmp_path: Path) -> None:
    base, saved = make_tiny_model(tmp_path / "model"), tmp_path / "saved"
    AutoTokenizer.from_pretrained(base, padding_side="left").save_pretrained(base)
    save_folder(load_causal_lm(str(base)), load_tokenizer(str(base)), saved, temperature=0.0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    alone, both = (tokenizer(texts, padding=True, return_tensors="pt") for texts in (["Hi"], ["Hi", "Tell me more."]))
    written = [model.generate(**texts, max_new_tokens=6)[0, texts["input_ids"].shape[1] :] for texts in (alone, both)]
    assert torch.equal(*written)


@pytest.mark.parametrize("names_end", ["outside", "inside"])
def test_a_model_that_also_reads_images_keeps_what_its_folder_says_of_them(tmp_path: Path, names_end: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_model(tmp_path / "text"))
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    image = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    end: dict[str, Any] = {"eos_token_id": [2]}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={
            **text,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            **(end if names_end == "inside" else {}),
        },
        vision_config={**image, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=1,
        **(end if names_end == "outside" else {}),
    )
    wrapper, first, second = (tmp_path / name for name in ("wrapper", "first", "second"))
    AutoModelForCausalLM.from_config(config).save_pretrained(wrapper)
    tokenizer.save_pretrained(wrapper)
    (wrapper / "preprocessor_config.json").write_text('{"do_resize": true}')
    for source, saved in ((wrapper, first), (first, second)):
        save_folder(load_causal_lm(str(source)), load_tokenizer(str(source)), saved)
    assert (second / "preprocessor_config.json").read_text() == '{"do_resize": true}'
    assert not (second / "processor_config.json").exists()
