"""What a stage or a component reads from the artefacts of earlier steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reads:
    """One input of a stage, a reward or an evaluator: the kind of artefact that is bound to a role.

    A role is bound to the nearest earlier step that leaves an artefact of this kind, unless the configuration says
    ``from``.

    >>> Reads("policy", by="sft").kind
    'policy'
    """

    kind: str
    """Kind of artefact, e.g. ``policy``, ``reward_model`` or ``labels``."""
    by: str | None = None
    """Only artefacts of this stage count, e.g. ``sft`` for the policy that RL starts from; None takes any stage's."""
    optional: bool = False
    """True where the reader also works without the artefact."""
    many: bool = False
    """True where several artefacts of the kind are read, e.g. the reward models of an ensemble."""
    of: str | None = None
    """Another role of the same reader: the artefact must have been made from the one bound to that role, e.g. samples
    of the policy that is the baseline. None takes any."""
    differs_from: str | None = None
    """Another role of the same reader that must not be bound to the same artefact, e.g. a policy and its baseline."""
    hashed: bool = True
    """False where the artefact does not change the result, so that it is no part of the reader's fingerprint."""
