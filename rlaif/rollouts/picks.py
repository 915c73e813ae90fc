"""Rejection sampling: the best of each prompt's responses as examples to imitate.

Shapes: B responses, K of each prompt, G prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlaif.data.batches.examples import TokenExample, Tokenized, completion_ids
from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.functional.best_of import best_of
from rlaif.rollouts.responses import policy_prompt_ids
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt

PICKS = "picks.parquet"
"""Name of the table of picked responses in the directory of a step."""
PICK_COUNTS = "picks.json"
"""What was picked from, beside the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickCounts:
    """What was picked from."""

    num_prompts: int
    """Prompts that were answered."""
    num_left_out: int
    """Prompts of which no response has a reward."""
    num_missing: int
    """Responses without a reward."""
    num_ties: int
    """Prompts whose best reward several responses with different texts have; the first of them is picked."""
    num_unfinished: int
    """Picks that the token limit ended."""
    mean_reward: float
    """Of all responses that have one."""
    mean_best_reward: float
    """Of the picks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """The best response to each prompt that has one."""

    samples: list[tuple[Prompt, Completion]]
    counts: PickCounts

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        drawn: Sequence[Sequence[Completion]],
        values_B: Tensor,
        scored_mask_B: Tensor,
    ) -> Picks:
        """Pick by reward.

        Args:
            prompts: G prompts.
            drawn: K responses to each.
            values_B: Reward of each response, prompt-major.
            scored_mask_B: Bool, responses that have a reward.
        """
        shape = (len(prompts), -1)
        rewards_GK, scored_GK = values_B.cpu().view(shape), scored_mask_B.cpu().view(shape)
        best = best_of(rewards_GK, scored_GK)
        places = best.place_G.tolist()
        found = [number for number, has_one in enumerate(best.found_G.tolist()) if has_one]
        picked = [(prompts[number], drawn[number][places[number]]) for number in found]
        best_rewards = rewards_GK[torch.arange(len(prompts)), best.place_G][best.found_G]
        counts = PickCounts(
            num_prompts=len(prompts),
            num_left_out=len(prompts) - len(found),
            num_missing=int((~scored_GK).sum()),
            num_ties=sum(_is_tie(drawn[n], rewards_GK[n], scored_GK[n]) for n in found),
            num_unfinished=sum(not completion.finished for _, completion in picked),
            mean_reward=rewards_GK[scored_GK].double().mean().item() if found else float("nan"),
            mean_best_reward=best_rewards.double().mean().item() if found else float("nan"),
        )
        return cls(samples=picked, counts=counts)

    def write(self, directory: Path) -> None:
        """Write the table, then the counts: where these are, both are whole."""
        write_samples(directory / PICKS, [(prompt, (completion,)) for prompt, completion in self.samples])
        partial = directory / f"{PICK_COUNTS}.partial"
        partial.write_text(json.dumps(asdict(self.counts), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(directory / PICK_COUNTS)

    @classmethod
    def read(cls, directory: Path) -> Picks | None:
        """What :meth:`write` wrote; None where it did not."""
        file = directory / PICK_COUNTS
        if not file.is_file():
            return None
        samples = [(prompt, completion) for prompt, (completion,) in read_samples(directory / PICKS)]
        return cls(samples=samples, counts=PickCounts(**json.loads(file.read_text(encoding="utf-8"))))

    def examples(
        self, task: Task, tokenizer: PreTrainedTokenizerBase, *, max_prompt_tokens: int, max_length: int
    ) -> Tokenized[TokenExample]:
        """The picks with the tokens that were sampled, after the prompts that they were sampled from.

        Args:
            task: Gives the text that a policy continues.
            tokenizer: The policy's.
            max_prompt_tokens: As when they were sampled.
            max_length: Tokens of prompt and response; a longer prompt is cut from the left.
        """
        pieces = PromptTokenizer(tokenizer)
        prompts = policy_prompt_ids(pieces, task, [prompt for prompt, _ in self.samples], max_prompt_tokens)
        examples, num_cut, num_too_long = [], 0, 0
        for (prompt, completion), ids in zip(self.samples, prompts, strict=True):
            response = completion_ids(pieces, completion)
            room = max_length - len(response)
            if room < 1:
                num_too_long += 1
                continue
            num_cut += len(ids) > room
            kept = pieces.cut(ids, room)
            examples.append(TokenExample((*kept, *response), len(kept), prompt.id))
        return Tokenized(examples=examples, num_cut_prompts=num_cut, num_too_long=num_too_long)


def _is_tie(drawn: Sequence[Completion], rewards_K: Tensor, scored_K: Tensor) -> bool:
    highest = rewards_K[scored_K].max()
    best = (scored_K & (rewards_K == highest)).tolist()
    return len({completion.trimmed for completion, is_best in zip(drawn, best, strict=True) if is_best}) > 1
