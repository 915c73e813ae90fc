"""``rlaif-plugins``: what is installed, and whether a labeler keeps its contract."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from rlaif import registry
from rlaif.cli.messages import report_error
from rlaif.config.check import compose
from rlaif.config.paths import plugin_conf_dir
from rlaif.config.search_path import shadowed_options
from rlaif.config.signatures import SignatureError, read_signature
from rlaif.errors import PluginError, RlaifError

COMMAND = "rlaif-plugins"


def main() -> NoReturn:
    """Entry point of the console command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Installed components of rlaif and their contracts.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every component: group, name, package, version, target, status")
    checked = commands.add_parser("check", help="contract tests of a labeler")
    checked.add_argument("name", help="the labeler, as in labeler=NAME")
    checked.add_argument("overrides", nargs="*", help="options for it, e.g. labeler.prefer=shorter")
    arguments = parser.parse_args()
    try:
        sys.exit(
            list_components() if arguments.command == "list" else check_labeler(arguments.name, arguments.overrides)
        )
    except (RlaifError, InstantiationException, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)


def list_components() -> int:
    """Print every component.

    Returns:
        0, or 1 when one of them cannot be used.
    """
    found = registry.components()
    claims = registry.conflicts(found)
    table = Table(title="rlaif components")
    for heading in ("group", "name", "package", "version", "target", "status"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("name", "package", "version"))
    statuses = []
    for component in found:
        problem = _problem(component, claims)
        statuses.append(problem)
        group = component.config_group or "configs"
        status = f"[red]{problem}[/red]" if problem else "[green]ok[/green]"
        table.add_row(group, component.name, component.package, component.version, component.target, status)
    _console().print(table)
    hidden = shadowed_options()
    for line in hidden:
        _console().print(f"[red]{line}[/red]", highlight=False)
    return 1 if hidden or any(statuses) else 0


def _console() -> Console:
    """A terminal's own width; wide enough for whole names where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _problem(component: registry.Component, claims: dict[tuple[str, str], list[registry.Component]]) -> str | None:
    """Why a component cannot be used; its source is read, not imported."""
    others = [claim.package for claim in claims.get((component.group, component.name), []) if claim != component]
    if others:
        return f"name also claimed by {', '.join(others)}"
    try:
        if component.config_group is None:
            plugin_conf_dir(component)
        else:
            read_signature(component.dotted_target)
    except (SignatureError, SyntaxError, PluginError) as error:
        return f"broken: {error}"
    return None


def check_labeler(name: str, overrides: Sequence[str] = ()) -> int:
    """Run the contract tests on a labeler, built from its default config.

    Returns:
        0 when it keeps the contract, 1 when it does not.
    """
    component = registry.find("rlaif.labelers", name)
    registry.load_component(component)
    config = compose([f"labeler={name}", *overrides])
    from rlaif.testing.conformance import check_labeler as contract_tests  # imports torch

    results = contract_tests(instantiate(config.labeler))
    table = Table(title=f"labeler={name} ({component.package} {component.version})")
    for heading in ("contract", "result", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        table.add_row(result.name, "[green]passed[/green]" if result.passed else "[red]failed[/red]", result.detail)
    _console().print(table)
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    main()
