"""Weighted criteria as reward: a model says how probably a response meets each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.labelers.criteria import CriteriaLabeler, p_yes
from rlaif.naming import named_as
from rlaif.prompts.criteria import CRITERIA_FILE, CriteriaPrompts, read_criteria
from rlaif.ranges import PositiveShare, Share
from rlaif.rewards.base import Reward, RewardResources
from rlaif.rewards.labeler import LabelerReward
from rlaif.roles import Reads
from rlaif.runtime import Runtime
from rlaif.types import Prompt, Rating

CRITERIA = "criteria"
"""Role, and kind, of criteria that an earlier step has written."""


class RubricReward(LabelerReward):
    """2 · Σ w · P(yes) / Σ w − 1 over the criteria of a response's prompt, in [−1, 1].

    P(yes) is read from the log-probs of "yes" and "no". All criteria of all responses of a policy step are one batch of
    the engine. A criterion that could not be judged is missing; the weights of the others are scaled up where
    ``min_weight`` of the weight remains, else the response has no reward. P(yes) of each criterion that all prompts
    have is logged as ``policy/reward/criterion_N``.

    Args:
        engine: The language model that judges.
        criteria: A file with criteria, for all prompts or for single ones; None takes those that an earlier step
            ``rubric`` has written, or else those of the task.
        min_weight: Share of the criteria's weight, in (0, 1], that must have been judged.
        min_answer_mass: Least probability of "yes" and "no" together in a judgement, in [0, 1].
        standardized: As in :class:`~rlaif.rewards.labeler.LabelerReward`.
        max_missing_rate: Likewise.

    Raises:
        ConfigError: An option is out of range, there is no engine, or the file cannot be read.
    """

    labeler: CriteriaLabeler

    def __init__(
        self,
        engine: Engine | None,
        *,
        criteria: Runtime[str | None] = None,
        min_weight: PositiveShare = 0.5,
        min_answer_mass: Share = 1e-9,
        standardized: bool = False,
        max_missing_rate: Share = 0.2,
    ) -> None:
        if engine is None:
            raise ConfigError(
                "reward.engine=null: a rubric asks a model; take a labeler that has one (labeler=criteria)"
            )
        with named_as("reward"):
            labeler = CriteriaLabeler(
                CriteriaPrompts(), engine, criteria=criteria, min_answer_mass=min_answer_mass, min_weight=min_weight
            )
        super().__init__(labeler, standardized=standardized, max_missing_rate=max_missing_rate)
        self.criteria = criteria

    def reads(self) -> Mapping[str, Reads]:
        """Criteria of an earlier step, where no file is named, and samples where standard units are asked for."""
        criteria = {CRITERIA: Reads(kind=CRITERIA, optional=True)} if self.criteria is None else {}
        return {**super().reads(), **criteria}

    def prompt_problems(self, prompts: Sequence[Prompt]) -> Iterator[str]:
        """A file that has no criterion for more prompts than may lack a reward."""
        if self.criteria is None:
            return
        without = [prompt for prompt in prompts if not self.labeler.rubric(prompt)]
        if len(without) > self.max_missing_rate * len(prompts):
            yield (
                f"reward.criteria={self.criteria}: holds no criterion for {len(without):,} of {len(prompts):,} prompts,"
                f" the first {without[0].text.strip()[:60]!r}; write one without prompt, which is for all of them"
            )

    def prepare(self, resources: RewardResources) -> Reward:
        """Read the criteria of an earlier step, and prepare the labeler."""
        if resources.inputs.get(CRITERIA):
            self.labeler.take(read_criteria(str(resources.path(CRITERIA) / CRITERIA_FILE)))
        return super().prepare(resources)

    def _parts(self, ratings: Sequence[Rating]) -> dict[str, Tensor]:
        """P(yes) [B] of the criteria that all prompts have; they come first in every rating."""
        count = self.labeler.num_common(ratings[0].prompt.task) if ratings else 0
        columns = [[p_yes(rating.judgments[place]) for rating in ratings] for place in range(count)]
        return {
            f"criterion_{number}": torch.tensor([float("nan") if p is None else p for p in column])
            for number, column in enumerate(columns, start=1)
        }
