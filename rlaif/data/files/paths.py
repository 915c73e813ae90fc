"""The files that a path means: one, several, those that match a pattern, a folder's, or a part of one."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rlaif.data.files.folders import folder_files
from rlaif.errors import DataError
from rlaif.near_miss import near_miss

Typed = str | Path | Sequence[str | Path]
"""A path as an option has it, or a list of them."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_HUB_NAME = re.compile(r"[\w-]+/[\w.-]+")


class Found(NamedTuple):
    """A file that a path means."""

    path: Path
    name: str
    """Option and path as typed; of a folder or pattern followed by the file's own path."""
    part: str = ""
    """What stands behind the file in the path: a member of a zip archive, or a key of a JSON document."""


def found_files(typed: Typed, option: str) -> list[Found]:
    """The files of a path in the order in which their rows come.

    Args:
        typed: A file, a folder of shards, one of ``save_to_disk``, a pattern (``*``, ``?``, ``[…]``, ``**``), or
            ``FILE/PART``; ``~`` is the home directory. Of a list each.
        option: What it was typed as, for messages.

    Raises:
        DataError: There is no such file, a folder holds several tables, or one file is named twice.
    """
    items: Sequence[object] = [typed] if isinstance(typed, str | Path) else list(typed)
    if not items:
        raise DataError(f"{option}=[]: names no file; give a path, or several in a list")
    found = [file for item in items for file in _files_of(item, option)]
    seen: set[tuple[Path, str]] = set()
    for file in found:
        key = (file.path.resolve(), file.part)
        if key in seen:
            raise DataError(f"{file.name}: {file.path} is named twice; its rows would count twice")
        seen.add(key)
    return found


def _files_of(item: object, option: str) -> list[Found]:
    name = f"{option}={item}"
    text = str(item)
    if not isinstance(item, str | Path) or not text.strip() or "\0" in text:
        raise DataError(f"{name}: must be a path, or a list of paths")
    if _ADDRESS.match(text):
        raise DataError(f"{name}: is an address, and files are read from this machine alone; download it first")
    path = _expanded(Path(item), name)
    mode = _mode(path, name)
    if mode is None:
        return _of_no_file(path, name)
    if stat.S_ISDIR(mode):
        return [Found(file, f"{name}, {file.relative_to(path)}") for file in folder_files(path, name)]
    if not stat.S_ISREG(mode):
        raise DataError(f"{name}: is a pipe or a device, and rows are read more than once; write them to a file first")
    return [Found(path, name)]


def _expanded(path: Path, name: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(f"{name}: {error}; write the path out") from error


def _mode(path: Path, name: str) -> int | None:
    """Mode of a file; None where there is none."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error


def _of_no_file(path: Path, name: str) -> list[Found]:
    if glob.has_magic(str(path)):
        return _matches(path, name)
    around = next(parent for parent in path.parents if _mode(parent, name) is not None)
    if around.is_file():
        return [Found(around, name, path.relative_to(around).as_posix())]
    raise DataError(f"{name}: there is no such file; {_hint(path, around)}")


def _matches(path: Path, name: str) -> list[Found]:
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    files = [match for match in matches if match.is_file()]
    if not files:
        folders = f" ({len(matches)} folders do; end the pattern with /*)" if matches else ""
        raise DataError(f"{name}: no file matches this pattern{folders}; it starts at {Path.cwd()}")
    return [Found(file, f"{name}, {file}") for file in files]


def _hint(path: Path, around: Path) -> str:
    starts = "" if path.is_absolute() else f" (it starts at the directory of the command, {Path.cwd()})"
    hint = f"check the path{starts}"
    beside = os.listdir(around) if around == path.parent and os.access(around, os.R_OK) else ()
    if near := near_miss(path.name, beside):
        return f"did you mean {around / near}? Else {hint}"
    if _HUB_NAME.fullmatch(str(path)) and not path.suffix:
        return f"{hint}, or, if this is the name of a data set of the hub, download it first:" + (
            f" hf download --repo-type dataset {path} --local-dir FOLDER"
        )
    return hint
