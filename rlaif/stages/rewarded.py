"""Shared by the stages in which a policy learns from a reward: how the reward gets what it scores with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from filelock import FileLock

from rlaif.artifacts import atomic_write
from rlaif.data.preferences_io import read_samples
from rlaif.labelers.base import Labeler, Rater
from rlaif.labelers.models import engines_of
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.learning import depends_on_people
from rlaif.labeling.results import COST
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.models.load import ModelSpec
from rlaif.models.uses import ModelUse
from rlaif.modules.settings import dtype_problems
from rlaif.naming import LABELER, renamed
from rlaif.pipeline.stage import Stage, Work
from rlaif.rewards.base import ChecksPrompts, Reward, RewardResources, prepared
from rlaif.rewards.reward_model import REWARD_MODEL
from rlaif.rewards.standardized import STANDARD_SAMPLES
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import as_rewarded
from rlaif.stages.people import bound_people
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Preference, Prompt

SCORES = "scores"
"""Directory of a labeler's answers and what they took, while the policy trains."""
COST_OF_SCORES = ("num_questions", "num_prompt_tokens", "num_reply_tokens", "num_cached", "seconds", "usd")
NUM_STANDARD_PROMPTS = 512
"""Prompts whose SFT responses fix the reward's zero and unit, in a pipeline without samples."""


class NoProgress:
    """Shows nothing: for questions inside something that has a display of its own."""

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        """Begin to count nothing."""
        return lambda completed, total: None


def _rewards(option: str, reward: Reward) -> Iterator[tuple[str, Reward]]:
    """A reward and those that it is made of, each with the option that composes it."""
    yield option, reward
    parts = getattr(reward, "rewards", None)
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        yield from _rewards(f"{option}.rewards.{name}", part)


