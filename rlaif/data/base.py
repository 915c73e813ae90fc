"""Data sources: prompts, demonstrations and human labels of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Literal, Protocol, runtime_checkable

from rlaif.tasks.base import Task
from rlaif.types import Comparison, Demonstration, Preference, Prompt, content_id, content_id_of

DATA_KINDS = (
    "demonstrations",
    "label_prompts",
    "policy_prompts",
    "tuning_prompts",
    "held_out_prompts",
    "held_out_pairs",
    "people",
    "pairs",
    "references",
)
"""What the data of a run leave for its steps. ``people``: labels that came with the data, and simulated annotators;
``pairs``: the data's own pairs without their labels; ``references``: a teacher's responses to prompts to label."""
PREFERRED = "preferred responses, and those that came alone"
"""Where demonstrations of real data come from unless another place is named."""
Split = Literal["train", "tuning", "test"]
PairSource = Literal["policy", "dataset", "policy_vs_teacher", "policy_vs_sft"]
"""The labeled pairs: two samples of the policy, the data's own, or a sample of the policy and a response of another."""


class Annotators(Protocol):
    """Simulated people: they draw preferences and harm verdicts from a quality that no labeler sees."""

    @property
    def identity(self) -> str:
        """Content hash of everything that their verdicts depend on besides what is judged, code included."""
        ...

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        """One rater's choice per comparison: 1.0 first, 0.0 second. Deterministic in (rater, comparison)."""
        ...

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        """One rater's verdict per response."""
        ...


@runtime_checkable
class ExactAnnotators(Protocol):
    """Annotators whose exact probabilities are known."""

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        """The probability per comparison that an annotator prefers the first response."""
        ...


@dataclass(frozen=True, kw_only=True)
class SkippedRows:
    """Rows that were left out, by reason."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    """The first three, as ``file:line: reason``."""
    num_rows: int = 0
    num_cut: int = 0
    """Dialogues that were kept without their oldest turns (``data.max_prompt_tokens``)."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Everything a run reads, split by prompt."""

    demonstrations: Sequence[Demonstration]
    """For SFT."""
    label_prompts: Sequence[Prompt]
    """Responses to each are sampled and labeled (``data.pairs=policy``)."""
    policy_prompts: Sequence[Prompt]
    """For RL."""
    eval_prompts: Sequence[Prompt]
    """Held out: never seen by SFT, reward model or RL."""
    tuning_prompts: Sequence[Prompt] = ()
    """Held out for choices, e.g. of a temperature, and to watch RL on: none is among ``eval_prompts``."""
    preferences: Sequence[Preference] = ()
    """Pairs that came with labels (``data.pairs=dataset``, ``labeler=human``)."""
    eval_preferences: Sequence[Preference] = ()
    """Held-out labeled pairs: labeler alignment and reward-model accuracy."""
    references: Sequence[Demonstration] = ()
    """A teacher's responses to prompts to label (``data.pairs=policy_vs_teacher``)."""
    annotators: Annotators | None = None
    """Only the pocket world has them."""
    demonstrations_from: str = ""
    """Where the demonstrations come from, in words; empty in the pocket world."""
    skipped: SkippedRows = field(default_factory=SkippedRows)
    read: tuple[str, ...] = ()
    """What was read of a file, in words: its layout and the first three records."""
    _content_ids: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def most_pairs(self, samples_per_prompt: int) -> int:
        """Pairs that can be labeled at most: those that came with labels, or those of samples with each other or with
        another's response.

        Args:
            samples_per_prompt: Of each prompt to label.
        """
        per_prompt = max(samples_per_prompt, comb(samples_per_prompt, 2))
        return max(len(self.preferences), len(self.label_prompts) * per_prompt)

    def __post_init__(self) -> None:
        both = {prompt.id for prompt in self.tuning_prompts} & {prompt.id for prompt in self.eval_prompts}
        if both:
            raise ValueError(f"TaskData: {len(both)} of the tuning prompts are evaluation prompts, too; leave them out")

    def content_id(self, kind: str) -> str:
        """Content hash of one kind of the data, computed once.

        Args:
            kind: One of :data:`DATA_KINDS`.

        Raises:
            ValueError: There is no such kind.
        """
        if kind not in self._content_ids:
            self._content_ids[kind] = self._hashed(kind)
        return self._content_ids[kind]

    def _hashed(self, kind: str) -> str:
        match kind:
            case "demonstrations":
                return demonstrations_id(self.demonstrations)
            case "label_prompts":
                return prompts_id(self.label_prompts)
            case "policy_prompts":
                return prompts_id(self.policy_prompts)
            case "tuning_prompts":
                return content_id(prompts_id(self.tuning_prompts), self._annotators_id)
            case "held_out_prompts":
                return prompts_id(self.eval_prompts)
            case "held_out_pairs":
                return content_id(preferences_id(self.eval_preferences), self._annotators_id)
            case "people":
                return content_id(preferences_id(self.preferences), self._annotators_id)
            case "pairs":
                return content_id_of(_pair_id(item) for item in self.preferences)
            case "references":
                return demonstrations_id(self.references)
            case _:
                raise ValueError(f"TaskData.content_id: kind={kind!r}; there are {', '.join(DATA_KINDS)}")

    @property
    def _annotators_id(self) -> str:
        return "" if self.annotators is None else self.annotators.identity


def prompts_id(prompts: Sequence[Prompt]) -> str:
    """Content hash of prompts with their strata, in their order."""
    return content_id_of(f"{prompt.id} {prompt.stratum}" for prompt in prompts)


def demonstrations_id(demonstrations: Sequence[Demonstration]) -> str:
    """Content hash of prompts with their responses, in their order."""
    return content_id_of(content_id(item.prompt.id, item.response) for item in demonstrations)


def preferences_id(preferences: Sequence[Preference]) -> str:
    """Content hash of labeled pairs in their order: texts, label, weight, confidence and source."""
    return content_id_of(_preference_id(item) for item in preferences)


def _preference_id(label: Preference) -> str:
    told = (label.p_first, label.weight, label.confidence, label.missing, label.source)
    return content_id(_pair_id(label), *map(repr, told))


def _pair_id(label: Preference) -> str:
    pair = label.comparison
    return content_id(pair.id, pair.prompt.stratum, pair.first.source, pair.second.source)


class DataSource(Protocol):
    """One of ``data=pocket|files|hub``."""

    pairs: PairSource

    @property
    def identity(self) -> str:
        """Content hash of what ``load`` returns (file contents included)."""
        ...

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Read or draw everything; ``count_tokens`` is the policy's tokenizer, None counts words."""
        ...
