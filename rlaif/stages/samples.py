"""Sampling: what a policy answers to prompts; two answers to one prompt make a pair to label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif.data.batches.examples import pad_id, prompt_ids
from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.functional.seeds import derive_seed
from rlaif.inference.sample import sample
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.stages.context import Context, prompts_id
from rlaif.stages.stage import Stage
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Comparison, Completion, Prompt, Sampling

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

PROMPTS_AT_ONCE = 64
SAMPLES = "samples.parquet"


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
    model = load_causal_lm(ModelSpec(str(folder), dtype=context.model_spec.dtype))
    tokenizer = PromptTokenizer(context.tokenizer)
    options = context.cfg.policy
    sampling = Sampling(max_new_tokens=options.max_new_tokens, temperature=options.temperature)
    progress = display.progress(len(prompts), unit="prompts")
    drawn: list[tuple[Completion, ...]] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        part = prompts[start : start + PROMPTS_AT_ONCE]
        rollouts = sample(
            model,
            [ids[-options.max_prompt_tokens :] for ids in prompt_ids(tokenizer, context.task, part)],
            num_samples=num_samples,
            sampling=sampling,
            eos_id=int(context.tokenizer.eos_token_id),
            pad_id=pad_id(context.tokenizer),
            seeds=[derive_seed(context.seed, purpose, p.id, number) for p in part for number in range(num_samples)],
        )
        lengths = rollouts.mask_BT.sum(-1).tolist()
        completions = [
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
        drawn += [tuple(completions[i : i + num_samples]) for i in range(0, len(completions), num_samples)]
        progress(len(drawn), len(prompts))
    return drawn


def sampling_options(context: Context) -> dict[str, object]:
    """The options that draws depend on."""
    names = ("temperature", "max_new_tokens", "max_prompt_tokens")
    return {name: context.cfg.policy[name] for name in names}


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
        if first.trimmed != second.trimmed
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