def _once(directory: Path, name: str, numbers: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Numbers that the first of several processes computes while the others wait to read them."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.json"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            atomic_write(file, json.dumps(numbers()))
        found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


class RewardedStage(Stage):
    """A stage whose constructor stores what stands below."""

    trains = True

    task: Task
    reward: Reward
    asking: AskingSettings
    dtype: str
    min_alignment: float | None

    @property
    def own_sampling(self) -> SamplingSettings:
        """How the policy samples."""
        raise NotImplementedError

    @property
    def strip_trailing(self) -> str:
        """Characters stripped from the end of a response before it is rewarded."""
        raise NotImplementedError

    @property
    def asked(self) -> dict[str, object]:
        """What asks models, or people, by the option that composes it."""
        return {LABELER: self.reward}

    def reward_roles(self) -> dict[str, Reads]:
        """Policies and prompts, and what the reward reads."""
        roles = {
            "policy": Reads(kind="policy"),
            "reference": Reads(kind="policy", by="sft"),
            "prompts": Reads(kind="policy_prompts"),
            **self.reward.reads(),
        }
        if any(map(depends_on_people, self.asked.values())):
            roles["people"] = Reads(kind="people")
        if self.min_alignment is not None and engines_of(self.reward):
            roles["gate"] = Reads(kind="gate", hashed=False)
        return roles

    def leaves(self) -> frozenset[str]:
        """A policy."""
        return frozenset({"policy"})

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the labelers, and weights of 16 bits."""
        yield from dtype_problems(self.dtype)
        yield from self._room_problems()
        for option, part in _rewards("reward", self.reward):
            if isinstance(part, ChecksPrompts):
                for problem in part.prompt_problems(work.data("prompts").policy_prompts):
                    yield renamed(problem, "reward", option)
        for option, labeler in self.asked.items():
            for problem in trial_problems(labeler, example_pairs(work.data("prompts"))):
                yield renamed(problem, LABELER, option)

    def _room_problems(self) -> Iterator[str]:
        """Rewards that would read the beginning of a response alone."""
        limit = self.own_sampling.max_new_tokens
        for option, part in _rewards("reward", self.reward):
            max_length = getattr(part, "max_length", None)
            if isinstance(max_length, int) and max_length <= limit:
                yield (
                    f"{option}.max_length={max_length}: a response has up to policy.max_new_tokens={limit} tokens, and"
                    f" it is read with its prompt; type more than {limit}, with room for prompts"
                )

    def reward_uses(self) -> Iterator[ModelUse]:
        """Scoring of responses by reward models."""
        for option, part in _rewards("reward", self.reward):
            max_length = getattr(part, "max_length", None)
            if REWARD_MODEL in part.reads() and isinstance(max_length, int):
                yield ModelUse(purpose="reward_model", num_tokens=max_length, option=f"{option}.max_length")

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The labelers, on responses that are still to be drawn."""
        examples = example_pairs(work.data("prompts"))
        for option, labeler in self.asked.items():
            yield WillAsk(labeler=labeler, examples=examples, answers=self.asking.answers, option=option)

    def begin_asking(self, work: Work) -> Asking:
        """Answers of other runs, made in batches of other responses, could differ in the last digit: none is read."""
        return self.asking.begin(work.directory / SCORES, rank=work.rank, keeps_answers_apart=True, before=work.tried)

    def end_asking(self, work: Work, asking: Asking) -> None:
        """Write what the reward's models took, and let go of their answers; on the first process."""
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)
        if any(map(engines_of, self.asked.values())):
            cost = asking.cost_figures(0)
            written = {name: cost[name] for name in COST_OF_SCORES}
            (work.directory / COST).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        asking.close(remove=True)

    def spec(self, work: Work, role: str) -> ModelSpec:
        """The model folder of a role."""
        return ModelSpec(str(work.path(role)), dtype=self.dtype)

    def prepared(self, work: Work, asking: Asking) -> Reward:
        """The reward with everything that it scores with."""
        bound_people(self.reward, work)

        def rater(rater: Rater) -> Rater:
            return asking.rater(rater)

        def label(labeler: Labeler, pairs: Sequence[Comparison]) -> list[Preference]:
            return asking.label(labeler, [pairs], NoProgress())[0]

        resources = RewardResources(
            task=self.task,
            inputs={role: tuple(work.paths(role).values()) for role in self.reward.reads() if work.has(role)},
            directory=work.directory,
            samples=lambda: self._samples(work),
            references=lambda: self._references(work),
            asking=rater,
            label=label,
            once=partial(_once, work.directory / SCORES),
        )
        return prepared(self.reward, resources)

    def rewarded_prompts(self, work: Work) -> Sequence[Prompt]:
        """Prompts whose responses are rewarded."""
        return work.data("prompts").policy_prompts

    def _references(self, work: Work) -> Mapping[str, Completion]:
        """One response of the SFT policy to each prompt, by prompt id, as the policy's own are rewarded."""
        prompts = self.rewarded_prompts(work)
        drawn = self._draw(work, prompts, "reference")
        return {
            prompt.id: as_rewarded(completion, self.strip_trailing)
            for prompt, (completion,) in zip(prompts, drawn, strict=True)
        }

    def _samples(self, work: Work) -> tuple[list[Prompt], list[Completion]]:
        """Responses that fix a reward's zero and unit, as the policy's own are rewarded.

        They are drawn here for a reward that does not say that it reads them.
        """
        if work.has(STANDARD_SAMPLES):
            samples = read_samples(work.path(STANDARD_SAMPLES) / SAMPLES)
        else:
            prompts = work.data("prompts").policy_prompts[:NUM_STANDARD_PROMPTS]
            samples = list(zip(prompts, self._draw(work, prompts, "standardize"), strict=True))
        pairs = [(prompt, completion) for prompt, completions in samples for completion in completions]
        return [prompt for prompt, _ in pairs], [
            as_rewarded(completion, self.strip_trailing) for _, completion in pairs
        ]

    def _draw(self, work: Work, prompts: Sequence[Prompt], purpose: str) -> list[tuple[Completion, ...]]:
        folder: Path = work.path("reference")
        return draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=1,
            settings=self.own_sampling,
            seed=work.seed,
            purpose=purpose,
            source="sft",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit=f"prompts to {purpose}"),
            parts=work.directory / DRAWN / purpose if work.world_size == 1 else None,
        )
