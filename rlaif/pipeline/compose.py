"""From an entry of the pipeline to its stage: the stage's YAML, filled from the composed configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlaif import registry
from rlaif.config.entries import Entry
from rlaif.config.overridden import change_sources
from rlaif.config.stage_options import depends_on, stage_option
from rlaif.config.stage_values import GROUP, unknown_stage
from rlaif.errors import ConfigError, DataError, RlaifError
from rlaif.naming import LABELER, renamed
from rlaif.pipeline.graph import RUN, STEP, Step, find_elsewhere
from rlaif.pipeline.stage import Stage

_STEP_NAME = re.compile(rf"{STEP}\w+")
_PLACE = re.compile(rf"{RUN}.+/\w+")
_WHOLE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The constructor arguments of one step's stage, as plain values."""

    target: str
    """Dotted path of the stage's class."""
    values: Mapping[str, Any]
    """By parameter; a component is a dictionary with ``_target_``."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Parameter to the option that it comes from, e.g. ``{"judge": "evaluation.judge"}``."""

    def option(self, parameter: str) -> str:
        """The option that a parameter comes from, as a person types it."""
        return self.options.get(parameter, parameter)

    def references(self) -> dict[str, str]:
        """Options that name a step of this run, to the step's name."""
        return {
            path: value.removeprefix(STEP)
            for parameter, argument in self.values.items()
            for path, value in leaves(argument, self.option(parameter))
            if isinstance(value, str) and _STEP_NAME.fullmatch(value)
        }

    def resolved(self, results: Mapping[str, Path]) -> dict[str, Any]:
        """The values with directories in place of ``stage:NAME`` and ``run:DIR/step``.

        Args:
            results: Name of a step to its directory; a step that is absent stays ``stage:NAME``.

        Raises:
            ConfigError: There is no such run or step.
        """

        def place(path: str, value: Any) -> Any:
            if isinstance(value, str) and _STEP_NAME.fullmatch(value):
                return str(results.get(value.removeprefix(STEP), value))
            if isinstance(value, str) and _PLACE.fullmatch(value):
                return str(find_elsewhere(value, f"{path}={value}").path)
            return value

        return {name: _replaced(value, self.option(name), place) for name, value in self.values.items()}

    def make(self, results: Mapping[str, Path] | None = None) -> Stage:
        """Construct the stage.

        Raises:
            ConfigError: With every problem that constructors report, each under its option as typed.
            PluginError: A plugin's class cannot be imported.
        """
        values = self.resolved(results or {})
        registry.import_plugins({"_target_": self.target, **values})
        problems = [line for name, value in values.items() for line in construction_problems(value, self.option(name))]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return construct({"_target_": self.target, **values})


class Composer:
    """Makes the steps of a run.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.arguments: dict[str, Arguments] = {}

    def step(self, entry: Entry) -> Step:
        """Make one step.

        Raises:
            ConfigError: No stage has this name, an option of ``with`` does not exist, or a constructor refuses.
        """
        arguments = self.arguments_of(entry)
        self.arguments[entry.name] = arguments
        try:
            stage = arguments.make()
        except ConfigError as error:
            raise ConfigError([self._as_typed(line, entry) for line in error.problems]) from error
        return Step(entry=entry, stage=stage, references=arguments.references())

    def _as_typed(self, problem: str, entry: Entry) -> str:
        """A problem under the option that the entry's ``with`` takes the value from."""
        for key, source in change_sources(self.cfg).items():
            if key in entry.changes and problem.startswith(f"{key}="):
                return f"{source}{problem.removeprefix(key)}"
        return problem

    def arguments_of(self, entry: Entry) -> Arguments:
        """The constructor arguments of an entry's stage."""
        component = find_stage(entry.stage)
        node = OmegaConf.create(stage_option(component, [str(key) for key in self.cfg]))
        assert isinstance(node, DictConfig)
        names = {str(key): str(node._get_node(key)._value()) for key in node}  # type: ignore[union-attr]
        options = {key: found.group(1) for key, text in names.items() if (found := _WHOLE.fullmatch(text))}
        values = self._resolved(node, entry, self._changed(entry))
        unread = [key for key in entry.changes if key not in SEEN_BY_ALL and not depends_on(node, self.cfg, key)]
        if unread:
            raise ConfigError(
                [
                    f"pipeline.stages: step {entry.name}: with.{key}={entry.changes[key]}: stage {entry.stage} does not"
                    f" read {key}; give it to the step that does, or to the whole run"
                    for key in unread
                ]
            )
        plain = {str(key): value for key, value in values.items()}
        return Arguments(target=plain.pop("_target_"), values=plain, options=options)

    def _resolved(self, node: DictConfig, entry: Entry, cfg: DictConfig) -> dict[Any, Any]:
        """The arguments of a stage from a configuration."""
        node._set_parent(cfg)
        try:
            values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise ConfigError(f"pipeline.stages: step {entry.name}: {str(error).splitlines()[0]}") from error
        assert isinstance(values, dict)
        return values

    def _changed(self, entry: Entry) -> DictConfig:
        """The configuration with the entry's ``with`` put in."""
        if not entry.changes:
            return self.cfg
        cfg = copy.deepcopy(self.cfg)
        problems = []
        for key, value in entry.changes.items():
            if OmegaConf.select(cfg, key, default=_ABSENT) is _ABSENT:
                problems.append(f"pipeline.stages: step {entry.name}: with.{key}={value}: there is no such option")
                continue
            is_component = isinstance(value, dict) and "_target_" in value  # it takes the other's place as a whole
            with open_dict(cfg):
                OmegaConf.update(cfg, key, value, merge=not is_component)
        if problems:
            raise ConfigError(problems)
        return cfg


