"""The registry: installed entry points, ours and those of plugins, read without importing anything.

A component is one entry point in one of the groups below. Our own components are declared in the
same way as a plugin's, so there is one list, one lookup and one error for a name that is missing,
broken, or claimed twice.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from typing import Any

from rlaif.errors import PluginError

CONFIG_GROUPS: Mapping[str, str] = {
    "rlaif.labelers": "labeler",
    "rlaif.prompts": "labeler/prompt",
    "rlaif.engines": "labeler/engine",
    "rlaif.tasks": "task",
    "rlaif.rewards": "reward",
    "rlaif.objectives": "policy/objective",
    "rlaif.pair_objectives": "policy/pair_objective",
    "rlaif.stages": "stage",
}
"""Entry-point group of a kind of component -> the config group that selects one of them."""

VALUE_GROUPS: Mapping[str, str] = {"rlaif.figures": "figures"}
"""Entry-point group of values that no config group selects -> what they are, as ``rlaif-plugins list`` says it."""

CONF_ENTRY_POINTS = "rlaif.conf"
"""Entry-point group of packages that bring their own YAML; the value names the directory's package path."""

OWN_PACKAGE = "rlaif"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Component:
    """One installed entry point."""

    group: str
    """Entry-point group, e.g. ``"rlaif.labelers"``."""
    name: str
    """The name on the command line."""
    package: str
    """Distribution that declares it, e.g. ``"rlaif-length"``."""
    version: str
    target: str
    """``"module:Class"`` as declared."""

    @property
    def config_group(self) -> str | None:
        """The Hydra group that selects it, e.g. ``"labeler"``; None for a directory of configs."""
        return CONFIG_GROUPS.get(self.group)

    @property
    def dotted_target(self) -> str:
        """``"module.Class"``, as a config's ``_target_`` writes it."""
        return self.target.replace(":", ".")

    def __str__(self) -> str:
        return f"{self.name} ({self.target}, {self.package} {self.version})"


def components(group: str | None = None) -> list[Component]:
    """Every installed component, sorted by group and name.

    Args:
        group: One entry-point group, or None for all of them.

    Returns:
        What is declared, broken or claimed twice included; nothing is imported.
    """
    groups = [group] if group is not None else [*CONFIG_GROUPS, CONF_ENTRY_POINTS]
    # Metadata are slow to read: the packages' entry points once, and once each package's name and version.
    installed = _entry_points(tuple((entry, _modified(entry)) for entry in sys.path))
    packages: dict[int, tuple[str, str]] = {}
    found = set()
    for entry_point in (entry_point for name in groups for entry_point in installed.select(group=name)):
        about = entry_point.dist
        if about is not None:
            if id(about) not in packages:
                packages[id(about)] = (about.name, about.version)
            found.add(_component(entry_point, *packages[id(about)]))
    return sorted(found)


@lru_cache(maxsize=4)
def _entry_points(path: tuple[tuple[str, int], ...]) -> Any:
    """Of all packages; the search path with its times only keys the cache: what pip installs changes a folder there."""
    return metadata.entry_points()


