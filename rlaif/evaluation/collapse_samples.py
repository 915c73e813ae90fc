"""Several samples of one prompt, drawn to see whether a policy has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rlaif.data.batches.examples import pad_right
from rlaif.evaluation.collapse import collapse_figures
from rlaif.inference.logprobs import response_logprobs
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.rollouts.responses import draw_from_folder, policy_prompt_ids
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Completion, Figure, Prompt

NUM_PROMPTS, NUM_SAMPLES = 32, 8
"""Enough for an interval of a tenth to either side."""


def draw_collapse_figures(
    group: str,
    folder: Path,
    task: Task,
    prompts: Sequence[Prompt],
    sampling: SamplingSettings,
    *,
    seed: int,
    confidence: float = 0.95,
) -> list[Figure]:
    """Draw ``NUM_SAMPLES`` responses to each of the first ``NUM_PROMPTS`` prompts, and compute the figures.

    Args:
        group: ``policy`` or ``sft``.
        folder: Of the policy.
        task: Gives the text that a policy continues.
        prompts: Held-out prompts.
        sampling: Of the evaluation; greedy responses (temperature 0) are all the same, so they are drawn at 1.
        seed: Of the run.
        confidence: Coverage of the intervals.
    """
    sampling = sampling if sampling.temperature > 0.0 else replace(sampling, temperature=1.0)
    few = list(prompts[:NUM_PROMPTS])
    drawn = draw_from_folder(
        folder,
        task,
        few,
        num_samples=NUM_SAMPLES,
        settings=sampling,
        seed=seed,
        purpose=f"collapse {group}",
        source=group,
        dtype="float32",
        progress=lambda done, total: None,
    )
    tokenizer = PromptTokenizer(load_tokenizer(str(folder)))
    ids = policy_prompt_ids(tokenizer, task, few, sampling.max_prompt_tokens)
    texts = [[response.trimmed for response in row] for row in drawn]
    logprobs = _logprobs(folder, ids, drawn, sampling.temperature)
    note = f"temperature {sampling.temperature:g}"
    return collapse_figures(group, few, texts, logprobs, note=note, confidence=confidence)


@torch.no_grad()
def _logprobs(
    folder: Path, prompt_ids: Sequence[list[int]], drawn: Sequence[Sequence[Completion]], temperature: float
) -> list[list[float]]:
    """Of every sample, the log-probability of its tokens together, in nats."""
    model = load_causal_lm(ModelSpec(str(folder)))
    found = []
    for ids, row in zip(prompt_ids, drawn, strict=True):
        tokens_BT, lengths_B = pad_right([list(response.token_ids) for response in row], 0)
        mask_BT = torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]
        rows = response_logprobs(model, [ids] * len(row), tokens_BT, mask_BT, temperature=temperature)
        found.append(rows.logprobs_BT.sum(-1).tolist())
    return found
