"""The words of judge prompts: one TOML file per task, read once and hashed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from rlaif.errors import ConfigError
from rlaif.types import content_id


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A solved example inside a prompt."""

    context: str
    first: str
    second: str
    rationale: str
    answer: str
    """``"1"`` or ``"2"``: what the ending asks for (the worse one where the task asks for it)."""


@dataclass(frozen=True, kw_only=True)
class TaskTemplates:
    """All judge wording of one task."""

    asks_for_worse: bool
    base: str
    detailed: str
    choose: str
    explain: str
    rationale: str
    ending: str
    rating: str
    rating_explain: str
    rating_rationale: str
    binary: str
    ranking: str
    exemplars: tuple[Exemplar, ...]
    template_id: str
    """Content hash of the file: one changed byte is another prompt."""

    @property
    def axes(self) -> str:
        """The detailed preamble without its last line, which names the role and the kind of judgement."""
        return self.detailed.rpartition("\n")[0]


BUILT_IN = "templates"


def template_folder(folder: str | None) -> Traversable:
    """Where template files are read from: a folder of one's own, or the built-in one.

    Raises:
        ConfigError: The folder does not exist or holds no ``.toml`` file.
    """
    if folder is None:
        return files("rlaif.prompts") / BUILT_IN
    path = Path(folder)
    if not path.is_dir() or not known_tasks(path):
        raise ConfigError(f"labeler.prompt.templates={folder}: must be a folder with a TOML file per task")
    return path


def known_tasks(folder: Traversable) -> list[str]:
    """Tasks that a folder has templates for."""
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load_templates(task_name: str, folder: str | None = None) -> TaskTemplates:
    """Read the templates of a task.

    Args:
        task_name: The file's name without ``.toml``.
        folder: A folder of one's own; None takes the built-in one.

    Raises:
        ConfigError: There is no file for this task, or it is not TOML, or it lacks a template or has an unknown one.
    """
    place = template_folder(folder)
    path = place / f"{task_name}.toml"
    if not path.is_file():
        raise ConfigError(
            f"labeler.prompt: no judge templates for task {task_name!r} in {place}; there are "
            f"{', '.join(known_tasks(place))}"
        )
    raw = path.read_text("utf-8")
    try:
        values: Mapping[str, object] = tomllib.loads(raw)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"labeler.prompt.templates: {path} is not TOML ({error})") from error
    words = {key: value.strip("\n") if isinstance(value, str) else value for key, value in values.items()}
    entries = words.pop("exemplars", ())
    _check_keys(str(path), words, TaskTemplates, besides=("exemplars", "template_id"))
    for number, entry in enumerate(entries, start=1):  # type: ignore[arg-type, var-annotated]
        _check_keys(f"{path}, exemplar {number}", entry, Exemplar)
    exemplars = tuple(Exemplar(**entry) for entry in entries)  # type: ignore[attr-defined]
    return TaskTemplates(**words, exemplars=exemplars, template_id=content_id(raw))  # type: ignore[arg-type]


def _check_keys(place: str, given: Mapping[str, object], record: type, *, besides: Sequence[str] = ()) -> None:
    wanted = [field.name for field in fields(record) if field.name not in besides]
    problems = [f"labeler.prompt.templates: {place} lacks {name}" for name in wanted if name not in given]
    problems += [
        f"labeler.prompt.templates: {place} has an unknown key {name}; there are {', '.join(wanted)}"
        for name in given
        if name not in wanted
    ]
    if problems:
        raise ConfigError(problems)
