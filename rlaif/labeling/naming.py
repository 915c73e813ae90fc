"""Options of a labeler as the user types them, wherever it is composed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rlaif.errors import ConfigError, RlaifError

LABELER = "labeler"
"""The option that composes the run's labeler."""
_OPTION_OF_LABELER = re.compile(r"\blabeler\.(?=[a-z_])")


@contextmanager
def named_as(option: str) -> Iterator[None]:
    """Let errors name a labeler's options as the user types them, where it is not composed under ``labeler``.

    Args:
        option: Where it is composed, e.g. ``evaluation.judge``.

    Raises:
        RlaifError: The error of the block, of the same type.

    >>> with named_as("evaluation.judge"):
    ...     raise ConfigError("labeler.debias=x: must be one of probability, logit, none")
    Traceback (most recent call last):
    rlaif.errors.ConfigError: evaluation.judge.debias=x: must be one of probability, logit, none
    """
    try:
        yield
    except RlaifError as error:
        if option == LABELER:
            raise
        if isinstance(error, ConfigError):
            raise ConfigError([_named(problem, option) for problem in error.problems]) from error
        raise type(error)(_named(str(error), option)) from error


def _named(message: str, option: str) -> str:
    renamed = _OPTION_OF_LABELER.sub(f"{option}.", message)
    return renamed if option in renamed else f"{option}: {renamed}"
