"""The policy: samples, is rewarded, and learns from its rollouts what the objective says.

Shapes: B responses (prompt-major), T response tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.inference.logprobs import ResponseLogprobs, response_logprobs
from rlaif.modules.distributed import pooled_mean
from rlaif.modules.optim import OptimizerSettings, configure, decay_groups
from rlaif.modules.rollout_loader import PolicyBatch, RolloutLoader
from rlaif.modules.settings import TrainingSettings
from rlaif.modules.values import ValueHead, ValueModel
from rlaif.objectives.base import Losses, PolicyOutputs, RolloutObjective
from rlaif.rewards.base import Reward
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler, Sampler
from rlaif.rollouts.settings import SamplingSettings, sampling_problems
from rlaif.rollouts.statistics import rollout_statistics
from rlaif.rollouts.step import StepSampler
from rlaif.tasks.base import Task
from rlaif.types import Prompt


class PolicyModule(LightningModule):
    """Reinforcement learning from a reward: fresh responses in every policy step, and the objective's updates on them.

    Log-probs, ratios and KL are those of the distribution that was sampled (logits / temperature). The
    reference and the reward model are not parameters of this module: they are neither trained, nor
    saved in checkpoints, nor synchronized.

    Logs per optimizer step (docs: KL in nats per response, length in tokens): ``policy/reward``, ``policy/kl``,
    ``policy/length``, ``policy/entropy`` (nats per token), ``policy/distinct``, ``policy/finished``,
    ``policy/missing`` (shares of responses), and what the objective names, e.g. ``policy/loss`` (per response).

    Args:
        policy: The causal LM that learns, a copy of the SFT model.
        reference: The SFT model, frozen.
        sampler: Samples from the policy; it is given the newest weights before every policy step.
        responses: Draws the responses of a policy step.
        reward: Scores them.
        objective: Turns rewards into advantages and losses.
        optimization: Optimizer, learning rate of the policy and schedule; policy and value are parameter groups of
            one optimizer.
        steps: Policy steps; each makes ``objective.updates.total`` optimizer steps.
        value_lr: Learning rate of the baseline.
        value: ``head`` on the policy's hidden states, or a ``model`` of its own as in the paper.
        minibatch_size: Responses per forward pass with gradient; their gradients are accumulated
            (``accumulate_grad_batches`` of the trainer must be :meth:`num_minibatches`). None takes all responses of
            an optimizer step.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        *,
        reference: PreTrainedModel,
        sampler: Sampler,
        responses: StepSampler,
        reward: Reward,
        objective: RolloutObjective,
        optimization: OptimizerSettings,
        steps: int,
        value_lr: float,
        value: Literal["head", "model"] = "head",
        minibatch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy.eval()  # dropout would make the trained distribution another than the sampled one
        self.value: nn.Module | None = None
        if objective.needs.values:
            self.value = ValueHead(policy) if value == "head" else ValueModel(policy)
        self._outside = {"reference": reference.eval().requires_grad_(False)}
        self.sampler = sampler
        self.responses = responses
        self.reward = reward
        self.objective = objective
        self.optimization = optimization
        self.steps = steps
        self.value_lr = value_lr
        self.minibatch_size = minibatch_size
        self._losses: list[Losses] = []
        self._metrics: dict[str, Tensor] = {}

    @property
    def reference(self) -> PreTrainedModel:
        """The frozen SFT model."""
        return self._outside["reference"]

    @property
    def num_optimizer_steps(self) -> int:
        """Optimizer steps of the whole training: ``max_steps`` of the trainer."""
        return self.steps * self.objective.updates.total

    @property
    def steps_between_checkpoints(self) -> int:
        """Optimizer steps per policy step; within them, a checkpoint could not be resumed."""
        return self.objective.updates.total

    def num_minibatches(self, world_size: int = 1) -> int:
        """Forward passes with gradient per optimizer step and process.

        Raises:
            ConfigError: The responses of a process do not divide into optimizer steps, or these into minibatches.
        """
        num_prompts, num_samples = self.responses.prompts_per_step // world_size, self.responses.samples_per_prompt
        num_updates = self.objective.updates.minibatches
        if num_prompts % num_updates:
            raise ConfigError(
                f"policy.objective.minibatches={num_updates}: must divide the {num_prompts} prompts per step and device"
                f" (policy.prompts_per_step={self.responses.prompts_per_step})"
            )
        responses = num_prompts // num_updates * num_samples
        size = self.minibatch_size or responses
        if responses % size or size % num_samples:
            raise ConfigError(
                f"policy.minibatch_size={size}: must divide the {responses} responses per step and device, and hold"
                f" whole prompts (multiples of policy.samples_per_prompt={num_samples})"
            )
        return responses // size

    def train_dataloader(self) -> RolloutLoader:
        """The rollouts of this process, drawn as training asks for them."""
        num_minibatches, updates = self.num_minibatches(self.trainer.world_size), self.objective.updates.total
        if self.trainer.accumulate_grad_batches != num_minibatches:
            raise ConfigError(
                f"trainer.accumulate_grad_batches={self.trainer.accumulate_grad_batches}: must be {num_minibatches},"
                " the number of minibatches in an optimizer step of the policy"
            )
        return RolloutLoader(
            self.collect,
            num_steps=self.steps,
            batches_per_step=updates * num_minibatches,
            current_step=lambda: self.trainer.global_step // updates,
        )

    def on_train_start(self) -> None:
        """Switch dropout off, and move reference and reward to the policy's device."""
        self.policy.eval()
        nn.Module.to(self.reference, self.device)
        self.reward.to(self.device)

    def outputs(self, rollouts: Rollouts, *, with_entropy: bool = False) -> tuple[PolicyOutputs, Tensor | None]:
        """Log-probs of responses under the policy, and what else the objective needs.

        Returns:
            The outputs, and entropies [B, T] in nats when asked for.
        """
        read = self._read(self.policy, rollouts, with_entropy=with_entropy)
        values_BT = None
        if self.value is not None:
            values_BT = self.value(read.hidden_BTD, rollouts.prompt_ids, rollouts.tokens_BT)
        logits_BTV = ref_logits_BTV = None
        if self.objective.needs.vocabulary_logits:
            logits_BTV = self._logits(self.policy, read.hidden_BTD)
            with torch.no_grad():
                ref_logits_BTV = self._logits(self.reference, self._read(self.reference, rollouts).hidden_BTD)
        return PolicyOutputs(read.logprobs_BT, values_BT, logits_BTV, ref_logits_BTV), read.entropy_BT

    def _read(self, model: PreTrainedModel, rollouts: Rollouts, *, with_entropy: bool = False) -> ResponseLogprobs:
        return response_logprobs(
            model,
            rollouts.prompt_ids,
            rollouts.tokens_BT,
            rollouts.mask_BT,
            temperature=self.responses.settings.temperature,
            with_entropy=with_entropy,
        )

    def _logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        logits_BTV: Tensor = model.get_output_embeddings()(hidden_BTD)
        return logits_BTV.float() / self.responses.settings.temperature

    @torch.no_grad()
    def collect(self, step: int) -> list[PolicyBatch]:
        """Sample, score and credit the responses of one policy step, and describe them for the log.

        Args:
            step: Policy step, from 0.

        Returns:
            The batches of all its optimizer steps, in order.
        """
        self.sampler.load(self.policy.state_dict(), self.trainer.global_step)
        drawn = self.responses.draw(
            self.sampler, step, rank=self.trainer.global_rank, world_size=self.trainer.world_size
        )
        num_samples = self.responses.samples_per_prompt
        rewards = self.reward(drawn.prompts, drawn.completions, samples_per_prompt=num_samples)
        outputs, entropy_BT = self.outputs(drawn.rollouts, with_entropy=True)
        assert entropy_BT is not None
        scored = replace(
            drawn.rollouts,
            rewards_B=rewards.values_B.to(self.device),
            scored_mask_B=rewards.scored_mask_B.to(self.device),
            logprobs_BT=outputs.logprobs_BT,
            ref_logprobs_BT=self._read(self.reference, drawn.rollouts).logprobs_BT,
            values_BT=outputs.values_BT,
        )
        statistics = rollout_statistics(scored, drawn.completions, entropy_BT)
        self._metrics = {f"policy/{name}": pooled_mean(self, [part]) for name, part in statistics.items()}
        return self._batches(scored)

    def _batches(self, scored: Rollouts) -> list[PolicyBatch]:
        """Credit over the responses of all processes, then this process's rows for each optimizer step in turn."""
        num_rows, world_size, updates = len(scored), self.trainer.world_size, self.objective.updates
        if world_size > 1:
            scored = scored.joint(self._gathered, width=self.responses.settings.max_new_tokens)
        credited = self.objective.credit(scored)
        assert credited.counted_mask_B is not None
        counted_WB = credited.counted_mask_B.reshape(world_size, num_rows)
        own_start, num_parts = self.trainer.global_rank * num_rows, self.num_minibatches(world_size)
        per_update = num_rows // updates.minibatches
        size = per_update // num_parts
        batches = []
        for update in range(0, num_rows, per_update):
            counted = counted_WB[:, update : update + per_update].sum()
            denominator = counted.clamp(min=1).float() / (num_parts * world_size)
            for start in range(own_start + update, own_start + update + per_update, size):
                rows = credited.rows(slice(start, start + size))
                batches.append(PolicyBatch(rollouts=rows, denominator=denominator))
        return batches * updates.epochs

    def _gathered(self, tensor: Tensor) -> Tensor:
        gathered = self.all_gather(tensor)
        assert isinstance(gathered, Tensor)
        return gathered

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """The loss of some of a rollout's rows, over the number of responses that count in the optimizer step."""
        outputs, _ = self.outputs(batch.rollouts)
        losses = self.objective.losses(outputs, batch.rollouts)
        self._losses.append(losses)
        if len(self._losses) == self.num_minibatches(self.trainer.world_size):
            self._log_update()
        return torch.stack([term.total for term in losses.terms.values()]).sum() / batch.denominator

    def _log_update(self) -> None:
        """Log the policy step's figures and the losses of the optimizer step's batches taken together."""
        losses, self._losses = self._losses, []
        metrics = dict(self._metrics)
        parts = [part.logged() for part in losses]
        for name in parts[0]:
            mean = pooled_mean(self, [part[name] for part in parts])
            per_token = name in losses[0].per_token
            metrics[f"policy/{name}"] = mean / self._metrics["policy/length"].clamp(min=1.0) if per_token else mean
        self.log_dict(metrics)

    def configure_optimizers(self) -> Any:
        """One optimizer with its rate schedule."""
        groups = decay_groups([self.policy], lr=self.optimization.lr, weight_decay=self.optimization.weight_decay)
        if self.value is not None:
            groups += decay_groups([self.value], lr=self.value_lr, weight_decay=0.0)
        return configure(self.optimization, groups, self.trainer)


