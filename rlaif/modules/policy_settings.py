"""The options of the policy's training, as the config group ``policy`` spells them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.bounds import bounds_problems
from rlaif.labelers.base import Labeler
from rlaif.modules.candidates import Keep
from rlaif.modules.policy import PolicyModule
from rlaif.modules.settings import TrainingSettings
from rlaif.modules.step_division import StepDivision
from rlaif.modules.watch_settings import WatchSettings
from rlaif.objectives.base import RolloutObjective
from rlaif.ranges import AtLeastOne, Positive
from rlaif.rewards.base import Reward
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.shaping import RewardShaping
from rlaif.rollouts.step import StepSampler
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import Prompt


@dataclass(frozen=True, kw_only=True)
class PolicySettings(TrainingSettings):
    """Config group ``policy``."""

    group: ClassVar[str] = "policy"

    objective: RolloutObjective
    """Turns rewards into advantages and losses; config group ``policy/objective``."""
    steps: AtLeastOne
    """Policy steps; each draws fresh responses and makes as many optimizer steps as the objective says (one for
    REINFORCE and RLOO)."""
    prompts_per_step: AtLeastOne
    """Prompts per policy step, over all devices."""
    samples_per_prompt: AtLeastOne = 1
    """Responses per prompt."""
    temperature: Positive = 0.9
    """Of the sampling, above 0: a policy learns from samples, on the distribution that it samples from."""
    max_new_tokens: AtLeastOne = 128
    """Longest response in tokens."""
    max_prompt_tokens: AtLeastOne = 1024
    """A longer prompt is cut from the left."""
    strip_trailing: str = ""
    """Characters stripped from the end of a response before it is rewarded."""
    value: Literal["head", "model"] = "head"
    """Learned baseline: a head on the policy's states, or a model of its own as in the paper."""
    value_lr: Positive = 1e-2
    """Learning rate of the learned baseline."""
    validate_every: AtLeastOne | None = None
    """Policy steps between validations on prompts that nothing else reads, besides those of the start and the end;
    None validates never."""

    judge: Labeler | None = None
    """Compares the validation's responses with the SFT policy's; None asks none."""
    keep: Keep = "last"
    """Weights that the training leaves, as in :data:`~rlaif.modules.candidates.Keep`; all but ``last`` choose among
    validations."""
    num_candidates: AtLeastOne = 4
    """Validations with the highest rewards that ``keep=judged`` chooses from."""
    watch: WatchSettings | None = None
    """Compares the validations by a judge that the policy does not learn from, and gives an alarm; None does not."""
    export_every: AtLeastOne | None = None
    """Policy steps between Hugging Face folders in ``exports`` of the step's directory; None writes none."""
    shaping: RewardShaping | None = None
    """What is done to rewards before the objective gets them; None does nothing."""
    learner: Runtime[Literal["policy"]] = "policy"
    """The step that learns so, for ``pipeline=iterative``."""

    def _problems(self) -> Iterator[str]:
        out_of_bounds = list(dict.fromkeys([*super()._problems(), *bounds_problems(self)]))
        yield from out_of_bounds
        needed = self.objective.needs.samples_per_prompt
        if 1 <= self.samples_per_prompt < needed:
            name = type(self.objective).__name__
            yield (
                f"samples_per_prompt={self.samples_per_prompt}: the objective {name} compares the responses to a"
                f" prompt and needs at least {needed}"
            )
        yield from self._few_responses_problems()
        yield from self._choice_problems()
        if self.shaping is not None:
            needs = self.objective.needs
            yield from self.shaping.problems(has_values=needs.values and needs.values_from == "learned")
        if not out_of_bounds:
            yield from (problem.removeprefix(f"{self.group}.") for problem in self.division.problems(num_processes=1))

    def _few_responses_problems(self) -> Iterator[str]:
        given, needed = self.prompts_per_step * self.samples_per_prompt, self.objective.needs.responses_per_step
        if 0 < given < needed:
            yield (
                f"prompts_per_step={self.prompts_per_step}: with policy.samples_per_prompt={self.samples_per_prompt} a "
                f"policy step has {given} response, and the objective {type(self.objective).__name__} compares each "
                f"with the others of the step; give at least {needed}, or type"
                " policy.objective.advantages=root_mean_square and, of reinforce, policy.objective.baseline=learned"
            )

    def _choice_problems(self) -> Iterator[str]:
        if self.validate_every is None and self.keep != "last":
            yield f"keep={self.keep}: chooses among validations; type policy.validate_every=40 or policy.keep=last"
        if self.validate_every is None and self.judge is not None:
            yield "judge: judges the responses of validations; type policy.validate_every=40 or policy.judge=null"
        if self.watch is not None:
            yield from self.watch.problems(is_validated=self.validate_every is not None)
        if self.keep == "judged" and self.judge is None:
            yield "keep=judged: there is no judge; type 'policy.judge=${evaluation.judge}' or policy.keep=best_reward"

    @property
    def num_validations(self) -> int:
        """Validations of the whole training, those of the start and of the end included; 0 without any."""
        return 0 if self.validate_every is None else 1 + math.ceil(self.steps / self.validate_every)

    @property
    def division(self) -> StepDivision:
        """How the prompts of a policy step are divided."""
        return StepDivision(
            prompts_per_step=self.prompts_per_step,
            num_updates=self.objective.updates.minibatches,
        )

    @property
    def sampling(self) -> SamplingSettings:
        """Sampling settings of the training."""
        return SamplingSettings(
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            max_prompt_tokens=self.max_prompt_tokens,
        )

    def module(
        self,
        policy: PreTrainedModel,
        *,
        reference: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        prompts: Sequence[Prompt],
        reward: Reward,
        seed: int,
    ) -> PolicyModule:
        """The module to train; ``policy`` is changed in place, ``reference`` is another copy of the SFT model."""
        responses = StepSampler(
            tokenizer,
            task=task,
            prompts=prompts,
            prompts_per_step=self.prompts_per_step,
            samples_per_prompt=self.samples_per_prompt,
            settings=self.sampling,
            strip_trailing=self.strip_trailing,
            seed=seed,
        )
        return PolicyModule(
            policy,
            reference=reference,
            sampler=LocalSampler.of_model(policy, tokenizer),
            responses=responses,
            reward=reward,
            objective=self.objective,
            optimization=self.optimization,
            steps=self.steps,
            value_lr=self.value_lr,
            value=self.value,
            shaping=self.shaping,
            max_tokens_per_forward=self.max_tokens_per_forward,
        )
