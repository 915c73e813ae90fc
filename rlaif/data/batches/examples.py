"""Records to token sequences, and token sequences to padded batches.

Prompt and response are tokenized apart, as data (no special tokens), and joined: so the tokens of a
response do not depend on the rest of its batch. Padding is on the right and causal models need no mask.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Demonstration, Preference, Prompt, Turn, trim, turns_in

ExampleT = TypeVar("ExampleT")


class TokenExample(NamedTuple):
    """A prompt with a response, end token included."""

    input_ids: tuple[int, ...]
    num_prompt_tokens: int
    """The loss counts from here on."""
    prompt_id: str

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.input_ids)


class PairExample(NamedTuple):
    """Both candidates after their prompt, with a soft label."""

    first_ids: tuple[int, ...]
    second_ids: tuple[int, ...]
    p_first: float
    """Probability that the first is better."""
    prompt_id: str
    num_prompt_tokens: int
    """Tokens before the candidates, the same for both."""
    weight: float = 1.0
    """Weight of the pair in the loss, above 0."""

    @property
    def length(self) -> int:
        """Number of tokens of the longer candidate."""
        return max(len(self.first_ids), len(self.second_ids))


@dataclass(frozen=True, kw_only=True)
class Tokenized(Generic[ExampleT]):
    """Examples, and what happened to those that did not fit."""

    examples: list[ExampleT]
    num_cut_prompts: int = 0
    """Prompts that lost their oldest tokens to fit ``max_length``."""
    num_too_long: int = 0
    """Left out: the response alone is longer than ``max_length``."""
    num_missing: int = 0
    """Left out: the preference is missing."""
    num_without_weight: int = 0
    """Left out: the preference has weight 0."""

    @property
    def counts(self) -> dict[str, int]:
        """Every count by name, with ``num_examples``."""
        cut = {name: value for name, value in vars(self).items() if name != "examples"}
        return {"num_examples": len(self.examples), **cut}


class TokenBatch(NamedTuple):
    """For SFT."""

    input_ids_BT: Tensor
    """int64."""
    lengths_B: Tensor
    """int64, tokens per row without padding."""
    loss_mask_BT: Tensor
    """bool. True for response tokens, end token included: the tokens to predict."""

    def row_tokens(self) -> list[int]:
        """Tokens of each row."""
        return [int(length) for length in self.lengths_B]

    def rows(self, rows: Sequence[int]) -> TokenBatch:
        """Some rows, cut to the longest of them."""
        kept = list(rows)
        lengths_B = self.lengths_B[kept]
        width = int(lengths_B.max())
        return TokenBatch(self.input_ids_BT[kept, :width], lengths_B, self.loss_mask_BT[kept, :width])


class PairBatch(NamedTuple):
    """For reward models; both sides are padded on their own."""

    first_ids_BT: Tensor
    first_lengths_B: Tensor
    second_ids_BT: Tensor
    second_lengths_B: Tensor
    p_first_B: Tensor
    """float32, probability that the first is better."""
    weight_B: Tensor
    """float32, above 0."""
    prompt_lengths_B: Tensor
    """int64, tokens of the prompt, which both sides begin with."""

    def response_lengths(self) -> Tensor:
        """Tokens of both responses [2, B], end token included."""
        return torch.stack([self.first_lengths_B, self.second_lengths_B]) - self.prompt_lengths_B

    def row_tokens(self) -> list[int]:
        """Tokens of both sides of each pair, which are alive at the same time."""
        return [int(length) for length in self.first_lengths_B + self.second_lengths_B]

    def rows(self, rows: Sequence[int]) -> PairBatch:
        """Some pairs, each side cut to the longest of them."""
        kept = list(rows)
        first_lengths_B, second_lengths_B = self.first_lengths_B[kept], self.second_lengths_B[kept]
        return PairBatch(
            self.first_ids_BT[kept, : int(first_lengths_B.max())],
            first_lengths_B,
            self.second_ids_BT[kept, : int(second_lengths_B.max())],
            second_lengths_B,
            self.p_first_B[kept],
            self.weight_B[kept],
            self.prompt_lengths_B[kept],
        )


def prompt_ids(tokenizer: PromptTokenizer, task: Task, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Tokens that a policy continues."""
    return [tokenizer.policy_ids(task.policy_text(prompt.text), prompt_turns(task, prompt)) for prompt in prompts]


def prompt_turns(task: Task, prompt: Prompt) -> tuple[Turn, ...]:
    """The messages of a prompt for a chat template: its own turns, or those of the text that a policy continues."""
    return prompt.turns if prompt.has_own_turns else turns_in(task.policy_text(prompt.text))


def response_ids(tokenizer: PromptTokenizer, response: str) -> list[int]:
    """Tokens of a response after its prompt: the trimmed text (its indentation stays) and the end token.

    Before the text stands one space, or what the chat template writes there.
    """
    return [*tokenizer.data_ids(f"{tokenizer.before_response}{trim(response)}"), tokenizer.end_id]


