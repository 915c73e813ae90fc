"""Keys that nothing reads, as one that is misspelt in a YAML file, and keys that are read and were taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rlaif import registry
from rlaif.config.leaves import leaves
from rlaif.config.stage_options import stage_option
from rlaif.errors import PluginError
from rlaif.near_miss import near_miss

_READ, _READ_IF_THERE = re.compile(r"\$\{([\w.]+)"), re.compile(r"\$\{oc\.select:([\w.]+)")
EXPERIMENT = "experiment"
OF_RUN = (
    *("seed", "store.dir", "store.checkpoint_every_s", "overwrite", "estimate"),
    *("pipeline.stages", "model", "trainer"),
)
"""Options that the program reads beside those that stages take."""
OPTIONAL = "logger"
"""The group that the program reads where it is there."""


def unread_problems(cfg: DictConfig) -> Iterator[str]:
    """Keys beside one of nearly the same name that is read, and an experiment that sets nothing, one line each.

    Keys of one's own that resemble none of ours are left alone: interpolations of further files may read them.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
    """
    values = _plain(cfg)
    if isinstance(found := values.pop(EXPERIMENT, None), Mapping):
        yield (
            f"{EXPERIMENT}: its file sets {', '.join(f'{EXPERIMENT}.{key}' for key in found)}, which nothing reads;"
            " make `# @package _global_` the first line of the file"
        )
    read = {OPTIONAL, *_read(values, _READ), *_read(values, _READ_IF_THERE)}
    yield from _misspelt(values, read)


def removed_problems(cfg: DictConfig, removed: Mapping[str, str], groups: Set[str]) -> Iterator[str]:
    """Options that were taken out (``~lora``) and that a run reads, one line each.

    Args:
        cfg: The composed configuration, without them and without the ``hydra`` node.
        removed: Name of the option, with dots, to what was typed.
        groups: Names of groups, with dots.
    """
    read = _read(_plain(cfg), _READ)
    for key, typed in removed.items():
        if any(f"{path}.".startswith(f"{key}.") for path in read):
            instead = (
                f"choose another option, {key.replace('.', '/')}=…" if key in groups else f"set another value, {key}=…"
            )
            yield f"{typed}: a run reads it; {instead}"


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with its interpolations as they are written."""
    container = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _read(values: Mapping[str, Any], pattern: re.Pattern[str]) -> set[str]:
    """Options that interpolations of the configuration and of stages read, and those that the program does."""
    found = {*OF_RUN, *_references(values, pattern)}
    for component in registry.components("rlaif.stages"):
        try:
            found |= set(_references(stage_option(component, list(values)), pattern))
        except PluginError:
            continue  # told where it is used
    return found


def _references(node: Mapping[str, Any], pattern: re.Pattern[str]) -> Iterator[str]:
    for _, value in leaves(node):
        yield from pattern.findall(str(value))


def _misspelt(node: Mapping[str, Any], read: Set[str], prefix: str = "") -> Iterator[str]:
    """Keys of plain nodes that are not read, with one that is and has nearly the same name."""
    names = {path.removeprefix(prefix).partition(".")[0] for path in read if path.startswith(prefix)}
    for key, value in node.items():
        is_node = isinstance(value, Mapping)
        if key not in names and (is_node or prefix) and (near := near_miss(key, names)) is not None:
            yield f"{prefix}{key}: nothing reads it; did you mean {prefix}{near}?"
        elif is_node and f"{prefix}{key}" not in read and "_target_" not in value:
            yield from _misspelt(value, read, f"{prefix}{key}.")
