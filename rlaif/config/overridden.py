"""Options that are typed and that every step which reads them takes from its ``with`` instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif import registry
from rlaif.config.entries import parse_entries
from rlaif.config.stage_options import depends_on, stage_option
from rlaif.errors import ConfigError, PluginError

_WHOLE = re.compile(r"\$\{([\w.]+)\}")


def overridden_problems(cfg: DictConfig, typed: Collection[str]) -> Iterator[str]:
    """Typed options that no step of the pipeline reads, as those that would have another value of their own.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
        typed: Keys of the command line.
    """
    stages = OmegaConf.select(cfg, "pipeline.stages")
    if not isinstance(stages, ListConfig):
        return
    try:
        entries = parse_entries(OmegaConf.to_container(stages, resolve=True))  # type: ignore[arg-type]
    except (ConfigError, OmegaConfBaseException):
        return  # told with the list itself
    for key in sorted(typed):
        others = [entry for entry in entries if not any(_covers(change, key) for change in entry.changes)]
        if len(others) == len(entries) or any(_reads(cfg, stage, key) for stage in {entry.stage for entry in others}):
            continue
        value = OmegaConf.select(cfg, key)
        source = change_sources(cfg).get(key)
        hint = "leave it out" if source is None else f"type {source}={value}"
        steps = ", ".join(entry.name for entry in entries if entry not in others)
        yield (
            f"{key}={value}: has no effect, as this pipeline gives a value of its own to each step that reads it"
            f" ({steps}); {hint}"
        )


def change_sources(cfg: DictConfig) -> dict[str, str]:
    """Options that steps take from others by ``with``, e.g. ``{"data.sft_share": "control.sft_share"}``.

    Args:
        cfg: The composed configuration.
    """
    stages = OmegaConf.select(cfg, "pipeline.stages")
    written = OmegaConf.to_container(stages, resolve=False) if isinstance(stages, ListConfig) else []
    return dict(_sources(written))  # type: ignore[arg-type]


def _sources(items: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for item in items:
        if not isinstance(item, Mapping):
            continue
        yield from _sources(item.get("stages") or ())
        changes = item.get("with")
        for key, value in changes.items() if isinstance(changes, Mapping) else ():
            if found := _WHOLE.fullmatch(str(value)):
                yield str(key), found.group(1)


def _covers(change: str, key: str) -> bool:
    return key == change or key.startswith(f"{change}.")


def _reads(cfg: DictConfig, stage: str, key: str) -> bool:
    """Whether an argument of a stage depends on an option."""
    try:
        node = OmegaConf.create(stage_option(registry.find("rlaif.stages", stage), [str(name) for name in cfg]))
    except (PluginError, ConfigError):
        return True  # told elsewhere
    return depends_on(node, cfg, key)
