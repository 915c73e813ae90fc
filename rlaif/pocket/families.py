"""The base families of the pocket models: two architectures, each with a tokenizer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.functional.seeds import derive_seed
from rlaif.pocket.corpus import draw_example
from rlaif.pocket.examples import ASSISTANT, CHAT_TEMPLATE, END, USER

PAD = "<|pad|>"
SPECIAL = [END, PAD, USER, ASSISTANT]
NUM_TOKENIZER_EXAMPLES = 6_000
CONTEXT = 4_096

Family = Literal["llama", "neox"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Architecture and training of one pocket model."""

    family: Family = "llama"
    """``llama`` reads byte-level BPE of 2,048 entries with single digits, ``neox`` a unigram vocabulary of 1,536."""
    hidden_size: int
    num_layers: int
    num_heads: int
    num_steps: int
    """Optimizer steps."""
    examples_per_step: int = 32
    tokens_per_microbatch: int = 2_048
    """Padded size of the length-sorted parts of a step: less padding, same gradient."""
    bf16_operands: bool = False
    """Multiply matrices in bfloat16, with float32 weights, sums and gradients: faster where the CPU has it."""
    lr: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0


def train_tokenizer(family: Family = "llama") -> PreTrainedTokenizerFast:
    """A tokenizer that is trained on pretraining text with the world's own words.

    Those of ``llama`` have a token for each digit, so that "10" is two as in many real models.
    """
    texts = (piece.text for item in range(NUM_TOKENIZER_EXAMPLES) for piece in draw_example(0, item, renamed_share=0.0))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "llama":
        tokenizer = Tokenizer(models.BPE())
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, by_bytes])
        trainer: trainers.Trainer = trainers.BpeTrainer(
            vocab_size=2_048, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = by_bytes
        trainer = trainers.UnigramTrainer(
            vocab_size=1_536, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM | GPTNeoXForCausalLM:
    """A freshly initialised model of the recipe's family and size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "pocket init"))
        return _llama(recipe, tokenizer) if recipe.family == "llama" else _neox(recipe, tokenizer)


def _llama(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=8 * recipe.hidden_size // 3 // 16 * 16,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=recipe.hidden_size**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _neox(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    """Pythia's kind: attention and feed-forward side by side, layer norm, biases, rotation of a quarter of a head."""
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=4 * recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=recipe.hidden_size**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPTNeoXForCausalLM(config)
