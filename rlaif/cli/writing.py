"""Where ``rlaif-labels`` writes: labels are never replaced, and nothing half-written stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rlaif.data.preferences_io import is_label_table
from rlaif.errors import ConfigError, StoreError


@contextmanager
def writing(out: Path, read: Sequence[Path]) -> Iterator[None]:
    """Make the folder of OUT, and report under this command's option why OUT cannot be written.

    Args:
        out: What the block writes.
        read: What it reads.

    Raises:
        ConfigError: OUT is a label table, or is what is read, or cannot be written.
    """
    if "\0" in str(out):
        raise ConfigError(f"{out!s:.80}: is no path; give OUT another name")
    try:
        if out.is_file() and any(path.exists() and out.samefile(path) for path in read):
            raise ConfigError(f"{out}: is what is read; give OUT another name")
        if is_label_table(out):
            raise ConfigError(f"{out}: is a label table already, which stays as it is; give OUT another name")
        with _folders(out.parent):
            yield
    except (StoreError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StoreError) else error
        reason = cause.strerror if isinstance(cause, OSError) else error
        raise ConfigError(f"{out}: cannot be written ({reason}); give OUT another place") from error


@contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; where the block ends with an error, those that were made go again."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # holds something else by now, or was never made
                path.rmdir()
        raise
