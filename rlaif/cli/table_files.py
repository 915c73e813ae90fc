"""The options ``--markdown``, ``--csv`` and ``--json`` of a command that shows tables."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from rlaif.artifacts import atomic_write
from rlaif.errors import ConfigError, StoreError


def print_alone(arguments: argparse.Namespace, texts: Mapping[str, str], notices: Sequence[str]) -> bool:
    """Print the text of the option whose file is ``-``; notices then go to stderr. True where there is one.

    Raises:
        ConfigError: Two options have ``-``.
    """
    alone = [kind for kind in texts if getattr(arguments, kind) == "-"]
    if len(alone) > 1:
        raise ConfigError(f"--{alone[1]} -: --{alone[0]} - prints already; write one of them to a file")
    for kind in alone:
        print(texts[kind], end="")
        tell(Console(stderr=True, highlight=False), notices)
    return bool(alone)


def tell(console: Console, notices: Sequence[str]) -> None:
    """Show what is to be known beside the tables."""
    for notice in notices:
        console.print(notice, style="dim", markup=False, soft_wrap=True)


def write_texts(arguments: argparse.Namespace, texts: Mapping[str, str]) -> None:
    """Write the texts of the options that name files.

    Raises:
        ConfigError: There is no such directory, or a file cannot be written.
    """
    for kind, text in texts.items():
        name = getattr(arguments, kind)
        if name not in (None, "-"):
            if not Path(name).parent.is_dir():
                raise ConfigError(f"--{kind}={name}: there is no directory {Path(name).parent}")
            if Path(name).is_dir():
                raise ConfigError(f"--{kind}={name}: is a directory; name a file in it")
            try:
                atomic_write(name, text)
            except StoreError as error:  # whose advice is for the store
                raise ConfigError(f"--{kind}={name}: cannot be written ({error.__cause__ or error})") from error
