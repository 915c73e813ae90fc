"""Every test, doctests included, fails when our own lines make a library say that something is deprecated.

Workers of pytest-xdist, and the commands that their tests start, compute on one thread each: threads of two workers on
two cores would wait for each other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

LIBRARIES = (
    "transformers",
    "huggingface_hub",
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "torch",
    "datasets",
)
"""Loggers that do not pass their records on; warnings that are raised are errors by ``filterwarnings``."""


class _Deprecations(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "deprecat" in message.lower():
            self.lines.append(f"{record.name}: {message}")


class NoLoggedDeprecations:
    """A plugin of its own, because a fixture of this file would not reach the doctests in ``rlaif/``."""

    @pytest.fixture(autouse=True)
    def no_logged_deprecations(self) -> Iterator[None]:
        """Fails the test in which a library logs a deprecation. transformers logs each of them once per process."""
        handler = _Deprecations()
        loggers = [logging.getLogger(name) for name in LIBRARIES]
        for logger in loggers:
            logger.addHandler(handler)
        yield
        for logger in loggers:
            logger.removeHandler(handler)
        assert not handler.lines, "\n".join(handler.lines)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NoLoggedDeprecations(), "no-logged-deprecations")
