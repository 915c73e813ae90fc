"""A component's own identity, which must be the same whenever it is made from the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rlaif.errors import PluginError
from rlaif.types import content_id


def stable_identity(make: Callable[[], object], option: str) -> str | None:
    """The attribute ``identity`` of a component, read from two constructions of it.

    Args:
        make: Constructs the component; called twice.
        option: Its place in the configuration, as typed.

    Returns:
        None for a component without the attribute.

    Raises:
        PluginError: Two constructions with the same arguments have different identities, so nothing that was made with
            the component could be found again.
    """
    first, second = (getattr(make(), "identity", None) for _ in range(2))
    if first != second:
        raise PluginError(
            f"{option}: its identity is {first} and, made again from the same options, {second}; an identity must "
            "depend on the options alone, or no finished result is found again"
        )
    return None if first is None else str(first)


def identities(components: Mapping[str, object]) -> str:
    """Content hash of the identities of named components; one without an identity counts by its name."""
    return content_id(*(f"{name} {getattr(component, 'identity', '')}" for name, component in components.items()))
