"""Rewards of a policy: texts in, one number per response out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from rlaif.errors import PluginError
from rlaif.labelers.base import Labeler, Rater
from rlaif.registry import described
from rlaif.roles import Reads
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Preference, Prompt

Cause = Literal["unreadable", "failed", "none given"]
"""Why a response has no reward: the judge's reply holds no verdict; the judge gave no reply; nobody was to judge it."""


class RewardBatch(NamedTuple):
    """Rewards of B responses."""

    values_B: Tensor
    """float32; NaN where missing."""
    scored_mask_B: Tensor
    """Bool: responses that have a reward. A missing reward is left out of the policy's loss, never 0."""
    p_beats_BK: Tensor | None = None
    """From a reward that judges pairs: P(this response is better than the k-th response to the same prompt), NaN where
    it was not judged."""
    causes: tuple[Cause | None, ...] = ()
    """Why each response has no reward, None where it has one; empty where the reward does not tell."""
    parts: Mapping[str, Tensor] = MappingProxyType({})
    """Numbers [B] that are logged beside the reward by name, e.g. the parts of a mixture; NaN where missing."""


def ask(labeler: Labeler, comparisons: Sequence[Comparison]) -> list[Preference]:
    """Ask the labeler itself, without cache, ledger or budget."""
    return labeler.label(comparisons)


def compute(name: str, numbers: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The numbers, computed here and kept nowhere."""
    return numbers()


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardResources:
    """Resources of a run for a reward, before the first policy step; callables compute nothing until called."""

    task: Task
    """Gives the text that a policy continues."""
    inputs: Mapping[str, tuple[Path, ...]]
    """Folders of each role that the reward :meth:`Reward.reads`; several where the role takes many."""
    directory: Path
    """The step's directory, for caches that a killed run resumes from; no other step reads them."""
    samples: Callable[[], tuple[list[Prompt], list[Completion]]]
    """Responses of the SFT policy with the prompt of each, to standardize rewards on. They are those of an earlier step
    for a reward that reads :data:`~rlaif.rewards.standardized.READS_SAMPLES`, and drawn in this step for any other."""
    references: Callable[[], Mapping[str, Completion]]
    """A response of the SFT policy to every prompt of the training, by prompt id: what a labeler of pairs compares
    with."""
    asking: Callable[[Rater], Rater]
    """A rater that asks its models through answer cache and ledger, and stops where the budget is spent."""
    label: Callable[[Labeler, Sequence[Comparison]], list[Preference]] = ask
    """Labels pairs through answer cache and ledger, within the budget; a labeler that plans ahead sees these pairs as
    its plan. One label per pair, in order."""
    once: Callable[[str, Callable[[], dict[str, float]]], dict[str, float]] = compute
    """Numbers under a name that one process computes, by asking a model, and the others and a later start read."""

    def path(self, role: str) -> Path:
        """The folder of a role that takes one result."""
        (folder,) = self.inputs[role]
        return folder


class Reward(Protocol):
    """Scores responses. Registered in the group ``rlaif.rewards``.

    A reward that is made of others prepares each of them in its own :meth:`prepare`, keeps what that returns, reads the
    roles of all of them, and declares the attribute that holds them as ``members``, so that labelers in it are found.
    """

    def reads(self) -> Mapping[str, Reads]:
        """The artefacts that it needs, by role."""
        ...

    def prepare(self, resources: RewardResources) -> Reward:
        """Load what it scores with; called once in every process, before the first policy step.

        Returns:
            The reward to call: itself, or a wrapper around it (:class:`~rlaif.rewards.standardized.Standardized`).
        """
        ...

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        """One reward per (prompt, response).

        Args:
            prompts: Prompt of each response.
            responses: All responses of a policy step on this process.
            samples_per_prompt: K consecutive rows answer one prompt, for rewards that compare these.
        """
        ...

    def to(self, device: torch.device | str) -> object:
        """Move what it scores with to a device; nothing to do where nothing runs here."""
        ...


def prepared(reward: Reward, resources: RewardResources) -> Reward:
    """The reward to call.

    Raises:
        PluginError: Its ``prepare`` returned something else.
    """
    found = reward.prepare(resources)
    if not callable(found) or not hasattr(found, "to"):
        raise PluginError(
            f"reward {described(reward)}: prepare returned a {type(found).__name__}, must be the reward to call: "
            "itself, or a wrapper around it with a method to"
        )
    return found


@runtime_checkable
class ComparesSamples(Protocol):
    """A reward that compares the responses to one prompt with each other."""

    min_samples_per_prompt: int
    """Fewer responses to a prompt (``policy.samples_per_prompt``) leave nothing to compare."""


@runtime_checkable
class ChecksPrompts(Protocol):
    """A reward that can tell before the training which prompts it cannot reward."""

    def prompt_problems(self, prompts: Sequence[Prompt]) -> Iterator[str]:
        """What is wrong with the prompts whose responses it will reward, one line each."""
        ...


@runtime_checkable
class JudgesPairs(Protocol):
    """A reward that judges pairs of the responses to one prompt (``RewardBatch.p_beats_BK``).

    A response's reward is its wins over the others, so the mean over a prompt's responses is 0 by construction.
    """

    judges_pairs: Literal[True]
    """Declares it; a mixture with such a part has another mean, and does not."""
