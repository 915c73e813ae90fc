"""The policy: samples, is rewarded, and learns from its rollouts what the objective says.

Shapes: B responses (prompt-major), T response tokens, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.errors import ConfigError
from rlaif.functional.baselines import masked_moments
from rlaif.inference.logprobs import ResponseLogprobs, response_logprobs
from rlaif.modules.distributed import pooled_mean
from rlaif.modules.optim import OptimizerSettings, configure, decay_groups
from rlaif.modules.rollout_loader import PolicyBatch, RolloutLoader
from rlaif.modules.step_division import StepDivision
from rlaif.modules.values import make_baseline
from rlaif.objectives.base import Losses, PolicyOutputs, RolloutObjective
from rlaif.objectives.checks import check_credit, check_losses, check_rewards
from rlaif.rewards.base import Reward
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import Sampler
from rlaif.rollouts.statistics import counted_tokens, credit_statistics, rollout_statistics
from rlaif.rollouts.step import StepSampler


class PolicyModule(LightningModule):
    """Reinforcement learning from a reward: fresh responses in every policy step, and the objective's updates on them.

    Log-probs, ratios and KL are those of the distribution that was sampled (logits / temperature). The
    reference and the reward model are not parameters of this module: they are neither trained, nor
    saved in checkpoints, nor synchronized.

    Logs per optimizer step (docs: KL in nats per response, length in tokens): ``policy/reward``, ``policy/kl``,
    ``policy/length``, ``policy/entropy`` (nats per token), ``policy/distinct``, ``policy/finished``,
    ``policy/missing`` (shares of responses), those of :func:`~rlaif.rollouts.statistics.credit_statistics`,
    ``policy/grad_norm`` and ``policy/value_grad_norm`` (before clipping), and what the objective names, e.g.
    ``policy/loss`` (per response).

    Args:
        policy: The causal LM that learns, a copy of the SFT model.
        reference: The SFT model, frozen.
        sampler: Samples from the policy; it is given the newest weights before every policy step.
        responses: Draws the responses of a policy step.
        reward: Scores them.
        objective: Turns rewards into advantages and losses. A baseline that it needs starts at the mean return of the
            first policy step.
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
        self.value = make_baseline(policy, objective.needs, value)
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
        division = StepDivision(
            prompts_per_step=self.responses.prompts_per_step,
            samples_per_prompt=self.responses.samples_per_prompt,
            num_updates=self.objective.updates.minibatches,
            minibatch_size=self.minibatch_size,
        )
        if problems := list(division.problems(world_size)):
            raise ConfigError(problems)
        return division.num_minibatches(world_size)

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
        self.place()

    def place(self) -> None:
        """As :meth:`on_train_start`, which Lightning calls after that of callbacks; a second call changes nothing."""
        self.policy.eval()
        nn.Module.to(self.reference, self.device)
        self.reward.to(self.device)

    def outputs(self, rollouts: Rollouts, *, with_entropy: bool = False) -> tuple[PolicyOutputs, Tensor | None]:
        """Log-probs of responses under the policy, and what else the objective needs.

        Returns:
            The outputs, and entropies [B, T] in nats when asked for.
        """
        read = self.read(self.policy, rollouts, with_entropy=with_entropy)
        values_BT = None
        if self.value is not None:
            values_BT = self.value(read.hidden_BTD, rollouts.prompt_ids, rollouts.tokens_BT)
        logits_BTV = ref_logits_BTV = None
        if self.objective.needs.vocabulary_logits:
            logits_BTV = self._logits(self.policy, read.hidden_BTD)
            with torch.no_grad():
                ref_logits_BTV = self._logits(self.reference, self.read(self.reference, rollouts).hidden_BTD)
        return PolicyOutputs(read.logprobs_BT, values_BT, logits_BTV, ref_logits_BTV), read.entropy_BT

    def read(self, model: PreTrainedModel, rollouts: Rollouts, *, with_entropy: bool = False) -> ResponseLogprobs:
        """Log-probs of responses under a model, at the sampling temperature."""
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
        check_rewards(rewards, len(drawn.completions), self.reward)
        outputs, entropy_BT = self.outputs(drawn.rollouts, with_entropy=True)
        assert entropy_BT is not None
        scored = replace(
            drawn.rollouts,
            rewards_B=rewards.values_B.to(self.device),
            scored_mask_B=rewards.scored_mask_B.to(self.device),
            logprobs_BT=outputs.logprobs_BT,
            ref_logprobs_BT=self.read(self.reference, drawn.rollouts).logprobs_BT,
            values_BT=outputs.values_BT,
        )
        statistics = rollout_statistics(scored, drawn.completions, entropy_BT)
        metrics = {name: pooled_mean(self, [part]) for name, part in statistics.items()}
        credited = self._credited(scored)
        check_credit(credited, self.objective, self.reward)
        metrics |= credit_statistics(credited)
        self._metrics = {f"policy/{name}": value for name, value in metrics.items()}
        return self._batches(credited, len(scored))

    def _credited(self, scored: Rollouts) -> Rollouts:
        """Credit over the responses of all processes; the baseline takes note of their returns."""
        if self.trainer.world_size > 1:
            scored = scored.joint(self._gathered, width=self.responses.settings.max_new_tokens)
        credited = self.objective.credit(scored)
        mask_BT = counted_tokens(credited)
        if self.value is None or not mask_BT.any():
            return credited
        assert credited.returns_BT is not None and scored.values_BT is not None
        mean_return, _ = masked_moments(credited.returns_BT, mask_BT)
        if not self.value.observe(mean_return):
            return credited
        return self.objective.credit(replace(scored, values_BT=scored.values_BT + mean_return))

    def _batches(self, credited: Rollouts, num_rows: int) -> list[PolicyBatch]:
        """This process's rows for each optimizer step in turn, out of those of all processes."""
        world_size, updates = self.trainer.world_size, self.objective.updates
        shares_WB = credited.loss_shares.reshape(world_size, num_rows)
        own_start, num_parts = self.trainer.global_rank * num_rows, self.num_minibatches(world_size)
        per_update = num_rows // updates.minibatches
        size = per_update // num_parts
        batches = []
        for update in range(0, num_rows, per_update):
            shares = shares_WB[:, update : update + per_update].sum()
            denominator = torch.where(shares > 0, shares, 1.0) / (num_parts * world_size)
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
        check_losses(losses, self.objective)
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

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip policy and baseline apart: the gradient of one does not shrink that of the other.

        Raises:
            ConfigError: The optimizer itself takes the loss scale of 16-mixed out of the gradients, after they are
                clipped.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if gradient_clip_val is not None and scaler and getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ConfigError(
                "trainer.precision=16-mixed: a fused optimizer cannot be clipped; type policy.optimizer.fused=false,"
                " policy.max_grad_norm=null or trainer.precision=bf16-mixed"
            )
        limit = math.inf if gradient_clip_val is None else gradient_clip_val
        for name, part in (("grad_norm", self.policy), ("value_grad_norm", self.value)):
            trained = [] if part is None else [p for p in part.parameters() if p.grad is not None]
            if trained:
                self.log(f"policy/{name}", torch.nn.utils.clip_grad_norm_(trained, limit))

    def configure_optimizers(self) -> Any:
        """One optimizer with its rate schedule."""
        groups = decay_groups([self.policy], lr=self.optimization.lr, weight_decay=self.optimization.weight_decay)
        if self.value is not None:
            groups += decay_groups([self.value], lr=self.value_lr, weight_decay=0.0)
        return configure(self.optimization, groups, self.trainer)
