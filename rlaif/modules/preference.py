"""A policy learns from labeled pairs, without a reward.

Shapes: B pairs, T response tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.data.batches.preferences import PreferenceBatch
from rlaif.functional.losses import LossSum
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.reference_logprobs import ReferenceLogprobs, pair_logprobs
from rlaif.modules.settings import SupervisedSettings
from rlaif.modules.supervised import SupervisedModule
from rlaif.objectives.base import Losses, PairLabels, PairObjective, PairOutputs
from rlaif.objectives.checks import check_losses
from rlaif.runtime import Runtime


class PreferenceModule(SupervisedModule[PreferenceBatch]):
    """Trains a causal LM on labeled pairs by whatever pair objective it is given.

    Logs ``loss``, the sum of the objective's terms, and what the objective names as ``train/NAME`` and, where there is
    a validation part, as ``validation/NAME``: means over the pairs of all processes.

    Args:
        model: What learns, a copy of the reference at the start.
        reference: The reference's log-probs of the pairs; computed before the first step, where no file has them.
        objective: Turns log-probs of both responses and labels into losses.
        optimization: Optimizer, learning rate, schedule and clipping.
        max_tokens_per_forward: As in :class:`~rlaif.modules.optimizer_step.OptimizerStepModule`.
    """

    group = "policy"

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        reference: ReferenceLogprobs,
        objective: PairObjective,
        optimization: OptimizerSettings,
        max_tokens_per_forward: int | None = None,
    ) -> None:
        super().__init__(model, optimization=optimization, max_tokens_per_forward=max_tokens_per_forward)
        self.reference = reference
        self.objective = objective
        self._ref_logprobs: Tensor | None = None

    def on_fit_start(self) -> None:
        """Get the reference's log-probs, before steps are shown: reading all pairs can take as long as they do."""
        if self.reference.is_kept:
            self._ref_logprobs = self.reference.read().to(self.device)
            return
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        with self.trainer.precision_plugin.forward_context():  # as the policy is read
            found = self.reference.compute(self.device, rank=rank, world_size=world_size)
        whole = self.trainer.strategy.reduce(found, reduce_op="sum")
        assert isinstance(whole, Tensor)
        if self.trainer.is_global_zero:
            self.reference.keep(whole)
        self._ref_logprobs = whole

    def on_train_start(self) -> None:
        """Switch dropout off, which the reference does not have either."""
        self.model.eval()

    def losses(self, batch: PreferenceBatch) -> Losses:
        """Losses and measures of a batch.

        Raises:
            TrainingError: A loss is not finite.
        """
        assert self._ref_logprobs is not None
        logprobs, ref_logprobs = pair_logprobs(self.model, batch), self._ref_logprobs[batch.place_B]
        lengths = batch.mask_BT.sum(-1).view(-1, 2)
        first, second = (PairOutputs(logprobs[:, i], ref_logprobs[:, i], lengths[:, i]) for i in (0, 1))
        losses = self.objective.losses(first, second, PairLabels(batch.p_first_B, batch.weight_B))
        check_losses(losses, self.objective)
        return losses

    def figures(self, batch: PreferenceBatch) -> Mapping[str, LossSum]:
        """The sum of all terms over the weight of the pairs, with its gradient, and what the objective names beside."""
        losses = self.losses(batch)
        total = torch.stack([term.total for term in losses.terms.values()]).sum()
        found = {**losses.logged(), "loss": LossSum(total, self.loss_count(batch))}
        self.figure_names = tuple(found)
        return found

    def loss_count(self, batch: PreferenceBatch) -> Tensor:
        """Weights of the pairs."""
        return batch.weight_B.sum()


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings(SupervisedSettings):
    """Config group ``policy`` of a policy that learns from labeled pairs."""

    group: ClassVar[str] = "policy"

    pair_objective: PairObjective
    """What the pairs teach; config group ``policy/pair_objective``."""
    learner: Runtime[Literal["preference"]] = "preference"
    """The step that learns so, for ``pipeline=iterative``."""

    def module(self, model: PreTrainedModel, reference: ReferenceLogprobs) -> PreferenceModule:
        """The module to train; ``model`` is changed in place."""
        return PreferenceModule(
            model,
            reference=reference,
            objective=self.pair_objective,
            optimization=self.optimization,
            max_tokens_per_forward=self.max_tokens_per_forward,
        )
