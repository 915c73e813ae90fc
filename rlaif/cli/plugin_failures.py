"""What failed in the code of a plugin, as one sentence."""

from __future__ import annotations

import traceback
from types import FrameType

from rlaif import registry


def failure_message(error: BaseException) -> str | None:
    """The sentence about an error in whose way the code of a plugin is.

    Args:
        error: Raised by a plugin's code, or by what that called.

    Returns:
        Option, package, the innermost line of the plugin, cause, and what to do; None where no plugin's code ran.
    """
    steps = traceback.walk_tb(error.__traceback__)
    ran = [(frame, line) for frame, line in steps if registry.owner_of(_module(frame)) is not None]
    if not ran:
        return None
    frame, line = ran[-1]
    at_work = (_at_work(frame) for frame, _ in reversed(ran))
    component = next(filter(None, at_work), None) or registry.owner_of(_module(frame))
    assert component is not None
    option = f"{component.config_group or component.group}={component.name}"
    place, cause = f"{frame.f_code.co_filename}:{line}: ", registry.cause(error)
    return (
        f"{option}: {component.package} {component.version} failed: {place}{cause.removeprefix(place)}; "
        f"`rlaif-plugins check {option}` tests its contract"
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _at_work(frame: FrameType) -> registry.Component | None:
    """The plugin's component whose method a frame runs; None for any other code."""
    package, name = _module(frame).partition(".")[0], type(frame.f_locals.get("self")).__qualname__
    found = (one for one in registry.components() if one.target.partition(":")[2] == name)
    return next((one for one in found if one.target.partition(":")[0].partition(".")[0] == package), None)
