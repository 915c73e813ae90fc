"""Hydra's search path: our YAML, the YAML that plugins bring, and options generated for the rest."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from yaml import YAMLError

from rlaif import registry
from rlaif.conf_files import conf_dir, option_files, plugin_conf_dir
from rlaif.errors import PluginError
from rlaif.signatures import NOT_LITERAL, Signature, SignatureError, read_signature

LABELER_PARTS = {"prompt": "base", "engine": "transformers"}
"""Sub-groups of every labeler, with the option that a constructor gets which requires one."""


class RlaifSearchPath(SearchPathPlugin):
    """Adds the directories of plugins as ``file://``, so that no plugin is imported to find its YAML."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the configuration directories of plugins."""
        for component, directory in _plugin_dirs():
            search_path.append(provider=component.package, path=f"file://{directory}")


def register(extra_dir: Path | None = None) -> list[str]:
    """Make ours and the plugins' options known to Hydra; call it before Hydra runs.

    Args:
        extra_dir: Directory of ``--config-dir``; its files come before generated options too.

    Returns:
        One line per plugin that cannot be used as it is declared: broken, shadowed, or sharing a name.
    """
    Plugins.instance().register(RlaifSearchPath)
    problems = []
    for component in registry.components(registry.CONF_ENTRY_POINTS):
        try:
            plugin_conf_dir(component)
        except PluginError as error:
            problems.append(str(error))
    problems += shadowed_options()
    directories = [conf_dir(), *(directory for _, directory in _plugin_dirs()), *([extra_dir] if extra_dir else [])]
    by_yaml = set[str]().union(*map(option_files, directories))
    for component in registry.components():
        option = f"{component.config_group}/{component.name}"
        if component.package == registry.OWN_PACKAGE or component.config_group is None or option in by_yaml:
            continue
        if component.group == "rlaif.stages":
            continue  # a stage is no option of the composed config: rlaif.config.stage_options
        try:
            node = generated_option(component)
        except (SignatureError, SyntaxError):
            continue  # named when it is selected: a broken plugin must not stop other runs
        ConfigStore.instance().store(
            group=component.config_group, name=component.name, node=node, provider=component.package
        )
    return problems


def generated_option(component: registry.Component) -> dict[str, Any]:
    """The config option of a component that brings no YAML, from its constructor's signature.

    Args:
        component: Declared as ``pkg:Class``; its source is read, not imported.

    Returns:
        ``_target_`` and one key per parameter: its default, or ``???`` where a person must give a value.
        Parameters that hold objects are left out: the stage passes them. A labeler also declares its
        sub-groups ``prompt`` and ``engine``: ``none`` unless its constructor requires one.
    """
    signature = read_signature(component.dotted_target)
    node: dict[str, Any] = {}
    if component.group == "rlaif.labelers":
        node["defaults"] = [*({name: _part_option(signature, name)} for name in LABELER_PARTS), "_self_"]
    node["_target_"] = component.dotted_target
    for parameter in signature.parameters.values():
        if component.group == "rlaif.labelers" and parameter.name in LABELER_PARTS:
            continue
        if parameter.required:
            if parameter.kind.is_plain:
                node[parameter.name] = "???"
        elif parameter.default is not NOT_LITERAL:
            default = parameter.default
            node[parameter.name] = list(default) if isinstance(default, tuple | set | frozenset) else default
    return node


def _part_option(signature: Signature, name: str) -> str | None:
    """The default option of a labeler's sub-group; None leaves the group empty, for a constructor without it."""
    parameter = signature.parameters.get(name)
    if parameter is None:
        return None
    return LABELER_PARTS[name] if parameter.required else "none"


def shadowed_options() -> list[str]:
    """One line per YAML file of a plugin that an earlier directory hides."""
    owners = dict.fromkeys(option_files(conf_dir()), "rlaif")
    problems = []
    for component, directory in _plugin_dirs():
        for option in sorted(option_files(directory)):
            if option in owners:
                group, _, name = option.rpartition("/")
                problems.append(
                    f"{group}={name}: {component.package} {component.version} brings a file {option}.yaml that "
                    f"{owners[option]} hides; rename it in {component.package}"
                )
            else:
                owners[option] = component.package
    return problems


def hidden_options() -> dict[tuple[str, str], str]:
    """Group and name of each component of a package that our YAML of the same name hides, with what to do."""
    components = registry.components()
    own = {(component.group, component.name) for component in components if component.package == registry.OWN_PACKAGE}
    ours = option_files(conf_dir())
    return {
        (component.config_group, component.name): (
            f"{component.config_group}={component.name}: is rlaif's own option, and {component.package}"
            f" {component.version} declares this name too ({component.target}); rename it in {component.package}"
        )
        for component in components
        if component.config_group is not None
        and (component.group, component.name) not in own
        and f"{component.config_group}/{component.name}" in ours
    }


@cache
def broken_yaml() -> dict[str, str]:
    """Option (``group/name``) of each YAML file of a plugin that cannot be read, to package, file, line and cause."""
    problems = {}
    for component, directory in _plugin_dirs():
        for option in sorted(option_files(directory)):
            path = directory / f"{option}.yaml"
            try:
                OmegaConf.load(path)
            except (YAMLError, OSError, UnicodeDecodeError) as error:
                mark = getattr(error, "problem_mark", None)
                line = f":{mark.line + 1}" if mark is not None else ""
                reason = getattr(error, "problem", None) or " ".join(str(error).split())
                problems[option] = (
                    f"{component.package} {component.version} is broken: {path}{line}: {reason}; fix the file or "
                    f"uninstall the plugin (pip uninstall {component.package})"
                )
    return problems


@cache
def _plugin_dirs() -> list[tuple[registry.Component, Path]]:
    found = []
    for component in registry.components(registry.CONF_ENTRY_POINTS):
        try:
            found.append((component, plugin_conf_dir(component)))
        except PluginError:
            continue  # reported by register()
    return found
