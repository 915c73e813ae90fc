"""What the reward model learns from: this run's labels, and those of ``label.mix``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from rlaif.config.paths import near_miss
from rlaif.data.label_sets.mixing import MixFile, check_weight, mix_labels
from rlaif.errors import ConfigError
from rlaif.stages.context import Context
from rlaif.types import Preference

log = logging.getLogger(__name__)

KEYS = ("path", "source", "weight", "format", "columns", "preference", "confidences")
NEEDED = ("path", "source")


def mix_files(context: Context) -> list[MixFile]:
    """The entries of ``label.mix``.

    Raises:
        ConfigError: With every problem of every entry.
    """
    node = context.cfg.label.mix
    entries = {} if node is None else OmegaConf.to_container(node, resolve=True)
    if not isinstance(entries, dict):
        raise ConfigError(f"label.mix={entries}: must be null or {{name: {{path: …, source: …}}}}")
    problems: list[str] = []
    files: list[MixFile] = []
    for name, options in entries.items():
        found = _entry_problems(str(name), options)
        try:
            files += [] if found else [MixFile(str(name), **options)]
        except ConfigError as error:
            found = error.problems
        problems += found
    try:
        check_weight("label.weight", context.cfg.label.weight)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return files


def mix_options(context: Context) -> dict[str, object]:
    """What the mixture depends on besides this run's labels; empty where nothing is mixed."""
    files = mix_files(context)
    weight = float(context.cfg.label.weight)
    if not files and weight == 1.0:
        return {}
    return {"weight": weight, "mix": {file.name: file.identity for file in files}}


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


def training_labels(context: Context) -> tuple[list[Preference], dict[str, Any]]:
    """This run's labels and those of ``label.mix``, with their weights, and an account by source.

    Pairs of held-out prompts are left out of the files.

    Raises:
        ConfigError: An entry is wrong.
        DataError: A file cannot be read.
    """
    files, weight = mix_files(context), float(context.cfg.label.weight)
    labels = read_labels(context.result("labels"))
    if not files and weight == 1.0:
        return labels, {}
    data = context.data
    held_out = [*data.eval_prompts, *(label.comparison.prompt for label in data.eval_preferences)]
    parts: list[tuple[Sequence[Preference], float]] = [(labels, weight)]
    num_held_out = 0
    for file in files:
        further, num = file.read(context.task, held_out)
        num_held_out += num
        parts.append((further, file.weight))
    mixed, num_repeated = mix_labels(parts)
    return mixed, {
        "labels": dict(Counter(label.source for label in mixed if label.p_first is not None)),
        "weight": {source: _weight_of(mixed, source) for source in sorted({label.source for label in mixed})},
        "held_out": num_held_out,
        "repeated": num_repeated,
    }


def _weight_of(labels: Sequence[Preference], source: str) -> float:
    return sum(label.weight for label in labels if label.source == source and label.p_first is not None)


def _entry_problems(name: str, options: object) -> list[str]:
    option = f"label.mix.{name}"
    if not isinstance(options, dict):
        return [f"{option}={options}: must be a dictionary with {', '.join(NEEDED)}"]
    unknown = [str(key) for key in options if key not in KEYS]
    problems = [f"{option}.{key}: there is no such key; {_hint(key)}" for key in unknown]
    return problems + [f"{option}.{key}: needs a value" for key in NEEDED if not options.get(key)]


def _hint(key: str) -> str:
    near = near_miss(key, KEYS)
    return f"did you mean {near}?" if near else f"there are {', '.join(KEYS)}"
