"""The pocket world as a data source: prompts, weak demonstrations, held-out pairs, simulated annotators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from rlaif.bounds import bounds_problems
from rlaif.data.base import TaskData
from rlaif.data.shares import divided_by_share
from rlaif.errors import ConfigError
from rlaif.functional.seeds import derive_seed
from rlaif.pocket.annotators import SimulatedAnnotators
from rlaif.pocket.world import (
    STRONG_TEACHER,
    TASK_NAMES,
    WEAK_TEACHER,
    Scene,
    draw_pair,
    draw_scene,
    write_held_out_prompt,
    write_prompt,
)
from rlaif.pocket.world import write_response as write
from rlaif.ranges import OpenShare
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt, content_id

ANNOTATOR_SEED = 0
"""The pool of raters is one and the same for every run."""
_PAIRS = ("policy", "policy_vs_teacher", "policy_vs_sft")
_TEACHERS = {"weak": WEAK_TEACHER, "strong": STRONG_TEACHER}


@dataclass(frozen=True, kw_only=True)
class PocketSource:
    """Draws everything a run reads from the pocket world.

    Training prompts use fillers that pretraining text holds; of the held-out prompts every second
    one (stratum ``unseen``) uses only fillers that no training text holds.
    """

    num_demonstrations: int = 4_000
    """Demonstrations for SFT."""
    num_label_prompts: int = 2_000
    """Prompts whose two sampled responses are labeled."""
    num_policy_prompts: int = 4_000
    """Prompts for reinforcement learning."""
    num_eval_prompts: int = 400
    """Held-out prompts of the evaluation."""
    num_tuning_prompts: int = 200
    """Further held-out prompts, for choices such as the temperature that is best for SFT."""
    num_eval_preferences: int = 1_000
    """Held-out pairs of mixed quality with the choice of one simulated annotator."""
    split: Literal["test", "tuning"] = "test"
    """Split of the held-out prompts: ``tuning`` for choosing hyperparameters."""
    pairs: Literal["policy", "policy_vs_teacher", "policy_vs_sft"] = "policy"
    """Source of the labeled pairs: samples of the policy, or one of it and one of the teacher or the SFT policy."""
    teacher: Literal["weak", "strong"] = "weak"
    """Writer of the demonstrations; a weak one leaves room for reinforcement learning."""
    sft_share: OpenShare | None = None
    """Share of the demonstrations' prompts that SFT sees; the others are the prompts to label and of RL, at most
    ``num_label_prompts`` and ``num_policy_prompts``. None draws those apart."""
    seed: int = 0
    """Draws prompts and demonstrations; the held-out prompts of a split differ by seed, too."""

    def __post_init__(self) -> None:
        problems = [f"data.{problem}" for problem in bounds_problems(self)]
        if self.pairs not in _PAIRS:
            problems.append(
                f"data.pairs={self.pairs}: the pocket world has {', '.join(_PAIRS)}; dataset needs data=files or hub"
            )
        if self.split not in ("test", "tuning"):
            problems.append(f"data.split={self.split}: must be test or tuning")
        if self.teacher not in _TEACHERS:
            problems.append(f"data.teacher={self.teacher}: must be weak or strong")
        if problems:
            raise ConfigError(problems)

    @property
    def identity(self) -> str:
        """Content hash of the options; the world's code is part of a stage's code digest."""
        return content_id("pocket", repr(self))

    def load(self, task: Task, count_tokens: Callable[[str], int] | None = None) -> TaskData:
        """Draw the data of one task.

        Raises:
            ConfigError: The pocket world has no such task.
        """
        if task.name not in TASK_NAMES:
            raise ConfigError(f"task={task.name}: the pocket world has {', '.join(TASK_NAMES)}; use data=files or hub")
        annotators = SimulatedAnnotators(ANNOTATOR_SEED)
        pairs = self._held_out_pairs(task)
        choices = annotators.prefer(pairs, rater=0)
        eval_prompts = self._prompts(task, self.split, self.num_eval_prompts, held_out=True)
        data = TaskData(
            demonstrations=self._demonstrations(task),
            label_prompts=self._prompts(task, "label", self.num_label_prompts),
            policy_prompts=self._prompts(task, "policy", self.num_policy_prompts),
            eval_prompts=eval_prompts,
            tuning_prompts=self._tuning_prompts(task, {prompt.id for prompt in eval_prompts}),
            eval_preferences=[
                Preference(comparison=pair, p_first=choice, source="simulated annotators")
                for pair, choice in zip(pairs, choices, strict=True)
            ],
            annotators=annotators,
        )
        return divided_by_share(
            data, self.sft_share, num_label=self.num_label_prompts, num_policy=self.num_policy_prompts
        )

    def _rng(self, task: Task, *parts: int | str) -> Random:
        return Random(derive_seed(self.seed, "pocket source", task.name, *parts))

    def _prompts(self, task: Task, purpose: str, count: int, *, held_out: bool = False) -> list[Prompt]:
        prompts = []
        for item in range(count):
            rng = self._rng(task, purpose, item)
            prompts.append(_write(draw_scene(task.name, rng, held_out=held_out and item % 2 == 1), rng))
        return prompts

    def _tuning_prompts(self, task: Task, taken: set[str]) -> list[Prompt]:
        """Prompts of the tuning split, or of a third one where the evaluation is on that, without ``taken``."""
        split = "tuning" if self.split == "test" else "tuning_again"
        drawn = self._prompts(task, split, self.num_tuning_prompts, held_out=True)
        return [prompt for prompt in drawn if prompt.id not in taken]

    def _demonstrations(self, task: Task) -> list[Demonstration]:
        demonstrations = []
        for item in range(self.num_demonstrations):
            rng = self._rng(task, "demonstration", item)
            scene = draw_scene(task.name, rng, held_out=False)
            prompt = write_prompt(scene, rng)
            demonstrations.append(Demonstration(prompt=prompt, response=write(scene, _TEACHERS[self.teacher], rng)))
        return demonstrations

    def _held_out_pairs(self, task: Task) -> list[Comparison]:
        pairs = []
        for item in range(self.num_eval_preferences):
            rng = self._rng(task, self.split, "pair", item)
            scene = draw_scene(task.name, rng, held_out=item % 2 == 1)
            prompt = _write(scene, rng)
            first, second = (Completion(text=text, source="dataset") for text in draw_pair(scene, rng))
            pairs.append(Comparison(prompt=prompt, first=first, second=second))
        return pairs


def _write(scene: Scene, rng: Random) -> Prompt:
    return write_held_out_prompt(scene, rng) if scene.held_out else write_prompt(scene, rng)
