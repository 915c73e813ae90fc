"""``rlaif-runs``: figures over finished runs, and what unfinished ones have left in the store."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from omegaconf import OmegaConf
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from rlaif.artifacts import Store
from rlaif.artifacts.partials import Partial, remove, unfinished
from rlaif.cli.messages import report_error
from rlaif.cli.pipes import ignore_closed_pipes
from rlaif.cli.run_results import KINDS
from rlaif.cli.threads import let_waiting_threads_sleep
from rlaif.conf_files import conf_dir
from rlaif.errors import ConfigError, RlaifError
from rlaif.evaluation.formats import format_seconds

COMMAND = "rlaif-runs"


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console command.

    Args:
        words: What follows the command's name; None takes those of the command line.
    """
    let_waiting_threads_sleep()
    ignore_closed_pipes()
    arguments = _parser().parse_args(words)
    try:
        arguments.run(arguments)
    except (RlaifError, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)
    sys.exit(0)


def summary(arguments: argparse.Namespace) -> None:
    """Figures over the seeds of finished runs; what computes them is loaded only here.

    Raises:
        ConfigError: A word names no finished run, or the runs do not belong into one table.
    """
    from rlaif.cli.summary import summarize

    summarize(arguments)


def curves(arguments: argparse.Namespace) -> None:
    """A picture of the validations of finished runs; what draws it is loaded only here.

    Raises:
        ConfigError: A word names no finished run, a run has no validations, or the file cannot be written.
    """
    from rlaif.cli.curves import draw

    draw(arguments)


def correlate(arguments: argparse.Namespace) -> None:
    """Which figures of labelers go with those of their policies; what computes them is loaded only here.

    Raises:
        ConfigError: A word names no finished run, runs differ in more than labeler and seed, or there are too few.
    """
    from rlaif.cli.correlation import correlate as correlate_runs

    correlate_runs(arguments)


def clean(arguments: argparse.Namespace) -> None:
    """List what unfinished builds left in a store, and remove it after a question.

    Finished results, the label cache and whatever a process is building stay.

    Raises:
        ConfigError: There is no such store.
    """
    store = Store(arguments.store)
    if not store.root.is_dir():
        raise ConfigError(f"--store={arguments.store}: there is no such directory")
    found = unfinished(store)
    console = Console(highlight=False)
    if not found:
        console.print(f"{store.root}: nothing unfinished", markup=False, soft_wrap=True)
        return
    console.print(_table(found, store.root))
    console.print("The same run, started again, would go on from what is listed; labels are kept in the label cache.")
    if arguments.dry_run or not (arguments.yes or _agreed()):
        console.print("nothing removed")
        return
    removed = [partial for partial in found if remove(store, partial)]
    console.print(f"removed {len(removed)} of {len(found)}, {decimal(sum(item.size_bytes for item in removed))}")


def _table(found: Sequence[Partial], root: Path) -> Table:
    table = Table(title=Text(f"unfinished in {root}"), title_justify="left")
    for heading in ("stage", "fingerprint", "size", "last written"):
        table.add_column(heading, overflow="fold")
    for partial in found:
        stage, _, fingerprint = partial.artefact.rpartition("-")
        table.add_row(stage, fingerprint, decimal(partial.size_bytes), _age(time.time() - partial.written_at))
    return table


def _age(seconds: float) -> str:
    days = int(seconds // 86_400)
    return f"{days} days ago" if days > 1 else f"{format_seconds(max(0.0, seconds))} ago"


def _agreed() -> bool:
    try:
        return input("Remove them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print(f"\nnobody to ask; {COMMAND} clean --yes removes without a question")
        return False


def _default_store() -> str:
    """``store.dir`` as ``rlaif-run`` takes it: from ``RLAIF_STORE``, or below the current directory."""
    return str(OmegaConf.select(OmegaConf.load(conf_dir() / "config.yaml"), "store.dir"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Figures over finished runs; what unfinished ones left.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_summary(commands)
    _add_curves(commands)
    _add_correlate(commands)
    cleaned = commands.add_parser("clean", help="list and remove what unfinished stages left in the store")
    cleaned.set_defaults(run=clean)
    cleaned.add_argument("--store", default=_default_store(), help="store.dir (default: %(default)s)")
    cleaned.add_argument("--dry-run", action="store_true", help="list, remove nothing")
    cleaned.add_argument("--yes", action="store_true", help="remove without a question")
    return parser


def _add_summary(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("summary", help="figures over the seeds of finished runs: mean, interval, spread")
    parser.set_defaults(run=summary)
    _add_runs(parser)
    parser.add_argument("--kind", choices=KINDS, help="figures of which file (default: the first that all runs have)")
    named = "names of figures, * for any, e.g. 'policy/*' (default: all but time/*)"
    parser.add_argument("--figures", nargs="+", default=[], metavar="NAME", help=named)
    for kind in ("markdown", "csv", "json"):
        parser.add_argument(f"--{kind}", metavar="FILE", help=f"write the table as {kind} (- prints it alone)")


def _add_curves(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("curves", help="a picture of win rates over the steps of RL, pooled over seeds")
    parser.set_defaults(run=curves)
    _add_runs(parser)
    parser.add_argument("--file", required=True, help="the picture: .svg, .png or .pdf")
    parser.add_argument("--step", default="policy", help="step whose validations are read (default: %(default)s)")


def _add_correlate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "which figures of labelers go with those of their policies: rank correlations over labelers"
    parser = commands.add_parser("correlate", help=told)
    parser.set_defaults(run=correlate)
    _add_runs(parser)
    parser.add_argument(
        "--outcome",
        default="policy/greedy_win_rate_vs_sft",
        metavar="NAME",
        help="the policies' figure (default: %(default)s)",
    )
    named = "figures to correlate with it, * for any (default: labeler/* reward_model/*)"
    parser.add_argument("--figures", nargs="+", default=[], metavar="NAME", help=named)
    cards = "runs of pipeline=scorecard with the same labelers, whose figures are correlated too"
    parser.add_argument("--scorecards", nargs="+", default=[], metavar="RUN", help=cards)
    for kind in ("markdown", "json"):
        parser.add_argument(f"--{kind}", metavar="FILE", help=f"write the table as {kind} (- prints it alone)")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories, sweep directories, globs of them")
    ignored = "options in which runs of one group may differ besides seeds, * for any, e.g. 'model.*'"
    parser.add_argument("--ignore", nargs="+", default=[], metavar="OPTION", help=ignored)


if __name__ == "__main__":
    main()
