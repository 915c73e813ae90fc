"""Labeled pairs as a policy learns from them: one prompt, two responses, each with its end token.

Shapes: B pairs, T response tokens. Rows of responses are pair-major: both responses of the first pair first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlaif.data.batches.examples import Tokenized, completion_ids, pad_right, prompt_ids
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Preference


class PreferenceExample(NamedTuple):
    """A labeled pair in tokens."""

    place: int
    """Position among all examples, where its reference log-probs stand."""
    prompt_ids: tuple[int, ...]
    first_ids: tuple[int, ...]
    second_ids: tuple[int, ...]
    p_first: float
    """Probability that the first is better."""
    weight: float
    """Weight of the pair in the loss, above 0."""
    prompt_id: str

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer response."""
        return len(self.prompt_ids) + max(len(self.first_ids), len(self.second_ids))


class PreferenceBatch(NamedTuple):
    """A batch of labeled pairs."""

    place_B: Tensor
    """int64, position of each pair among all examples."""
    prompts: list[tuple[int, ...]]
    """Tokens of each pair's prompt."""
    tokens_BT: Tensor
    """int64, two rows per pair."""
    mask_BT: Tensor
    """bool, response tokens, end token included."""
    p_first_B: Tensor
    """float32, one per pair."""
    weight_B: Tensor
    """float32, one per pair, above 0."""

    def row_tokens(self) -> list[int]:
        """Tokens of each pair at most: its prompt counts with either response, also where it is read once."""
        longest = self.mask_BT.sum(-1).view(-1, 2).amax(-1).tolist()
        return [2 * (len(prompt) + int(response)) for prompt, response in zip(self.prompts, longest, strict=True)]

    def rows(self, rows: Sequence[int]) -> PreferenceBatch:
        """Some pairs, cut to the longest response of them."""
        kept = list(rows)
        sides = [2 * pair + side for pair in kept for side in (0, 1)]
        width = int(self.mask_BT[sides].sum(-1).max())
        return PreferenceBatch(
            self.place_B[kept],
            [self.prompts[pair] for pair in kept],
            self.tokens_BT[sides, :width],
            self.mask_BT[sides, :width],
            self.p_first_B[kept],
            self.weight_B[kept],
        )


def preference_examples(
    preferences: Sequence[Preference], task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokenized[PreferenceExample]:
    """Tokenize labeled pairs; a missing label, or one of weight 0, is left out and counted, never filled.

    Args:
        preferences: Soft labels.
        task: Gives the text that a policy continues.
        tokenizer: The policy's.
        max_length: Tokens of prompt and longer response together; a longer prompt is cut from the left.
    """
    present = [p for p in preferences if p.p_first is not None]
    labeled = [p for p in present if p.weight > 0]
    pieces = PromptTokenizer(tokenizer)
    prompts = prompt_ids(pieces, task, [p.comparison.prompt for p in labeled])
    examples: list[PreferenceExample] = []
    num_cut, num_too_long = 0, 0
    for preference, prompt in zip(labeled, prompts, strict=True):
        pair = preference.comparison
        first, second = (tuple(completion_ids(pieces, side)) for side in (pair.first, pair.second))
        room = max_length - max(len(first), len(second))
        if room < 1:
            num_too_long += 1
            continue
        num_cut += len(prompt) > room
        assert preference.p_first is not None
        label = preference.p_first, preference.weight, pair.prompt.id
        examples.append(PreferenceExample(len(examples), tuple(pieces.cut(prompt, room)), first, second, *label))
    return Tokenized(
        examples=examples,
        num_cut_prompts=num_cut,
        num_too_long=num_too_long,
        num_missing=len(preferences) - len(present),
        num_without_weight=len(present) - len(labeled),
    )


def collate_preferences(examples: Sequence[PreferenceExample]) -> PreferenceBatch:
    """Pad the responses of labeled pairs to one batch."""
    responses = [side for example in examples for side in (example.first_ids, example.second_ids)]
    tokens_BT, lengths_B = pad_right(responses, pad_id=0)
    return PreferenceBatch(
        torch.tensor([example.place for example in examples]),
        [example.prompt_ids for example in examples],
        tokens_BT,
        torch.arange(tokens_BT.shape[1]) < lengths_B[:, None],
        torch.tensor([example.p_first for example in examples], dtype=torch.float32),
        torch.tensor([example.weight for example in examples], dtype=torch.float32),
    )
