"""The fingerprint of a step: its constructor arguments, its inputs, its code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlaif.artifacts import code_digest, fingerprint
from rlaif.artifacts.identity import stable_identity
from rlaif.pipeline.compose import Arguments, construct, leaves
from rlaif.pipeline.graph import STEP
from rlaif.signatures import read_signature

LIBRARIES = frozenset({"torch", "transformers", "lightning"})
"""Packages whose code does not count: their versions are provenance."""


def step_fingerprint(
    stage: str, arguments: Arguments, *, seed: int, inputs: Mapping[str, object], further: Mapping[str, object]
) -> str:
    """Hash everything that a step's result depends on.

    Args:
        stage: Registered name of the stage.
        arguments: Of its constructor; those annotated ``Runtime`` do not count.
        seed: The step's seed.
        inputs: Role to the fingerprints or content hashes of what it reads.
        further: What :meth:`rlaif.pipeline.stage.Stage.identity` adds.

    Returns:
        20 hexadecimal digits.
    """
    left_out = runtime_parameters(arguments.target)
    options = {
        name: argument_identity(value, arguments.option(name))
        for name, value in arguments.resolved({}).items()
        if name not in left_out
    }
    document = {"seed": seed, "options": options, "inputs": dict(inputs), "further": dict(further)}
    return fingerprint(stage, document, [], [code_digest([_module(arguments.target)])])


def argument_identity(value: Any, option: str) -> Any:
    """The part of a constructor argument in a fingerprint: a plain value itself, a component's identity and options.

    An identity covers what is in the component; where it has none, the components in it count by theirs. A component
    that names a step of this run (``stage:sft``) has no identity of its own before that step has run: its
    options count, and the step's fingerprint is among the inputs.

    Args:
        value: Plain values; a dictionary with ``_target_`` is a component.
        option: Its place in the configuration, as typed.

    Raises:
        PluginError: A component's identity is another each time it is made.
    """
    if isinstance(value, dict) and "_target_" in value:
        names_step = any(isinstance(leaf, str) and leaf.startswith(STEP) for _, leaf in leaves(value, ""))
        own = None if names_step or value.get("_partial_") else stable_identity(lambda: construct(value), option)
        return {"identity": own, **_component_options(value, option if own is None else None)}
    if isinstance(value, dict):
        return {str(key): argument_identity(child, f"{option}.{key}") for key, child in value.items()}
    if isinstance(value, list):
        return [argument_identity(child, option) for child in value]
    return value


def _component_options(value: Any, option: str | None) -> Any:
    """Options and code of a component and of those in it; what they are constructed with at run time does not count.

    Args:
        value: The component, or what is in one.
        option: Its place, where the components in it count by their identities, too; else None.
    """
    if isinstance(value, list):
        return [_component_options(child, option) for child in value]
    if not isinstance(value, dict):
        return value
    target = value.get("_target_")
    if not isinstance(target, str):
        return {str(key): _component_options(child, option) for key, child in value.items()}
    left_out = runtime_parameters(target)
    options = {}
    for key, child in value.items():
        place = None if option is None else f"{option}.{key}"
        if key not in left_out:
            options[str(key)] = _component_options(child, None) if place is None else argument_identity(child, place)
    is_library = target.partition(".")[0] in LIBRARIES
    return {"options": options, "code": None if is_library else code_digest([_module(target)])}


def runtime_parameters(target: str) -> set[str]:
    """Names of the constructor parameters that are annotated ``Runtime``."""
    return {name for name, parameter in read_signature(target).parameters.items() if parameter.runtime}


def directory_digest(path: Path) -> str:
    """Content hash of a directory: names and contents of its files, but for the times in ``meta.json``."""
    digest = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file() and entry.name != "meta.json"):
        with file.open("rb") as content:
            digest.update(
                f"{file.relative_to(path).as_posix()}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()[:20]


def _module(target: str) -> str:
    return target.rpartition(".")[0]
