"""What a local model gave, as records of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif.outcome import OptionScores
from rlaif.reasons import longer_than_context

if TYPE_CHECKING:
    from rlaif.inference.sample import SampledTokens

NOT_FINITE = "the model's log-probabilities are not finite"


@dataclass(frozen=True, slots=True)
class Reply:
    """A sampled text."""

    token_ids: tuple[int, ...]
    finished: bool
    finite: bool


def why_not(prompt_ids: Sequence[int], num_more: int, context: int) -> str | None:
    """The reason why a prompt cannot be read; None where it can.

    Args:
        prompt_ids: Its tokens.
        num_more: Tokens that follow it.
        context: Tokens that the model reads at most.
    """
    if not prompt_ids:
        return "prompt of 0 tokens: the model has no begin token and nothing to continue"
    if len(prompt_ids) + num_more > context:
        return longer_than_context(len(prompt_ids), num_more, context)
    return None


def option_scores(logprobs: list[float] | None, num_prompt_tokens: int, reason: str | None) -> OptionScores:
    """The record of one prompt's scores; scores that are not finite are missing.

    Args:
        logprobs: Of the options; None where the prompt cannot be read.
        num_prompt_tokens: Tokens of the prompt.
        reason: Why it cannot be read, which asking again does not change.
    """
    is_final = reason is not None
    if logprobs is not None and any(math.isnan(logprob) for logprob in logprobs):
        logprobs, reason = None, NOT_FINITE
    return OptionScores(
        logprobs=None if logprobs is None else tuple(logprobs),
        num_prompt_tokens=num_prompt_tokens,
        missing=reason,
        is_final=is_final,
    )


def replies(rollouts: SampledTokens) -> list[Reply]:
    """Sampled rows one by one."""
    lengths = rollouts.mask_BT.sum(1).tolist()
    return [
        Reply(tuple(tokens[:length]), finished, math.isfinite(total))
        for tokens, length, finished, total in zip(
            rollouts.tokens_BT.tolist(),
            lengths,
            rollouts.finished_B.tolist(),
            rollouts.logprobs_BT.sum(1).tolist(),
            strict=True,
        )
    ]
