"""The policy: reinforcement learning from a reward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rlaif.artifacts.curve import CURVE, VALIDATION, read_curve
from rlaif.data.base import ExactAnnotators
from rlaif.data.preferences_io import read_samples
from rlaif.errors import ConfigError
from rlaif.evaluation.records import Curves, Section, ValidationCurves
from rlaif.evaluation.reward_curves import reward_sections
from rlaif.labelers.base import Rater
from rlaif.labelers.models import engines_of
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.learning import depends_on_people
from rlaif.labeling.results import COST
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.settings import dtype_problems
from rlaif.modules.validation import PolicyValidation
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import PositiveShare
from rlaif.rewards.base import ComparesSamples, Reward, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.people import bound_people
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

SCORES = "scores"
"""Directory of a labeler's answers and what they took, while the policy trains."""
COST_OF_SCORES = ("num_questions", "num_prompt_tokens", "num_reply_tokens", "num_cached", "seconds", "usd")
NUM_STANDARD_PROMPTS = 512
"""Prompts whose SFT responses fix the reward's zero and unit, in a pipeline without samples."""


class PolicyStage(Stage):
    """Trains a policy on responses that it samples itself, starting from the nearest earlier policy.

    Args:
        task: Gives the text that a policy continues.
        settings: Config group ``policy``.
        reward: What the policy is rewarded for.
        dtype: Number format of the loaded weights.
        precision: Number format of the computation (``trainer.precision``).
        sampling: How pairs are sampled; only compared with the policy's own sampling.
        asking: Where answers of models are kept, what they cost, when to stop.
        min_alignment: Alignment, in (0, 1], that a scorecard must find before a labeler rewards; None asks for none.
    """

    trains = True

    def __init__(
        self,
        task: Task,
        settings: PolicySettings,
        reward: Reward,
        *,
        asking: Runtime[AskingSettings],
        sampling: Runtime[SamplingSettings | None] = None,
        dtype: str = "float32",
        precision: str = "32-true",
        min_alignment: Runtime[PositiveShare | None] = None,
    ) -> None:
        if not isinstance(settings, PolicySettings):
            raise ConfigError(
                "pipeline.stages: the step policy learns from a reward; type pipeline=dpo with policy=dpo or"
                " policy=ipo, or a policy that learns from a reward, as policy=reinforce"
            )
        self.task = task
        self.settings = settings
        self.reward = reward
        self.asking = asking
        self.sampling = sampling
        self.dtype = dtype
        self.precision = precision
        self.min_alignment = min_alignment

    def reads(self) -> Mapping[str, Reads]:
        """The policy to start from, the SFT policy as reference, prompts, and what the reward reads."""
        roles = {
            "policy": Reads(kind="policy"),
            "reference": Reads(kind="policy", by="sft"),
            "prompts": Reads(kind="policy_prompts"),
            "samples": Reads(kind="samples", optional=True),
            **self.reward.reads(),
        }
        if self.settings.validate_every is not None:
            roles["validation"] = Reads(kind="tuning_prompts", optional=True)
        if depends_on_people(self.reward):
            roles["people"] = Reads(kind="people")
        if self.min_alignment is not None and engines_of(self.reward):
            roles["gate"] = Reads(kind="gate", hashed=False)
        return roles

    def leaves(self) -> frozenset[str]:
        """A policy."""
        return frozenset({"policy"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling, and log-probabilities of the samples."""
        yield self.settings.sampling.use("policy")

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the reward's labeler, numbers of responses that do not divide, and weights of 16 bits."""
        yield from dtype_problems(self.dtype)
        yield from trial_problems(self.reward, example_pairs(work.data("prompts")))
        yield from self.settings.division.problems(work.num_processes)
        num_samples = self.settings.samples_per_prompt
        if isinstance(self.reward, ComparesSamples) and num_samples < self.reward.min_samples_per_prompt:
            yield (
                f"policy.samples_per_prompt={num_samples}: the reward compares the responses to a prompt with each"
                f" other; give at least {self.reward.min_samples_per_prompt}"
            )

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The reward's labeler, on responses that are still to be drawn."""
        examples = example_pairs(work.data("prompts"))
        yield WillAsk(labeler=self.reward, examples=examples, answers=self.asking.answers)

    def notices(self, work: Work) -> Iterator[str]:
        """Sampling options that differ from those of the labeled pairs, and validation without prompts."""
        if self.settings.validate_every is not None and not self._validation_prompts(work):
            yield (
                f"policy.validate_every={self.settings.validate_every}: the training is not validated, because the"
                " data leave no prompts for it; give data.num_tuning_prompts and, with files, a lower"
                " data.num_eval_prompts, or type policy.validate_every=null"
            )
        own = self.settings.sampling
        if self.sampling is not None and own != self.sampling and work.has("samples"):
            names = ("temperature", "max_new_tokens", "max_prompt_tokens")
            different = [name for name in names if getattr(own, name) != getattr(self.sampling, name)]
            told = ", ".join(f"policy.{name}={getattr(own, name)}" for name in different)
            pairs = ", ".join(f"sampling.{name}={getattr(self.sampling, name)}" for name in different)
            yield f"{told}: the policy samples otherwise than the labeled pairs ({pairs})"

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        tokenizer = load_tokenizer(str(work.path("policy")))
        # Answers of other runs, made in batches of other responses, could differ in the last digit.
        asking = self.asking.begin(work.directory / SCORES, rank=work.rank, keeps_answers_apart=True, before=work.tried)
        module = self.settings.module(
            load_causal_lm(self._spec(work, "policy")),
            reference=load_causal_lm(self._spec(work, "reference")),
            tokenizer=tokenizer,
            task=self.task,
            prompts=work.data("prompts").policy_prompts,
            reward=self._prepared(work, asking),
            seed=work.seed,
        )
        training = work.training
        trainer = training.fit(module, max_steps=module.num_optimizer_steps, callbacks=self._validation(work))
        training.save(trainer, module.policy, tokenizer, temperature=self.settings.sampling.temperature)
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)
        if trainer.is_global_zero:
            if engines_of(self.reward):
                cost = asking.cost_figures(0)
                written = {name: cost[name] for name in COST_OF_SCORES}
                (work.directory / COST).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
            asking.close(remove=True)

    def _validation_prompts(self, work: Work) -> Sequence[Prompt]:
        return work.data("validation").tuning_prompts if work.has("validation") else []

    def _validation(self, work: Work) -> list[PolicyValidation]:
        """Watches the training, where there are prompts for it."""
        prompts, every = self._validation_prompts(work), self.settings.validate_every
        if not prompts or every is None:
            return []
        annotators = work.data("validation").annotators
        preference = annotators.p_first if isinstance(annotators, ExactAnnotators) else None
        path = work.directory / VALIDATION
        return [PolicyValidation(path, prompts, every_n_steps=every, preference=preference)]

    def _spec(self, work: Work, role: str) -> ModelSpec:
        return ModelSpec(str(work.path(role)), dtype=self.dtype)

    def _prepared(self, work: Work, asking: Asking) -> Reward:
        bound_people(self.reward, work)

        def rater(rater: Rater) -> Rater:
            return asking.rater(rater)

        resources = RewardResources(
            task=self.task,
            inputs={role: tuple(work.paths(role).values()) for role in self.reward.reads() if work.has(role)},
            directory=work.directory,
            samples=lambda: self._samples(work),
            references=lambda: self._references(work),
            asking=rater,
            asking_pairs=asking.pairs,
        )
        return self.reward.prepare(resources)

    def _references(self, work: Work) -> dict[str, Completion]:
        """One response of the SFT policy to each prompt of training and validation, by prompt id."""
        prompts = [*work.data("prompts").policy_prompts, *self._validation_prompts(work)]
        drawn = self._draw(work, prompts, "reference")
        return {prompt.id: completion for prompt, (completion,) in zip(prompts, drawn, strict=True)}

    def _samples(self, work: Work) -> tuple[list[Prompt], list[Completion]]:
        """Responses that fix a reward's zero and unit: the labeled samples, where the pipeline has them."""
        if work.has("samples"):
            samples = read_samples(work.path("samples") / SAMPLES)
        else:
            prompts = work.data("prompts").policy_prompts[:NUM_STANDARD_PROMPTS]
            samples = list(zip(prompts, self._draw(work, prompts, "standardize"), strict=True))
        pairs = [(prompt, completion) for prompt, completions in samples for completion in completions]
        return [prompt for prompt, _ in pairs], [completion for _, completion in pairs]

    def _draw(self, work: Work, prompts: Sequence[Prompt], purpose: str) -> list[tuple[Completion, ...]]:
        folder: Path = work.path("reference")
        return draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=1,
            settings=self.settings.sampling,
            seed=work.seed,
            purpose=purpose,
            source="sft",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit=f"prompts to {purpose}"),
            parts=work.directory / DRAWN / purpose if work.world_size == 1 else None,
        )

    def told(self, work: Work) -> Told:
        """Steps, first and last reward, KL, and the curves of training and validation."""
        rows, validations = read_curve(work.directory / CURVE), read_curve(work.directory / VALIDATION)
        line = ""
        if rows:
            first, last = rows[0], rows[-1]
            line = (
                f"{int(last['step'])} steps, reward {first['policy/reward']:+.2f} to {last['policy/reward']:+.2f},"
                f" KL {last['policy/kl']:.1f} nats"
            )
        labeler = getattr(self.reward, "labeler", None)
        title = "" if labeler is None else f"direct RLAIF by {labeler.name}"
        curves: tuple[Section, ...] = (ValidationCurves.from_rows(validations), Curves.from_rows(rows))
        sections = (*curves, *reward_sections(rows))
        return Told(line=line + _last_win_rates(validations), link=work.step, title=title, sections=sections)


def _last_win_rates(rows: Sequence[Mapping[str, float]]) -> str:
    """Greedy win rates of the last validation by stratum, for the terminal; empty where there are none."""
    greedy = {name: value for name, value in (rows[-1] if rows else {}).items() if name.startswith("win_rate/greedy/")}
    told = [f"{name.rpartition('/')[2]} {100 * value:.0f} %" for name, value in sorted(greedy.items())]
    return f", greedy wins {', '.join(told)}" if told else ""
