"""The policy: reinforcement learning from a reward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlaif.artifacts.curve import CURVE, VALIDATION, read_curve
from rlaif.data.base import ExactAnnotators
from rlaif.errors import ConfigError
from rlaif.evaluation.records import Curves, ValidationCurves
from rlaif.labeling.asking import AskingSettings
from rlaif.models.load import load_causal_lm, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.validation import PolicyValidation
from rlaif.pipeline.stage import Told, Work
from rlaif.ranges import PositiveShare
from rlaif.rewards.base import Reward
from rlaif.roles import Reads
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.rewarded import RewardedStage
from rlaif.tasks.base import Task
from rlaif.types import Prompt


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

    @property
    def own_sampling(self) -> SamplingSettings:
        """As the settings say."""
        return self.settings.sampling

    def reads(self) -> Mapping[str, Reads]:
        """The policy to start from, the SFT policy as reference, prompts, and what the reward reads."""
        if self.settings.validate_every is None:
            return self.reward_roles()
        return {**self.reward_roles(), "validation": Reads(kind="tuning_prompts", optional=True)}

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling, and log-probabilities of the samples."""
        yield self.settings.sampling.use("policy")

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the reward's labeler, numbers of responses that do not divide, and weights of 16 bits."""
        yield from super().problems(work)
        yield from self.settings.division.problems(work.num_processes)

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
        asking = self.begin_asking(work)
        module = self.settings.module(
            load_causal_lm(self.spec(work, "policy")),
            reference=load_causal_lm(self.spec(work, "reference")),
            tokenizer=tokenizer,
            task=self.task,
            prompts=work.data("prompts").policy_prompts,
            reward=self.prepared(work, asking),
            seed=work.seed,
        )
        training = work.training
        trainer = training.fit(module, max_steps=module.num_optimizer_steps, callbacks=self._validation(work))
        training.save(trainer, module.policy, tokenizer, temperature=self.settings.sampling.temperature)
        if trainer.is_global_zero:
            self.end_asking(work, asking)

    def rewarded_prompts(self, work: Work) -> Sequence[Prompt]:
        """Those of training and validation."""
        return [*work.data("prompts").policy_prompts, *self._validation_prompts(work)]

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
        sections = (ValidationCurves.from_rows(validations), Curves.from_rows(rows))
        return Told(line=line + _last_win_rates(validations), link=work.step, title=title, sections=sections)


def _last_win_rates(rows: Sequence[Mapping[str, float]]) -> str:
    """Greedy win rates of the last validation by stratum, for the terminal; empty where there are none."""
    greedy = {name: value for name, value in (rows[-1] if rows else {}).items() if name.startswith("win_rate/greedy/")}
    told = [f"{name.rpartition('/')[2]} {100 * value:.0f} %" for name, value in sorted(greedy.items())]
    return f", greedy wins {', '.join(told)}" if told else ""
