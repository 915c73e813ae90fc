"""The reward model: learns the soft labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate

from rlaif.data.batches.modules import PreferenceDataModule
from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed
from rlaif.labeling.run import missing_by_reason
from rlaif.models.load import ModelSpec, load_reward_model
from rlaif.modules.curves import read_curve
from rlaif.modules.reward_model import RewardModelSettings
from rlaif.stages.context import Context, write_json
from rlaif.stages.mixing import mix_options, training_labels
from rlaif.stages.stage import Stage
from rlaif.stages.training import CURVE, train_supervised

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay


SOURCES = "sources.json"
"""What was mixed, by source; only where ``label.mix`` or ``label.weight`` says so."""


def _options(context: Context) -> dict[str, object]:
    return {
        "reward_model": context.options_of("reward_model"),
        "model": context.base_identity(),
        "dtype": context.model_spec.dtype,
        "precision": context.precision,
        **mix_options(context),
    }


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    settings = cast(RewardModelSettings, instantiate(context.cfg.reward_model))
    spec = context.model_spec
    if settings.init == "sft":
        spec = ModelSpec(str(context.result("sft")), dtype=spec.dtype)
    model = load_reward_model(spec, seed=derive_seed(context.seed, "reward head"))
    labels, sources = training_labels(context)
    if all(label.p_first is None for label in labels):
        reasons = "; ".join(f"{count} × {reason}" for reason, count in missing_by_reason(labels).items())
        raise ConfigError(f"labels: all {len(labels)} are missing ({reasons}), so there is nothing to learn from")
    if sources:
        write_json(directory / SOURCES, sources)
    data = PreferenceDataModule(
        labels,
        task=context.task,
        tokenizer=context.tokenizer,
        batching=settings.batching,
        seed=context.seed,
    )
    train_supervised(context, directory, display, settings.module(model), data, settings)


def _summary(context: Context, directory: Path) -> str:
    rows = read_curve(directory / CURVE)
    parts = [f"loss {rows[-1]['train/loss']:.3f}"] if rows and "train/loss" in rows[-1] else []
    if (directory / SOURCES).is_file():
        counts = json.loads((directory / SOURCES).read_text(encoding="utf-8"))["labels"]
        parts.append("labels: " + ", ".join(f"{count:,} {source}" for source, count in counts.items()))
    return ", ".join(parts)


REWARD_MODEL = Stage(
    name="reward_model",
    inputs=("sft", "labels"),
    options=_options,
    code=("rlaif.stages.reward_model",),
    build=_build,
    summary=_summary,
    trains=True,
)
