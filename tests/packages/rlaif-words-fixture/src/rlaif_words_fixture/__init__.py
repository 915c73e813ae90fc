"""A reward that reads labels instead of a reward model: words of preferred responses are worth more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from rlaif.labeling.results import read_labels
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.types import Completion, Preference, Prompt


class WordsReward:
    """The mean worth of a response's words, each worth what the labels of the responses with it say.

    Args:
        smoothing: Labels of one half that each word starts with, above 0.
    """

    def __init__(self, *, smoothing: float = 1.0) -> None:
        self.smoothing = smoothing
        self.worth: Mapping[str, float] = {}

    def reads(self) -> Mapping[str, Reads]:
        """The labels of all earlier steps: in rounds, those of every round so far."""
        return {"labels": Reads(kind="labels", many=True)}

    def prepare(self, resources: RewardResources) -> WordsReward:
        """Count the words; returns itself."""
        return self.learn([label for folder in resources.inputs["labels"] for label in read_labels(folder)])

    def learn(self, labels: Sequence[Preference]) -> WordsReward:
        """Take the worth of words from labels; a missing label says nothing."""
        total: defaultdict[str, float] = defaultdict(float)
        count: defaultdict[str, int] = defaultdict(int)
        for label in labels:
            if label.p_first is None:
                continue
            sides = ((label.comparison.first, label.p_first), (label.comparison.second, 1.0 - label.p_first))
            for word, worth in ((word, p - 0.5) for side, p in sides for word in set(side.text.split())):
                total[word] += worth
                count[word] += 1
        self.worth = {word: total[word] / (count[word] + self.smoothing) for word in total}
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        """One value per response; missing for a response without words."""
        words = [response.text.split() for response in responses]
        values_B = torch.tensor(
            [sum(self.worth.get(word, 0.0) for word in text) / len(text) if text else float("nan") for text in words]
        )
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> WordsReward:
        """Nothing to move."""
        return self
