"""The contract of a stage as checks: ``rlaif-plugins check stage=NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlaif.roles import Reads
from rlaif.testing.contract import CheckResult, require, run_checks


def check_stage(stage: Any) -> list[CheckResult]:
    """Run every contract check on a stage; none of them raises, and nothing is built."""
    return run_checks(CHECKS, stage)


def check_declares(stage: Any) -> str:
    """It has the methods that the pipeline calls."""
    made = "build" if getattr(stage, "stored", True) else "load"
    methods = ("reads", "leaves", "identity", "problems", made, "accept", "told")
    absent = [name for name in methods if not callable(getattr(stage, name, None))]
    require(not absent, f"no method {', '.join(absent)}; derive it from rlaif.pipeline.stage.Stage")
    return type(stage).__name__


def check_reads(stage: Any) -> str:
    """Each role is a name, each kind a text, and two calls agree."""
    roles = stage.reads()
    require(isinstance(roles, Mapping), f"reads() gave a {type(roles).__name__} where a mapping of roles is expected")
    for role, reads in roles.items():
        require(isinstance(role, str) and role.isidentifier(), f"the role {role!r} must be a name")
        require(isinstance(reads, Reads) and bool(reads.kind), f"{role}: must be Reads(kind=…)")
        for other in (reads.of, reads.differs_from):
            require(other is None or other in roles, f"{role}: names the role {other}, which it does not read")
    require(stage.reads() == roles, "reads() changes between two calls")
    return ", ".join(f"{role}: {reads.kind}" for role, reads in roles.items()) or "nothing"


def check_leaves(stage: Any) -> str:
    """Kinds are texts in a frozenset, and two calls agree."""
    kinds = stage.leaves()
    require(isinstance(kinds, frozenset), f"leaves() gave a {type(kinds).__name__} where a frozenset is expected")
    require(all(isinstance(kind, str) and kind for kind in kinds), f"leaves() gave {sorted(map(str, kinds))}")
    require(stage.leaves() == kinds, "leaves() changes between two calls")
    return ", ".join(sorted(kinds)) or "nothing"


CHECKS: dict[str, Callable[[Any], str]] = {
    "declares itself": check_declares,
    "reads": check_reads,
    "leaves": check_leaves,
}
