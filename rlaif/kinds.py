"""The values that a parameter takes, read from its annotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlaif.ranges import Bounds

_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list [a,b]",
          "dict": "a dictionary"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a parameter takes."""

    types: frozenset[str] = frozenset()
    """Of ``int float bool str list dict``."""
    literals: tuple[Any, ...] = ()
    """Allowed values of ``Literal[...]``."""
    nullable: bool = False
    component: bool = False
    """True when an object of some class is allowed: a config with a ``_target_``."""
    anything: bool = False
    """True without an annotation or with one that cannot be read: every value passes."""
    bounds: Bounds | None = None
    """The interval that a number must lie in; None where none is declared."""

    def __or__(self, other: Kind) -> Kind:
        return Kind(
            self.types | other.types,
            self.literals + tuple(value for value in other.literals if value not in self.literals),
            self.nullable or other.nullable,
            self.component or other.component,
            self.anything or other.anything,
            self.bounds or other.bounds,
        )

    def accepts(self, value: Any) -> bool:
        """True when a config value (plain Python) fits; True and 1 are different, 1 is a number."""
        if self.anything or (value is None and self.nullable):
            return True
        if self.component and isinstance(value, dict | list):
            return True
        if any(type(value) is type(literal) and value == literal for literal in self.literals):
            return True
        name = type(value).__name__
        return name in self.types or (name == "int" and "float" in self.types)

    def is_out_of_bounds(self, value: Any) -> bool:
        """Whether a number (True is none) is outside the declared bounds."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return self.bounds is not None and is_number and not self.bounds.holds(value)

    @property
    def is_plain(self) -> bool:
        """True when a person can type every allowed value."""
        return not (self.anything or self.component)

    def __str__(self) -> str:
        types = self.types - {"int"} if "float" in self.types else self.types
        words = [word for name, word in _WORDS.items() if name in types]
        if self.literals:
            words.append("one of " + ", ".join(dict.fromkeys(str(value) for value in self.literals)))
        if self.component:
            words.append("a component (a config with _target_)")
        return " or ".join(words + (["null"] if self.nullable else []))


ANYTHING = Kind(anything=True)
