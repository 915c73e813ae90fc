"""Layouts by name: our YAML (``conf/data/format``), that of plugins (``rlaif.conf``), and files of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path

import yaml

from rlaif import registry
from rlaif.conf_files import LAYOUTS, conf_dir, plugin_conf_dir
from rlaif.data.formats.language import Layout
from rlaif.data.formats.layout_yaml import LayoutError, layout_from
from rlaif.errors import ConfigError, PluginError
from rlaif.near_miss import near_miss
from rlaif.types import content_id

AUTO = "auto"
BASE, BY_NAME_ALONE = "like", "auto"
"""Keys of a layout's file: the layout whose keys it takes over; ``auto: false`` keeps it out of ``format=auto``."""
ENDINGS = (".yaml", ".yml")


@cache
def layout_files() -> Mapping[str, Path]:
    """The file of each layout by name, ours before those of plugins, in alphabetical order; none is read."""
    folders = [conf_dir() / LAYOUTS]
    for component in registry.components(registry.CONF_ENTRY_POINTS):
        try:
            folders.append(plugin_conf_dir(component) / LAYOUTS)
        except PluginError:
            continue  # told at the start of every command
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def layout_names() -> tuple[str, ...]:
    """Names of all installed layouts, in alphabetical order."""
    return tuple(layout_files())


def layout_named(name: str, option: str) -> Layout:
    """The layout of that name, or in that file.

    Args:
        name: One of :func:`layout_names`, or the path of a YAML file.
        option: What the user typed, for messages: ``data.format``.

    Raises:
        ConfigError: There is none, or its YAML has mistakes.
    """
    is_path = name.endswith(ENDINGS)
    path = Path(name).expanduser() if is_path else layout_files().get(name)
    if path is None:
        near = near_miss(name, layout_names())
        hint = f" (did you mean {near}?)" if near else ""
        raise ConfigError(
            f"{option}={name}: no layout has this name{hint}; there are {AUTO}, {', '.join(layout_names())}, or the"
            " path of a YAML file of your own (docs: Layouts)"
        )
    if is_path and not path.is_file():
        raise ConfigError(f"{option}={name}: there is no such file; it is looked for in {Path.cwd()}")
    return _read(path, f"{option}={name}" if is_path else f"{option}={name}: {path}")


def candidates() -> list[Layout]:
    """The layouts that ``format=auto`` tries.

    Raises:
        ConfigError: The YAML of one has mistakes.
    """
    return [_read(path, str(path)) for path in layout_files().values() if _is_tried(path)]


def layout_identity(layout: Layout) -> str:
    """Content hash of what a layout says, its name and description apart."""
    said = {part.name: getattr(layout, part.name) for part in fields(layout) if part.name not in ("name", "about")}
    return content_id(*(f"{name}={value!r}" for name, value in sorted(said.items())))


def _node(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _parsed(path: Path, mtime_ns: int, size: int) -> object:
    """The values of a file; the last two arguments only key the cache."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: cannot be read as YAML ({reason})") from error


def _read(path: Path, typed: str) -> Layout:
    node = _node(path)
    if isinstance(node, Mapping) and BASE in node:
        base = layout_files().get(str(node[BASE]))
        if base is None:
            raise ConfigError(f"{typed}: {BASE}: {node[BASE]}: no layout has this name")
        under = _node(base)
        node = {**(under if isinstance(under, Mapping) else {}), **node}
    if isinstance(node, Mapping):
        node = {key: value for key, value in node.items() if key not in (BASE, BY_NAME_ALONE)}
    try:
        return layout_from(path.stem, node)
    except LayoutError as error:
        raise ConfigError([f"{typed}: {problem}" for problem in error.problems]) from error


def _is_tried(path: Path) -> bool:
    node = _node(path)
    return not (isinstance(node, Mapping) and node.get(BY_NAME_ALONE) is False)
