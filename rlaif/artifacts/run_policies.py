"""The policy in a run's directory, whatever trained it."""

from __future__ import annotations

import re
from pathlib import Path

KINDS = ("policy", "preference", "best_of_n")
"""Names of the steps that train a policy from SFT on; of equal rounds the first counts."""
_NAME = re.compile(rf"({'|'.join(KINDS)})(?:_(\d+))?")


def trained_policy(run: Path) -> Path | None:
    """The directory of a run's policy, of several rounds the last one's; None where there is none.

    Args:
        run: Directory of a run.
    """
    found: list[tuple[int, int, Path]] = []
    for place in run.iterdir() if run.is_dir() else ():
        name = _NAME.fullmatch(place.name)
        if name is not None and (place / "config.json").is_file():
            found.append((int(name[2] or 0), -KINDS.index(name[1]), place))
    return max(found)[2] if found else None
