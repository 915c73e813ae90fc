"""Error messages of the commands on the terminal."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Sequence

from hydra.errors import InstantiationException
from rich.console import Console
from rich.text import Text

from rlaif import registry
from rlaif.cli.plugin_failures import failure_message
from rlaif.errors import ConfigError, PluginError, RlaifError
from rlaif.interruption import Terminated, exit_code

log = logging.getLogger(__name__)
_TARGET = re.compile(r"Error (?:in call to target|instantiating|locating target) '([\w.]+)'")


def print_problems(command: str, problems: Sequence[str]) -> None:
    """Write numbered lines to stderr, the option in bold, each on as many terminal rows as it needs.

    Args:
        command: Name of the command.
        problems: One line each, ``option: what is wrong``.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    count = len(problems)
    console.print(Text(f"{command}: {count} problem{'' if count == 1 else 's'}", style="bold red"))
    for number, problem in enumerate(problems, start=1):
        option, separator, rest = problem.partition(": ")
        console.print(Text.assemble(f"{number:>3}. ", (option, "bold"), separator, rest))


def report_error(command: str, error: BaseException) -> int | None:
    """Write what a person needs to know about an error.

    Args:
        command: Name of the command.
        error: What stopped it.

    Returns:
        The exit code; None for an error that is not the user's: its traceback must be shown.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    error = error_to_tell(error)
    if isinstance(error, KeyboardInterrupt):
        how = "stopped by SIGTERM" if isinstance(error, Terminated) else "interrupted"
        console.print(Text(f"{command}: {how}; start the same command again to go on", style="bold"))
        return exit_code(error)
    if isinstance(error, ConfigError):
        print_problems(command, error.problems)
        return error.exit_code
    if isinstance(error, RlaifError):
        if error.__cause__ is not None:
            _log_file_only(error)
        print_lines(console, command, str(error))
        return error.exit_code
    if isinstance(error, OSError) and (reason := _os_error(error)) is not None:
        print_lines(console, command, reason)
        return RlaifError.exit_code
    return None


def error_to_tell(error: BaseException) -> BaseException:
    """The error to tell a person: what failed in a plugin's code as one message, any other error as it is."""
    if isinstance(error, InstantiationException):
        return _construction_error(error)
    if isinstance(error, RlaifError | KeyboardInterrupt) or (message := failure_message(error)) is None:
        return error
    told = PluginError(message)
    told.__cause__ = error
    return told


def _construction_error(error: InstantiationException) -> BaseException:
    """The error of a constructor: our own errors as they are, any other error of a plugin as one message."""
    reason = error.__cause__ if error.__cause__ is not None else error
    found = _TARGET.search(str(error))
    owner = registry.owner_of(found.group(1)) if found else None
    if owner is None or isinstance(reason, RlaifError):
        return reason
    while isinstance(reason, ImportError) and str(reason).startswith("Error loading ") and reason.__cause__ is not None:
        reason = reason.__cause__  # Hydra's wrapping of what the import raised
    told = PluginError(registry.broken_message(owner, reason))
    told.__cause__ = reason
    return told


def _log_file_only(error: BaseException) -> None:
    """Write the traceback to the run's log files; the terminal has the message."""
    record = log.makeRecord(
        log.name, logging.ERROR, __file__, 0, str(error), (), (type(error), error, error.__traceback__)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def print_lines(console: Console, command: str, message: str) -> None:
    """Write a message in lines, the command's name in front of the first.

    Args:
        console: Of stderr.
        command: Name of the console command.
        message: One or more lines.
    """
    first, *rest = message.splitlines() or [""]
    console.print(Text.assemble((f"{command}: ", "bold red"), first))
    for line in rest:
        console.print(Text(f"  {line}"))


def _os_error(error: OSError) -> str | None:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; nothing finished is lost: free some space and start the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}{where}; nothing finished is lost: choose another directory and start again"
    return None
