"""``rlaif-plugins``: what is installed, whether a component keeps its contract, and a package to start from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.errors import InstantiationException
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rlaif import registry
from rlaif.cli.messages import report_error
from rlaif.cli.new_plugin.package import KINDS, write_package
from rlaif.cli.pipes import ignore_closed_pipes
from rlaif.cli.plugin_checks import contract_results, find_component, split_name
from rlaif.cli.plugin_imports import import_problems
from rlaif.cli.threads import let_waiting_threads_sleep
from rlaif.conf_files import plugin_conf_dir
from rlaif.config.search_path import broken_yaml, hidden_options, shadowed_options
from rlaif.errors import PluginError, RlaifError
from rlaif.signatures import SignatureError, read_signature

COMMAND = "rlaif-plugins"


def main() -> NoReturn:
    """Entry point of the console command."""
    let_waiting_threads_sleep()
    ignore_closed_pipes()
    arguments = _parser().parse_args()
    try:
        if arguments.command == "list":
            sys.exit(list_components())
        if arguments.command == "new":
            sys.exit(new_package(arguments.kind, arguments.name))
        sys.exit(check_component(arguments.name, arguments.overrides))
    except (RlaifError, InstantiationException, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Installed components of rlaif and their contracts.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every component: group, name, package, version, target, status")
    checked = commands.add_parser("check", help="contract tests of a component")
    checked.add_argument(
        "name", help="a labeler's name, or GROUP=NAME, e.g. labeler/prompt=base, task=dialogue, stage=sft"
    )
    checked.add_argument("overrides", nargs="*", help="options for it, e.g. labeler.prefer=shorter")
    new = commands.add_parser("new", help="write a package with one component and a passing test into ./NAME")
    new.add_argument("kind", choices=KINDS)
    new.add_argument("name", help="name on the command line, in small letters, e.g. my_labeler")
    return parser


def new_package(kind: str, name: str) -> int:
    """Write a package into ``./NAME`` and say what to do with it.

    Returns:
        0.

    Raises:
        PluginError: The name cannot be used, or the folder exists.
    """
    steps = write_package(kind, name, Path.cwd())
    console = _console()
    console.print(Text(f"{name}/ holds the {kind} and its test. Next:"))
    for step in steps:
        console.print(Text(f"  {step}"), soft_wrap=True)
    return 0


def list_components() -> int:
    """Print every component.

    Returns:
        0, or 1 when one of them cannot be used.
    """
    found = registry.components()
    found += [component for group in registry.VALUE_GROUPS for component in registry.components(group)]
    claims = registry.conflicts(found)
    failed = import_problems(found)
    table = Table(title="rlaif components")
    for heading in ("group", "name", "package", "version", "target", "status"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("name", "package", "version"))
    problems = []
    for component in found:
        kind, status = (
            component.config_group or registry.VALUE_GROUPS.get(component.group, "configs"),
            "[green]ok[/green]",
        )
        if problem := _problem(component, claims) or failed.get(component):
            problems.append(f"{kind}={component.name} ({component.package} {component.version}): {problem}")
            status = "[red]broken[/red]"
        table.add_row(kind, component.name, component.package, component.version, component.target, status)
    _console().print(table)
    problems += [*shadowed_options(), *hidden_options().values(), *broken_yaml().values()]
    for line in problems:
        _console().print(Text(line, style="red"), soft_wrap=True)
    return 1 if problems else 0


def _console() -> Console:
    """A terminal's own width; wide enough for whole names where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _problem(component: registry.Component, claims: dict[tuple[str, str], list[registry.Component]]) -> str | None:
    """The reason why a component cannot be used, read from its source; None when there is none."""
    others = [claim.package for claim in claims.get((component.group, component.name), []) if claim != component]
    if others:
        return f"name also claimed by {', '.join(others)}"
    try:
        if component.group == registry.CONF_ENTRY_POINTS:
            plugin_conf_dir(component)
        elif component.config_group is not None:
            read_signature(component.dotted_target)
    except SyntaxError as error:
        return registry.cause(error)
    except (SignatureError, PluginError) as error:
        return str(error)
    return None


def check_component(name: str, overrides: Sequence[str] = ()) -> int:
    """Run the contract tests on a component, built from its default config.

    Args:
        name: A labeler's name, or ``GROUP=NAME``.
        overrides: Options for it, as ``rlaif-run`` takes them.

    Returns:
        0 when it keeps the contract, 1 when it does not or cannot be imported or constructed.

    Raises:
        PluginError: There is no such component, or its kind has no contract tests.
    """
    kind, option = split_name(name)
    component = find_component(kind, option)
    try:
        registry.load_component(component)
        results = contract_results(kind, option, overrides)
    except (PluginError, InstantiationException) as error:
        if report_error(COMMAND, error) is None:
            raise
        return 1
    table = Table(title=f"{kind}={option} ({component.package} {component.version})")
    for heading in ("contract", "result", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        table.add_row(
            result.name, "[green]passed[/green]" if result.passed else "[red]failed[/red]", escape(result.detail)
        )
    _console().print(table)
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    main()
