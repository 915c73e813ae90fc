"""The policy: reinforcement learning from a reward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.artifacts.curve import CURVE, VALIDATION, read_curve
from rlaif.data.base import ExactAnnotators
from rlaif.engines.base import RunsHere
from rlaif.errors import ConfigError, TrainingError
from rlaif.evaluation.records import Curves, Section, ValidationCurves
from rlaif.evaluation.reward_curves import reward_sections
from rlaif.functional.seeds import derive_seed
from rlaif.inference.recomputing import recompute_layers
from rlaif.labelers.models import engines_of
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.models.adapters import LoraSettings, lora_problems, merged, sharing_copy
from rlaif.models.load import load_causal_lm, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.candidates import Candidate, Candidates, choose
from rlaif.modules.exports import EXPORTS, PeriodicFolders
from rlaif.modules.policy import PolicyModule
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.step_seconds import SECONDS, SecondsWriter, read_seconds
from rlaif.modules.validation import JUDGED, PolicyValidation
from rlaif.modules.watch import Preference, Stop, Watch
from rlaif.modules.watched import WATCHED
from rlaif.naming import named_as
from rlaif.objectives.online_pairs import OnlinePairs
from rlaif.pipeline.stage import Told, Work
from rlaif.pipeline.watch_check import WatchJudge
from rlaif.ranges import PositiveShare
from rlaif.rewards.base import ComparesSamples, JudgesPairs, Reward
from rlaif.roles import Reads
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.people import bound_people
from rlaif.stages.rewarded import NoProgress, RewardedStage
from rlaif.stages.watched import (
    BEST,
    JUDGE,
    WATCH_JUDGE,
    judges_of,
    keep_best,
    watch_judge,
    watch_judge_words,
    watch_problems,
    watch_told,
)
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Figure, Prompt

CANDIDATES = "candidates"
"""Directory of the weights that ``policy.keep`` chooses from, while the policy trains."""
CHOICE = "checkpoints.json"
"""Which of them the step left, beside their rewards."""
LORA = "lora.policy"
"""Options of its adapter."""


class PolicyStage(RewardedStage):
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
        lora: Adapter that is trained; None trains all weights.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
    """

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
        lora: LoraSettings | None = None,
        gradient_checkpointing: Runtime[bool] = False,
    ) -> None:
        if not isinstance(settings, PolicySettings):
            raise ConfigError(
                "pipeline.stages: the step policy learns from a reward while it samples; type pipeline=dpo with"
                " policy=dpo or policy=ipo, pipeline=best_of_n with policy=best_of_n, or another policy, as"
                " policy=reinforce"
            )
        self.task = task
        self.settings = settings
        self.reward = reward
        self.asking = asking
        self.sampling = sampling
        self.dtype = dtype
        self.precision = precision
        self.min_alignment = min_alignment
        self.lora = lora
        self.gradient_checkpointing = gradient_checkpointing

    @property
    def own_sampling(self) -> SamplingSettings:
        """As the settings say."""
        return self.settings.sampling

    @property
    def strip_trailing(self) -> str:
        """As the settings say."""
        return self.settings.strip_trailing

    @property
    def asked(self) -> dict[str, object]:
        """The reward, and the judges of the validation."""
        return {**super().asked, **judges_of(self.settings)}

    @property
    def watch_judge(self) -> WatchJudge | None:
        """The labeler that watches the training."""
        return watch_judge(self.settings)

    def reads(self) -> Mapping[str, Reads]:
        """The policy to start from, the SFT policy as reference, prompts, and what the reward reads."""
        roles = self.reward_roles()
        if self.settings.validate_every is not None:
            roles["validation"] = Reads(kind="tuning_prompts", optional=True)
        # Not read: where samples are labeled, the notices say how the policy samples otherwise.
        return {**roles, "samples": Reads(kind="samples", optional=True, hashed=False)}

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling, log-probabilities of the samples, and their scores."""
        yield replace(self.settings.sampling.use("policy"), lora=self.lora, lora_option=LORA)
        yield from self.reward_uses()

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the reward's labeler, numbers of responses that do not divide, and weights of 16 bits."""
        yield from super().problems(work)
        yield from lora_problems(self.lora, LORA, trains_with_dropout=False)
        yield from self.settings.division.problems(work.num_processes)
        if self.settings.keep != "last" and not self._validation_prompts(work):
            yield (
                f"policy.keep={self.settings.keep}: chooses among validations, and the data leave no prompts for them;"
                " give data.num_tuning_prompts, or type policy.keep=last"
            )
        yield from self._compared_problems()
        yield from watch_problems(self.settings, is_judged=self._watch_judge_words(work) is not None)
        num_samples = self.settings.samples_per_prompt
        if isinstance(self.reward, ComparesSamples) and num_samples < self.reward.min_samples_per_prompt:
            yield (
                f"policy.samples_per_prompt={num_samples}: the reward compares the responses to a prompt with each"
                f" other; give at least {self.reward.min_samples_per_prompt}"
            )

    def _compared_problems(self) -> Iterator[str]:
        """Options that a reward of comparisons inside the group leaves without effect, or without anything to read."""
        keep, shaping = self.settings.keep, self.settings.shaping
        compares = isinstance(self.reward, ComparesSamples) and self.reward.min_samples_per_prompt > 1
        if keep != "last" and compares:
            yield (
                f"policy.keep={keep}: the reward compares several responses to a prompt, and a validation draws one,"
                " which has no reward to choose weights by; type policy.keep=last"
            )
        if shaping is None or not (isinstance(self.settings.objective, OnlinePairs) and self._judges_pairs):
            return
        for name, (value, default) in shaping.changed.items():
            yield (
                f"policy.shaping.{name}={value}: has no effect, as the policy learns from the judged pairs and not from"
                f" rewards; type policy.shaping.{name}={'null' if default is None else default}, or a reward of single"
                " responses, e.g. reward=labeler labeler=scorer"
            )

    @property
    def _judges_pairs(self) -> bool:
        """True where the mean reward is 0 by construction."""
        return isinstance(self.reward, JudgesPairs)

    def notices(self, work: Work) -> Iterator[str]:
        """Sampling options that differ from those of the labeled pairs, validation without prompts, options of a
        baseline that is not there, and models that share no weights."""
        if self.lora is not None and any(isinstance(engine, RunsHere) for engine in engines_of(self.reward)):
            yield (
                "lora.policy: policy and reference share one copy of the SFT policy's weights; the labeler that rewards"
                " keeps its own model beside them, the one before SFT where it has the same name"
            )
        if self.settings.validate_every is not None and not self._validation_prompts(work):
            yield (
                f"policy.validate_every={self.settings.validate_every}: the training is not validated, because the"
                " data leave no prompts for it; give data.num_tuning_prompts and, with files, a lower"
                " data.num_eval_prompts, or type policy.validate_every=null"
            )
        elif self.settings.watch is not None and self._watch_judge_words(work) is None:
            yield (
                "policy.watch: nobody compares the validations, so there is no alarm; type e.g."
                " 'policy.watch.judge=${evaluation.judge}', or policy.watch=null"
            )
        yield from self._no_baseline()
        yield from self._other_sampling(work)

    def _no_baseline(self) -> Iterator[str]:
        """Options of a learned baseline that are set for an objective without one."""
        needs = self.settings.objective.needs
        if needs.values and needs.values_from == "learned":
            return
        for name in ("value", "value_lr"):
            if (given := getattr(self.settings, name)) != getattr(PolicySettings, name):
                objective = type(self.settings.objective).__name__
                yield (
                    f"policy.{name}={given}: has no effect, as the objective {objective} learns no baseline; leave it"
                    " out, or type policy/objective=ppo, or reinforce with policy.objective.baseline=learned"
                )

    def _other_sampling(self, work: Work) -> Iterator[str]:
        """What differs between how the policy samples and how the labeled pairs were sampled."""
        own, pairs = self.settings.sampling, self.sampling
        if pairs is None or not work.has("samples"):
            return
        names = ("temperature", "max_new_tokens", "max_prompt_tokens")
        if different := [name for name in names if getattr(own, name) != getattr(pairs, name)]:
            told = ", ".join(f"policy.{name}={getattr(own, name)}" for name in different)
            of_pairs = ", ".join(f"sampling.{name}={getattr(pairs, name)}" for name in different)
            yield f"{told}: the policy samples otherwise than the labeled pairs ({of_pairs})"
        if pairs.top_p < 1:
            yield (
                f"sampling.top_p={pairs.top_p}: holds for the labeled pairs; the policy samples from all tokens, as its"
                " gradient needs"
            )

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        tokenizer = load_tokenizer(str(work.path("policy")))
        asking, prompts = self.begin_asking(work), work.data("prompts").policy_prompts
        if work.rank == 0:
            count_cut_prompts(work.directory, work.path("policy"), self.task, prompts, self.own_sampling, "policy")
        policy, reference = self._models(work)
        if self.gradient_checkpointing:
            recompute_layers(policy)
        module = self.settings.module(
            policy,
            reference=reference,
            tokenizer=tokenizer,
            task=self.task,
            prompts=prompts,
            reward=self.prepared(work, asking),
            seed=work.seed,
        )
        validation = self._validation(work, asking)
        training = work.training
        seconds = SecondsWriter(work.directory / SECONDS, module.seconds)
        callbacks = [*([] if validation is None else [validation]), *self._exports(work, tokenizer), seconds]
        trainer = training.fit(module, max_steps=module.num_optimizer_steps, callbacks=callbacks)
        if validation is not None and trainer.is_global_zero:
            self._keep_chosen(work, module, validation)
        training.save(trainer, merged(module.policy), tokenizer, temperature=self.settings.sampling.temperature)
        if trainer.is_global_zero:
            if self.lora is not None:
                self.lora.keep(module.policy, work.directory)
            for weights in (CANDIDATES, BEST):
                shutil.rmtree(work.directory / weights, ignore_errors=True)
            self.end_asking(work, asking)

    def _models(self, work: Work) -> tuple[PreTrainedModel, PreTrainedModel]:
        """Policy and reference; a policy with an adapter shares its frozen weights with a reference of the same."""
        start = self.spec(work, "policy")
        reference = load_causal_lm(self.spec(work, "reference"))
        if self.lora is None:
            return load_causal_lm(start), reference
        has_same_weights = work.path("policy") == work.path("reference")
        policy = sharing_copy(reference) if has_same_weights else load_causal_lm(start)
        seed = derive_seed(work.seed, "adapter")
        return self.lora.on(policy, base=start.place, seed=seed, option=LORA), reference

    def _exports(self, work: Work, tokenizer: PreTrainedTokenizerBase) -> list[PeriodicFolders]:
        every, temperature = self.settings.export_every, self.settings.sampling.temperature
        if every is None:
            return []
        return [PeriodicFolders(work.directory / EXPORTS, tokenizer, every_n_steps=every, temperature=temperature)]

    def _keep_chosen(self, work: Work, module: PolicyModule, validation: PolicyValidation) -> None:
        """Give the policy the weights that the watch or ``policy.keep`` chooses, and write down which."""
        if validation.has_stopped and validation.watch is not None:
            keep_best(validation.watch, module, work.directory)
            return
        if validation.candidates is None:
            return
        found, rows = validation.candidates.found(), read_curve(validation.path)
        judged = {int(row["step"]): row[JUDGED] for row in rows if JUDGED in row}
        # A response that the judge has no verdict on is not preferred.
        preferred = {int(row["step"]): row[JUDGED] * row["judge_answered"] for row in rows if JUDGED in row}
        chosen = choose(found, self.settings.keep, preferred)
        if chosen is None:
            raise TrainingError(
                f"policy.keep={self.settings.keep}: no validation has a reward, so there is nothing to choose from;"
                " type policy.keep=last"
            )
        module.policy.load_state_dict(validation.candidates.load(chosen.step))
        written = {"chosen": chosen.step, "candidates": [candidate_row(each, judged) for each in found]}
        (work.directory / CHOICE).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")

    def rewarded_prompts(self, work: Work) -> Sequence[Prompt]:
        """Those of training and validation."""
        return [*work.data("prompts").policy_prompts, *self._validation_prompts(work)]

    def _validation_prompts(self, work: Work) -> Sequence[Prompt]:
        return work.data("validation").tuning_prompts if work.has("validation") else []

    def _validation(self, work: Work, asking: Asking) -> PolicyValidation | None:
        """Watches the training, where there are prompts for it."""
        prompts, settings = self._validation_prompts(work), self.settings
        if not prompts or settings.validate_every is None:
            return None
        annotators = work.data("validation").annotators
        exact = annotators.p_first if isinstance(annotators, ExactAnnotators) else None
        judge = self._judge(work, asking, JUDGE)
        num = 1 if settings.keep == "best_reward" else settings.num_candidates
        return PolicyValidation(
            work.directory / VALIDATION,
            prompts,
            every_n_steps=settings.validate_every,
            preference=exact,
            judge=judge,
            candidates=None if settings.keep == "last" else Candidates(work.directory / CANDIDATES, num),
            watch=self._watch(work, asking, judge or exact),
        )

    def _watch(self, work: Work, asking: Asking, other: Preference | None) -> Watch | None:
        """Its own judge, or else the other one, compares; None where there is nobody."""
        settings = self.settings.watch
        if settings is None:
            return None
        judge = self._judge(work, asking, WATCH_JUDGE) or other
        best = Candidates(work.directory / BEST, 1, takes_start=True) if settings.stop else None
        num_looks = self.settings.num_validations
        directory = work.directory / WATCHED
        return judge and Watch(directory, settings, judge=judge, num_looks=num_looks, best=best)

    def _judge(self, work: Work, asking: Asking, option: str) -> Preference | None:
        """A judge, asked through cache, ledger and budget."""
        judge = judges_of(self.settings).get(option)
        if judge is None:
            return None
        bound_people(judge, work)

        def preference(pairs: Sequence[Comparison]) -> list[float | None]:
            with named_as(option):
                return [label.p_first for label in asking.label(judge, [pairs], NoProgress())[0]]

        return preference

    def _watch_judge_words(self, work: Work) -> str | None:
        """Who compares for the watch, in words; None where nobody does."""
        if not self._validation_prompts(work):
            return None
        options = work.options.get("settings") or {}
        return watch_judge_words(self.settings, work.data("validation").annotators, options)

    def told(self, work: Work) -> Told:
        """Steps, first and last reward or margin, KL, and the curves of training and validation."""
        rows, validations = read_curve(work.directory / CURVE), read_curve(work.directory / VALIDATION)
        line = ""
        if rows:
            line = f"{self._steps(int(rows[-1]['step']))}{self._learned(rows)}, {_kl_in_words(rows[-1]['policy/kl'])}"
        labeler = getattr(self.reward, "labeler", None)
        title = "" if labeler is None else f"direct RLAIF by {labeler.name}"
        curve = Curves.from_rows(rows, is_relative=self._judges_pairs)
        curves: tuple[Section, ...] = (ValidationCurves.from_rows(validations), curve)
        sections = (*curves, *reward_sections(rows))
        stop, kept = Stop.read(work.directory), _kept(work.directory / CHOICE)
        watch = self._watch_told(work, validations)
        if stop is not None:
            line += f"{watch.line}, with {_validated(validations, stop.kept)}"
        else:
            chosen = "" if kept is None else _kept_in_words(*kept, unit=self._unit, validations=validations)
            line += (chosen or _win_rates(validations[-1:])) + watch.line
        seconds = read_seconds(work.directory)
        return Told(
            line=line,
            link=work.step,
            notes=(*cut_prompts_told(work.directory), *self._unjudged(kept)),
            title=title,
            figures=tuple(Figure(name=f"time/{work.step}/{part}", value=value) for part, value in seconds.items()),
            sections=(*sections, *watch.sections),
            checks=watch.checks,
        )

    def _unjudged(self, kept: tuple[Candidate, float | None] | None) -> tuple[str, ...]:
        """That weights were to be chosen by a judge that had no verdict."""
        if self.settings.keep != "judged" or kept is None or kept[1] is not None:
            return ()
        return ("policy.judge had no verdict: the weights with the highest validation reward were kept",)

    def _steps(self, num_optimizer_steps: int) -> str:
        """Policy steps, as ``policy.steps`` counts them, and the optimizer steps where these are more."""
        num_updates = self.settings.objective.updates.total
        more = f" ({num_optimizer_steps} {self._unit}s)" if num_updates > 1 else ""
        return f"{num_optimizer_steps // num_updates} steps{more}"

    @property
    def _unit(self) -> str:
        """What the curve files count, where steps of the policy are fewer."""
        return "optimizer step" if self.settings.objective.updates.total > 1 else "step"

    def _learned(self, rows: Sequence[Mapping[str, float]]) -> str:
        """First and last reward, or margin where the mean reward is 0 by construction."""
        name, unit = ("margin", " nats") if self._judges_pairs else ("reward", "")
        found = [row[f"policy/{name}"] for row in rows if f"policy/{name}" in row]
        return f", {name} {found[0]:+.2f} to {found[-1]:+.2f}{unit}" if found else ""

    def _watch_told(self, work: Work, validations: Sequence[Mapping[str, float]]) -> Told:
        judge = self._watch_judge_words(work)
        if self.settings.watch is None or judge is None:
            return Told()
        has_rewards = any("reward" in row for row in validations)
        rule = self.settings.watch.rule(num_looks=self.settings.num_validations, judge=judge, has_rewards=has_rewards)
        return watch_told(work.directory, validations, self.settings.watch, judge=judge, rule=rule)

    def meta(self, work: Work) -> Mapping[str, object]:
        """Why the training ended before its last step, where the watch ended it."""
        stop = Stop.read(work.directory)
        return {} if stop is None else {"stopped": str(stop)}


