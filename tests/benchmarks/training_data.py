"""What both sides of ``training.py`` train on: models of random weights, and examples as long as real dialogues."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shapes import SHAPES, Shape, random_llama

from rlaif.models.classifiers import reward_model_from

Stage = Literal["sft", "reward_model", "dpo", "grpo", "rloo"]
PAD, END, FIRST_WORD = 0, 1, 4
"""Ids of padding, of the end of a text, and of the first token that is a word."""
NEW_TOKENS, SAMPLES = 48, 8
"""Tokens of a rollout's response, and responses per prompt."""


@dataclass(frozen=True)
class Size:
    """A model's shape, and how much one optimizer step of it reads."""

    shape: Shape
    batch_size: int
    """Demonstrations or pairs of a step."""
    prompts_per_step: int
    """Of a rollout, each with ``SAMPLES`` responses."""


SIZES = {
    "3M": Size(SHAPES["3M"], batch_size=16, prompts_per_step=8),
    "15M": Size(SHAPES["15M"], batch_size=16, prompts_per_step=8),
    "135M": Size(SHAPES["135M"], batch_size=4, prompts_per_step=2),
}


@dataclass(frozen=True)
class Example:
    """A prompt with two responses; SFT imitates the first, and preferences are for it."""

    prompt: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    sampled: tuple[tuple[int, ...], ...] = field(default=())
    """The responses of a replayed rollout."""


def make_model(size: Size, stage: Stage) -> Any:
    """Random weights, the same at every call: a causal LM, or a reward model."""
    model = random_llama(size.shape, pad_token_id=PAD, bos_token_id=2, eos_token_id=END, attn_implementation="sdpa")
    return reward_model_from(model, PAD) if stage == "reward_model" else model


def make_examples(size: Size, count: int, seed: int) -> list[Example]:
    """Examples of 25 to 500 tokens, half of them below 105, as dialogues of HH below 900 characters are.

    Lengths are lognormal: prompts with median 60, responses with median 40 tokens.
    """
    draw = random.Random(seed)

    def text(median: float, most: int, end: Sequence[int] = ()) -> tuple[int, ...]:
        length = min(most, max(8, round(median * draw.lognormvariate(0.0, 0.6))))
        return (*(draw.randrange(FIRST_WORD, size.shape.vocabulary) for _ in range(length)), *end)

    def response() -> tuple[int, ...]:
        return text(40, 200, (END,))

    def sample() -> tuple[int, ...]:
        return tuple(draw.randrange(FIRST_WORD, size.shape.vocabulary) for _ in range(NEW_TOKENS))

    return [
        Example(text(60, 300), response(), response(), tuple(sample() for _ in range(SAMPLES))) for _ in range(count)
    ]


def reward_of(tokens: Sequence[int]) -> float:
    """The share of even tokens: a reward that costs nothing."""
    return sum(token % 2 == 0 for token in tokens) / max(1, len(tokens))
