"""Links of a run's directory into the store that lead nowhere."""

from __future__ import annotations

from pathlib import Path


def lost_target(link: Path) -> str | None:
    """Why a result that a run's directory links to is not there; None where it is, and where there is no link.

    Args:
        link: E.g. ``outputs/mine/policy``.
    """
    if not link.is_symlink() or link.exists():
        return None
    return (
        f"its link to {link.readlink()} leads nowhere: the run's directory was moved, or the store was cleaned; put it"
        " back, or start its command again there"
    )
