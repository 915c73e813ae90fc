"""Where prompts, demonstrations and human labels come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rlaif.tasks.base import Task
from rlaif.types import Comparison, Demonstration, Preference, Prompt

Split = Literal["train", "tuning", "test"]


class Annotators(Protocol):
    """Simulated people: they draw preferences and harm verdicts from a quality nobody else sees."""

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        """One rater's choice per comparison: 1.0 first, 0.0 second. Deterministic in (rater, comparison)."""
        ...

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        """One rater's verdict per response."""
        ...


@dataclass(frozen=True, kw_only=True)
class SkippedRows:
    """Rows that were left out, by reason."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    """The first three, as ``file:line: reason``."""
    num_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Everything a run reads, split by prompt."""

    demonstrations: list[Demonstration]
    """For SFT."""
    label_prompts: list[Prompt]
    """Two responses are sampled for each and labeled (``data.pairs=policy``)."""
    policy_prompts: list[Prompt]
    """For RL."""
    eval_prompts: list[Prompt]
    """Held out: never seen by SFT, reward model or RL."""
    preferences: list[Preference] = field(default_factory=list)
    """Pairs that came with labels (``data.pairs=dataset``, ``labeler=human``)."""
    eval_preferences: list[Preference] = field(default_factory=list)
    """Held-out labeled pairs: labeler alignment and reward-model accuracy."""
    annotators: Annotators | None = None
    """Only the pocket world has them."""
    skipped: SkippedRows = field(default_factory=SkippedRows)


class DataSource(Protocol):
    """One of ``data=pocket|files|hub``."""

    pairs: Literal["policy", "dataset"]

    @property
    def identity(self) -> str:
        """Content hash of what ``load`` returns (file contents included)."""
        ...

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Read or draw everything; ``count_tokens`` is the policy's tokenizer, None counts words."""
        ...
