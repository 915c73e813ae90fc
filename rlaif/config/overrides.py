"""Problems of one override: its group, its option, its key, the type of its value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from rlaif import registry
from rlaif.conf_files import LAYOUTS
from rlaif.config.hydra_internals import IConfigRepository, split_key
from rlaif.config.search_path import broken_yaml, hidden_options
from rlaif.config.values import show
from rlaif.near_miss import near_miss
from rlaif.signatures import SignatureError, read_signature

_EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit"}
_VALUES = {"model": "model=hub model.name=", "data": "data=files data.path="}
"""What takes the name of a model or a file that was typed as an option of the group."""
_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class OptionCheck:
    """Config groups and their options, as a repository of configs holds them."""

    def __init__(self, repository: IConfigRepository) -> None:
        self.repository = repository
        self.groups = sorted(self._groups(""))

    def _groups(self, parent: str) -> Iterator[str]:
        for name in self.repository.get_group_options(parent, ObjectType.GROUP):
            group = f"{parent}/{name}" if parent else name
            if group not in ("hydra", "stage", LAYOUTS):  # a stage is chosen by the pipeline, a layout is a value
                yield group
                yield from self._groups(group)

    def options(self, group: str) -> list[str]:
        """Names of a group's options, sorted."""
        return sorted(self.repository.get_group_options(group, ObjectType.CONFIG))

    def declared(self, group: str, option: Any, key: str) -> Any:
        """The value of a key in the file of a group's option; None where there is none."""
        found = self.repository.load_config(f"{group}/{option}") if isinstance(option, str) else None
        return None if found is None else OmegaConf.select(found.config, key)

    def owners(self, group: str, key: str) -> list[str]:
        """The options of a group whose files have a key, as typed, e.g. ``["data=files"]`` for ``path``."""
        files = {option: self.repository.load_config(f"{group}/{option}") for option in self.options(group)}
        return [f"{group}={option}" for option, file in files.items() if file is not None and _holds(file.config, key)]

    def problem(self, override: Override) -> str | None:
        """The problem of an override of a group that exists, or None."""
        group, value = override.key_or_group, override.value()
        if override.is_delete():
            return None
        if group == LAYOUTS:
            return f"{override.input_line}: a layout is a value; write {group.replace('/', '.')}={show(value)}"
        if value is None:
            allowed = ", ".join(self.options(group))
            return f"{override.input_line}: an option is chosen by its name, {allowed}"
        if override.is_force_add():
            return f"{override.input_line}: an option is added with one +, as +{group}={show(value)}"
        options = self.options(group)
        chosen = value if isinstance(value, list) else [value]
        wrong = [str(item) for item in chosen if str(item) not in options and f"{group}/{item}" not in self.groups]
        if wrong:
            return self._no_such_option(str(override.input_line), group, wrong[0], options)
        broken = [problem for item in chosen if (problem := broken_yaml().get(f"{group}/{item}")) is not None]
        return f"{override.input_line}: {broken[0]}" if broken else None

    def _no_such_option(self, typed: str, group: str, name: str, options: list[str]) -> str:
        for component in registry.components():
            if component.config_group == group and component.name == name:
                return f"{typed}: {component.package} {component.version} is broken: {self._failure(component)}"
        if group == "hydra/launcher" and name in _EXTRAS:
            return f"{typed}: this launcher is not installed; pip install 'rlaif[{_EXTRAS[name]}]'"
        near = near_miss(name, options)
        hint = f"did you mean {group}={near}? " if near else ""
        if group in _VALUES and not hint and not name.isidentifier():
            hint = f"type {_VALUES[group]}{name}; "
        return f"{typed}: {group} has no option {name}; {hint}allowed are {', '.join(options)}"

    @staticmethod
    def _failure(component: registry.Component) -> str:
        try:
            read_signature(component.dotted_target)
        except (SignatureError, SyntaxError) as error:
            return f"{error}; fix or uninstall it (pip uninstall {component.package})"
        return f"{component.target} cannot be read"

    def no_such_group(self, override: Override) -> str:
        """The line for a group that does not exist."""
        group = override.key_or_group
        near = near_miss(group, self.groups)
        hint = f"did you mean {near}? " if near else ""
        return f"{override.input_line}: no such group; {hint}groups are {', '.join(self.groups)}"

    def selection_problems(self, choices: dict[str, Any]) -> list[str]:
        """One line per chosen option whose name several packages claim."""
        found = registry.conflicts(registry.components())
        claimed = [
            registry.conflict_message(claims)
            for (entry_points, name), claims in found.items()
            if choices.get(registry.CONFIG_GROUPS.get(entry_points, "")) == name
        ]
        return claimed + [told for (group, name), told in hidden_options().items() if choices.get(group) == name]

    def composition_problem(self, typed: str, error: Exception) -> str:
        """The line for an override that is sound on its own but does not compose."""
        if "No match in the defaults list" in str(error):
            group = typed.lstrip("+~").partition("=")[0]
            parent = group.rpartition("/")[0]
            why = f"the chosen {parent} has no {group}" if parent else f"the config holds no {group}"
            return f"{typed}: {why}; to add it, write +{typed.lstrip('+~')}"
        if "Multiple values for" in str(error) and typed.startswith("+"):
            return f"{typed}: the config has this group; write {typed.lstrip('+')}"
        return f"{typed}: {' '.join(str(error).split())}"


