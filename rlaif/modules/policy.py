"""The policy: samples, is rewarded, and makes one optimizer step per batch of fresh samples.

Shapes: B responses (prompt-major), T response tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.errors import ConfigError
from rlaif.functional.kl import sampled_sequence_kl
from rlaif.functional.losses import LossSum
from rlaif.inference.logprobs import ResponseLogprobs, response_logprobs
from rlaif.modules.distributed import pooled_mean
from rlaif.modules.optim import OptimizerFactory, Schedule, configure, decay_groups
from rlaif.modules.rollouts import PolicyBatch, Responses, ResponseSampler, RolloutLoader
from rlaif.modules.values import ValueHead, ValueModel
from rlaif.objectives.base import Credit, Objective, ObjectiveLosses, PolicyOutputs, ScoredRollouts
from rlaif.rewards.base import Reward
from rlaif.types import Completion


class PolicyModule(LightningModule):
    """Reinforcement learning from a reward, on policy: every response is used for one step only.

    Log-probs, ratios and KL are those of the distribution that was sampled (logits / temperature). The
    reference and the reward model are not parameters of this module: they are neither trained, nor
    saved in checkpoints, nor synchronized.

    Logs per step (docs: KL in nats per response, length in tokens): ``policy/reward``, ``policy/kl``,
    ``policy/length``, ``policy/entropy`` (nats per token), ``policy/distinct``, ``policy/finished``,
    ``policy/missing`` (shares of responses), ``policy/loss`` (per response) and ``policy/value_loss`` (per token).

    Args:
        policy: The causal LM that learns, a copy of the SFT model.
        reference: The SFT model, frozen.
        sampler: Draws responses.
        reward: Scores them.
        objective: Turns rewards into advantages and losses.
        optimizer: Partial of an optimizer class; policy and value are parameter groups of one.
        steps: Policy steps, each one optimizer step.
        lr: Learning rate of the policy.
        value_lr: Learning rate of the baseline.
        value: ``head`` on the policy's hidden states, or a ``model`` of its own as in the paper.
        minibatch_size: Responses per forward pass with gradient; their gradients are accumulated
            (``accumulate_grad_batches`` of the trainer must be :attr:`num_minibatches`). None takes all.
        weight_decay: Of the policy's matrices.
        warmup_fraction: Share of the steps in which the rates climb.
        schedule: What follows the warm-up.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        *,
        reference: PreTrainedModel,
        sampler: ResponseSampler,
        reward: Reward,
        objective: Objective,
        optimizer: OptimizerFactory,
        steps: int,
        lr: float,
        value_lr: float,
        value: Literal["head", "model"] = "head",
        minibatch_size: int | None = None,
        weight_decay: float = 0.0,
        warmup_fraction: float = 0.0,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__()
        self.policy = policy.eval()  # dropout would make the trained distribution another than the sampled one
        self.value: nn.Module | None = None
        if objective.needs_values:
            self.value = ValueHead(policy) if value == "head" else ValueModel(policy)
        self._outside = {"reference": reference.eval().requires_grad_(False)}
        self.sampler = sampler
        self.reward = reward
        self.objective = objective
        self.optimizer = optimizer
        self.steps = steps
        self.lr = lr
        self.value_lr = value_lr
        self.minibatch_size = minibatch_size
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.schedule: Schedule = schedule
        self._losses: list[ObjectiveLosses] = []
        self._metrics: dict[str, Tensor] = {}

    @property
    def reference(self) -> PreTrainedModel:
        return self._outside["reference"]

    def num_minibatches(self, world_size: int = 1) -> int:
        """Minibatches per policy step and process.

        Raises:
            ConfigError: The responses of a process do not divide into minibatches.
        """
        responses = self.sampler.prompts_per_step * self.sampler.samples_per_prompt // world_size
        size = self.minibatch_size or responses
        if responses % size or size % self.sampler.samples_per_prompt:
            raise ConfigError(
                f"policy.minibatch_size={size}: must divide the {responses} responses per step and device, and hold"
                f" whole prompts (multiples of policy.samples_per_prompt={self.sampler.samples_per_prompt})"
            )
        return responses // size

    def train_dataloader(self) -> RolloutLoader:
        num_minibatches = self.num_minibatches(self.trainer.world_size)
        if self.trainer.accumulate_grad_batches != num_minibatches:
            raise ConfigError(
                f"trainer.accumulate_grad_batches={self.trainer.accumulate_grad_batches}: must be {num_minibatches},"
                " the number of minibatches in a policy step"
            )
        return RolloutLoader(
            self.collect,
            num_steps=self.steps,
            num_minibatches=num_minibatches,
            current_step=lambda: self.trainer.global_step,
        )

    def on_train_start(self) -> None:
        self.policy.eval()
        nn.Module.to(self.reference, self.device)
        self.reward.to(self.device)

    def outputs(self, responses: Responses, *, with_entropy: bool = False) -> tuple[PolicyOutputs, Tensor | None]:
        """What policy and baseline (and the reference, where the objective asks) say about responses.

        Returns:
            The outputs, and entropies [B, T] in nats when asked for.
        """
        said = self._read(self.policy, responses, with_entropy=with_entropy)
        values_BT = None
        if self.value is not None:
            values_BT = self.value(said.hidden_BTD, responses.prompt_ids, responses.tokens_BT)
        logits_BTV = ref_logits_BTV = None
        if self.objective.kl == "loss":
            logits_BTV = self._logits(self.policy, said.hidden_BTD)
            with torch.no_grad():
                ref_logits_BTV = self._logits(self.reference, self._read(self.reference, responses).hidden_BTD)
        return PolicyOutputs(said.logprobs_BT, values_BT, logits_BTV, ref_logits_BTV), said.entropy_BT

    def _read(self, model: PreTrainedModel, responses: Responses, *, with_entropy: bool = False) -> ResponseLogprobs:
        return response_logprobs(
            model,
            responses.prompt_ids,
            responses.tokens_BT,
            responses.mask_BT,
            temperature=self.sampler.temperature,
            with_entropy=with_entropy,
        )

    def _logits(self, model: PreTrainedModel, hidden_BTD: Tensor) -> Tensor:
        logits_BTV: Tensor = model.get_output_embeddings()(hidden_BTD)
        return logits_BTV.float() / self.sampler.temperature

    @torch.no_grad()
    def collect(self, step: int) -> list[PolicyBatch]:
        """Sample, score and credit the responses of one step, and describe them for the log."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        prompts, completions, responses = self.sampler.draw(self.policy, step, rank=rank, world_size=world_size)
        rewards = self.reward(prompts, completions)
        outputs, entropy_BT = self.outputs(responses, with_entropy=True)
        assert entropy_BT is not None
        scored = ScoredRollouts(
            rewards_B=rewards.values_B.to(self.device),
            scored_mask_B=rewards.scored_mask_B.to(self.device),
            mask_BT=responses.mask_BT,
            logprobs_BT=outputs.logprobs_BT,
            ref_logprobs_BT=self._read(self.reference, responses).logprobs_BT,
            values_BT=outputs.values_BT,
            samples_per_prompt=self.sampler.samples_per_prompt,
        )
        self._metrics = self._describe(scored, completions, entropy_BT)
        return self._minibatches(responses, scored)

    def _minibatches(self, responses: Responses, scored: ScoredRollouts) -> list[PolicyBatch]:
        """Credit over the joint step of all processes, then this process's rows in minibatches."""
        world_size, num_rows = self.trainer.world_size, len(responses)
        own_start = self.trainer.global_rank * num_rows if world_size > 1 else 0
        joint = self.objective.credit(scored if world_size == 1 else self._gather(scored))
        num_minibatches = self.num_minibatches(world_size)
        denominator = joint.row_mask_B.sum().clamp(min=1).float() / (num_minibatches * world_size)
        size = num_rows // num_minibatches
        batches = []
        for start in range(0, num_rows, size):
            part = responses.rows(slice(start, start + size))
            rows = slice(own_start + start, own_start + start + size)
            width = part.tokens_BT.shape[1]
            credit = Credit(joint.advantages_BT[rows, :width], joint.returns_BT[rows, :width], joint.row_mask_B[rows])
            batches.append(PolicyBatch(responses=part, credit=credit, denominator=denominator))
        return batches

    def _gather(self, scored: ScoredRollouts) -> ScoredRollouts:
        """The rollouts of all processes, in the order in which one process would have drawn them."""
        missing = self.sampler.max_new_tokens - scored.mask_BT.shape[1]

        def joint(tensor: Tensor) -> Tensor:
            padded = nn.functional.pad(tensor, (0, missing)) if tensor.ndim == 2 else tensor
            gathered = self.all_gather(padded.contiguous())
            assert isinstance(gathered, Tensor)
            return gathered.flatten(0, 1)

        return ScoredRollouts(
            rewards_B=joint(scored.rewards_B),
            scored_mask_B=joint(scored.scored_mask_B),
            mask_BT=joint(scored.mask_BT),
            logprobs_BT=joint(scored.logprobs_BT),
            ref_logprobs_BT=joint(scored.ref_logprobs_BT),
            values_BT=None if scored.values_BT is None else joint(scored.values_BT),
            samples_per_prompt=scored.samples_per_prompt,
        )

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        outputs, _ = self.outputs(batch.responses)
        losses = self.objective.losses(outputs, batch.credit, batch.responses.mask_BT)
        totals = [part.total for part in losses if part is not None]
        self._losses.append(losses)
        if len(self._losses) == self.num_minibatches(self.trainer.world_size):
            self._log_step()
        return torch.stack(totals).sum() / batch.denominator

    def _log_step(self) -> None:
        losses, self._losses = self._losses, []
        metrics = dict(self._metrics)
        metrics["policy/loss"] = pooled_mean(self, [part.policy for part in losses])
        values = [part.value for part in losses if part.value is not None]
        if values:
            metrics["policy/value_loss"] = pooled_mean(self, values) / metrics["policy/length"].clamp(min=1.0)
        self.log_dict(metrics)

    def _describe(self, scored: ScoredRollouts, completions: list[Completion], entropy_BT: Tensor) -> dict[str, Tensor]:
        """What a step's responses are like, over all processes."""
        mask_BT, scored_B = scored.mask_BT, scored.scored_mask_B
        kl_B = sampled_sequence_kl(scored.logprobs_BT, scored.ref_logprobs_BT, mask_BT)
        distinct = len({completion.trimmed for completion in completions})
        finished = sum(completion.finished for completion in completions)

        def mean(total: Tensor | float, count: Tensor | float | None = None) -> Tensor:
            count = len(completions) if count is None else count
            parts = [torch.as_tensor(part, dtype=torch.float32, device=self.device) for part in (total, count)]
            return pooled_mean(self, [LossSum(*parts)])

        return {
            "policy/reward": mean(scored.rewards_B[scored_B].sum(), scored_B.sum()),
            "policy/kl": mean(kl_B.sum()),
            "policy/length": mean(mask_BT.sum()),
            "policy/entropy": mean(entropy_BT.sum(), mask_BT.sum()),
            "policy/distinct": mean(distinct),
            "policy/finished": mean(finished),
            "policy/missing": mean((~scored_B).sum()),
        }

    def configure_optimizers(self) -> Any:
        groups = decay_groups([self.policy], lr=self.lr, weight_decay=self.weight_decay)
        if self.value is not None:
            groups += decay_groups([self.value], lr=self.value_lr, weight_decay=0.0)
        return configure(
            self.optimizer(groups), self.trainer, warmup_fraction=self.warmup_fraction, schedule=self.schedule
        )
