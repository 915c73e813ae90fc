"""Roles of steps: the kind of result of a role, and the earlier steps that may fill it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MODEL_KINDS = frozenset({"policy"})
"""Kinds of results that are folders of a language model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """One role of a stage or a reward: the kind of result that it reads.

    A role takes the nearest earlier step that leaves its kind, unless the pipeline's ``from`` names another.
    """

    kind: str
    """Kind of result, e.g. ``policy`` or ``labels``."""
    by: str | None = None
    """Only results of this stage, e.g. ``sft`` for the policy that reinforcement learning starts from."""
    optional: bool = False
    """True when the stage also works without it. A step that only optional roles read is not needed."""
    many: bool = False
    """True when the role takes several results: all earlier steps that leave the kind, or those that ``from`` lists."""
    at_least: int = 1
    """With ``many``: the role takes so many different results, each once, or more."""
    of: str | None = None
    """Name of another role of the same stage: this role's result must be made from that role's. Where no step makes it,
    the pipeline adds a step of the stage ``by``."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """With ``of``: configuration values of the step that makes the result, e.g. ``{"evaluation.sampling.temperature":
    0}``. Only a step with these values (its key ``with``, or added with them) fills the role."""
    differs_from: str | None = None
    """Name of another role of the same stage, which must not take the same result."""
    hashed: bool = True
    """False when the result only has to exist first: its content does not change what the stage makes."""
    hint: str = ""
    """What to type where no step leaves the kind, e.g. ``add pipeline=rlaif``; empty gives general advice."""
    at: str | None = None
    """Place of the result, when an option names it: a step of this run, ``run:DIR/step``, or a directory."""
    option: str = ""
    """The option that ``at`` comes from, as a person types it."""
