"""A causal language model small enough to make inside a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.testing.samples import sample_comparisons

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def make_tiny_model(
    directory: Path,
    *,
    hidden_size: int = 32,
    num_layers: int = 2,
    num_heads: int = 4,
    vocab_size: int = 320,
    max_position_embeddings: int = 2048,
    seed: int = 0,
) -> Path:
    """Save a Llama with random weights and a byte-level BPE as an ordinary Hugging Face folder.

    The same arguments give the same bytes; the global random state is left as it was. Its vocabulary
    is every byte, three special tokens and a few merges, so any text can be read.

    Args:
        directory: Made when missing.
        hidden_size: Width, a multiple of ``num_heads``.
        num_layers: Number of blocks.
        num_heads: Attention heads; half as many share keys and values.
        vocab_size: Tokens, at least 259.
        max_position_embeddings: Longest text in tokens.
        seed: Of the weights.

    Returns:
        ``directory``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=max(1, num_heads // 2),
        max_position_embeddings=max_position_embeddings,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def tiny_tokenizer(vocab_size: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE with merges learned from :func:`~rlaif.testing.samples.sample_comparisons`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for pair in sample_comparisons() for text in (pair.prompt.text, pair.first.text, pair.second.text)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
    )
