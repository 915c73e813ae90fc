"""Imports plugins in processes of their own: one that ends its process or crashes cannot end the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rlaif import registry
from rlaif.errors import PluginError

TIMEOUT_S = 300


def import_problems(components: Sequence[registry.Component]) -> dict[registry.Component, str]:
    """Why components cannot be imported; one child process per package tries.

    Args:
        components: Of plugins; ours are not tried.
    """
    by_package: defaultdict[str, list[registry.Component]] = defaultdict(list)
    for component in components:
        if component.package != registry.OWN_PACKAGE and component.group != registry.CONF_ENTRY_POINTS:
            by_package[component.package].append(component)
    problems: dict[registry.Component, str] = {}
    for candidates in by_package.values():
        problems.update(_problems_of_package(candidates))
    return problems


def _problems_of_package(components: Sequence[registry.Component]) -> dict[registry.Component, str]:
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "results.jsonl"
        results.touch()
        names = json.dumps([[component.group, component.name, component.target] for component in components])
        command = [sys.executable, "-m", "rlaif.cli.plugin_imports", str(results), names]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            code = subprocess.run(command, capture_output=True, env=environment, timeout=TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            code = None
        told = [json.loads(line) for line in results.read_text().splitlines()]
    by_target = {(group, name, target): problem for group, name, target, problem in told}
    problems = {}
    for component in components:
        key = (component.group, component.name, component.target)
        ended = (
            f"importing {component.target} took more than {TIMEOUT_S} s"
            if code is None
            else (f"importing {component.target} ended the process with exit code {code}")
        )
        if (problem := by_target.get(key, ended)) is not None:
            problems[component] = problem
    return problems


def main() -> None:
    """The child process: import each component and write what is wrong, one JSON line each."""
    results, names = Path(sys.argv[1]), json.loads(sys.argv[2])
    for group, name, target in names:
        found = [item for item in registry.components(group) if (item.name, item.target) == (name, target)]
        problem = None
        try:
            registry.load_component(found[0])
        except PluginError as error:
            problem = str(error).partition(" is broken: ")[2] or str(error)
        with results.open("a") as file:
            file.write(json.dumps([group, name, target, problem]) + "\n")


if __name__ == "__main__":
    main()
