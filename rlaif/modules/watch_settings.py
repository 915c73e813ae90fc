"""The options of a watch over a policy's training, as the node ``policy.watch`` spells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.evidence import num_comparisons
from rlaif.labelers.base import Labeler
from rlaif.ranges import Bounds, OpenShare

Margin = Annotated[float, Bounds(0, 1, exclusive_highest=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """Config node ``policy.watch``.

    Raises:
        ConfigError: With every option that is out of range.
    """

    judge: Labeler | None = None
    """A labeler that the policy does not learn from; None takes the judge of the validation, or without one the
    simulated annotators' exact probabilities."""
    margin: Margin = 0.02
    """A win rate against SFT that is lower than an earlier one by at most this is no fall."""
    false_alarm_rate: OpenShare = 0.05
    """Probability, at most, that a training without a fall gives an alarm."""
    stop: bool = False
    """True ends the training at the alarm, with the weights of the validation that had the highest win rate."""

    def __post_init__(self) -> None:
        if problems := [f"policy.watch.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)

    def problems(self, *, is_validated: bool) -> Iterator[str]:
        """Options that do not go with the others of the group: ``watch.name=value: what is wrong``."""
        reads = "the watch reads validations; type policy.validate_every=40 or policy.watch"
        if not is_validated and self.stop:
            yield f"watch.stop=true: {reads}.stop=false"
        if not is_validated and self.judge is not None:
            yield f"watch.judge: {reads}.judge=null"

    def rule(self, *, num_looks: int, judge: str, has_rewards: bool = True) -> str:
        """The rule of the alarm, in words.

        Args:
            num_looks: Validations that are planned, that before the first step included.
            judge: Who compares, in words.
            has_rewards: False where single responses have no reward: then every comparison counts.
        """
        counts = "It counts where the later stretch has the higher reward." if has_rewards else "Each counts."
        count, points, rate = num_comparisons(num_looks), 100 * self.margin, self.false_alarm_rate
        return (
            "Stretches of 1, 2 and 4 validations are compared with later ones, prompt by prompt: does"
            f" {judge} prefer the policy's response to SFT's less often, by more than {points:g} points? The e-value of"
            f" a comparison is what a bet on that has made of 1. {counts}"
            f" The alarm comes when the mean e-value of all {count} comparisons of the {num_looks} planned"
            f" validations, those to come as 0, reaches 1 / {rate:g} = {1 / rate:g}. A training whose true win rate"
            f" never is more than {points:g} points below an earlier one has an alarm with probability {rate:g} at most"
            " (Waudby-Smith & Ramdas 2024, arXiv 2010.09686; Vovk & Wang 2021, arXiv 1912.06116)."
        )