def completion_ids(tokenizer: PromptTokenizer, completion: Completion) -> list[int]:
    """Tokens as they were sampled, where this tokenizer reads the text in them: a model with another one may have drawn
    it. Those of a text are made as for a demonstration, and one that was cut has no end token."""
    sampled = completion.token_ids
    if sampled and max(sampled) < len(tokenizer.tokenizer) and tokenizer.response_text(sampled) == completion.text:
        return list(sampled)
    ids = response_ids(tokenizer, completion.text)
    return ids if completion.finished else ids[:-1]


def sft_examples(
    demonstrations: Sequence[Demonstration], task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokenized[TokenExample]:
    """Tokenize demonstrations.

    Args:
        demonstrations: What to imitate.
        task: Gives the text that a policy continues.
        tokenizer: The policy's.
        max_length: Tokens of prompt, response and end token together; a longer prompt is cut from the left.

    Returns:
        Examples in the order given, and how many prompts were cut and responses left out.
    """
    pieces = PromptTokenizer(tokenizer)
    prompts = prompt_ids(pieces, task, [d.prompt for d in demonstrations])
    responses = [response_ids(pieces, d.response) for d in demonstrations]
    examples, num_cut, num_too_long = [], 0, 0
    for demonstration, prompt, response in zip(demonstrations, prompts, responses, strict=True):
        room = max_length - len(response)
        if room < 1:
            num_too_long += 1
            continue
        num_cut += len(prompt) > room
        kept = pieces.cut(prompt, room)
        examples.append(TokenExample((*kept, *response), len(kept), demonstration.prompt.id))
    return Tokenized(examples=examples, num_cut_prompts=num_cut, num_too_long=num_too_long)


def pair_examples(
    preferences: Sequence[Preference], task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokenized[PairExample]:
    """Tokenize labeled pairs; a missing label, or one of weight 0, is left out and counted, never filled.

    Args:
        preferences: Soft labels.
        task: Gives the text that a policy continues.
        tokenizer: The reward model's.
        max_length: Tokens of prompt and longer candidate together; a longer prompt is cut from the left, by
            the same amount for both candidates.

    Returns:
        Examples in the order given, and how many were cut and left out.
    """
    present = [p for p in preferences if p.p_first is not None]
    labeled = [p for p in present if p.weight > 0]
    pieces = PromptTokenizer(tokenizer)
    prompts = prompt_ids(pieces, task, [p.comparison.prompt for p in labeled])
    firsts = [completion_ids(pieces, p.comparison.first) for p in labeled]
    seconds = [completion_ids(pieces, p.comparison.second) for p in labeled]
    examples, num_cut, num_too_long = [], 0, 0
    for preference, prompt, first, second in zip(labeled, prompts, firsts, seconds, strict=True):
        room = max_length - max(len(first), len(second))
        if room < 1:
            num_too_long += 1
            continue
        num_cut += len(prompt) > room
        kept = pieces.cut(prompt, room)
        assert preference.p_first is not None
        sides = (*kept, *first), (*kept, *second)
        prompt_id = preference.comparison.prompt.id
        examples.append(PairExample(*sides, preference.p_first, prompt_id, len(kept), preference.weight))
    return Tokenized(
        examples=examples,
        num_cut_prompts=num_cut,
        num_too_long=num_too_long,
        num_missing=len(preferences) - len(present),
        num_without_weight=len(present) - len(labeled),
    )


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Pad sequences on the right to the longest.

    Returns:
        Ids of shape (B, T) and lengths of shape (B,).

    >>> pad_right([[5, 6, 7], [8]], pad_id=0)[0].tolist()
    [[5, 6, 7], [8, 0, 0]]
    """
    width = max(len(sequence) for sequence in sequences)
    ids_BT = torch.tensor([[*sequence, *[pad_id] * (width - len(sequence))] for sequence in sequences])
    return ids_BT, torch.tensor([len(sequence) for sequence in sequences])


def collate_tokens(examples: Sequence[TokenExample], *, pad_id: int) -> TokenBatch:
    """Pad demonstrations to one batch."""
    input_ids_BT, lengths_B = pad_right([example.input_ids for example in examples], pad_id)
    starts_B = torch.tensor([example.num_prompt_tokens for example in examples])
    positions_T = torch.arange(input_ids_BT.shape[1])
    loss_mask_BT = (positions_T >= starts_B[:, None]) & (positions_T < lengths_B[:, None])
    return TokenBatch(input_ids_BT, lengths_B, loss_mask_BT)


def collate_pairs(examples: Sequence[PairExample], *, pad_id: int) -> PairBatch:
    """Pad pairs to one batch."""
    first_ids_BT, first_lengths_B = pad_right([example.first_ids for example in examples], pad_id)
    second_ids_BT, second_lengths_B = pad_right([example.second_ids for example in examples], pad_id)
    p_first_B = torch.tensor([example.p_first for example in examples], dtype=torch.float32)
    weight_B = torch.tensor([example.weight for example in examples], dtype=torch.float32)
    prompts_B = torch.tensor([example.num_prompt_tokens for example in examples])
    return PairBatch(first_ids_BT, first_lengths_B, second_ids_BT, second_lengths_B, p_first_B, weight_B, prompts_B)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The pad token, or any other id: no token attends to padding, which is on its right."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
