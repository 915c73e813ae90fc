"""Direct RLAIF: the labeler's own judgement of each response is the reward, with no reward model between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from rlaif.errors import ConfigError, GateStopped
from rlaif.labelers.base import Labeler, Rater
from rlaif.labelers.convert import AgainstReference
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.rewards.standardized import Standardized
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt, Rating

REASONS_SHOWN = 3


class LabelerReward:
    """Expected score of a labeler, mapped to [-1, 1] (arXiv 2309.00267, section 2.2.2).

    A labeler that compares pairs holds each response against one of the SFT policy's. Equal (prompt, response) pairs
    of a policy step are judged once, in one call of the labeler; what an engine has answered in an earlier step, its
    answer cache knows. A response whose judgement is missing has no reward: it is left out of the loss, the baseline
    and every mean, and gives no gradient. A step in which more than ``max_missing_rate`` is missing stops the run.

    Args:
        labeler: Judges the responses.
        standardized: Give rewards in standard units of the SFT samples, as ``reward=reward_model`` does; the paper's
            reward is the mapped score itself.
        max_missing_rate: Share of a step's distinct responses, in [0, 1], that may be missing.

    Raises:
        ConfigError: An option is out of range.
    """

    engines: tuple[str, ...] = ()
    members = ("labeler",)

    def __init__(self, labeler: Labeler | Rater, *, standardized: bool = False, max_missing_rate: float = 0.2) -> None:
        if not 0.0 <= max_missing_rate <= 1.0:
            raise ConfigError(f"reward.max_missing_rate={max_missing_rate:g}: must be between 0 and 1")
        self.labeler = labeler
        self.standardized = standardized
        self.max_missing_rate = max_missing_rate

    def reads(self) -> Mapping[str, Reads]:
        """Nothing beyond what every reward is offered."""
        return {}

    def prepare(self, resources: RewardResources) -> Reward:
        """Put cache, ledger and budget before the labeler and, where asked for, take zero and unit from SFT samples."""
        labeler = self.labeler
        rater = labeler if isinstance(labeler, Rater) else AgainstReference(labeler, resources.references())
        self.rater = resources.asking(rater)
        self.before_asking = resources.before_asking
        if not self.standardized:
            return self
        return Standardized.on_samples(self, *resources.samples(), remedy="take another labeler")

    def to(self, device: torch.device | str) -> LabelerReward:
        """Nothing moves: the labeler's engine has a device of its own (``labeler.engine.device``)."""
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        keys = [(prompt.id, response.trimmed) for prompt, response in zip(prompts, responses, strict=True)]
        distinct = {key: row for row, key in reversed(list(enumerate(keys)))}
        rows = sorted(distinct.values())
        self.before_asking()
        ratings = self.rater.rate([prompts[row] for row in rows], [responses[row] for row in rows])
        self._check_missing(ratings)
        by_key = {keys[row]: rating.reward for row, rating in zip(rows, ratings, strict=True)}
        values_B = torch.tensor([_number(by_key[key]) for key in keys], dtype=torch.float32)
        return RewardBatch(values_B, ~values_B.isnan())

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
