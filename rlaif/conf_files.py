"""Directories of configuration files, ours and those of plugins, as absolute paths."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import rlaif
from rlaif import registry
from rlaif.errors import PluginError


def conf_dir() -> Path:
    """The directory of our own YAML: ``rlaif/conf`` in a wheel, ``conf/`` next to the package in a checkout.

    Raises:
        FileNotFoundError: Neither is there: the installation is damaged.
    """
    assert rlaif.__file__ is not None
    package = Path(rlaif.__file__).resolve().parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"{package / 'conf'}: the configuration files are missing; reinstall rlaif")


def plugin_conf_dir(component: registry.Component) -> Path:
    """The directory that an entry point of group ``rlaif.conf`` names; the package is not imported.

    Args:
        component: Its target is a package path, e.g. ``rlaif_length.conf``.

    Raises:
        PluginError: The directory is not there.
    """
    top, *rest = component.dotted_target.split(".")
    spec = find_spec(top)
    for location in (spec.submodule_search_locations or []) if spec else []:
        directory = Path(location).joinpath(*rest)
        if directory.is_dir():
            return directory.resolve()
    raise PluginError(
        f"{component.package} {component.version}: its entry point {registry.CONF_ENTRY_POINTS} names "
        f"{component.target}, which is no directory; fix it or uninstall it (pip uninstall {component.package})"
    )


LAYOUTS = "data/format"
"""Folder of layouts of files: YAML that ``data.format=NAME`` reads, and no group of options."""


def option_files(directory: Path) -> set[str]:
    """``group/option`` of every YAML below a directory that is an option, e.g. ``{"labeler/pairwise"}``."""
    files = (path.relative_to(directory).with_suffix("").as_posix() for path in directory.rglob("*.yaml"))
    return {name for name in files if not name.startswith(f"{LAYOUTS}/")}
