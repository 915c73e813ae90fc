"""Problems of the list of stages, and of plain values that stages and the pipeline take from the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif import registry
from rlaif.config.entries import parse_entries
from rlaif.config.stage_options import stage_option
from rlaif.config.values import parameter_problem
from rlaif.errors import ConfigError, PluginError
from rlaif.near_miss import near_miss
from rlaif.signatures import SignatureError, read_signature

GROUP = "rlaif.stages"
OF_PIPELINE = {
    "seed": "rlaif.pipeline.identity.step_fingerprint",
    "store.checkpoint_every_s": "rlaif.pipeline.training.LightningTraining",
}
"""Options that no stage takes, to what takes them by the last part of their name."""
_ABSENT = object()
_WHOLE = re.compile(r"\$\{([\w.]+)\}")


def stage_value_problems(cfg: DictConfig) -> list[str]:
    """Everything wrong with the pipeline's list, and with the options that its stages take as plain values.

    Constructors are read from source, nothing is imported. Components are checked at their own options.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
    """
    stages = OmegaConf.select(cfg, "pipeline.stages")
    try:
        plain = OmegaConf.to_container(stages, resolve=True) if isinstance(stages, ListConfig) else [stages]
        entries = parse_entries(plain)  # type: ignore[arg-type]
    except ConfigError as error:
        return error.problems
    except OmegaConfBaseException as error:
        return [f"pipeline.stages: {str(error).splitlines()[0]}"]
    installed = {component.name: component for component in registry.components(GROUP)}
    problems = [unknown_stage(entry.stage, installed) for entry in entries if entry.stage not in installed]
    nodes = [str(key) for key in cfg]
    for component in installed.values():  # also those that this pipeline leaves out: their options stand in the config
        problems += _problems(cfg, component, nodes)
    problems += _problems_of_pipeline(cfg)
    return list(dict.fromkeys(problems))


def _problems_of_pipeline(cfg: DictConfig) -> Iterator[str]:
    for option, target in OF_PIPELINE.items():
        parameter = read_signature(target).parameters[option.rpartition(".")[2]]
        if (problem := parameter_problem(option, OmegaConf.select(cfg, option), parameter, target)) is not None:
            yield problem


def unknown_stage(name: str, installed: Iterable[str]) -> str:
    """The message for a stage that no package declares."""
    names = sorted(installed)
    near = near_miss(name, names)
    hint = f"did you mean {near}? " if near else ""
    return f"pipeline.stages: {name} is no stage; {hint}allowed are {', '.join(names)}"


def _problems(cfg: DictConfig, component: registry.Component, nodes: list[str]) -> Iterator[str]:
    try:
        yield from _node_problems(cfg, stage_option(component, nodes))
    except (PluginError, SignatureError, SyntaxError) as error:
        yield str(error)


def _node_problems(cfg: DictConfig, node: dict[str, Any]) -> Iterator[str]:
    """Problems of the plain values that one component of a stage's YAML takes from the configuration."""
    target = str(node["_target_"])
    parameters = read_signature(target).parameters
    for name, argument in node.items():
        if isinstance(argument, dict) and "_target_" in argument:
            yield from _node_problems(cfg, argument)
        found = _WHOLE.fullmatch(str(argument))
        if found is None or name not in parameters:
            continue
        try:
            value: Any = OmegaConf.select(cfg, found.group(1), default=_ABSENT, throw_on_missing=True)
        except OmegaConfBaseException:
            continue  # reported with the value itself
        if value is _ABSENT or (isinstance(value, DictConfig) and "_target_" in value):
            continue
        plain = OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
        problem = parameter_problem(found.group(1), plain, parameters[name], target)
        if problem is not None:
            yield problem