def _win_rates(rows: Sequence[Mapping[str, float]]) -> str:
    """Greedy win rates of a validation by stratum, for the terminal; empty where there are none."""
    greedy = {name: value for row in rows for name, value in row.items() if name.startswith("win_rate/greedy/")}
    told = [f"{name.rpartition('/')[2]} {100 * value:.0f} %" for name, value in sorted(greedy.items())]
    return f", greedy wins {', '.join(told)}" if told else ""


def _kl_in_words(kl: float) -> str:
    return f"KL {round(kl, 1) + 0.0:.1f} nats"  # no -0.0


def _validated(validations: Sequence[Mapping[str, float]], step: int) -> str:
    """What a validation measured of the weights at its step, which are others than the last ones."""
    (row,) = (row for row in validations if row["step"] == step)
    return _kl_in_words(row["kl"]) + _win_rates([row])


def candidate_row(candidate: Candidate, judged: Mapping[int, float]) -> dict[str, float | None]:
    """A candidate as it is written down."""
    return {"step": candidate.step, "reward": candidate.score, JUDGED: judged.get(candidate.step)}


def _kept(file: Path) -> tuple[Candidate, float | None] | None:
    """The candidate whose weights were kept, with its judge's win rate; None where the last weights were."""
    if not file.is_file():
        return None
    written = json.loads(file.read_text(encoding="utf-8"))
    (row,) = (row for row in written["candidates"] if row["step"] == written["chosen"])
    return Candidate(row["step"], row["reward"]), row[JUDGED]


def _kept_in_words(
    kept: Candidate, win_rate: float | None, *, unit: str, validations: Sequence[Mapping[str, float]]
) -> str:
    judged = "" if win_rate is None else f", judge {100 * win_rate:.0f} %"
    measured = _validated(validations, kept.step)
    return f", kept {unit} {kept.step} (validation reward {kept.score:+.2f}{judged}, {measured})"
