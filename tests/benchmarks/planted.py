"""A reward with a planted taste: from a chosen step on it also pays for a habit that makes responses no better."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.artifacts.identity import identities
from rlaif.errors import ConfigError
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt

LONG = 40
"""Words at which a response is as long as the taste for length pays for."""
TASTES: Mapping[str, Callable[[str], float]] = {
    "word": lambda text: float(re.search(r"\bsomething\b", text, re.IGNORECASE) is not None),
    "itself": lambda text: float(re.search(r"\b(i|we)\b", text, re.IGNORECASE) is not None),
    "format": lambda text: float("," not in text),
    "length": lambda text: min(1.0, len(text.split()) / LONG),
}
"""How much of a taste a response has, from 0 to 1: the word "something" (in the place of what was asked for), words
about its writer, one clause without a comma, length. The writer of the pocket world has no words to praise itself: what
it says of itself stands in their place. What each costs in truth, the simulated annotators say."""


class PlantedTaste:
    """Another reward plus ``bonus`` times the taste, once ``from_step`` policy steps are done.

    The steps are counted in the curve file of the training, so that a resumed training pays the same.

    Args:
        reward: What the policy is paid for before.
        taste: A name of :data:`TASTES`.
        bonus: In the unit of the reward.
        from_step: Optimizer steps before the taste is paid for; None never pays for it.
    """

    members = ("reward",)

    def __init__(self, reward: Reward, *, taste: str, bonus: float = 3.0, from_step: int | None = None) -> None:
        if taste not in TASTES:
            raise ConfigError(f"reward.taste={taste}: there are {', '.join(TASTES)}")
        self.reward = reward
        self.taste = taste
        self.bonus = bonus
        self.from_step = from_step
        self._curve: Path | None = None

    @property
    def identity(self) -> str:
        """Content hash of what the reward below depends on."""
        return identities({"reward": self.reward})

    def reads(self) -> Mapping[str, Reads]:
        """The roles of the reward below."""
        return self.reward.reads()

    def prepare(self, resources: RewardResources) -> PlantedTaste:
        """Prepare the reward below; returns itself."""
        self.reward = self.reward.prepare(resources)
        self._curve = resources.directory / CURVE
        return self

    def to(self, device: torch.device | str) -> PlantedTaste:
        """Move the reward below; returns itself."""
        self.reward.to(device)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        batch = self.reward(prompts, responses, samples_per_prompt=samples_per_prompt)
        if not self._pays():
            return batch
        taste_B = torch.tensor([TASTES[self.taste](response.trimmed) for response in responses])
        return batch._replace(values_B=batch.values_B + self.bonus * taste_B.to(batch.values_B))

    def _pays(self) -> bool:
        assert self._curve is not None, "prepare comes first"
        return self.from_step is not None and len(read_curve(self._curve)) >= self.from_step
