"""Problems of options that are given and that have an effect only with one value of another option."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf


class _Condition(NamedTuple):
    target: str
    """Class of the group's option that has both."""
    group: str
    name: str
    """The option that has an effect only sometimes."""
    other: str
    """The option that decides."""
    value: str
    """Its one value with which the first has an effect."""


_SETTINGS = "rlaif.modules.reward_model_settings.RewardModelSettings"
_POLICIES = ("rlaif.modules.policy_settings.PolicySettings", "rlaif.modules.online_settings.OnlineSettings")
CONDITIONS = (
    _Condition("rlaif.rewards.ensemble.EnsembleReward", "reward", "disagreement_weight", "combine", "lower_bound"),
    _Condition(_SETTINGS, "reward_model", "length_weight", "debias", "length"),
    _Condition(_SETTINGS, "reward_model", "orthogonality_weight", "debias", "length"),
    *(_Condition(target, "policy", "num_candidates", "keep", "judged") for target in _POLICIES),
)


def without_effect_problems(
    cfg: DictConfig, typed: Collection[str], swept: Collection[str], declared: Callable[[str, str], object]
) -> Iterator[str]:
    """Options that are given and without effect, one line each.

    Args:
        cfg: The composed configuration.
        typed: Keys of the command line.
        swept: Those with several values: of two jobs that a sweep compares, the option may have an effect in one.
        declared: The value of a group's key in the file of the group's option, which a configuration may change, too.
    """
    for target, group, name, other, value in CONDITIONS:
        key, decides = f"{group}.{name}", f"{group}.{other}"
        given, chosen = OmegaConf.select(cfg, key), OmegaConf.select(cfg, decides)
        # None: the group's option takes it from one that it builds on.
        is_given = key in typed or declared(group, name) not in (None, given)
        is_idle = OmegaConf.select(cfg, f"{group}._target_") == target and chosen != value and decides not in swept
        if is_given and is_idle:
            hint = f"type {decides}={value} too, or leave {key} out"
            yield f"{key}={given}: has no effect with {decides}={chosen}; {hint}"
