"""Missing labels: counted by reason, and the limit above which a run stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlaif.engines.openai.hints import hint
from rlaif.errors import ConfigError, GateStopped
from rlaif.types import Preference, Rating

_REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class MissingLimit:
    """Share of the labels of a plan that may be missing.

    Args:
        max_rate: In [0, 1].
        option: The limit's option, as the user types it.

    Raises:
        ConfigError: The share is out of range.
    """

    max_rate: float
    option: str = "label.max_missing_rate"

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_rate <= 1.0:
            raise ConfigError(f"{self.option}={self.max_rate:g}: must be between 0 and 1")

    def allows(self, num_missing: int, num_planned: int) -> bool:
        """True where so many of the planned labels may be missing."""
        return num_missing <= self.max_rate * num_planned

    def error(
        self,
        missing: Mapping[str, int],
        num_judged: int,
        num_planned: int,
        to_do: str,
        *,
        what: str = "judged comparisons",
    ) -> GateStopped:
        """The error of a plan with too many missing labels.

        Args:
            missing: Counts by reason; the message names the most frequent ones.
            num_judged: Labels that these are counted among.
            num_planned: Labels of the plan.
            to_do: What to do, one sentence.
            what: What they are of, in words.
        """
        count = sum(missing.values())
        return GateStopped(
            f"{self.option}={self.max_rate:g}: {count} of {num_judged} {what} are missing, {num_planned} "
            f"are planned ({reasons_in_words(missing)}). {to_do} Mend the cause{_hints(missing)}, or raise "
            f"{self.option} to accept it."
        )


def missing_by_reason(labels: Iterable[Preference | Rating]) -> dict[str, int]:
    """Labels that were not obtained, by reason, the most frequent first."""
    return most_frequent_first(Counter(label.missing for label in labels if label.missing is not None))


def most_frequent_first(reasons: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason in a fixed order."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _hints(missing: Mapping[str, int]) -> str:
    """What to type against the most frequent reasons, in brackets."""
    hints = [hint(reason) for reasons in most_frequent_first(missing) for reason in reasons.split("; ")]
    told = list(dict.fromkeys(filter(None, hints)))[:_REASONS_SHOWN]
    return f" ({'; '.join(told)})" if told else ""


def reasons_in_words(missing: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts.

    >>> reasons_in_words({"too long": 1, "server down": 3})
    '3 × server down; 1 × too long'
    """
    most = list(most_frequent_first(missing).items())[:_REASONS_SHOWN]
    return "; ".join(f"{count} × {reason}" for reason, count in most)
