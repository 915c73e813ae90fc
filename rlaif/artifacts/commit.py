"""The commit of this package, where it runs from a git checkout."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path


@cache
def package_commit() -> str | None:
    """First 12 digits of the commit, with ``+`` where files of the package differ from it; None outside a checkout.

    A package that is installed inside another project's checkout is not of that project's commit: git must know the
    package's own files.
    """
    package = Path(__file__).parent.parent
    if not _git(package, "ls-files", "--", "__init__.py"):
        return None
    commit = _git(package, "rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+" if _git(package, "status", "--porcelain", "--", ".") else "")


def _git(directory: Path, *words: str) -> str:
    """What git says; nothing where there is no git or no checkout."""
    try:
        said = subprocess.run(
            ["git", "-C", str(directory), *words], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
