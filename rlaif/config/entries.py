"""The list ``pipeline.stages`` as typed: names, steps with options, and rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlaif.errors import ConfigError

_STEP_KEYS = ("stage", "name", "from", "with", "if_needed")
_REPEAT_KEYS = ("repeat", "stages")
_EXAMPLE = "write a name, {stage: sft, name: weak, from: {data: weak_data}} or {repeat: 3, stages: [samples, labels]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step of a pipeline, before its stage is made."""

    stage: str
    """Registered name of the stage."""
    name: str
    """Name of the step: in the store, on the terminal, and for the ``from`` of later steps."""
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role to names of steps, ``run:DIR/step`` or folders (key ``from``). The name of a stage stands for every role
    that a step of that stage can fill: ``from: {data: weak_data}``."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Configuration values that hold for this step alone (key ``with``), e.g. ``{"data.teacher": "weak"}``."""
    if_needed: bool = False
    """True for a step that is left out when no later step needs it."""


def parse_entries(stages: Sequence[Any]) -> list[Entry]:
    """Read the list ``pipeline.stages``.

    Args:
        stages: Names, dictionaries with the keys ``stage name from with if_needed``, or rounds: ``repeat`` and
            ``stages``. Steps of round n get ``_n`` behind their names.

    Returns:
        The steps in order, rounds unrolled.

    Raises:
        ConfigError: With every entry that cannot be read, and names that are used twice.

    >>> [entry.name for entry in parse_entries(["sft", {"repeat": 2, "stages": ["samples", "labels"]}])]
    ['sft', 'samples_1', 'labels_1', 'samples_2', 'labels_2']
    """
    problems: list[str] = []
    if isinstance(stages, str) or not isinstance(stages, Sequence):
        raise ConfigError(f"pipeline.stages={stages}: must be a list; {_EXAMPLE}")
    entries = list(_unrolled(stages, problems))
    if not stages:
        problems.append("pipeline.stages=[]: must hold at least one stage")
    names = [entry.name for entry in entries]
    problems += [
        f"pipeline.stages: two steps are named {name}; give one of them a name: {{stage: …, name: …}}"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise ConfigError(problems)
    return entries


def _unrolled(stages: Sequence[Any], problems: list[str]) -> Iterator[Entry]:
    for item in stages:
        if isinstance(item, Mapping) and "repeat" in item:
            yield from _rounds(item, problems)
        elif isinstance(item, str):
            yield Entry(stage=item, name=item)
        elif isinstance(item, Mapping) and isinstance(item.get("stage"), str):
            yield _step(item, problems)
        else:
            problems.append(f"pipeline.stages: {item} cannot be read as a step; {_EXAMPLE}")


def _step(item: Mapping[str, Any], problems: list[str]) -> Entry:
    name = str(item.get("name") or item["stage"])
    where = f"pipeline.stages: step {name}"
    unknown = [str(key) for key in item if key not in _STEP_KEYS]
    problems += [f"{where} has no key {key}; keys are {', '.join(_STEP_KEYS)}" for key in unknown]
    sources, changes = item.get("from") or {}, item.get("with") or {}
    for key, value in (("from", sources), ("with", changes)):
        if not isinstance(value, Mapping):
            problems.append(f"{where}: {key}={value}: must be a dictionary")
            sources, changes = {}, {}
    if not all(character.isalnum() or character == "_" for character in name):
        problems.append(f"{where}: a name holds letters, digits and underscores only")
    return Entry(
        stage=item["stage"],
        name=name,
        sources={str(role): _names(source) for role, source in sources.items()},
        changes={str(key): value for key, value in changes.items()},
        if_needed=bool(item.get("if_needed", False)),
    )


def _names(source: object) -> tuple[str, ...]:
    return tuple(map(str, source)) if isinstance(source, list | tuple) else (str(source),)


def _rounds(item: Mapping[str, Any], problems: list[str]) -> Iterator[Entry]:
    count, stages = item["repeat"], item.get("stages")
    unknown = [str(key) for key in item if key not in _REPEAT_KEYS]
    problems += [f"pipeline.stages: repeat has no key {key}; keys are {', '.join(_REPEAT_KEYS)}" for key in unknown]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        problems.append(f"pipeline.stages: repeat={count}: must be a whole number of at least 1")
        count = 1
    if not isinstance(stages, list | tuple) or not stages:
        problems.append("pipeline.stages: repeat needs stages: a list of at least one stage")
        return
    inner = list(_unrolled(stages, problems))
    own = {entry.name for entry in inner}
    for number in range(1, count + 1):
        for entry in inner:
            sources = {
                role: tuple(f"{name}_{number}" if name in own else name for name in names)
                for role, names in entry.sources.items()
            }
            yield replace(entry, name=f"{entry.name}_{number}", sources=sources)