def _modified(entry: str) -> int:
    """When a folder of the search path was changed, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(entry or ".").st_mtime_ns
    except OSError:
        return 0


def conflicts(found: Iterable[Component]) -> dict[tuple[str, str], list[Component]]:
    """Names that more than one package claims in one group.

    >>> ours = Component(group="rlaif.tasks", name="dialogue", package="rlaif", version="1", target="a:A")
    >>> theirs = Component(group="rlaif.tasks", name="dialogue", package="other", version="2", target="b:B")
    >>> list(conflicts([ours, theirs]))
    [('rlaif.tasks', 'dialogue')]
    """
    by_name: defaultdict[tuple[str, str], list[Component]] = defaultdict(list)
    for component in found:
        by_name[component.group, component.name].append(component)
    return {key: claims for key, claims in by_name.items() if len(claims) > 1}


def conflict_message(claims: list[Component]) -> str:
    """The sentence that names every package that claims one name."""
    first = claims[0]
    kind = first.config_group or first.group
    packages = " and ".join(f"{claim.package} {claim.version} ({claim.target})" for claim in claims)
    return f"{kind}={first.name}: claimed by {packages}; uninstall all but one of them"


def find(group: str, name: str) -> Component:
    """The component of that name.

    Raises:
        PluginError: No package declares the name (near misses are offered), or several do.
    """
    candidates = components(group)
    claims = [component for component in candidates if component.name == name]
    if len(claims) > 1:
        raise PluginError(conflict_message(claims))
    if not claims:
        names = sorted({component.name for component in candidates})
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        kind = CONFIG_GROUPS.get(group, group)
        raise PluginError(f"{kind}={name}: not installed; {hint}installed: {', '.join(names)}")
    return claims[0]


def load(group: str, name: str) -> Any:
    """Import the class that a component names.

    Raises:
        PluginError: The name is unknown or claimed twice, or importing it failed: the package is named.
    """
    return load_component(find(group, name))


def load_component(component: Component) -> Any:
    """Import one component's class.

    Raises:
        PluginError: The module cannot be imported or does not hold the class: package, file, line and cause are named.
    """
    module_name, _, attribute = component.target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
        for part in filter(None, attribute.split(".")):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # a plugin's module may fail in any way; it must not look like our failure
        raise PluginError(broken_message(component, error)) from error
    return value


def broken_message(component: Component, error: BaseException) -> str:
    """The sentence about a component that cannot be imported or constructed.

    Args:
        component: The component.
        error: What its code raised.

    Returns:
        Option, package, file, line, cause, and what to do.
    """
    kind = component.config_group or component.group
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != OWN_PACKAGE:
        todo = f"install {error.name.partition('.')[0]}, or uninstall the plugin (pip uninstall {component.package})"
    else:
        todo = f"fix or uninstall it (pip uninstall {component.package})"
    return (
        f"{kind}={component.name}: {component.package} {component.version} is broken: {component.target}: "
        f"{cause(error)}; {todo}"
    )


def cause(error: BaseException) -> str:
    """Place and message of an error: ``FILE:LINE: KeyError: 'size'``.

    >>> cause(ValueError("no size"))
    'ValueError: no size'
    """
    says = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        says = f"the code ends the process (sys.exit({'' if error.code is None else repr(error.code)}))"
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_import_system(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {says}" if frames else says


def owner_of(target: str) -> Component | None:
    """The installed component that a ``_target_`` names, or the first of a package that holds its module.

    Args:
        target: Dotted path of a class.

    Returns:
        None for ours and for a class of no plugin.
    """
    top = target.partition(".")[0]
    if top == OWN_PACKAGE:
        return None
    plugins = [component for component in components() if component.package != OWN_PACKAGE]
    exact = [component for component in plugins if component.dotted_target == target]
    beside = [component for component in plugins if component.dotted_target.partition(".")[0] == top]
    return next(iter(exact + beside), None)


def described(component: object) -> str:
    """The class of a component and the package that brings it, for errors: ``Grpo (rlaif 1.0)``."""
    cls = type(component)
    owner = owner_of(f"{cls.__module__}.{cls.__qualname__}")
    if owner is not None:
        return f"{cls.__qualname__} ({owner.package} {owner.version})"
    if cls.__module__.partition(".")[0] == OWN_PACKAGE:
        return f"{cls.__qualname__} ({OWN_PACKAGE} {metadata.version(OWN_PACKAGE)})"
    return f"{cls.__qualname__} ({cls.__module__})"


def import_plugins(node: object) -> None:
    """Import the plugins' classes that config nodes name, before anything is constructed.

    Args:
        node: Plain values; a dictionary with ``_target_`` is a component, at any depth.

    Raises:
        PluginError: One of them cannot be imported: option, package, file, line and cause.
    """
    if isinstance(node, Mapping):
        target = node.get("_target_")
        owner = owner_of(target) if isinstance(target, str) else None
        if isinstance(target, str) and owner is not None:
            load_component(replace(owner, target=":".join(target.rsplit(".", 1))))
        children: Iterable[object] = node.values()
    else:
        children = node if isinstance(node, list | tuple) else ()
    for child in children:
        import_plugins(child)


def _is_import_system(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def _component(entry_point: metadata.EntryPoint, package: str, version: str) -> Component:
    return Component(
        group=entry_point.group,
        name=entry_point.name,
        package=re.sub(r"[-_.]+", "-", package).lower(),
        version=version,
        target=entry_point.value.replace(" ", ""),
    )
