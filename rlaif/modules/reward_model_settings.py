"""Config group ``reward_model``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

from transformers import PreTrainedModel

from rlaif.bounds import bounds_problems
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.settings import SupervisedSettings
from rlaif.ranges import NonNegative

RewardDebias = Literal["none", "length"]


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings(SupervisedSettings):
    """Config group ``reward_model``; the examples are labeled pairs."""

    group: ClassVar[str] = "reward_model"

    init: Literal["sft", "base"] = "sft"
    """Initial weights: the SFT model, or the model before SFT."""
    debias: RewardDebias = "none"
    """``length`` keeps the reward from following length: a second head takes it (ODIN, arXiv 2402.07319)."""
    length_weight: NonNegative = 1.0
    """Weight of the correlations of both heads with length (``debias=length``)."""
    orthogonality_weight: NonNegative = 1.0
    """Weight of the overlap of both heads (``debias=length``)."""

    def module(self, model: PreTrainedModel) -> RewardModelModule:
        """The module to train; ``model`` is changed in place."""
        make: Callable[..., RewardModelModule] = RewardModelModule
        if self.debias == "length":
            weights = DebiasWeights(length=self.length_weight, orthogonality=self.orthogonality_weight)
            make = partial(LengthDebiasedModule, weights=weights)
        return make(model, optimization=self.optimization, max_tokens_per_forward=self.max_tokens_per_forward)

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from bounds_problems(self)
        if self.debias not in get_args(RewardDebias):
            yield f"debias={self.debias}: must be one of {', '.join(get_args(RewardDebias))}"