@dataclass(frozen=True, kw_only=True)
class PolicySettings(TrainingSettings):
    """Config group ``policy``."""

    group: ClassVar[str] = "policy"

    objective: RolloutObjective
    """Turns rewards into advantages and losses; config group ``policy/objective``."""
    steps: int
    """Policy steps; each draws fresh responses and makes as many optimizer steps as the objective says (one for
    REINFORCE and RLOO)."""
    prompts_per_step: int
    """Prompts per policy step, over all devices."""
    samples_per_prompt: int = 1
    """Responses per prompt."""
    temperature: float = 0.9
    """Of the sampling; training is on this distribution."""
    max_new_tokens: int = 128
    """Longest response in tokens."""
    max_prompt_tokens: int = 1024
    """A longer prompt is cut from the left."""
    strip_trailing: str = ""
    """Characters stripped from the end of a response before it is rewarded."""
    value: Literal["head", "model"] = "head"
    """Learned baseline: a head on the policy's states, or a model of its own as in the paper."""
    value_lr: float = 1e-2
    """Learning rate of the learned baseline."""
    minibatch_size: int | None = None
    """Responses per forward pass with gradient on one device, whole prompts; gradients add up over the step."""

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        for name in ("prompts_per_step", "samples_per_prompt", "steps"):
            if getattr(self, name) < 1:
                yield f"{name}={getattr(self, name)}: must be at least 1"
        yield from sampling_problems(self.temperature, self.max_new_tokens, self.max_prompt_tokens)
        if self.temperature == 0:
            yield f"temperature={self.temperature}: must be above 0, a policy learns from samples"

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
            minibatch_size=self.minibatch_size,
        )
