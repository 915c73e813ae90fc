"""What the reward model learns from: this run's labels, and those of ``label.mix``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import cast

from omegaconf import OmegaConf

from rlaif.data.label_sets.mixing import MixedLabels, MixSettings
from rlaif.labeling.results import read_labels
from rlaif.stages.context import Context

log = logging.getLogger(__name__)


def mix_settings(context: Context) -> MixSettings:
    """The options ``label.mix`` and ``label.weight``.

    Raises:
        ConfigError: With every problem of every entry.
    """
    node = context.cfg.label.mix
    files = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return MixSettings(cast("Mapping[str, Mapping[str, object]] | None", files), weight=context.cfg.label.weight)


def mix_options(context: Context) -> dict[str, object]:
    """What the mixture depends on besides this run's labels; empty where nothing is mixed."""
    identity = mix_settings(context).identity
    return {"mix": identity} if identity else {}


def check_mix(context: Context, names: Sequence[str]) -> None:
    """Find what could not be mixed before anything is trained; warn where nothing reads the mixture.

    Raises:
        ConfigError: An entry is wrong.
        DataError: A file cannot be read.
    """
    if "reward_model" in names:
        mix_options(context)
    elif context.cfg.label.mix is not None:
        log.warning("label.mix: no effect here, this pipeline trains no reward model")


def training_labels(context: Context) -> MixedLabels:
    """This run's labels and those of ``label.mix``, without pairs of held-out prompts.

    Raises:
        ConfigError: An entry is wrong.
        DataError: A file cannot be read.
    """
    settings, labels = mix_settings(context), read_labels(context.result("labels"))
    if settings.changes_nothing:
        return MixedLabels(labels=labels)
    data = context.data
    held_out = [*data.eval_prompts, *(label.comparison.prompt for label in data.eval_preferences)]
    return settings.mixed(labels, context.task, held_out)
