"""Hydra's loader over our configs, those of plugins and those of ``--config-dir``."""

from __future__ import annotations

from pathlib import Path

from hydra import version
from hydra.core.utils import setup_globals

from rlaif.conf_files import conf_dir
from rlaif.config import search_path
from rlaif.config.hydra_internals import ConfigLoaderImpl, create_config_search_path
from rlaif.errors import ConfigError


def open_loader(config_dir: str | None) -> tuple[ConfigLoaderImpl, list[str]]:
    """Hydra's loader over every directory of configs, and what is wrong with installed plugins.

    Args:
        config_dir: Another directory with configs (``--config-dir``).

    Raises:
        ConfigError: There is no such directory.
    """
    directory = None if config_dir is None else Path(config_dir).absolute()
    if directory is not None and not directory.is_dir():
        raise ConfigError(f"--config-dir={config_dir}: there is no such directory")
    problems = search_path.register(directory)
    version.setbase("1.3")
    setup_globals()
    path = create_config_search_path(str(conf_dir()))
    if directory is not None:
        path.prepend(provider="command-line", path=f"file://{directory}")
    return ConfigLoaderImpl(config_search_path=path), problems
