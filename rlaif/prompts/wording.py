"""The words of judge prompts: one TOML file per task, read once and hashed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

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


@cache
def load_templates(task_name: str) -> TaskTemplates:
    """Read the templates of a task.

    Raises:
        ConfigError: No template file for this task exists.
    """
    folder = files("rlaif.prompts") / "templates"
    path = folder / f"{task_name}.toml"
    if not path.is_file():
        known = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
        raise ConfigError(f"labeler.prompt: no judge templates for task {task_name!r}; there are {', '.join(known)}")
    raw = path.read_text("utf-8")
    values: Mapping[str, object] = tomllib.loads(raw)
    words = {key: value.strip("\n") if isinstance(value, str) else value for key, value in values.items()}
    exemplars = tuple(Exemplar(**entry) for entry in words.pop("exemplars", ()))  # type: ignore[attr-defined]
    return TaskTemplates(**words, exemplars=exemplars, template_id=content_id(raw))  # type: ignore[arg-type]