def key_problem(cfg: DictConfig, override: Override, options: OptionCheck) -> str | None:
    """The problem of the key, or of the type, of an override that sets a value; None when there is none.

    Args:
        cfg: The composed config that it will be applied to.
        override: Without a sweep.
        options: Names of groups, for near misses.
    """
    typed, key = str(override.input_line), override.key_or_group
    slashed = key.replace(".", "/")
    if slashed in options.groups and isinstance(override.value(), str) and not override.is_delete():
        return f"{typed}: {key} is chosen among options; write {slashed}={override.value()}"
    is_new = override.is_add() or override.is_force_add()
    node: Any = cfg
    seen: list[str] = []
    for part in split_key(key):
        names = [str(name) for name in node] if isinstance(node, DictConfig) else []
        if isinstance(node, ListConfig):
            names = [str(index) for index in range(len(node))]
        if part not in names:
            if is_new:
                return _mistyped_addition(typed, part, node, seen, names)
            return _no_such_key(typed, key, part, seen, names, options)
        seen.append(part)
        if OmegaConf.is_missing(node, part if isinstance(node, DictConfig) else int(part)):
            node = None
        elif isinstance(node, DictConfig):
            node = None if OmegaConf.is_interpolation(node, part) else node[part]
        else:
            node = node[int(part)]
    if is_new or override.is_delete() or key.startswith("hydra."):
        return None
    return _type_problem(cfg, typed, key, override, node)


def _holds(config: Any, key: str) -> bool:
    """Whether a file has a key, whatever its value is."""
    node = OmegaConf.to_container(config)
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _mistyped_addition(typed: str, part: str, node: Any, seen: list[str], names: list[str]) -> str | None:
    """The problem of a key that is added to a node of ours beside one with nearly the same name."""
    if not seen or seen[0] == "hydra" or "_target_" in names or not isinstance(node, DictConfig):
        return None
    near, prefix = near_miss(part, names), ".".join(seen)
    return None if near is None else f"{typed}: nothing reads {prefix}.{part}; did you mean {prefix}.{near}?"


def _no_such_key(typed: str, key: str, part: str, seen: list[str], names: list[str], options: OptionCheck) -> str:
    prefix = ".".join(seen)
    rest = key.removeprefix(f"{prefix}.") if prefix else key
    group = prefix.replace(".", "/") if prefix else "pipeline"  # pipelines bring nodes of the root
    if (prefix or "." in key) and group in options.groups and (owners := options.owners(group, rest)):
        which = "that" if len(owners) == 1 else "one of them"
        return f"{typed}: comes with {', '.join(owners)}; type {which} too, or leave it out"
    names = [name for name in names if name != "hydra" and not name.startswith("_")]
    near = near_miss(part, names if prefix else [*names, *options.groups])
    value = typed.partition("=")[2]
    if not prefix:
        hint = ""
        if near in options.groups and rest == part:
            close = near_miss(value, options.options(near)) or (value if value in options.options(near) else None)
            hint = f"did you mean {near}={close or '…'}? " if near else ""
        elif near:
            hint = f"did you mean {near}{rest.removeprefix(part)}? "
        keys = [name for name in names if name not in options.groups]
        groups = [group for group in options.groups if "/" not in group]
        return f"{typed}: no such group or key; {hint}groups are {', '.join(groups)}; keys are {', '.join(keys)}"
    hint = f"did you mean {prefix}.{near}{rest.removeprefix(part)}? " if near else ""
    if "key_env" in names and part.replace("_", "") in ("apikey", "key", "token"):
        hint = f"{prefix}.key_env names the environment variable that holds the key; "
    what = f"it has {', '.join(names)}" if names else "it has no keys"
    return f"{typed}: {prefix} has no key {part}; {hint}{what}; to add a key, write +{typed}"


def _type_problem(cfg: DictConfig, typed: str, key: str, override: Override, old: Any) -> str | None:
    """A value of another type than the one it replaces, where no constructor's signature says more."""
    new = override.value()
    parent = key.rpartition(".")[0]
    owner = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(owner, DictConfig) and "_target_" in owner:
        return None
    if isinstance(old, DictConfig):
        whole = isinstance(new, dict) or new is None
        return None if whole else f"{typed}: {key} is a group of keys; write {key}.<key>=…"
    if isinstance(new, str) and "${" in new:
        return None
    fits = new is None or type(new) is type(old) or (isinstance(old, float) and type(new) is int)
    if type(old) not in _TYPE_WORDS or fits or isinstance(old, str):
        return None
    return f"{typed}: must be {_TYPE_WORDS[type(old)]}, as {show(old)}"
