"""``rlaif-plugins``: what is installed, and whether a labeler, prompt strategy or engine keeps its contract."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rlaif import registry
from rlaif.cli.messages import report_error
from rlaif.config.check import compose
from rlaif.config.paths import conf_dir, option_files, plugin_conf_dir
from rlaif.config.search_path import shadowed_options
from rlaif.errors import PluginError, RlaifError
from rlaif.signatures import SignatureError, read_signature

COMMAND = "rlaif-plugins"


class Contract(NamedTuple):
    """Where the contract tests of a kind of component are."""

    module: str
    function: str


CONTRACTS = {
    "labeler": Contract("rlaif.testing.conformance", "check_labeler"),
    "labeler/prompt": Contract("rlaif.testing.prompt_contract", "check_prompts"),
    "labeler/engine": Contract("rlaif.testing.engine_contract", "check_engine"),
}


def main() -> NoReturn:
    """Entry point of the console command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Installed components of rlaif and their contracts.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every component: group, name, package, version, target, status")
    checked = commands.add_parser("check", help="contract tests of a labeler, prompt strategy or engine")
    checked.add_argument("name", help="a labeler's name, labeler/prompt=NAME or labeler/engine=NAME")
    checked.add_argument("overrides", nargs="*", help="options for it, e.g. labeler.prefer=shorter")
    arguments = parser.parse_args()
    try:
        sys.exit(
            list_components() if arguments.command == "list" else check_component(arguments.name, arguments.overrides)
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
    problems = []
    for component in found:
        kind, status = component.config_group or "configs", "[green]ok[/green]"
        if problem := _problem(component, claims):
            problems.append(f"{kind}={component.name} ({component.package} {component.version}): {problem}")
            status = "[red]broken[/red]"
        table.add_row(kind, component.name, component.package, component.version, component.target, status)
    _console().print(table)
    problems += shadowed_options()
    for line in problems:
        _console().print(Text(line, style="red"), soft_wrap=True)
    return 1 if problems else 0


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
        return str(error)
    return None


def check_component(name: str, overrides: Sequence[str] = ()) -> int:
    """Run the contract tests on a component, built from its default config.

    Args:
        name: A labeler's name, or ``labeler/prompt=NAME`` or ``labeler/engine=NAME``.
        overrides: Options for it, as ``rlaif-run`` takes them.

    Returns:
        0 when it keeps the contract, 1 when it does not or cannot be imported.

    Raises:
        PluginError: There is no such component, or its kind has no contract tests.
    """
    kind, _, option = name.rpartition("=")
    kind = kind or "labeler"
    if kind not in CONTRACTS:
        raise PluginError(f"{name}: contract tests exist for {', '.join(f'{known}=…' for known in CONTRACTS)}")
    component = _component(kind, option)
    try:
        registry.load_component(component)
    except PluginError as error:
        report_error(COMMAND, error)
        return 1
    config = compose([f"labeler={option}" if kind == "labeler" else "labeler=pairwise", f"{kind}={option}", *overrides])
    node = OmegaConf.select(config, kind.replace("/", "."))
    contract = importlib.import_module(CONTRACTS[kind].module)  # imports torch
    results = getattr(contract, CONTRACTS[kind].function)(instantiate(node))
    table = Table(title=f"{kind}={option} ({component.package} {component.version})")
    for heading in ("contract", "result", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        table.add_row(
            result.name, "[green]passed[/green]" if result.passed else "[red]failed[/red]", escape(result.detail)
        )
    _console().print(table)
    return 0 if all(result.passed for result in results) else 1


def _component(kind: str, option: str) -> registry.Component:
    """The installed component behind an option; our presets (``labeler/prompt=base``) are options of one component."""
    group = next(group for group, config_group in registry.CONFIG_GROUPS.items() if config_group == kind)
    installed = registry.components(group)
    if option not in {component.name for component in installed} and option in option_files(conf_dir() / kind):
        node = OmegaConf.select(compose([f"{kind}={option}"]), kind.replace("/", "."))
        return next(component for component in installed if component.dotted_target == node["_target_"])
    return registry.find(group, option)


if __name__ == "__main__":
    main()
