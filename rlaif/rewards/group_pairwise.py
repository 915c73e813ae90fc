"""The responses to a prompt are compared with each other, and each is rewarded by its wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlaif.functional.sample_pairs import mean_wins
from rlaif.labelers.base import Labeler
from rlaif.ranges import Share
from rlaif.rewards.base import Cause, RewardBatch, RewardResources, ask
from rlaif.rewards.missing import NONE_GIVEN, check_missing, check_rate, judged_cause, worst_cause
from rlaif.roles import Reads
from rlaif.types import Comparison, Completion, Preference, Prompt


class Pairing(NamedTuple):
    """Two responses to one prompt, and the comparison that is judged."""

    left: int
    """Row of a response."""
    right: int
    """Row of the other response."""
    pair: Comparison
    """Both in alphabetical order, so that equal texts are judged once and a row's place changes nothing."""
    is_turned: bool
    """True where the left response is the pair's second."""

    def p_left(self, label: Preference | None) -> float:
        """P(the left response is better); ½ for equal texts, NaN where the label is missing."""
        if self.pair.is_identical:
            return 0.5
        if label is None or label.p_first is None:
            return float("nan")
        return 1.0 - label.p_first if self.is_turned else label.p_first


class GroupPairwiseReward:
    """Mean over the other responses to the prompt of 2 · P(this one is better) − 1, in [−1, 1].

    All k(k − 1)/2 pairs of a prompt's k responses are compared, in one call of the labeler for the whole policy step,
    which looks at both orders and gives soft labels. Equal responses tie and are not judged. A missing comparison is
    left out; a response without any has no reward. Responses in calls with one sample per prompt (validation) have
    nobody to be compared with, so they have no reward.

    Args:
        labeler: Compares pairs.
        max_missing_rate: Share of a step's comparisons, in [0, 1], that may be missing before the run stops.

    Raises:
        ConfigError: An option is out of range.
    """

    engines: tuple[str, ...] = ()
    members = ("labeler",)
    min_samples_per_prompt = 2
    judges_pairs: Literal[True] = True

    def __init__(self, labeler: Labeler, *, max_missing_rate: Share = 0.2) -> None:
        check_rate(max_missing_rate)
        self.labeler = labeler
        self.max_missing_rate = max_missing_rate
        self._label: Callable[[Labeler, Sequence[Comparison]], list[Preference]] = ask

    @property
    def identity(self) -> str:
        """The labeler's: what its labels depend on."""
        return self.labeler.identity

    def reads(self) -> Mapping[str, Reads]:
        """Nothing beyond what every reward is offered."""
        return {}

    def prepare(self, resources: RewardResources) -> GroupPairwiseReward:
        """Ask through the run's answer cache, ledger and budget; returns itself."""
        self._label = resources.label
        return self

    def to(self, device: torch.device | str) -> GroupPairwiseReward:
        """Nothing moves: the labeler's engine has a device of its own (``labeler.engine.device``)."""
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        pairings = _pairings(prompts, responses, samples_per_prompt)
        labels = self._labels({item.pair.id: item.pair for item in pairings if not item.pair.is_identical})
        p_first_BK = torch.full((len(prompts), samples_per_prompt), float("nan"), dtype=torch.float64)
        causes: list[list[Cause | None]] = [[] for _ in prompts]
        for item in pairings:
            label = labels.get(item.pair.id)
            p_left = item.p_left(label)
            p_first_BK[item.left, item.right % samples_per_prompt] = p_left
            p_first_BK[item.right, item.left % samples_per_prompt] = 1.0 - p_left
            cause = None if label is None else judged_cause(label.missing, label.judgments)
            causes[item.left].append(cause)
            causes[item.right].append(cause)
        p_first_GKK = p_first_BK.view(-1, samples_per_prompt, samples_per_prompt)
        values_B = (2.0 * mean_wins(p_first_GKK).flatten() - 1.0).float()
        return RewardBatch(values_B, ~values_B.isnan(), p_first_BK.float(), _causes(values_B, causes))

    def _labels(self, pairs: Mapping[str, Comparison]) -> dict[str, Preference]:
        """The label of every pair by the pair's id, from one call of the labeler."""
        if not pairs:
            return {}
        labels = self._label(self.labeler, list(pairs.values()))
        check_missing([label.missing for label in labels], self.max_missing_rate, reward=self, what="comparisons")
        return dict(zip(pairs, labels, strict=True))


def _pairings(prompts: Sequence[Prompt], responses: Sequence[Completion], samples_per_prompt: int) -> list[Pairing]:
    """All pairs of responses to the same prompt."""
    pairings = []
    for start in range(0, len(prompts), samples_per_prompt):
        for left, right in combinations(range(start, start + samples_per_prompt), 2):
            is_turned = responses[right].trimmed < responses[left].trimmed
            first, second = (right, left) if is_turned else (left, right)
            pair = Comparison(prompt=prompts[left], first=responses[first], second=responses[second])
            pairings.append(Pairing(left, right, pair, is_turned))
    return pairings


def _causes(values_B: Tensor, causes: Sequence[Sequence[Cause | None]]) -> tuple[Cause | None, ...]:
    found = zip(values_B.isnan().tolist(), causes, strict=True)
    return tuple((worst_cause(own) or NONE_GIVEN) if is_missing else None for is_missing, own in found)
