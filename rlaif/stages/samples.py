"""Sampling: what a policy answers to prompts; two answers to one prompt make a pair to label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.rollouts import responses
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.context import Context, prompts_id
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Completion, Prompt

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

SAMPLES = "samples.parquet"
SAMPLING = ("temperature", "max_new_tokens", "max_prompt_tokens")


def draw_completions(
    context: Context,
    folder: Path,
    prompts: Sequence[Prompt],
    display: StageDisplay,
    *,
    num_samples: int,
    source: str,
    purpose: str,
) -> list[tuple[Completion, ...]]:
    """Responses of a model folder to prompts, at the policy's temperature and length limit.

    Args:
        context: Gives task, tokenizer and sampling options (``policy.temperature``, ``policy.max_new_tokens``).
        folder: The model.
        prompts: What it answers; every draw depends on (seed, purpose, prompt, number) alone.
        display: Shows how far it is.
        num_samples: Responses per prompt.
        source: Who answers, stored with each completion.
        purpose: Names the draw, so that two draws of one model differ.
    """
    options = context.cfg.policy
    return responses.draw_completions(
        LocalSampler.of_folder(folder, context.tokenizer, dtype=context.model_spec.dtype),
        context.tokenizer,
        context.task,
        prompts,
        num_samples=num_samples,
        settings=SamplingSettings(**{name: options[name] for name in SAMPLING}),
        seed=context.seed,
        purpose=purpose,
        source=source,
        progress=display.progress(len(prompts), unit="prompts"),
    )


def sampling_options(context: Context) -> dict[str, object]:
    """The options that draws depend on."""
    return {name: context.cfg.policy[name] for name in SAMPLING}


def _options(context: Context) -> dict[str, object]:
    return {
        "prompts": prompts_id(context.data.label_prompts),
        "samples_per_prompt": context.cfg.label.samples_per_prompt,
        **sampling_options(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    prompts = context.data.label_prompts
    drawn = draw_completions(
        context,
        context.result("sft"),
        prompts,
        display,
        num_samples=context.cfg.label.samples_per_prompt,
        source="sft",
        purpose="samples",
    )
    write_samples(directory / SAMPLES, list(zip(prompts, drawn, strict=True)))


def sampled_pairs(directory: Path) -> list[Comparison]:
    """All pairs of a prompt's samples; two identical ones say nothing and are left out."""
    return [
        Comparison(prompt=prompt, first=first, second=second)
        for prompt, samples in read_samples(directory / SAMPLES)
        for first, second in combinations(samples, 2)
        if first.text != second.text
    ]


def _summary(context: Context, directory: Path) -> str:
    num_pairs = len(sampled_pairs(directory))
    return f"{num_pairs:,} pairs of different samples from {len(context.data.label_prompts):,} prompts"


SAMPLE = Stage(
    name="samples",
    inputs=("sft",),
    options=_options,
    code=("rlaif.stages.samples",),
    build=_build,
    summary=_summary,
)
