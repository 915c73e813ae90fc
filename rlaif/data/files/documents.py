"""The rows of one JSON document: a list, an object with the list under a key, or what pandas and ``datasets`` write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WRAPPERS = frozenset(
    ["data", "rows", "examples", "records", "items", "instances", "samples", "dataset", "train", "validation", "test"]
)
"""Keys that hold the rows where others stand beside them, with version numbers and the like."""
MESSAGE_KEYS = frozenset({"role", "content", "from", "value"})
"""A list of objects with one of these is a dialogue, which is one value of a row."""
ERROR_KEYS = frozenset({"error", "message", "detail", "status", "code", "errors"})


class ShapeError(Exception):
    """A document in which no rows are found, or several lists of them."""


def rows_of_document(document: object, part: str = "") -> Sequence[object]:
    """The rows of a document; an object in no known shape is one row.

    Args:
        document: Read from JSON.
        part: Key of the list to take; empty looks for it.

    Raises:
        ShapeError: The document is no list or object, has no such key, or several lists of rows.

    >>> rows_of_document({"data": [{"a": 1}], "version": 2})
    [{'a': 1}]
    >>> rows_of_document({"a": {"0": 1, "1": 2}})
    [{'a': 1}, {'a': 2}]
    """
    if part:
        document = _under(document, part)
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise ShapeError(f"is {document!r:.30}, no list of rows")
    if document and document.keys() <= ERROR_KEYS and any(isinstance(text, str) for text in document.values()):
        raise ShapeError(f"is a server's message ({document!s:.120}), not the data: get the file again")
    for read in (_wrapped, _split_columns, _indexed, _columns):
        if (rows := read(document)) is not None:
            return rows
    return [document]


def _under(document: object, part: str) -> object:
    if not isinstance(document, dict) or part not in document:
        keys = ", ".join(map(repr, list(document)[:10])) if isinstance(document, dict) else "no keys"
        raise ShapeError(f"has no key {part!r}; it has {keys}")
    return document[part]


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _wrapped(document: Mapping[str, object]) -> Sequence[object] | None:
    lists = {key: value for key, value in document.items() if isinstance(value, list) and _is_rows(value)}
    named = [key for key in lists if key.casefold() in WRAPPERS]
    if len(named) > 1:
        told = ", ".join(f"{key} ({len(lists[key]):,} rows)" for key in named)
        raise ShapeError(f"holds several lists of rows: {told}; choose one by its key behind the path: FILE/{named[0]}")
    if named:
        return lists[named[0]]
    alone = next(iter(lists.values()), None) if len(document) == 1 else None
    return None if alone is None or MESSAGE_KEYS & alone[0].keys() else alone


def _split_columns(document: Mapping[str, object]) -> Sequence[object] | None:
    """``DataFrame.to_json(orient="split")``."""
    columns, data = document.get("columns"), document.get("data")
    if (
        not isinstance(columns, list)
        or not isinstance(data, list)
        or not document.keys() <= {"columns", "index", "data"}
    ):
        return None
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        return None
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]


def _indexed(document: Mapping[str, object]) -> Sequence[object] | None:
    """``DataFrame.to_json()`` by column, or with ``orient="index"`` by row: objects whose keys are numbers."""
    inner = [value for value in document.values() if isinstance(value, dict)]
    if not inner or len(inner) < len(document):
        return None
    keys = inner[0].keys()
    if keys and all(key.isdecimal() for key in keys) and all(column.keys() == keys for column in inner):
        return [{name: column[key] for name, column in zip(document, inner, strict=True)} for key in keys]
    return inner if all(key.isdecimal() for key in document) else None


def _columns(document: Mapping[str, object]) -> Sequence[object] | None:
    """``Dataset.to_dict()``: lists of one length, one per column."""
    lists = [value for value in document.values() if isinstance(value, list)]
    if len(document) < 2 or len(lists) < len(document) or len({len(column) for column in lists}) > 1:
        return None
    flat = all(not isinstance(value, list | dict) for column in lists for value in column)
    if not flat or not any(isinstance(value, str) for column in lists for value in column):
        return None
    return [dict(zip(document, row, strict=True)) for row in zip(*lists, strict=True)]
