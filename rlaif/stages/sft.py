"""Supervised fine-tuning: the policy's starting point and reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate

from rlaif.data.batches.modules import SFTDataModule
from rlaif.models.load import load_causal_lm
from rlaif.modules.curves import read_curve
from rlaif.modules.sft import SFTSettings
from rlaif.stages.context import Context, demonstrations_id
from rlaif.stages.stage import Stage
from rlaif.stages.training import CURVE, train_supervised

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay


def _options(context: Context) -> dict[str, object]:
    return {
        "sft": context.options_of("sft"),
        "model": context.base_identity(),
        "dtype": context.model_spec.dtype,
        "precision": context.precision,
        "demonstrations": demonstrations_id(context.data.demonstrations),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    settings = cast(SFTSettings, instantiate(context.cfg.sft))
    model = load_causal_lm(context.model_spec)
    if settings.skip:
        model.save_pretrained(directory)
        context.tokenizer.save_pretrained(directory)
        return
    data = SFTDataModule(
        context.data.demonstrations,
        task=context.task,
        tokenizer=context.tokenizer,
        batching=settings.batching,
        seed=context.seed,
    )
    train_supervised(context, directory, display, settings.module(model), data, settings)


def _summary(context: Context, directory: Path) -> str:
    rows = read_curve(directory / CURVE)
    return f"{len(context.data.demonstrations):,} demonstrations, loss {rows[-1]['train/loss']:.3f}" if rows else ""


SFT = Stage(
    name="sft",
    inputs=(),
    options=_options,
    code=("rlaif.stages.sft",),
    build=_build,
    summary=_summary,
    trains=True,
)
