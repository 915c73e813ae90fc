"""Names of Hydra and OmegaConf that have no public counterpart; no other file imports them.

Hydra's public way to compose stops at the first mistake and gives no access to the options of a group. Reporting all
mistakes of a command line at once needs the loader and its repository; reading flags before Hydra runs needs its
parser; knowing the jobs of a sweep before the first one starts needs its sweeper; splitting a key as OmegaConf does
needs ``split_key``. The allowed versions are therefore narrow (``hydra-core>=1.3.2,<1.4``). When a later version
moves one of these names, this file changes and no other.
"""

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path, get_args_parser
from omegaconf._utils import split_key

__all__ = [
    "BasicSweeper",
    "ConfigLoaderImpl",
    "IConfigRepository",
    "create_config_search_path",
    "get_args_parser",
    "split_key",
]
