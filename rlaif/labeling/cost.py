"""The cost of labels: prices, the price of a person's label for comparison, and a budget that stops a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rlaif.engines.spending import Ledger, Spending
from rlaif.errors import ConfigError, GateStopped

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The config node ``cost``.

    Raises:
        ConfigError: A price is negative or no finite number.
    """

    usd_per_million_input_tokens: float | None = None
    """A server's price of a million tokens read; None where that is not known or nothing."""
    usd_per_million_cached_input_tokens: float | None = None
    """Price of a million tokens read that the server had read before (its prefix cache); None takes the price above."""
    usd_per_million_output_tokens: float | None = None
    usd_per_hour: float | None = None
    """Price of an hour of a labeling process: a rented machine, or one of its GPUs where several label."""
    human_usd_per_label: float = 0.67
    """A person's label of one summary pair (arXiv 2309.00267, appendix L)."""

    def __post_init__(self) -> None:
        _check_positive(self, "cost", minimum_excluded=False)

    @property
    def are_known(self) -> bool:
        """True where anything has a price."""
        prices = (self.usd_per_million_input_tokens, self.usd_per_million_output_tokens, self.usd_per_hour)
        return any(price is not None for price in prices)

    def usd(self, spending: Spending) -> float | None:
        """Money for what was asked; None where no price is known.

        >>> Prices(usd_per_million_input_tokens=30, usd_per_million_output_tokens=60).usd(
        ...     Spending(num_prompt_tokens=2 * 830, num_reply_tokens=2 * 61))
        0.05712
        """
        if not self.are_known:
            return None
        read = self.usd_per_million_input_tokens or 0.0
        cached = self.usd_per_million_cached_input_tokens
        reused = spending.num_reused_prompt_tokens
        tokens = (spending.num_prompt_tokens - reused) * read + reused * (read if cached is None else cached)
        tokens += spending.num_reply_tokens * (self.usd_per_million_output_tokens or 0.0)
        return tokens / 1e6 + spending.seconds / HOUR_S * (self.usd_per_hour or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The config node ``budget``: labeling stops before a batch once one of these is spent. None is no limit.

    Raises:
        ConfigError: A limit is not positive.
    """

    max_usd: float | None = None
    max_tokens: float | None = None
    """Tokens read and written."""
    max_hours: float | None = None
    """Of labeling; where several processes label, of the one that took longest."""

    def __post_init__(self) -> None:
        _check_positive(self, "budget", minimum_excluded=True)

    def check_prices(self, prices: Prices) -> None:
        """Refuse a limit on money where nothing has a price.

        Raises:
            ConfigError: See above.
        """
        if self.max_usd is not None and not prices.are_known:
            raise ConfigError(
                f"budget.max_usd={self.max_usd:g}: no price is known; set cost.usd_per_million_input_tokens and "
                "cost.usd_per_million_output_tokens of the server, or cost.usd_per_hour of this machine"
            )

    def check(self, ledger: Ledger, prices: Prices, directory: Path, others: Sequence[Ledger] = ()) -> None:
        """Stop when a limit is reached.

        Args:
            ledger: What was spent, by all starts and processes.
            prices: What it cost.
            directory: Where what was finished is kept, for the message.
            others: Ledgers of the run's other steps, which count as well.

        Raises:
            GateStopped: A limit is reached; with what was spent and how to go on.
        """
        if all(getattr(self, field.name) is None for field in fields(self)):
            return
        ledgers = [ledger, *others]
        total = sum((each.total() for each in ledgers), Spending())
        usd, hours = prices.usd(total), sum(each.longest_s() for each in ledgers) / HOUR_S
        spent = {"max_usd": usd or 0.0, "max_tokens": total.num_tokens, "max_hours": hours}
        for name, value in spent.items():
            limit = getattr(self, name)
            if limit is not None and value >= limit:
                raise GateStopped(
                    f"budget.{name}={limit:g}: reached. Spent so far: {in_words(total, usd)}. What was finished is "
                    f"kept in {directory}: raise budget.{name} and start again to go on; what was spent stays counted."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCost:
    """Tokens, seconds and money of one label."""

    seconds_per_label: float | None = None
    """None where every answer was found in the cache."""
    usd_per_label: float | None = None
    """None where no price is known."""
    human_usd_per_label: float = 0.67
    """Price of a person's label (arXiv 2309.00267, appendix L)."""

    @classmethod
    def of(cls, spent: Spending, num_labels: int, clock_s: float, prices: Prices) -> LabelCost:
        """Per label, as if nothing had been in the cache.

        Args:
            spent: On all labels.
            num_labels: How many there are.
            clock_s: Seconds by the clock, which are reported for a labeler that asked no model.
            prices: What it cost.
        """
        known, asked = spent.num_cached, spent.num_questions
        seconds: float | None = clock_s
        if known or asked:
            seconds = spent.seconds * (asked + known) / asked if asked else None
        usd = None
        if asked or (known and prices.usd_per_hour is None):  # an hour's price needs to know the time
            usd = prices.usd(_as_if_asked(spent, seconds or 0.0))
        each = 1.0 / max(num_labels, 1)
        return cls(
            seconds_per_label=None if seconds is None else seconds * each,
            usd_per_label=None if usd is None else usd * each,
            human_usd_per_label=prices.human_usd_per_label,
        )


def in_words(spending: Spending, usd: float | None) -> str:
    """Questions, tokens, hours and money in one line.

    >>> in_words(Spending(num_questions=2, num_prompt_tokens=1500, num_reply_tokens=2, seconds=36), 0.5)
    '2 questions, 1,500 tokens read, 2 written, 0.01 hours, 0.5000 USD'
    """
    words = (
        f"{spending.num_questions:,} questions, {spending.num_prompt_tokens:,} tokens read, "
        f"{spending.num_reply_tokens:,} written, {spending.seconds / HOUR_S:.2f} hours"
    )
    words += f", {spending.num_retried:,} failed requests made again" if spending.num_retried else ""
    return words if usd is None else f"{words}, {usd:.4f} USD"


def cost_figures(ledger: Ledger, prices: Prices, num_labels: int) -> dict[str, float | int | None]:
    """The cost of a finished labeling run, as plain numbers for ``cost.json``.

    Figures per label count cached answers as if they had been asked: they are the price of the labels, and ``usd``
    is what this run paid.

    Args:
        ledger: What was asked.
        prices: What it cost.
        num_labels: Labels that were obtained.

    Returns:
        By name; None where nothing is known (no price, no label, or every answer was known).
    """
    total = ledger.total()
    asked, known = total.num_questions, total.num_cached
    seconds = total.seconds * (asked + known) / asked if asked else None
    as_if_asked = _as_if_asked(total, seconds or 0.0)
    usd = prices.usd(as_if_asked) if seconds is not None or prices.usd_per_hour is None else None
    return {
        "num_labels": num_labels,
        "num_questions": asked,
        "num_retried": total.num_retried,
        "num_prompt_tokens": total.num_prompt_tokens,
        "num_reused_prompt_tokens": total.num_reused_prompt_tokens,
        "num_reply_tokens": total.num_reply_tokens,
        "num_cached": known,
        "num_cached_prompt_tokens": total.num_cached_prompt_tokens,
        "num_cached_reply_tokens": total.num_cached_reply_tokens,
        "seconds": total.seconds,
        "usd": prices.usd(total),
        "tokens_per_label": as_if_asked.num_tokens / num_labels if num_labels else None,
        "seconds_per_1000_labels": _per_thousand(seconds, num_labels),
        "usd_per_1000_labels": _per_thousand(usd, num_labels),
        "human_usd_per_1000_labels": 1000.0 * prices.human_usd_per_label,
    }


def _as_if_asked(spent: Spending, seconds: float) -> Spending:
    """Tokens with those of cached answers, and the time that all would have taken."""
    return Spending(
        num_prompt_tokens=spent.num_prompt_tokens + spent.num_cached_prompt_tokens,
        num_reused_prompt_tokens=spent.num_reused_prompt_tokens,
        num_reply_tokens=spent.num_reply_tokens + spent.num_cached_reply_tokens,
        seconds=seconds,
    )


def _per_thousand(value: float | None, num_labels: int) -> float | None:
    return None if value is None or not num_labels else 1000.0 * value / num_labels


def _check_positive(node: Prices | Budget, path: str, *, minimum_excluded: bool) -> None:
    problems = []
    for field in fields(node):
        value = getattr(node, field.name)
        if value is not None and not (value > 0 if minimum_excluded else 0 <= value < math.inf):  # NaN is neither
            allowed = "above 0, or null for no limit" if minimum_excluded else "a finite number of at least 0"
            problems.append(f"{path}.{field.name}={value:g}: must be {allowed}")
    if problems:
        raise ConfigError(problems)