_ABSENT = object()
SEEN_BY_ALL = ("seed",)
"""Options that every step reads beside its arguments."""


def find_stage(name: str) -> registry.Component:
    """The installed stage of that name.

    Raises:
        ConfigError: There is none; near misses are offered.
    """
    names = {component.name for component in registry.components(GROUP)}
    if name not in names:
        raise ConfigError(unknown_stage(name, names))
    return registry.find(GROUP, name)


def construct(node: Mapping[str, Any]) -> Any:
    """Instantiate a component from plain values.

    Raises:
        RlaifError: What the constructor itself raised.
    """
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, RlaifError):
            raise error.__cause__ from error
        raise


def construction_problems(value: Any, option: str) -> list[str]:
    """Every problem that the constructors of a component and of the components in it report, the inner ones first.

    Args:
        value: Plain values; a dictionary with ``_target_`` is a component. Changed in place: what failed becomes null.
        option: The value's option, as a person types it.
    """
    problems: list[str] = []
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, child in list(items):
        if found := construction_problems(child, f"{option}.{key}"):
            value[key] = None
            problems += found
    if not (isinstance(value, dict) and "_target_" in value) or problems:
        return problems
    try:
        construct(value)
    except (ConfigError, DataError) as error:
        owner = option.removesuffix(".engine").removesuffix(".prompt")
        told = error.problems if isinstance(error, ConfigError) else [str(error)]
        return [as_typed(problem, owner) for problem in told]
    return []


def as_typed(problem: str, owner: str) -> str:
    """A problem under the option as typed: a component does not know its own place in the configuration.

    >>> as_typed("sampling.top_p=2: must be at most 1", "evaluation.sampling")
    'evaluation.sampling.top_p=2: must be at most 1'
    >>> as_typed("labeler.format=x: no layout, try labeler.format=auto", "evaluation.judge")
    'evaluation.judge.format=x: no layout, try evaluation.judge.format=auto'
    """
    if owner.endswith(".sampling") and problem.startswith("sampling."):
        return f"{owner}{problem.removeprefix('sampling')}"
    if owner.startswith("reward."):  # a part of a mixture
        problem = renamed(problem, "reward", owner)
    return renamed(problem, LABELER, owner) if problem.startswith(f"{LABELER}.") else problem


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every plain value in nested dictionaries and lists, with its dotted path."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else None
    if items is None:
        yield path, value
        return
    for key, child in items:
        yield from leaves(child, f"{path}.{key}")


def _replaced(value: Any, path: str, place: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(child, f"{path}.{key}", place) for key, child in value.items()}
    if isinstance(value, list):
        return [_replaced(child, f"{path}.{index}", place) for index, child in enumerate(value)]
    return place(path, value)
