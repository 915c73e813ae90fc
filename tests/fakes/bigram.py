"""Policies whose responses are known by construction: the next token depends on the last one alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "</s>")
NEVER = -40.0


def make_bigram_policy(
    folder: Path, answers: Mapping[str, float], *, words: Sequence[str] = ("good", "bad", "Human:", "Assistant:")
) -> Path:
    """Save a policy that answers with one word, of these probabilities at temperature 1, after ``Assistant:``.

    Args:
        folder: Gets an ordinary Hugging Face folder with a tokenizer of its own.
        answers: Word to its probability.
        words: The vocabulary, in the order of the ids.
    """
    vocabulary = [*SPECIAL, *words]
    ids = {word: number for number, word in enumerate(vocabulary)}
    logits_VV = torch.full((len(vocabulary), len(vocabulary)), NEVER)
    logits_VV[:, ids["</s>"]] = 0.0
    logits_VV[ids["Assistant:"]] = NEVER
    for word, probability in answers.items():
        logits_VV[ids["Assistant:"], ids[word]] = math.log(probability)
    _model(logits_VV).save_pretrained(folder)
    _tokenizer(ids).save_pretrained(folder)
    return folder


def _model(logits_VV: torch.Tensor) -> LlamaForCausalLM:
    """A Llama whose block adds nothing: one-hot embeddings, and the row of the last token as logits."""
    size = logits_VV.shape[0] + logits_VV.shape[0] % 2
    config = LlamaConfig(
        vocab_size=logits_VV.shape[0],
        hidden_size=size,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=size,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    block = model.model.layers[0]
    with torch.no_grad():
        for layer in (block.self_attn.o_proj, block.mlp.down_proj):
            layer.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size)[: logits_VV.shape[0]])
        model.model.norm.weight.fill_(size**-0.5)
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, : logits_VV.shape[0]] = logits_VV.T
    return model


def _tokenizer(ids: Mapping[str, int]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(dict(ids), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )
