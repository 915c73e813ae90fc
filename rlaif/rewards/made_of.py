"""Rewards that are made of others: their roles, preparation and batches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

import torch

from rlaif.errors import ConfigError
from rlaif.naming import renamed, rewritten
from rlaif.rewards.base import Cause, Reward, RewardBatch
from rlaif.rewards.missing import causes_of, worst_cause
from rlaif.roles import Reads


def joint_roles(rewards: Mapping[str, Reward]) -> dict[str, Reads]:
    """The roles of several rewards, those of one name once.

    Raises:
        ConfigError: Two rewards read different results under one name.
    """
    roles: dict[str, tuple[str, Reads]] = {}
    for name, reward in rewards.items():
        for role, reads in reward.reads().items():
            other, known = roles.setdefault(role, (name, reads))
            if known != reads:
                raise ConfigError(f"reward.rewards.{name}: reads {role} otherwise than reward.rewards.{other} does")
    return {role: reads for role, (_, reads) in roles.items()}


@contextmanager
def named_as_part(name: str) -> Iterator[None]:
    """Let errors name the options of a part of ``reward.rewards`` as the user types them.

    >>> with named_as_part("wins"):
    ...     raise ConfigError("reward.max_missing_rate=2: must be between 0 and 1")
    Traceback (most recent call last):
    rlaif.errors.ConfigError: reward.rewards.wins.max_missing_rate=2: must be between 0 and 1
    """
    place = f"reward.rewards.{name}"
    with rewritten(lambda message: re.sub(r"^reward=", f"reward@{place}=", renamed(message, "reward", place))):
        yield


def joint_mask(batches: Sequence[RewardBatch]) -> torch.Tensor:
    """Bool [B]: responses that every reward has scored."""
    return reduce(torch.logical_and, (batch.scored_mask_B for batch in batches))


def joint_causes(batches: Iterable[RewardBatch]) -> tuple[Cause | None, ...]:
    """Why each response lacks the reward of one of several."""
    every = [causes_of(batch.causes, batch.scored_mask_B.tolist()) for batch in batches]
    return tuple(worst_cause(causes) for causes in zip(*every, strict=True))


def named_parts(batches: Mapping[str, RewardBatch]) -> dict[str, torch.Tensor]:
    """Every reward [B] as a part under its name, and its own parts below it."""
    parts: dict[str, torch.Tensor] = {}
    for name, batch in batches.items():
        parts[name] = batch.values_B.masked_fill(~batch.scored_mask_B, float("nan"))
        parts |= {f"{name}/{part}": values_B for part, values_B in batch.parts.items()}
    return parts
