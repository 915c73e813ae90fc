"""Checks of files, model names and directories in a config, before anything is loaded."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif import registry
from rlaif.artifacts.links import lost_target
from rlaif.config.values import component_nodes
from rlaif.engines.openai.options import KEY_ENV
from rlaif.models.names import POCKET, POCKET_NAMES, pocket_problem
from rlaif.near_miss import near_miss

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_STEP_NAME = re.compile(r"stage:\w+")
_RUN = "run:"


def place_problems(cfg: DictConfig) -> list[str]:
    """Inputs of a composed config that do not exist.

    Args:
        cfg: Without the ``hydra`` node; values that do not resolve are passed over.
    """
    engines = {component.dotted_target for component in registry.components("rlaif.engines")}
    own = f"{registry.OWN_PACKAGE}."  # what path, model and templates mean to other packages is theirs to check
    problems = []
    for path, node in component_nodes(cfg):
        target = str(OmegaConf.select(node, "_target_"))
        values = {str(key): _value(node, str(key)) for key in node}
        variable = values.get("key_env")
        if isinstance(variable, str) and KEY_ENV.fullmatch(variable) and variable not in os.environ:
            problems.append(f"{path}.key_env={variable}: this environment variable is not set; export it")
        if not target.startswith(own):
            continue
        for file in _paths(values.get("path")) if not target.endswith("HubSource") else ():
            problems += _input_problems(f"{path}.path", file)
        if isinstance(folder := values.get("templates"), str):
            problems += _input_problems(f"{path}.templates", folder)
        is_local = target in engines and "url" not in values
        key = "name" if target.endswith(".ModelSpec") else "model" if is_local else None
        is_made = values.get("package") is not None  # the folder is written when the model is first loaded
        if key is not None and not is_made and isinstance(name := values.get(key), str):
            problems += model_name_problems(f"{path}.{key}", name)
    return problems


def _value(node: DictConfig, key: str) -> object:
    try:
        return OmegaConf.select(node, key)
    except OmegaConfBaseException:
        return None  # told with the interpolation


def _home_problems(option: str, value: str) -> list[str]:
    """The problem of a path below the home directory of somebody who has none."""
    try:
        Path(value).expanduser()
    except RuntimeError:
        return [f"{option}={value}: there is no home directory {Path(value).parts[0]}; write the path out"]
    return []


def _paths(value: object) -> list[str]:
    """The paths of an option that takes one or a list."""
    items = list(value) if isinstance(value, ListConfig) else [value]
    return [item for item in items if isinstance(item, str)]


def _input_problems(option: str, value: str) -> list[str]:
    if "://" in value:
        return [f"{option}={value}: is an address, and files are read from this machine alone; download it first"]
    if problems := _home_problems(option, value):
        return problems
    path = Path(value).expanduser()
    if any(parent.is_file() for parent in path.parents) or (glob.has_magic(value) and glob.glob(str(path))):
        return []  # a part of a file, a pattern of files: the reader tells what is wrong with them
    if path.exists():
        return [] if os.access(path, os.R_OK) else [f"{option}={value}: cannot be read; check its permissions"]
    parent = path.parent
    if (told := lost_target(path) or lost_target(parent)) is not None:
        return [f"{option}={value}: {told}"]
    if not parent.is_dir():
        return [f"{option}={value}: there is no directory {parent.absolute()}"]
    near = near_miss(path.name, [item.name for item in parent.iterdir()])
    hint = f"; did you mean {path.with_name(near)}?" if near else f"; {parent.absolute()} holds no such file"
    return [f"{option}={value}: no such file{hint}"]


def model_name_problems(option: str, name: str) -> list[str]:
    """Problems of a model's name that can be found without a network.

    >>> model_name_problems("model.name", "pocket:M")
    ['model.name=pocket:M: no such pocket model; allowed are pocket:XS, pocket:S, pocket:S2, pocket:L, pocket:judge']
    """
    if name.startswith(POCKET):
        problem = pocket_problem(option, name)
        return [] if problem is None else [problem]
    if _STEP_NAME.fullmatch(name):
        return []  # the pipeline knows its steps
    if problems := _home_problems(option, name.removeprefix(_RUN)):
        return problems
    if (told := lost_target(Path(name.removeprefix(_RUN)).expanduser())) is not None:
        return [f"{option}={name}: {told}"]
    if name.startswith(_RUN):
        name = name.removeprefix(_RUN)
        if not Path(name).expanduser().is_dir():
            return [f"{option}={_RUN}{name}: no such step of a run; write run:DIR/step, e.g. run:outputs/mine/policy"]
    path = Path(name).expanduser()
    if path.is_dir():
        is_model = (path / "config.json").is_file()
        return (
            [] if is_model else [f"{option}={name}: this directory holds no config.json: it is no Hugging Face model"]
        )
    if _HUB_NAME.fullmatch(name):
        return []
    return [
        f"{option}={name}: no such directory; allowed are {POCKET_NAMES}, the directory of a Hugging Face model, "
        "or a hub name org/name"
    ]


def directory_problems(option: str, value: str) -> list[str]:
    """Problems of creating and writing a directory; what the check creates is removed.

    Args:
        option: The option as typed, e.g. ``hydra.run.dir``.
        value: The directory.
    """
    if not value:
        return [f"{option}: is empty; name a directory, or unset the environment variable RLAIF_STORE"]
    if problems := _home_problems(option, value):
        return problems
    if value.startswith("~") and option.startswith("hydra."):
        return [f"{option}={value}: Hydra would make a directory of the name ~; type {Path(value).expanduser()}"]
    path = Path(value).expanduser().absolute()
    existing = next(candidate for candidate in (path, *path.parents) if candidate.exists())
    if not existing.is_dir():
        return [f"{option}={value}: {existing} is a file, not a directory"]
    try:
        with tempfile.TemporaryFile(dir=existing):
            return []
    except OSError as error:
        return [f"{option}={value}: cannot write in {existing} ({error.strerror}); choose another with {option}=…"]
