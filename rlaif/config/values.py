"""Problems of a composed config: its keys and values are compared with the constructors that will get them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif.near_miss import near_miss
from rlaif.signatures import Parameter, SignatureError, read_signature

_WHOLE = re.compile(r"\$\{([\w.]+)\}")
INSTANTIATE_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def show(value: Any) -> str:
    """A value as it is typed on the command line.

    >>> show([1, None, True])
    '[1,null,true]'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(show(item) for item in value) + "]"
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    return str(value)


def value_problems(cfg: DictConfig) -> list[str]:
    """Everything wrong with the values of a composed config.

    Args:
        cfg: Without the ``hydra`` node.

    Returns:
        One line per missing value, broken interpolation, or key or value that a constructor does not take.
    """
    broken = dict(_broken_leaves(cfg))
    problems = list(broken.values())
    for path, node in component_nodes(cfg):
        problems += _component_problems(path, node, skip=set(broken))
    return problems


def component_nodes(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every node with a ``_target_``, with its dotted path."""
    if "_target_" in cfg:
        yield prefix, cfg
    for key in cfg:
        try:
            child = cfg._get_node(key)
        except OmegaConfBaseException:
            continue
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from component_nodes(child, _join(prefix, key))


def _join(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _broken_leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path, problem) of every value that is missing or does not resolve."""
    keys: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        path = _join(prefix, key)
        if OmegaConf.is_missing(node, key):
            yield path, f"{path}: needs a value; add {path}=…"
            continue
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            yield path, f"{path}: {str(error).splitlines()[0]}"
            continue
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_interpolation(node, key):
            yield from _broken_leaves(value, path)


def _component_problems(path: str, node: DictConfig, skip: set[str]) -> list[str]:
    target = str(node["_target_"])
    try:
        signature = read_signature(target)
    except (SignatureError, SyntaxError) as error:
        return [f"{_join(path, '_target_')}={target}: cannot be used: {error}"]
    problems = []
    for key in node:
        where = _join(path, key)
        if key in INSTANTIATE_KEYS or where in skip:
            continue
        value = node[key]
        plain = OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
        parameter = signature.parameters.get(str(key))
        if parameter is None:
            if not signature.accepts_any:
                problems.append(_unknown_key(where, str(key), plain, target, list(signature.parameters)))
        elif (problem := parameter_problem(where, plain, parameter, target)) is not None:
            problems.append(_as_typed(problem, where, plain, node._get_node(key)))
    return problems


def _as_typed(problem: str, where: str, value: Any, node: Any) -> str:
    """A problem under the option that the value comes from, where the configuration takes it from another."""
    source = _WHOLE.fullmatch(str(node._value()))
    if source is None:
        return problem
    return f"{source[1]}={show(value)}: {where}, which takes it, {problem.partition(': ')[2]}"


def parameter_problem(option: str, value: Any, parameter: Parameter, target: str) -> str | None:
    """Why a constructor does not take a value for one of its parameters; None when it does.

    Args:
        option: The value's option, as a person types it.
        value: Plain Python.
        parameter: From the constructor's signature.
        target: Dotted path of the constructor.
    """
    kind = parameter.kind
    if not kind.accepts(value):
        options = [str(option) for option in kind.literals]
        near = near_miss(str(value), options)
        hint = f"; did you mean {near}?" if near else ""
        hint = hint or (f": {target.rpartition('.')[2]} goes without" if str(kind) == "null" else "")
        return f"{option}={show(value)}: must be {kind}{hint}"
    if not kind.is_out_of_bounds(value):
        return None
    return f"{option}={show(value)}: {kind.bounds}" + (", or null" if kind.nullable else "")


def _unknown_key(where: str, key: str, value: Any, target: str, allowed: list[str]) -> str:
    near = near_miss(key, allowed)
    hint = f"did you mean {where.removesuffix(key)}{near}? " if near else ""
    takes = ", ".join(allowed) or "nothing"
    typed = where if isinstance(value, dict) else f"{where}={show(value)}"
    return f"{typed}: {target.rpartition('.')[2]} does not take {key}; {hint}it takes {takes}"
