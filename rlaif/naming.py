"""Options of a component as the user types them, wherever it is composed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rlaif.errors import ConfigError, RlaifError

LABELER = "labeler"
"""The option that composes the run's labeler."""
_composed: ContextVar[str] = ContextVar("composed", default=LABELER)
"""The option that composes the labeler that is asked."""


@contextmanager
def named_as(option: str) -> Iterator[None]:
    """Let errors and logs name a labeler's options as the user types them, where it is not composed under ``labeler``.

    Args:
        option: Where it is composed, e.g. ``evaluation.judge``.

    Raises:
        RlaifError: The error of the block, of the same type.

    >>> with named_as("evaluation.judge"):
    ...     raise ConfigError("labeler.debias=x: must be one of probability, logit, none")
    Traceback (most recent call last):
    rlaif.errors.ConfigError: evaluation.judge.debias=x: must be one of probability, logit, none
    """
    if option == LABELER:
        yield
        return
    token = _composed.set(renamed(option, LABELER, _composed.get()))
    try:
        with rewritten(lambda message: _named(message, option)):
            yield
    finally:
        _composed.reset(token)


def as_typed(message: str) -> str:
    """A message of a labeler's models for a log, with options as the user types them.

    >>> with named_as("evaluation.judge"):
    ...     as_typed("labeler.engine.url=http://x: busy")
    'evaluation.judge.engine.url=http://x: busy'
    """
    return renamed(message, LABELER, _composed.get())


@contextmanager
def rewritten(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Rewrite the messages of errors, one problem at a time.

    Raises:
        RlaifError: The error of the block, of the same type; itself where no message changes.
    """
    try:
        yield
    except RlaifError as error:
        before = error.problems if isinstance(error, ConfigError) else [str(error)]
        after = [rewrite(problem) for problem in before]
        if after == before:
            raise
        raise (ConfigError(after) if isinstance(error, ConfigError) else type(error)(*after)) from error


def renamed(message: str, group: str, option: str) -> str:
    """A message with a config group's options as those of the place where its component is composed.

    Args:
        message: It names options as ``group.name``.
        group: The config group, e.g. ``reward``.
        option: Where the component is composed, e.g. ``reward.rewards.wins``.

    >>> renamed("reward.max_missing_rate=2: must be between 0 and 1", "reward", "reward.rewards.wins")
    'reward.rewards.wins.max_missing_rate=2: must be between 0 and 1'
    >>> renamed("reward.function=reward.py:f: no such file", "reward", "reward.rewards.mine")
    'reward.rewards.mine.function=reward.py:f: no such file'
    """
    return re.sub(rf"(?<![\w./=]){group}\.(?=[a-z_])", f"{option}.", message)


def _named(message: str, option: str) -> str:
    told = renamed(message, LABELER, option)
    return told if option in told else f"{option}: {told}"
