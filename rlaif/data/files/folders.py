"""The files of a folder: shards of one table, or what ``datasets`` saved; several tables are told, never mixed."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rlaif.errors import DataError

ENDINGS = ("parquet", "arrow", "feather", "jsonl", "ndjson", "csv", "tsv", "json")
METADATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
MOST_SHOWN = 10
_DATA = re.compile(
    rf"(?P<stem>.*?)(?P<ending>\.(?:{'|'.join(ENDINGS)})(?:\.(?:gz|xz|zst|bz2|lz4|zip))?)", re.IGNORECASE
)
_SHARD = re.compile(r"(?P<stem>.*?)-(?P<number>\d{4,6})-of-(?P<count>\d{4,6})(?:-[0-9a-f]{16})?")
_NUMBER = re.compile(
    r"(?P<stem>.*?(?<![-_.]v)(?<!^v))\d+(?:-[0-9a-f-]{16,})?(?:\.(?:snappy|gz|zstd|lz4|lz4raw|brotli|lzo))?"
)
"""Spark names the compression inside a Parquet file: ``part-00000-UUID-c000.snappy.parquet``."""


class Group(NamedTuple):
    """What the shards of one table have in common."""

    folder: str
    """Relative to the folder that was given, empty for itself."""
    stem: str
    """How their names begin."""
    ending: str


def folder_files(folder: Path, name: str) -> list[Path]:
    """The files of a folder's only table, in the order of their names.

    Args:
        folder: Of shards as they come from a hub, or of ``save_to_disk``.
        name: Option and folder as typed, for messages.

    Raises:
        DataError: It holds no table or several, a shard is absent, or it cannot be read.
    """
    if (folder / "dataset_dict.json").is_file():
        return _saved(_only_split(folder, name), name)
    if (folder / "state.json").is_file():
        return _saved(folder, name)
    files = _data_files(folder, name)
    groups: dict[Group, list[Path]] = defaultdict(list)
    for file in files:
        groups[_group(file, folder)].append(file)
    if not groups:
        told = ", ".join(f".{ending}" for ending in ENDINGS)
        raise DataError(f"{name}: is a folder without data files ({told}; compressed ones too); give a file")
    if len(groups) > 1:
        raise DataError(_several(groups, files, folder, name))
    _check_complete(files, name)
    return files


def _only_split(folder: Path, name: str) -> Path:
    splits = _listed(folder / "dataset_dict.json", "splits", name)
    if len(splits) != 1:
        told = ", ".join(map(str, splits))
        raise DataError(f"{name}: holds the splits {told}; choose one, e.g. {name.rstrip('/')}/{(*splits, 'train')[0]}")
    return folder / str(splits[0])


def _saved(folder: Path, name: str) -> list[Path]:
    """What ``Dataset.save_to_disk`` wrote, by its own list of shards."""
    files = [file for file in _listed(folder / "state.json", "_data_files", name) if isinstance(file, Mapping)]
    paths = [folder / str(file.get("filename")) for file in files]
    if _listed(folder / "state.json", "_indices_data_files", name):
        raise DataError(f"{name}: was saved by an early version of datasets; load and save it again")
    if absent := [path.name for path in paths if not path.is_file()]:
        raise DataError(f"{name}: {', '.join(absent[:MOST_SHOWN])} of its shards is not there; copy the folder again")
    if not paths:
        raise DataError(f"{name}: is a saved data set without shards; save it again")
    return paths


def _listed(path: Path, key: str, name: str) -> Sequence[object]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8")).get(key) or []
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{name}: {path.name} cannot be read ({error}); save or copy the folder again") from error
    return listed if isinstance(listed, list) else []


def _data_files(folder: Path, name: str) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{name}: {error.filename} cannot be read ({error.strerror})") from error

    files = []
    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(
            sub for sub in folders if not sub.startswith((".", "__")) and not _leads_up(Path(where, sub))
        )
        visible = (file for file in names if not file.startswith((".", "_")) and file not in METADATA)
        files += [Path(where, file) for file in visible if _DATA.fullmatch(file)]
    tables = [file for file in files if not file.name.lower().endswith(".json")]
    return sorted(tables or files)


def _leads_up(folder: Path) -> bool:
    """True for a link to a folder in which it lies."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _group(file: Path, folder: Path) -> Group:
    named = _DATA.fullmatch(file.name)
    assert named is not None
    stem = named["stem"]
    if shard := _SHARD.fullmatch(stem) or _NUMBER.fullmatch(stem):
        stem = shard["stem"]
    inside = file.parent.relative_to(folder).as_posix()
    return Group("" if inside == "." else inside, stem, named["ending"])


def _several(groups: Mapping[Group, Sequence[Path]], files: Sequence[Path], folder: Path, name: str) -> str:
    patterns = {_pattern(group, members, files, folder): len(members) for group, members in groups.items()}
    told = [f"{pattern} ({count} file{'' if count == 1 else 's'})" for pattern, count in patterns.items()]
    more = [f"and {len(told) - MOST_SHOWN} more"] if len(told) > MOST_SHOWN else []
    option, _, typed = name.partition("=")
    return (
        f"{name}: holds several tables: {', '.join(told[:MOST_SHOWN] + more)}; choose one, e.g."
        f" {option}='{typed.rstrip('/')}/{next(iter(patterns))}'"
    )


def _pattern(group: Group, members: Sequence[Path], files: Sequence[Path], folder: Path) -> str:
    """What to type for one group alone: a path, or the simplest pattern that matches no other file."""
    inside = f"{group.folder}/" if group.folder else ""
    if len(members) == 1:
        return inside + members[0].name
    beside = {file.name for file in files if file.parent == members[0].parent}
    wanted = {file.name for file in members}
    choices = [f"{group.stem}{middle}{group.ending}" for middle in ("*", "-*-of-*", "[0-9]", "[0-9]*", "*[0-9]")]
    exact = [choice for choice in choices if set(fnmatch.filter(beside, choice)) == wanted]
    return inside + (exact or choices)[0]


def _check_complete(files: Sequence[Path], name: str) -> None:
    """Refuse shards that say ``-of-00005`` and are fewer."""
    shards = [_SHARD.match(file.name) for file in files]
    numbers = {int(shard["number"]) for shard in shards if shard}
    counts = {int(shard["count"]) for shard in shards if shard}
    if len(counts) > 1:
        raise DataError(f"{name}: its shards are of {' and of '.join(map(str, sorted(counts)))}; choose with a pattern")
    absent = sorted(set(range(max(counts, default=0))) - numbers)
    if absent:
        told = ", ".join(str(number) for number in absent[:MOST_SHOWN])
        raise DataError(f"{name}: shard {told} of {max(counts)} is not there, counting from 0; download it again")
