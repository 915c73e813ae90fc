"""Names of models: the pocket models, and what is wrong with a name."""

from __future__ import annotations

POCKET = "pocket:"
POCKET_MODELS = ("XS", "S", "S2", "L", "judge")
POCKET_NAMES = ", ".join(f"{POCKET}{size}" for size in POCKET_MODELS)
"""The names of all pocket models, for messages."""


def pocket_problem(option: str, name: str) -> str | None:
    """The problem of a pocket model's name; None when the model exists.

    Args:
        option: The option as typed, e.g. ``model.name``.
        name: Starts with ``pocket:``.

    >>> pocket_problem("model.name", "pocket:l").partition("; ")[2]
    'allowed are pocket:XS, pocket:S, pocket:S2, pocket:L, pocket:judge; did you mean pocket:L?'
    """
    size = name.removeprefix(POCKET)
    if size in POCKET_MODELS:
        return None
    near = "".join(f"; did you mean {POCKET}{known}?" for known in POCKET_MODELS if known.lower() == size.lower())
    return f"{option}={name}: no such pocket model; allowed are {POCKET_NAMES}{near}"
