"""Labeling: comparisons in, soft preferences out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.errors import ConfigError
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.labelers.cache import LabelCache
from rlaif.labelers.file import HumanLabeler
from rlaif.labelers.run import label_comparisons
from rlaif.labelers.summary import summarize_labels
from rlaif.stages.context import Context, annotators_code, component_code, preferences_id, write_json
from rlaif.stages.samples import sampled_pairs
from rlaif.stages.stage import Stage
from rlaif.types import Comparison, Preference

if TYPE_CHECKING:
    from rlaif.evaluation.terminal import StageDisplay

LABELS = "labels.parquet"
_STAGE_MODEL = "stage:"


def build_labeler(context: Context, node: DictConfig) -> Labeler:
    """Instantiate a labeler; ``stage:sft`` as its engine's model means this run's own SFT policy."""
    node = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(node, resolve=True)))
    model = OmegaConf.select(node, "engine.model")
    if isinstance(model, str) and model.startswith(_STAGE_MODEL):
        name = model.removeprefix(_STAGE_MODEL)
        if name != "sft":
            raise ConfigError(f"labeler.engine.model={model}: of the stages only stage:sft can label")
        node.engine.model = str(context.result(name))
    labeler = instantiate(node)
    if isinstance(labeler, HumanLabeler):
        data = context.data
        labeler = labeler.bind(data.preferences, data.annotators, data_identity=context.source.identity)
    return cast(Labeler, labeler)


def comparisons_to_label(context: Context) -> list[Comparison]:
    """Pairs of the SFT policy's samples, or the data set's own (``data.pairs``)."""
    if context.cfg.data.pairs == "dataset":
        return [preference.comparison for preference in context.data.preferences]
    return sampled_pairs(context.result("samples"))


def labeler_options(context: Context) -> dict[str, object]:
    """What the judgements of this run's labeler depend on."""
    options: dict[str, object] = {"code": component_code(context.cfg.labeler)}
    model = OmegaConf.select(context.cfg.labeler, "engine.model")
    if str(model).startswith(_STAGE_MODEL):  # not there yet; the input fingerprints stand for its weights
        options["labeler"] = context.options_of("labeler")
    else:
        labeler = build_labeler(context, context.cfg.labeler)
        options["labeler"] = labeler.identity
        if isinstance(labeler, HumanLabeler):
            options["annotators"] = annotators_code(context)
    return options


def _options(context: Context) -> dict[str, object]:
    options: dict[str, object] = {
        "batch_size": context.cfg.label.batch_size,
        "pairs": context.cfg.data.pairs,
        **labeler_options(context),
    }
    if context.cfg.data.pairs == "dataset":
        options["preferences"] = preferences_id(context.data.preferences)
    return options


def label_all(
    context: Context,
    labeler: Labeler,
    plan: Sequence[Comparison],
    directory: Path,
    display: StageDisplay,
    *,
    cached: bool,
) -> list[Preference]:
    """Label a plan through batches on disk and, for models, the label cache of the store."""
    cache = None
    if cached:
        cache = LabelCache(context.store.root / "labels.sqlite", code=component_code(context.cfg.labeler))
    progress = display.progress(len(plan), unit="pairs")
    return label_comparisons(
        labeler,
        plan,
        directory,
        batch_size=context.cfg.label.batch_size,
        max_missing_rate=context.cfg.label.max_missing_rate,
        progress=progress,
        cache=cache,
    )


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    plan = comparisons_to_label(context)
    if not plan:
        raise ConfigError("label: there is no pair to label; every prompt's two samples are identical")
    labeler = build_labeler(context, context.cfg.labeler)
    if isinstance(labeler, PlansAhead):
        labeler = labeler.for_plan(plan)
    batches = directory / "batches"
    labels = label_all(context, labeler, plan, batches, display, cached=labeler.source == "ai")
    write_preferences(directory / LABELS, labels)
    summary = summarize_labels(labels)
    write_json(directory / "summary.json", {name: getattr(summary, name) for name in summary.__dataclass_fields__})
    shutil.rmtree(batches, ignore_errors=True)


def read_labels(directory: Path) -> list[Preference]:
    return read_preferences(directory / LABELS)


def _summary(context: Context, directory: Path) -> str:
    labels = read_labels(directory)
    missing = sum(label.p_first is None for label in labels)
    return f"{len(labels):,} pairs by {labels[0].labeler.split(':')[0] or labels[0].source}, {missing} missing"


LABEL = Stage(
    name="labels",
    inputs=("samples",),
    options=_options,
    code=("rlaif.stages.labels",),
    build=_build,
    summary=_summary,
)
