"""``rlaif-bandit``: draws the bandit by which arXiv 2402.12366 explains when AI feedback beats imitation."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rlaif.cli.messages import report_error
from rlaif.cli.pipes import ignore_closed_pipes
from rlaif.cli.threads import let_waiting_threads_sleep
from rlaif.errors import ConfigError, RlaifError

COMMAND = "rlaif-bandit"
CENTERS = tuple(float(center) for center in range(40, 81, 5))
"""Students that are compared with the teacher."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console command.

    Args:
        words: What follows the command's name; None takes those of the command line.
    """
    let_waiting_threads_sleep()
    ignore_closed_pipes()
    words = sys.argv[1:] if words is None else words
    arguments = _parser().parse_args(words)
    try:
        draw(arguments, shlex.join([COMMAND, *words]))
    except (RlaifError, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)
    sys.exit(0)


def draw(arguments: argparse.Namespace, command: str) -> None:
    """Compute the bandit, print its table and write its page; what computes is loaded only here.

    Args:
        arguments: The parsed words.
        command: The command as typed.

    Raises:
        ConfigError: An option is out of range, or the folder cannot be made.
    """
    import torch
    from rich.console import Console
    from rich.table import Table

    from rlaif.evaluation.bandit import Bandit, rlaif_by_student, simulate, solve
    from rlaif.reporting.bandit import BanditStudy, bandit_page, bandit_table
    from rlaif.reporting.page import write_page

    settings = {name: value for name, value in vars(arguments).items() if name not in ("seed", "out")}
    bandit = Bandit(**settings)
    folder = _folder(arguments.out)
    torch.set_num_threads(1)  # the tables are small
    means = rlaif_by_student(bandit, CENTERS)
    study = BanditStudy(
        bandit=bandit,
        expected=solve(bandit),
        simulated=simulate(bandit, arguments.seed),
        centers=CENTERS,
        rlaif_means=tuple(means),
    )
    page, shown = bandit_page(study, command), bandit_table(study)
    console = Console(highlight=False)
    table = Table(*shown.columns, title=shown.title, title_justify="left")
    for row in shown.rows:
        table.add_row(*row)
    console.print(table)
    console.print(page.verdict, soft_wrap=True)
    for check in page.checks:
        console.print(f"{'✓' if check.passed else '✗'} {check.name}: {check.detail}", soft_wrap=True)
    console.print(f"{write_page(page, folder)}", markup=False, soft_wrap=True)


def _folder(name: str) -> Path:
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out={name}: this folder cannot be made ({error}); choose another") from error
    return Path(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="The bandit of arXiv 2402.12366: AI feedback on a student, or imitation of a teacher. "
        "Actions 0 to 99 are sorted by quality; the defaults are the paper's settings.",
    )
    for name, kind, default, words in (
        ("--student", float, 40.0, "action that the student takes most often, 0 to 99"),
        ("--teacher", float, 80.0, "action that the teacher takes most often, 0 to 99"),
        ("--variance", float, 150.0, "of both, in squared actions"),
        ("--beta", float, 0.1, "weight of the KL from the student in RLAIF"),
        ("--reward-steps", int, 7_500, "gradient steps of the reward table"),
        ("--sft-steps", int, 15_000, "gradient steps of the table that imitates the teacher"),
        ("--num-draws", int, 250_000, "pairs of the student, and demonstrations of the teacher, in the simulation"),
        ("--seed", int, 0, "of the simulation"),
    ):
        parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{words} (default: %(default)s)")
    default_folder = "outputs/bandit"
    parser.add_argument("--out", default=default_folder, metavar="DIR", help="folder of bandit.html and bandit.json")
    return parser


if __name__ == "__main__":
    main()
