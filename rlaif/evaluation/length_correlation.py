"""How far a reward model's reward follows length: scores of both responses of labeled pairs, and their correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.evaluation.formats import format_value
from rlaif.evaluation.records import Table
from rlaif.functional.correlation import clustered_correlation
from rlaif.functional.statistics import Estimate, undefined
from rlaif.modules.reward_lengths import ScoredPair

NOT_FINITE = "a reward is no finite number"
HINT = (
    "Within prompts: of the difference of two responses' rewards with that of their tokens. Between prompts: of the"
    " mean reward of a prompt's responses with their mean number of tokens. Longer responses may be better: what counts"
    " is the change."
)


def within_prompts(pairs: Sequence[ScoredPair], name: str) -> Estimate:
    """Correlation of the difference in reward with that in length, clustered by prompt."""
    rewards = [pair.rewards[name][0] - pair.rewards[name][1] for pair in pairs]
    if not all(map(math.isfinite, rewards)):
        return undefined(len(pairs), NOT_FINITE)
    lengths = [float(pair.lengths[0] - pair.lengths[1]) for pair in pairs]
    return clustered_correlation(rewards, lengths, [pair.prompt_id for pair in pairs], about_zero=True)


def between_prompts(pairs: Sequence[ScoredPair], name: str) -> Estimate:
    """Correlation of a prompt's mean reward with its responses' mean length, one row per pair."""
    rewards = [sum(pair.rewards[name]) / 2 for pair in pairs]
    if not all(map(math.isfinite, rewards)):
        return undefined(len(pairs), NOT_FINITE)
    lengths = [sum(pair.lengths) / 2 for pair in pairs]
    return clustered_correlation(rewards, lengths, [pair.prompt_id for pair in pairs])


def length_tables(pairs: Sequence[ScoredPair]) -> tuple[Table, ...]:
    """A table with one row per reward; none without pairs."""
    if not pairs:
        return ()
    rows = tuple(
        (name, _told(within_prompts(pairs, name)), _told(between_prompts(pairs, name))) for name in pairs[0].rewards
    )
    title = f"Correlation of the reward with length, {len(pairs):,} pairs"
    return (Table(title=title, columns=("reward", "within prompts", "between prompts"), rows=rows, hint=HINT),)


def _told(estimate: Estimate) -> str:
    if estimate.value is None:
        return estimate.note
    value = format_value(estimate.value, "coefficient")
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({format_value(estimate.low, 'coefficient')} to {format_value(estimate.high, 'coefficient')})"
