"""The words of judge prompts: one TOML file per task, read once and hashed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

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
    """One of :data:`ANSWERS`: what the ending asks for (the worse one where the task asks for it)."""


@dataclass(frozen=True, kw_only=True)
class TaskTemplates:
    """All judge wording of one task."""

    asks_for_worse: bool
    """True where ``choose`` asks which response is worse."""
    base: str
    """Preamble of one sentence."""
    detailed: str
    """Preamble that names the axes, a line each; its last line says the role."""
    choose: str
    """Follows the preamble where the answer comes at once."""
    explain: str
    """Follows the preamble where a rationale comes first."""
    rationale: str
    """Beginning of the rationale, after the sample."""
    ending: str
    """Beginning of the answer, "1" or "2"."""
    rating: str
    """Asks for a score of one response."""
    rating_explain: str
    """Asks for a rationale about one response, and then its score."""
    rating_rationale: str
    """Beginning of that rationale."""
    binary: str
    """Asks whether one response is good or bad."""
    ranking: str
    """Asks for the order of several responses."""
    exemplars: tuple[Exemplar, ...]
    template_id: str
    """Content hash of the file, and of the built-in one where it gives the rest: one changed byte is another prompt."""

    @property
    def axes(self) -> str:
        """The detailed preamble without its last line, which names the role and the kind of judgement."""
        return self.detailed.rpartition("\n")[0]


ANSWERS = ("1", "2")
BUILT_IN = "templates"
_FLAG = "asks_for_worse"
_ASKING = ("choose", "explain", "ending")
"""Words that say which response the answer names."""


def template_folder(folder: str | None) -> Traversable:
    """The directory of template files: the user's, or the built-in one.

    Raises:
        ConfigError: The folder does not exist or holds no ``.toml`` file.
    """
    if folder is None:
        return files("rlaif.prompts") / BUILT_IN
    path = Path(folder).expanduser()
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
        folder: A folder of one's own, whose file may leave out keys that the built-in one of that task has; None takes
            the built-in one.

    Raises:
        ConfigError: There is no file for this task, or it is not TOML, or it lacks a template or has an unknown one.
    """
    place = template_folder(folder)
    path = place / f"{task_name}.toml"
    if not path.is_file():
        raise ConfigError(
            f"labeler.prompt: no judge templates for task {task_name!r} in {place}; there are "
            f"{', '.join(known_tasks(place))}; write {task_name}.toml into a folder of yours and type "
            "labeler.prompt.templates=FOLDER, or take a labeler that asks no model, e.g. labeler=human"
        )
    try:
        raw = path.read_text("utf-8-sig")
        given: dict[str, Any] = tomllib.loads(raw)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"labeler.prompt.templates: {path} is not TOML in UTF-8 ({error})") from error
    built_in = template_folder(None) / path.name
    raws, inherited = [raw], {}
    if folder is not None and built_in.is_file():
        rest = built_in.read_text("utf-8")
        inherited = _inherited(str(path), given, tomllib.loads(rest))
        raws += [rest] if inherited else []
    words: dict[str, Any] = inherited | given
    words |= {key: value.strip("\n") for key, value in words.items() if isinstance(value, str)}
    entries = words.pop("exemplars", ())
    _check_keys(str(path), words, TaskTemplates, besides=("exemplars", "template_id"))
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ConfigError(f"labeler.prompt.templates: {path}: exemplars must be tables, each begun by [[exemplars]]")
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, exemplar {number}"
        _check_keys(where, entry, Exemplar)
        if entry["answer"] not in ANSWERS:
            raise ConfigError(f"labeler.prompt.templates: {where}: answer must be {' or '.join(ANSWERS)}, as of judges")
    return TaskTemplates(
        **words, exemplars=tuple(Exemplar(**entry) for entry in entries), template_id=content_id(*raws)
    )


def _inherited(place: str, given: Mapping[str, Any], built_in: Mapping[str, Any]) -> dict[str, Any]:
    """The built-in values of keys that a file leaves out, without those that ask for the other response.

    Raises:
        ConfigError: The file changes a question for the worse response and leaves ``asks_for_worse`` out.
    """
    asked = [key for key in _ASKING if key in given]
    if built_in[_FLAG] and _FLAG not in given and asked:
        raise ConfigError(
            f"labeler.prompt.templates: {place} changes {', '.join(asked)}, where the built-in words ask for the worse "
            "response; add asks_for_worse = true if yours do too, else asks_for_worse = false"
        )
    rest = {key: value for key, value in built_in.items() if key not in given}
    if given.get(_FLAG, built_in[_FLAG]) != built_in[_FLAG]:
        rest = {key: value for key, value in rest.items() if key not in (*_ASKING, "exemplars")}
    return rest


def _check_keys(place: str, given: Mapping[str, object], record: type, *, besides: Sequence[str] = ()) -> None:
    wanted = [field.name for field in fields(record) if field.name not in besides]
    problems = [f"labeler.prompt.templates: {place} lacks {name}" for name in wanted if name not in given]
    problems += [
        f"labeler.prompt.templates: {place} has an unknown key {name}; there are {', '.join(wanted)}"
        for name in given
        if name not in wanted
    ]
    problems += [
        f"labeler.prompt.templates: {place}: {name} must be {'true or false' if name == _FLAG else 'a text'}"
        for name, value in given.items()
        if name in wanted and not isinstance(value, bool if name == _FLAG else str)
    ]
    if problems:
        raise ConfigError(problems)
