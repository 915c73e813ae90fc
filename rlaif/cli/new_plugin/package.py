"""Writes a complete package with one component, its README and a passing test."""

from __future__ import annotations

import re
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import NamedTuple

from rlaif import registry
from rlaif.conf_files import conf_dir, option_files
from rlaif.errors import PluginError

TEMPLATES = Path(__file__).parent / "templates"


class Template(NamedTuple):
    """One kind of component."""

    group: str
    """Entry-point group."""
    option: str
    """Config group on the command line."""
    run: str
    """A command that uses it."""


KINDS = {
    "labeler": Template("rlaif.labelers", "labeler", "rlaif-run pipeline=scorecard labeler=@NAME@"),
    "prompt": Template("rlaif.prompts", "labeler/prompt", "rlaif-run pipeline=scorecard labeler/prompt=@NAME@"),
    "engine": Template("rlaif.engines", "labeler/engine", "rlaif-run pipeline=scorecard labeler/engine=@NAME@"),
    "task": Template(
        "rlaif.tasks",
        "task",
        "rlaif-run task=@NAME@ data=files data.path=PAIRS.jsonl labeler=human evaluation.judge=null",
    ),
    "reward": Template("rlaif.rewards", "reward", "rlaif-run pipeline=direct reward=@NAME@"),
    "objective": Template("rlaif.objectives", "policy/objective", "rlaif-run policy/objective=@NAME@"),
    "stage": Template(
        "rlaif.stages",
        "stage",
        "rlaif-run 'pipeline.stages=[data,sft,samples,labels,@NAME@,reward_model,policy,evaluation,report]'",
    ),
}
"""Templates of ``rlaif-plugins new`` by the word on the command line."""


def write_package(kind: str, name: str, directory: Path) -> list[str]:
    """Write the package ``directory/NAME``.

    Args:
        kind: A key of :data:`KINDS`.
        name: Name of the option and of the module, in small letters.
        directory: Where the new folder is made.

    Returns:
        Commands to go on with.

    Raises:
        PluginError: The name cannot be used, or the folder exists.
    """
    target = directory / name
    template = KINDS[kind]
    _check_name(name, target, template)
    commands = [f"pip install -e {name}", f"rlaif-plugins check {template.option}={name}", template.run]
    words = {
        "KIND": kind,
        "NAME": name,
        "DIST": name.replace("_", "-"),
        "CLASS": "".join(word.capitalize() for word in name.split("_")),
        "GROUP": template.group,
        "OPTION": template.option,
        "RUN": template.run.replace("@NAME@", name),
    }
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"src/{name}/__init__.py": f"{kind}.py.txt",
        f"tests/test_{name}.py": f"test_{kind}.py.txt",
    }
    for path, source in files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled((TEMPLATES / source).read_text(encoding="utf-8"), words), encoding="utf-8")
    return [_filled(command, words) for command in commands]


def _check_name(name: str, target: Path, template: Template) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or iskeyword(name):
        raise PluginError(
            f"{name}: a name is small letters, digits and single underscores, and no word of Python, e.g. my_labeler"
        )
    if target.exists():
        raise PluginError(f"{name}: {target} exists already; take another name, or another directory")
    installed = {component.name for component in registry.components(template.group)}
    if name in installed or f"{template.option}/{name}" in option_files(conf_dir()):
        raise PluginError(f"{name}: {template.option}={name} is there already; take another name")
    if find_spec(name) is not None:
        raise PluginError(f"{name}: a module of this name is installed already; take another name")


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@([A-Z]+)@", lambda found: words[found.group(1)], text)
