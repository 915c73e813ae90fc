"""Direct RLAIF: the labeler's own judgement of each response is the reward, with no reward model between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch

from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.base import Rater
from rlaif.rewards.base import RewardBatch
from rlaif.types import Completion, Prompt, Rating

REASONS_SHOWN = 3


def _nothing() -> None:
    """No limit."""


class LabelerReward:
    """Expected score of a labeler, mapped to [-1, 1] (arXiv 2309.00267, section 2.2.2).

    Equal (prompt, response) pairs of a policy step are judged once, in one call of the labeler; what an engine has
    answered in an earlier step, its answer cache knows. A response whose
    judgement is missing has no reward: it is left out of the loss, the baseline and every mean, and gives no
    gradient. A step in which more than ``max_missing_rate`` is missing stops the run.

    Args:
        standardized: Give rewards in standard units of the SFT samples, as ``reward=reward_model`` does; the paper's
            reward is the mapped score itself.
        max_missing_rate: Share of a step's distinct responses, in [0, 1], that may be missing.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, *, standardized: bool = False, max_missing_rate: float = 0.2) -> None:
        if not 0.0 <= max_missing_rate <= 1.0:
            raise ConfigError(f"reward.max_missing_rate={max_missing_rate:g}: must be between 0 and 1")
        self.standardized = standardized
        self.max_missing_rate = max_missing_rate
        self.mean, self.std = 0.0, 1.0

    def use(self, rater: Rater, *, before_asking: Callable[[], None] = _nothing) -> LabelerReward:
        """Judge with this labeler; returns itself.

        Args:
            rater: Who judges.
            before_asking: Called before every call of the labeler; a budget raises from it.
        """
        self.rater = rater
        self.before_asking = before_asking
        return self

    def to(self, device: torch.device | str) -> LabelerReward:
        """Nothing moves: the labeler's engine has a device of its own (``labeler.engine.device``)."""
        return self

    def standardize(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> LabelerReward:
        """Fix zero and unit on samples of the SFT policy; does nothing when ``standardized`` is off.

        Raises:
            ConfigError: All samples score the same, so there is no unit.
        """
        if self.standardized:
            rewards = self(prompts, responses)
            known_B = rewards.values_B[rewards.scored_mask_B].double()
            self.mean, self.std = known_B.mean().item(), known_B.std(correction=0).item()
            if not self.std > 0:
                raise ConfigError(
                    f"reward.standardized=true: all {len(known_B)} SFT samples score {self.mean:.4g}, which leaves no"
                    " unit; take another labeler or set reward.standardized=false"
                )
        return self

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> RewardBatch:
        keys = [(prompt.id, response.trimmed) for prompt, response in zip(prompts, responses, strict=True)]
        distinct = {key: row for row, key in reversed(list(enumerate(keys)))}
        rows = sorted(distinct.values())
        self.before_asking()
        ratings = self.rater.rate([prompts[row] for row in rows], [responses[row] for row in rows])
        self._check_missing(ratings)
        by_key = {keys[row]: rating.reward for row, rating in zip(rows, ratings, strict=True)}
        values_B = torch.tensor([_number(by_key[key]) for key in keys], dtype=torch.float32)
        return RewardBatch((values_B - self.mean) / self.std, ~values_B.isnan())

    def _check_missing(self, ratings: Sequence[Rating]) -> None:
        reasons = Counter(rating.missing for rating in ratings if rating.missing is not None)
        if reasons.total() > self.max_missing_rate * len(ratings):
            told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(REASONS_SHOWN))
            raise GateStopped(
                f"reward.max_missing_rate={self.max_missing_rate:g}: {reasons.total()} of {len(ratings)} responses of "
                f"this step have no score ({told}). Start again to go on from the last checkpoint once the cause is "
                "mended, or raise reward.max_missing_rate to accept it."
            )


def _number(reward: float | None) -> float:
    return float("nan") if reward is None else reward
