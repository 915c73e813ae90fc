"""Responses as text: rollouts decoded to completions, and responses drawn for a list of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlaif.data.batches.examples import prompt_ids
from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.functional.seeds import derive_seed
from rlaif.models.load import load_tokenizer
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler, Sampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Prompt

PROMPTS_AT_ONCE = 64
"""Prompts per call of the sampler."""
DRAWN = "drawn"
"""Directory of a step for responses that are drawn so far; removed with the step's result."""


def completions_of(rollouts: Rollouts, tokenizer: PromptTokenizer, *, source: str) -> list[Completion]:
    """Decode every response.

    Args:
        rollouts: B responses.
        tokenizer: The policy's.
        source: Name of the policy, stored with each completion.

    Returns:
        B completions with their tokens.
    """
    lengths = rollouts.mask_BT.sum(-1).tolist()
    return [
        Completion(
            text=tokenizer.response_text(tokens[:length]),
            token_ids=tuple(tokens[:length]),
            finished=finished,
            source=source,
        )
        for tokens, length, finished in zip(
            rollouts.tokens_BT.tolist(), lengths, rollouts.finished_B.tolist(), strict=True
        )
    ]


def policy_prompt_ids(
    tokenizer: PromptTokenizer, task: Task, prompts: Sequence[Prompt], max_tokens: int
) -> list[list[int]]:
    """Tokens that a policy continues; a longer prompt loses its oldest tokens, not its beginning."""
    return [tokenizer.cut(ids, max_tokens) for ids in prompt_ids(tokenizer, task, prompts)]


def draw_completions(
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    prompts: Sequence[Prompt],
    *,
    num_samples: int,
    settings: SamplingSettings,
    seed: int,
    purpose: str,
    source: str,
    progress: Callable[[int, int], None],
    parts: Path | None = None,
) -> list[tuple[Completion, ...]]:
    """Draw responses to prompts; each depends on weights, prompt, settings and (seed, purpose, number) alone.

    Args:
        sampler: Of the policy that responds.
        tokenizer: The policy's.
        task: Gives the text that a policy continues.
        prompts: What it responds to.
        num_samples: Responses per prompt.
        settings: Temperature and lengths.
        seed: The run's seed.
        purpose: Names the draw, so that two draws from one policy differ.
        source: Name of the policy, stored with each completion.
        progress: Called with (prompts done, prompts in all).
        parts: Directory of this draw alone: every :data:`PROMPTS_AT_ONCE` prompts are written there once they are
            drawn, and read instead of drawn again after a kill. None keeps nothing.

    Returns:
        ``num_samples`` completions per prompt, in the order of the prompts.
    """
    pieces = PromptTokenizer(tokenizer)

    def draw(part: Sequence[Prompt]) -> list[tuple[Completion, ...]]:
        rollouts = sampler.sample(
            policy_prompt_ids(pieces, task, part, settings.max_prompt_tokens),
            num_samples=num_samples,
            sampling=settings.sampling(),
            seeds=[derive_seed(seed, purpose, prompt.id, number) for prompt in part for number in range(num_samples)],
        )
        completions = completions_of(rollouts, pieces, source=source)
        return [tuple(completions[i : i + num_samples]) for i in range(0, len(completions), num_samples)]

    drawn: list[tuple[Completion, ...]] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        part = prompts[start : start + PROMPTS_AT_ONCE]
        drawn += _kept(None if parts is None else parts / f"part-{start:06d}.parquet", part, draw)
        progress(len(drawn), len(prompts))
    return drawn


def _kept(
    path: Path | None, prompts: Sequence[Prompt], draw: Callable[[Sequence[Prompt]], list[tuple[Completion, ...]]]
) -> list[tuple[Completion, ...]]:
    """Responses from a file, or drawn and written there."""
    if path is None:
        return draw(prompts)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_samples(path, list(zip(prompts, draw(prompts), strict=True)))
    return [completions for _, completions in read_samples(path)]


def draw_from_folder(
    folder: Path,
    task: Task,
    prompts: Sequence[Prompt],
    *,
    num_samples: int,
    settings: SamplingSettings,
    seed: int,
    purpose: str,
    source: str,
    dtype: str,
    progress: Callable[[int, int], None],
    parts: Path | None = None,
) -> list[tuple[Completion, ...]]:
    """Draw responses of a model folder with the folder's own tokenizer; other arguments as of :func:`draw_completions`.

    Args:
        folder: Hugging Face folder of a causal LM and its tokenizer.
        dtype: Number format of the loaded weights.
    """
    tokenizer = load_tokenizer(str(folder))
    sampler = LocalSampler.of_folder(folder, tokenizer, dtype=dtype)
    return draw_completions(
        sampler,
        tokenizer,
        task,
        prompts,
        num_samples=num_samples,
        settings=settings,
        seed=seed,
        purpose=purpose,
        source=source,
        progress=progress,
        parts=parts,
    )
