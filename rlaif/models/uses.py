"""What the steps of a run do with its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rlaif.models.adapters import LoraSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """One thing that a step does with a model, known before it begins."""

    purpose: Literal["imitate", "sample", "reward_model"]
    """Training on demonstrations; sampling, and log-probabilities of samples; a scalar head on the body."""
    num_tokens: int
    """Tokens that it reads at most."""
    option: str
    """The option, as typed, to lower where that is too long for the model."""
    num_other: int = 0
    """Tokens among them that another option sets: what is generated after a prompt."""
    lora: LoraSettings | None = None
    """Adapter that is trained for it; None trains all weights, or none."""
    lora_option: str = ""
    """Where the adapter's options are typed, e.g. ``lora.sft``."""

    @property
    def told(self) -> str:
        """The option with its value."""
        more = f" with {self.num_other} new ones" if self.num_other else ""
        return f"{self.option}={self.num_tokens - self.num_other}{more}"
