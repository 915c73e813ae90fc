"""Every test, doctests included, fails when our own lines make a library say that something is deprecated.

Workers of pytest-xdist, and the commands that their tests start, compute on one thread each: threads of two workers on
two cores would wait for each other.
"""

from __future__ import annotations

import copy
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, open_dict

from rlaif.config.hydra_internals import ConfigLoaderImpl

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

ROOT = str(Path(__file__).parents[1])

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


class ComposedOnce:
    """Hydra composes the same options once per process, and tests get copies: composing takes 0.4 s, a copy 0.02."""

    @pytest.fixture(autouse=True, scope="session")
    def composed_once(self) -> Iterator[None]:
        """Only of configs that no test writes: those of temporary directories are composed each time."""
        compose = ConfigLoaderImpl.load_configuration
        known: dict[str, DictConfig] = {}

        def load(
            loader: ConfigLoaderImpl, config_name: str | None, overrides: Sequence[str], *args: Any, **kw: Any
        ) -> DictConfig:
            path = str(loader.get_search_path())
            if tempfile.gettempdir() in path.replace(ROOT, "") or any("searchpath" in line for line in overrides):
                return compose(loader, config_name, list(overrides), *args, **kw)
            key = repr((path, config_name, list(overrides), args, kw, ConfigStore.instance().repo))
            if key not in known:
                known[key] = compose(loader, config_name, list(overrides), *args, **kw)
            composed = copy.deepcopy(known[key])
            with open_dict(composed.hydra.runtime):
                composed.hydra.runtime.cwd = os.getcwd()
            return composed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ConfigLoaderImpl, "load_configuration", load)
            yield


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NoLoggedDeprecations(), "no-logged-deprecations")
    config.pluginmanager.register(ComposedOnce(), "composed-once")
