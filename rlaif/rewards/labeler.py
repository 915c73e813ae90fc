"""Direct RLAIF: the labeler's own judgement of each response is the reward, with no reward model between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlaif.labelers.base import Labeler, Rater
from rlaif.labelers.convert import AgainstReference
from rlaif.ranges import Share
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.rewards.missing import check_missing, check_rate, judged_cause
from rlaif.rewards.standardized import READS_SAMPLES, STANDARDIZED, UNSTANDARDIZED, Standardized, zero_and_unit
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt, Rating, content_id


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

    def __init__(self, labeler: Labeler | Rater, *, standardized: bool = False, max_missing_rate: Share = 0.2) -> None:
        check_rate(max_missing_rate)
        self.labeler = labeler
        self.standardized = standardized
        self.max_missing_rate = max_missing_rate

    @property
    def identity(self) -> str:
        """The labeler's: what its scores depend on."""
        return self.labeler.identity

    def reads(self) -> Mapping[str, Reads]:
        """Samples to take zero and unit from, where asked for."""
        return READS_SAMPLES if self.standardized else {}

    def prepare(self, resources: RewardResources) -> Reward:
        """Put cache, ledger and budget before the labeler and, where asked for, take zero and unit from SFT samples."""
        labeler = self.labeler
        rater = labeler if isinstance(labeler, Rater) else AgainstReference(labeler, resources.references())
        self.rater = resources.asking(rater)
        if not self.standardized:
            return self
        remedy = f"take another labeler or {UNSTANDARDIZED}"

        def measured() -> dict[str, float]:
            return zero_and_unit(self, *resources.samples(), option=STANDARDIZED, remedy=remedy)

        name = content_id(type(self).__qualname__, self.identity)
        return Standardized(self, **resources.once(f"standard-{name}", measured))

    def to(self, device: torch.device | str) -> LabelerReward:
        """Nothing moves: the labeler's engine has a device of its own (``labeler.engine.device``)."""
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        keys = [(prompt.id, response.trimmed) for prompt, response in zip(prompts, responses, strict=True)]
        distinct = {key: row for row, key in reversed(list(enumerate(keys)))}
        rows = sorted(distinct.values())
        ratings = self.rater.rate([prompts[row] for row in rows], [responses[row] for row in rows])
        check_missing([rating.missing for rating in ratings], self.max_missing_rate, reward=self)
        by_key = {keys[row]: rating for row, rating in zip(rows, ratings, strict=True)}
        of_all = [by_key[key] for key in keys]
        values_B = torch.tensor([_number(rating.reward) for rating in of_all], dtype=torch.float32)
        causes = tuple(judged_cause(rating.missing, rating.judgments) for rating in of_all)
        return RewardBatch(values_B, ~values_B.isnan(), causes=causes, parts=self._parts(of_all))

    def _parts(self, ratings: Sequence[Rating]) -> dict[str, Tensor]:
        """Numbers [B] to log beside the reward, from the rating of each response."""
        return {}


def _number(reward: float | None) -> float:
    return float("nan") if reward is None else reward
