"""What a record promises: its fields stay as they were given."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest


def assert_fixed(record: Any, *, has_slots: bool = True, is_keyword_only: bool = True) -> None:
    """No field of a record changes, no further one is added, and values are given by name.

    Args:
        record: An instance of a dataclass.
        has_slots: False for one that others inherit from.
        is_keyword_only: False for one whose values may be given in their order.
    """
    names = [field.name for field in fields(record)]
    for name in names:
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, getattr(record, name))
    assert hasattr(record, "__dict__") != has_slots
    if is_keyword_only:
        with pytest.raises(TypeError, match="positional"):
            type(record)(*(getattr(record, name) for name in names))
