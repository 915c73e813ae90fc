"""The constructor arguments of a stage, as YAML writes them: its file ``stage/NAME.yaml``, or its signature."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlaif import registry
from rlaif.conf_files import conf_dir, plugin_conf_dir
from rlaif.errors import PluginError
from rlaif.signatures import NOT_LITERAL, SignatureError, read_signature

_MARK = "⟦rlaif⟧"


def stage_option(component: registry.Component, nodes: Sequence[str]) -> dict[str, Any]:
    """The constructor arguments of a stage, with interpolations of the composed configuration.

    Args:
        component: A component of the group ``rlaif.stages``.
        nodes: Names of the top-level nodes of the composed configuration.

    Returns:
        ``_target_`` and a value for each key of ``conf/stage/NAME.yaml``. Without such a file, a parameter that has the
        name of a top-level node takes that node, and others take their default.

    Raises:
        PluginError: The stage's source cannot be read.
    """
    if (file := _yaml_of(component)) is not None:
        return copy.deepcopy(_arguments(file, file.stat().st_mtime_ns))
    try:
        signature = read_signature(component.dotted_target)
    except (SignatureError, SyntaxError) as error:
        raise PluginError(
            f"pipeline.stages: {component.name}: {component.package} {component.version} is broken: {error}; fix or "
            f"uninstall it (pip uninstall {component.package})"
        ) from error
    node: dict[str, Any] = {"_target_": component.dotted_target}
    for parameter in signature.parameters.values():
        if parameter.name in nodes:
            node[parameter.name] = f"${{{parameter.name}}}"
        elif parameter.required:
            node[parameter.name] = "???"
        elif parameter.default is not NOT_LITERAL:
            node[parameter.name] = parameter.default
    return node


def depends_on(node: DictConfig, cfg: DictConfig, key: str) -> bool:
    """Whether any constructor argument of a stage depends on an option, whatever its value is.

    Args:
        node: Of :func:`stage_option`.
        cfg: The composed configuration.
        key: The option, e.g. ``data.sft_share``.
    """
    marked = copy.deepcopy(cfg)
    with open_dict(marked):
        OmegaConf.update(marked, key, _MARK, merge=False)
    found = []
    try:
        for each in (cfg, marked):
            node._set_parent(each)
            found.append(OmegaConf.to_container(node, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException:
        return True  # a number was expected there
    return found[0] != found[1]


@lru_cache(maxsize=256)
def _arguments(file: Path, mtime_ns: int) -> dict[str, Any]:
    """What a file says; the last argument only keys the cache."""
    container = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _yaml_of(component: registry.Component) -> Path | None:
    """``stage/NAME.yaml`` of ours, or of the package that declares the stage."""
    files = (directory / "stage" / f"{component.name}.yaml" for directory in _directories(component.package))
    return next((file for file in files if file.is_file()), None)


def _directories(package: str) -> Iterator[Path]:
    if package == registry.OWN_PACKAGE:
        yield conf_dir()
    # Lazily: what is installed is slow to read.
    others = registry.components(registry.CONF_ENTRY_POINTS)
    yield from (plugin_conf_dir(other) for other in others if other.package == package)
