"""The policy: samples, is rewarded, and learns from its rollouts what the objective says.

Shapes: B responses (prompt-major), T response tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from rlaif.errors import ConfigError
from rlaif.functional.baselines import masked_moments
from rlaif.inference.heads import head_logits
from rlaif.inference.logprobs import ResponseLogprobs, response_logprobs
from rlaif.inference.micro_batches import cut_by_tokens
from rlaif.inference.recomputing import recomputes
from rlaif.modules.distributed import pooled_mean
from rlaif.modules.drawing import draw_rewarded
from rlaif.modules.optim import OptimizerSettings, configure, decay_groups
from rlaif.modules.optimizer_step import OptimizerStepModule
from rlaif.modules.rollout_loader import Collected, PolicyBatch, RolloutLoader
from rlaif.modules.step_division import StepDivision
from rlaif.modules.step_seconds import StepSeconds
from rlaif.modules.values import ValueModel, make_baseline
from rlaif.objectives.base import Losses, PolicyOutputs, RolloutObjective
from rlaif.objectives.checks import check_credit, check_credited, check_losses
from rlaif.rewards.base import Reward
from rlaif.rewards.statistics import reward_statistics
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import Sampler
from rlaif.rollouts.shaping import RewardShaping, mean_shaped_reward
from rlaif.rollouts.statistics import counted_tokens, credit_statistics, rollout_statistics, share_of
from rlaif.rollouts.step import StepSampler


class PolicyModule(OptimizerStepModule):
    """Reinforcement learning from a reward: fresh responses in every policy step, and the objective's updates on them.

    Log-probs, ratios and KL are those of the distribution that was sampled (logits / temperature). The
    reference and the reward model are not parameters of this module: they are neither trained, nor
    saved in checkpoints, nor synchronized.

    Logs per optimizer step (docs: KL in nats per response, length in tokens): ``policy/reward``, ``policy/kl``,
    ``policy/length``, ``policy/entropy`` (nats per token), ``policy/distinct``, ``policy/finished``,
    ``policy/missing`` (shares of responses), those of :func:`~rlaif.rewards.statistics.reward_statistics` and
    :func:`~rlaif.rollouts.statistics.credit_statistics`, ``policy/grad_norm`` and ``policy/value_grad_norm`` (before
    clipping), and what the objective names, e.g. ``policy/loss`` (per response).

    Args:
        policy: The causal LM that learns, a copy of the SFT model.
        reference: The SFT model, frozen.
        sampler: Samples from the policy; it is given the newest weights before every policy step.
        responses: Draws the responses of a policy step.
        reward: Scores them.
        objective: Turns rewards into advantages and losses. A baseline that it needs starts at the mean return of the
            first policy step.
        optimization: Optimizer, learning rate of the policy, schedule and clipping; policy and value are parameter
            groups of one optimizer, and clipped apart.
        steps: Policy steps; each makes ``objective.updates.total`` optimizer steps.
        value_lr: Learning rate of the baseline.
        value: ``head`` on the policy's hidden states, or a ``model`` of its own as in the paper.
        shaping: What is done to rewards before they are credited; None does nothing.
        max_tokens_per_forward: As in :class:`~rlaif.modules.optimizer_step.OptimizerStepModule`; all responses to a
            prompt share a forward pass.
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
        shaping: RewardShaping | None = None,
        max_tokens_per_forward: int | None = None,
    ) -> None:
        super().__init__(policy, optimization=optimization, max_tokens_per_forward=max_tokens_per_forward)
        self.policy = policy.eval()  # dropout would make the trained distribution another than the sampled one
        self.value = make_baseline(policy, objective.needs, value)
        self._outside = {"reference": reference.eval().requires_grad_(False)}
        self.sampler = sampler
        self.responses = responses
        self.reward = reward
        self.objective = objective
        self.steps = steps
        self.value_lr = value_lr
        self.shaping = shaping or RewardShaping()
        self._metrics: dict[str, Tensor] = {}
        self.seconds = StepSeconds()
        self.is_drawing = False
        """True while responses are drawn and rewarded: no weight has changed since the last optimizer step."""

    @property
    def reference(self) -> PreTrainedModel:
        """The frozen SFT model."""
        return self._outside["reference"]

    @property
    def _reads_prompts_once(self) -> bool:
        """Whether a prompt with many responses is read once for all of them by every model that learns."""
        return not (recomputes(self.policy) or isinstance(self.value, ValueModel))

    @property
    def num_optimizer_steps(self) -> int:
        """Optimizer steps of the whole training: ``max_steps`` of the trainer."""
        return self.steps * self.objective.updates.total

    def train_dataloader(self) -> RolloutLoader:
        """The rollouts of this process, drawn as training asks for them.

        Raises:
            ConfigError: The prompts of a step do not divide among processes and optimizer steps.
        """
        updates = self.objective.updates
        division = StepDivision(prompts_per_step=self.responses.prompts_per_step, num_updates=updates.minibatches)
        if problems := list(division.problems(self.trainer.world_size)):
            raise ConfigError(problems)
        return RolloutLoader(
            self.collect,
            self.batches,
            num_steps=self.steps,
            batches_per_step=updates.total,
            optimizer_steps=lambda: self.trainer.global_step,
            device=lambda: self.device,
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
            values_BT = self.value(read.hidden_BTD, rollouts.prompt_ids, rollouts.tokens_BT).float()
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

    @torch.no_grad()
    def logprobs(self, model: PreTrainedModel, rollouts: Rollouts) -> Tensor:
        """log π [B, T] of responses under a model, at the sampling temperature, read in micro-batches."""
        return self._by_parts(rollouts, lambda part: [self.read(model, part).logprobs_BT])[0]

    @torch.no_grad()
    def entropies(self, rollouts: Rollouts) -> Tensor:
        """Entropies [B, T] in nats of the policy at the sampling temperature, 0 where padded."""

        def describe(part: Rollouts) -> list[Tensor]:
            entropy_BT = self.read(self.policy, part, with_entropy=True).entropy_BT
            assert entropy_BT is not None
            return [entropy_BT]

        return self._by_parts(rollouts, describe)[0]

    def _described(self, rollouts: Rollouts) -> list[Tensor]:
        """Log-probs, entropies and, where there is a baseline, values [B, T] of responses under the policy."""
        if (sampled := self._as_sampled(rollouts)) is not None:
            return sampled

        def describe(part: Rollouts) -> list[Tensor]:
            read = self.read(self.policy, part, with_entropy=True)
            assert read.entropy_BT is not None
            if self.value is None:
                return [read.logprobs_BT, read.entropy_BT]
            values_BT = self.value(read.hidden_BTD, part.prompt_ids, part.tokens_BT).float()
            return [read.logprobs_BT, read.entropy_BT, values_BT]

        return self._by_parts(rollouts, describe)

    def _as_sampled(self, rollouts: Rollouts) -> list[Tensor] | None:
        """Log-probs and entropies that the sampler recorded, where a forward pass would give the same ones again."""
        logprobs_BT, entropy_BT = rollouts.sampled_logprobs_BT, rollouts.sampled_entropy_BT
        if logprobs_BT is None or entropy_BT is None or self.value is not None:
            return None
        # A mixed precision rounds the forward passes of the training, but not those of the sampler.
        is_exact = self.trainer.precision_plugin.precision == "32-true"
        is_newest = rollouts.policy_version == self.trainer.global_step
        return [logprobs_BT, entropy_BT] if is_exact and is_newest else None

    def _by_parts(self, rollouts: Rollouts, read: Callable[[Rollouts], list[Tensor]]) -> list[Tensor]:
        """Numbers [B, T] per token, read in micro-batches in the number format of the training."""
        cut = cut_by_tokens(rollouts.tokens_of_prompts(prompts_once=self._reads_prompts_once), self.token_budget)
        with self.trainer.precision_plugin.forward_context():
            if len(cut) == 1:
                return read(rollouts)
            found = [read(rollouts.of_prompts(prompts)) for prompts in cut]
        return [rollouts.placed(list(zip(cut, parts, strict=True))) for parts in zip(*found, strict=True)]

    def _logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        return head_logits(model, hidden_BTD).float() / self.responses.settings.temperature

    @torch.no_grad()
    def collect(self, step: int) -> Collected:
        """Sample, score and credit the responses of one policy step, and describe them for the log.

        Args:
            step: Policy step, from 0.
        """
        with self.seconds.of("learn"):
            return self._collect(step)

    def _collect(self, step: int) -> Collected:
        self.is_drawing = True
        self.sampler.load(self.policy.state_dict(), self.trainer.global_step)
        redraws = self.objective.needs.redraws
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        drawn, rewards, num_redrawn = draw_rewarded(
            *(self.responses, self.sampler, self.reward, step),
            rank=rank,
            world_size=world_size,
            redraws=redraws,
            seconds=self.seconds,
        )
        self.is_drawing = False
        logprobs_BT, entropy_BT, *values = self._described(drawn.rollouts)
        scored = replace(
            drawn.rollouts,
            rewards_B=rewards.values_B.to(self.device),
            scored_mask_B=rewards.scored_mask_B.to(self.device),
            p_beats_BK=None if rewards.p_beats_BK is None else rewards.p_beats_BK.to(self.device),
            logprobs_BT=logprobs_BT,
            ref_logprobs_BT=self.logprobs(self.reference, drawn.rollouts),
            values_BT=values[0] if values else None,
        )
        statistics = rollout_statistics(scored, drawn.completions, entropy_BT)
        if redraws:
            statistics["redrawn"] = share_of(num_redrawn, len(drawn.rollouts.prompt_ids), self.device)
        metrics = {name: pooled_mean(self, [part]) for name, part in statistics.items()}
        of_rewards = reward_statistics(rewards, self.device)
        metrics |= {name: pooled_mean(self, [part], empty=float("nan")) for name, part in of_rewards.items()}
        credited = self._credited(scored)
        if self.shaping.changes_rewards:
            metrics["shaped_reward"] = mean_shaped_reward(credited)
        check_credit(credited, self.objective, self.reward)
        metrics |= credit_statistics(credited)
        return Collected(credited=credited, metrics={f"policy/{name}": value for name, value in metrics.items()})

    def _credited(self, scored: Rollouts) -> Rollouts:
        """Credit over the responses of all processes; the baseline takes note of their returns."""
        if self.trainer.world_size > 1:
            scored = scored.joint(self._gathered, width=self.responses.settings.max_new_tokens)
        credited = self.objective.credit(self.shaping.applied(scored))
        check_credited(credited, scored, self.objective)
        mask_BT = counted_tokens(credited)
        if credited.last_values_B is not None:  # made of values that are 0 at first: no return of the policy's
            mask_BT = mask_BT & credited.last_values_B.isnan()[:, None]
        if self.value is None or not mask_BT.any():
            return credited
        assert credited.returns_BT is not None and scored.values_BT is not None
        mean_return, _ = masked_moments(credited.returns_BT, mask_BT)
        if not self.value.observe(mean_return):
            return credited
        return self.objective.credit(self.shaping.applied(replace(scored, values_BT=scored.values_BT + mean_return)))

    def batches(self, collected: Collected) -> list[PolicyBatch]:
        """This process's rows for each optimizer step in turn: its share of those that one process would learn from."""
        self._metrics, credited = collected.metrics, collected.credited
        world_size, updates = self.trainer.world_size, self.objective.updates
        shares_B, per_update = credited.loss_shares, len(credited) // updates.minibatches
        own = per_update // world_size
        batches = []
        for start in range(0, len(credited), per_update):
            shares = shares_B[start : start + per_update].sum()
            denominator = torch.where(shares > 0, shares, 1.0) / world_size
            first = start + own * self.trainer.global_rank
            rows, once = credited.rows(slice(first, first + own)), self._reads_prompts_once
            batches.append(PolicyBatch(rollouts=rows, denominator=denominator, prompts_once=once))
        return batches * updates.epochs

    def _gathered(self, tensor: Tensor) -> Tensor:
        gathered = self.all_gather(tensor)
        assert isinstance(gathered, Tensor)
        return gathered

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> None:
        """One optimizer step: the losses of its responses over the number of those that count."""
        found: list[Losses] = []

        def loss(part: PolicyBatch) -> Tensor:
            outputs, _ = self.outputs(part.rollouts)
            losses = self.objective.losses(outputs, part.rollouts)
            check_losses(losses, self.objective)
            found.append(Losses(terms=losses.logged(), per_token=losses.per_token))
            return torch.stack([term.total for term in losses.terms.values()]).sum() / part.denominator

        with self.seconds.of("learn"):
            self.take_step(self.micro_batches(batch), loss)
        self._log_update(found)

    def _log_update(self, losses: list[Losses]) -> None:
        """Log the policy step's figures and the losses of the optimizer step's parts taken together; NaN is absent."""
        metrics = dict(self._metrics)
        for name in losses[0].terms:
            mean = pooled_mean(self, [part.terms[name] for part in losses], empty=math.nan)
            per_token = name in losses[0].per_token
            metrics[f"policy/{name}"] = mean / self._metrics["policy/length"].clamp(min=1.0) if per_token else mean
        self.log_dict(metrics)

    def clipped(self) -> Mapping[str, list[Parameter]]:
        """Policy and baseline apart: the gradient of one does not shrink that of the other."""
        groups = {"policy/grad_norm": list(self.policy.parameters())}
        if self.value is not None:
            groups["policy/value_grad_norm"] = list(self.value.parameters())
        return groups

    def configure_optimizers(self) -> Any:
        """One optimizer with its rate schedule."""
        groups = decay_groups([self.policy], lr=self.optimization.lr, weight_decay=self.optimization.weight_decay)
        if self.value is not None:
            groups += decay_groups([self.value], lr=self.value_lr, weight_decay=0.0)
        return configure(self.optimization, groups, self.trainer)
