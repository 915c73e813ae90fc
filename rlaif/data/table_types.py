"""Whether the columns of a table have the types of a schema, whoever wrote it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as types


def other_types(have: pa.Schema, want: pa.Schema) -> list[str]:
    """Columns that are in both schemas and are not of like types, as text for messages.

    Args:
        have: Of the table; a tool that rewrote it may have chosen wider types.
        want: What is read.

    >>> other_types(pa.schema([("p", pa.string())]), pa.schema([("p", pa.float64())]))
    ['p is string, not double']
    """
    names = [name for name in want.names if name in have.names]
    pairs = [(name, have.field(name).type, want.field(name).type) for name in names]
    return [f"{name} is {mine}, not {theirs}" for name, mine, theirs in pairs if not _alike(mine, theirs)]


def _alike(have: pa.DataType, want: pa.DataType) -> bool:
    if types.is_null(have):
        return True
    if types.is_dictionary(have):
        return _alike(have.value_type, want)
    if types.is_string(want):
        return bool(types.is_string(have) or types.is_large_string(have) or types.is_string_view(have))
    if types.is_floating(want):
        return bool(types.is_floating(have) or types.is_integer(have))
    if types.is_integer(want):
        return bool(types.is_integer(have))
    if types.is_list(want):
        is_list = types.is_list(have) or types.is_large_list(have) or types.is_fixed_size_list(have)
        return bool(is_list) and _alike(have.value_type, want.value_type)
    if types.is_struct(want):
        return bool(types.is_struct(have)) and _alike_fields(have, want)
    return bool(have == want)


def _alike_fields(have: pa.StructType, want: pa.StructType) -> bool:
    known = {field.name: field.type for field in want}
    return all(field.name in known and _alike(field.type, known[field.name]) for field in have)
