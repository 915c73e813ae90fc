"""A labeler judges pairs of a prompt's fresh responses while the policy learns from them.

Shapes: B responses, K of each prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated

import torch

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.sample_pairs import mean_wins
from rlaif.labelers.base import Labeler
from rlaif.labeling.missing import MissingLimit, missing_by_reason
from rlaif.ranges import Bounds
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.types import Comparison, Completion, Preference, Prompt

TIE = 0.5
"""P(first) of two responses with the same text: known without a question."""


class PairsReward:
    """P(better) of each pair of a prompt's responses; a response's reward is its mean over the prompt's others.

    Equal pairs of a policy step are judged once, in batches of one plan; what an engine has answered before, its answer
    cache knows. A pair whose judgement is missing is NaN and has no share in a mean; a response without a judged pair
    has no reward. A response that is alone has none either, so a validation, which draws one response to each prompt,
    has no ``reward``. A step in which more than ``max_missing_rate`` is missing stops the run.

    Args:
        labeler: Judges the pairs.
        max_missing_rate: Share of a step's distinct pairs, in [0, 1], that may be missing.

    Raises:
        ConfigError: An option is out of range.
    """

    engines: tuple[str, ...] = ()
    members = ("labeler",)

    def __init__(self, labeler: Labeler, *, max_missing_rate: Annotated[float, Bounds(0, 1)] = 0.2) -> None:
        self.labeler = labeler
        self.max_missing_rate = max_missing_rate
        if problems := [f"reward.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)
        self.limit = MissingLimit(max_missing_rate, option="reward.max_missing_rate")
        self._label: Callable[[Labeler, Sequence[Comparison]], list[Preference]] | None = None

    def reads(self) -> Mapping[str, Reads]:
        """Nothing beyond what every reward is offered."""
        return {}

    def prepare(self, resources: RewardResources) -> Reward:
        """Ask through the run's answer cache, ledger and budget."""
        self._label = resources.label
        return self

    def to(self, device: torch.device | str) -> PairsReward:
        """Nothing moves: the labeler's engine has a device of its own (``labeler.engine.device``)."""
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        p_beats_BK = torch.full((len(responses), samples_per_prompt), float("nan"))
        pairs = {(i, j): _pair(prompts, responses, i, j) for i, j in _places(len(responses), samples_per_prompt)}
        labels = self._judged([pair for pair in pairs.values() if not pair.is_identical])
        for (i, j), pair in pairs.items():
            p_first = TIE if pair.is_identical else labels[pair.id].p_first
            if p_first is not None:
                p_beats_BK[i, j % samples_per_prompt] = p_first
                p_beats_BK[j, i % samples_per_prompt] = 1.0 - p_first
        num_prompts = len(responses) // samples_per_prompt
        wins_B = mean_wins(p_beats_BK.view(num_prompts, samples_per_prompt, samples_per_prompt)).flatten()
        return RewardBatch(wins_B, ~wins_B.isnan(), p_beats_BK)

    def _judged(self, pairs: Sequence[Comparison]) -> dict[str, Preference]:
        """The label of each distinct pair, by its id."""
        distinct = list({pair.id: pair for pair in pairs}.values())
        if not distinct:
            return {}
        label = self._label or (lambda labeler, comparisons: labeler.label(comparisons))
        labels = label(self.labeler, distinct)
        missing = missing_by_reason(labels)
        if not self.limit.allows(sum(missing.values()), len(distinct)):
            go_on = "Start again to go on from the last checkpoint once the cause is mended."
            raise self.limit.error(missing, len(distinct), len(distinct), go_on)
        return {pair.id: label for pair, label in zip(distinct, labels, strict=True)}


def _places(num_responses: int, samples_per_prompt: int) -> Iterator[tuple[int, int]]:
    """Rows of every two responses to one prompt.

    >>> list(_places(4, 2))
    [(0, 1), (2, 3)]
    """
    for start in range(0, num_responses, samples_per_prompt):
        yield from combinations(range(start, start + samples_per_prompt), 2)


def _pair(prompts: Sequence[Prompt], responses: Sequence[Completion], first: int, second: int) -> Comparison:
    return Comparison(prompt=prompts[first], first=responses[first], second=responses[second])
