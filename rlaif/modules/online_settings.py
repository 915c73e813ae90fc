"""The options of a policy that learns from judged pairs of its own responses, as the config group ``policy`` spells
them."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.modules.policy_settings import PolicySettings
from rlaif.objectives.base import PairObjective


@dataclass(frozen=True, kw_only=True)
class OnlineSettings(PolicySettings):
    """Config group ``policy`` of online DPO and online IPO."""

    pair_objective: PairObjective
    """The loss of a pair, which the objective reads; config group ``policy/pair_objective``."""
