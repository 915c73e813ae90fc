"""What the options of nodes without a constructor may be: ``label``, ``evaluation``, ``probe``, ``estimate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif.config.values import show
from rlaif.near_miss import near_miss
from rlaif.signatures import read_signature

_LIMITS, _LIMITS_CLASS = "evaluation.limits", "rlaif.evaluation.checks.CheckLimits"


class Range(NamedTuple):
    """The numbers that an option takes."""

    words: str
    lowest: float
    highest: float = float("inf")
    is_open: bool = False
    """True where ``lowest`` itself is not allowed."""
    nullable: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a config value is one of them."""
        if value is None:
            return self.nullable
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.lowest <= value <= self.highest and not (self.is_open and value == self.lowest)


_AT_LEAST_1 = Range("must be at least 1", 1)
_SHARE = Range("must be between 0 and 1", 0, 1)
_RANGES: Mapping[str, Range] = {
    "label.samples_per_prompt": Range("a pair takes at least 2", 2),
    "label.batch_size": _AT_LEAST_1,
    "label.max_missing_rate": _SHARE,
    "label.min_alignment": Range("must be above 0 and at most 1, or null for none", 0, 1, is_open=True, nullable=True),
    "label.scorecard_pairs": Range("must be at least 1, or null for all", 1, nullable=True),
    "estimate_reply_tokens": Range("must be at least 1, or null", 1, nullable=True),
    "evaluation.num_prompts": _AT_LEAST_1,
    "evaluation.num_raters": _AT_LEAST_1,
    "evaluation.confidence": Range("must be above 0 and below 1", 0, 1 - 1e-12, is_open=True),
    "probe.num_pairs": _AT_LEAST_1,
    "probe.max_flip_rate": _SHARE,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "label.cache": ("local", "network", "none"),
    "probe.responses": ("pairs", "policy"),
}


def range_problems(cfg: DictConfig) -> list[str]:
    """Every option that is out of its range.

    Args:
        cfg: Without the ``hydra`` node; values that are missing or do not resolve are passed over.

    >>> range_problems(OmegaConf.create({"label": {"batch_size": 0, "cache": "disk", "min_alignment": None}}))
    ['label.batch_size=0: must be at least 1', 'label.cache=disk: must be one of local, network, none']
    """
    problems = [
        f"{option}={show(value)}: {allowed.words}"
        for option, allowed in _RANGES.items()
        for value in _given(cfg, option)
        if not allowed.holds(value)
    ]
    problems += [
        f"{option}={show(value)}: must be one of {', '.join(allowed)}"
        for option, allowed in _CHOICES.items()
        for value in _given(cfg, option)
        if value not in allowed
    ]
    known = list(read_signature(_LIMITS_CLASS).parameters)
    for limits in _given(cfg, _LIMITS):
        for name in set(limits or ()) - set(known):
            near = near_miss(str(name), known)
            hint = f"did you mean {near}? " if near else ""
            problems.append(f"{_LIMITS}.{name}: there is no such limit; {hint}allowed are {', '.join(known)}")
    return problems


def _given(cfg: DictConfig, option: str) -> Iterator[Any]:
    """The option's value, where it is there and resolves."""
    node, _, key = option.rpartition(".")
    try:
        owner = OmegaConf.select(cfg, node) if node else cfg
        if isinstance(owner, DictConfig) and key in owner and not OmegaConf.is_missing(owner, key):
            yield owner[key]
    except OmegaConfBaseException:
        return
