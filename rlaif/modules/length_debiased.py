"""A reward model whose reward does not follow length (ODIN, arXiv 2402.07319).

Shapes: B pairs, 2 sides, T tokens, D hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from rlaif.data.batches.examples import PairBatch
from rlaif.errors import ConfigError
from rlaif.functional.debiasing import head_overlap, length_terms
from rlaif.functional.losses import LossSum, preference_cross_entropy
from rlaif.functional.seeds import generator
from rlaif.models.classifiers import scalar_head_weight
from rlaif.modules.distributed import has_whole_weights, mean_over_processes, of_all_processes
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.reward_model import RewardModelModule, pairwise_agreement

HEAD_STD = 0.02
"""Standard deviation of the length head's first weights, that of the reward head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebiasWeights:
    """Weights of the parts of the loss."""

    length: float
    """Of the correlations with length."""
    orthogonality: float
    """Of the overlap of both heads."""


class LengthDebiasedModule(RewardModelModule):
    """Two heads on one body: the pairs are learned by their sum, and length is left to the second, which is dropped.

    Minimizes cross-entropy(r_Q + r_L) + w_length (|corr(r_Q, length)| - |corr(r_L, length)|) + w_orthogonality |cos|
    of both heads' weights. The correlations are over all responses of the optimizer step, of all micro-batches and
    processes: every response is scored first, and the micro-batches are read again for their gradients.

    Logs ``train/loss`` (the cross-entropy of the sum, nats per pair), ``train/accuracy`` (of r_Q alone),
    ``train/length_correlation`` and ``train/length_head_correlation`` (absolute values), ``train/head_overlap``. The
    validation, and what is saved, are of r_Q alone.

    Args:
        model: A classifier with one label, whose head becomes r_Q.
        weights: Of the parts of the loss.
        optimization: Optimizer, learning rate, schedule and clipping.
        max_tokens_per_forward: As in :class:`~rlaif.modules.optimizer_step.OptimizerStepModule`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        weights: DebiasWeights,
        optimization: OptimizerSettings,
        max_tokens_per_forward: int | None = None,
    ) -> None:
        super().__init__(model, optimization=optimization, max_tokens_per_forward=max_tokens_per_forward)
        self.weights = weights
        width = scalar_head_weight(model).shape[-1]
        self.length_head = nn.utils.skip_init(nn.Linear, width, 1, bias=False)
        self.length_head.weight.data.copy_(HEAD_STD * torch.randn(1, width, generator=generator(0, "length head")))

    def setup(self, stage: str) -> None:
        """Refuse a strategy that shards weights.

        Raises:
            ConfigError: The weights of the heads are not whole on each device.
        """
        if not has_whole_weights(self.trainer):
            raise ConfigError(
                "reward_model.debias=length: compares the weights of two heads, which"
                f" {type(self.trainer.strategy).__name__} divides among devices; type trainer.strategy=ddp, or"
                " reward_model.debias=none"
            )

    def trained_parts(self) -> list[nn.Module]:
        """The model, and the length head."""
        return [self.model, self.length_head]

    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        """One optimizer step on the loss of the pairs of all processes.

        Raises:
            TrainingError: The loss is no number.
        """
        count = mean_over_processes(self, self.loss_count(batch))
        sums: dict[str, LossSum] = {}
        measures: dict[str, Tensor] = {}

        def loss(whole: PairBatch) -> Tensor:
            parts = self.micro_batches(whole)
            scores_2BH = torch.cat([self._scores_of(part, again=len(parts) > 1) for part in parts], dim=1)
            sums.update(_ranking(parts, scores_2BH))
            measures.update(self._measures(parts, scores_2BH))
            penalty = self._penalty(measures)
            self._check(sums["loss"].total + penalty)
            return sums["loss"].total / count + penalty

        self.take_step([batch], loss)
        self._log("train", tuple(sums), [sums])
        for name, value in measures.items():
            self.log(f"train/{name}", value.detach())

    def scores(self, batch: PairBatch) -> Tensor:
        """r_Q and r_L of both sides [2, B, 2]."""
        with self._two_heads():
            return self.outputs(batch)

    def rewards(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """r_Q, which rewards, and the sum that the pairs are learned by [2, B]."""
        scores_2BH = self.scores(batch)
        return {"r_Q, the reward": scores_2BH[..., 0], "r_Q + r_L, learned from the pairs": scores_2BH.sum(-1)}

    def _scores_of(self, part: PairBatch, *, again: bool) -> Tensor:
        """Scores with their gradient; with ``again`` the activations are dropped and made a second time backward."""
        scores_2BH: Tensor = checkpoint(self.scores, part, use_reentrant=False) if again else self.scores(part)
        return scores_2BH

    @contextmanager
    def _two_heads(self) -> Iterator[None]:
        """Lets the classifier's head give both outputs, of which the library takes those of the last token."""

        def both(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return torch.cat([output, self.length_head(inputs[0]).to(output.dtype)], dim=-1)

        handle = self.model.get_submodule("score").register_forward_hook(both)
        try:
            yield
        finally:
            handle.remove()

    def _measures(self, parts: list[PairBatch], scores_2BH: Tensor) -> dict[str, Tensor]:
        """How far each head follows length, over all processes, and how far both overlap, with their gradients."""
        own_NH = scores_2BH.flatten(0, 1)
        lengths_2B = torch.cat([part.response_lengths() for part in parts], dim=1)
        quality_N, length_N = (of_all_processes(self, own_NH[:, head].contiguous()) for head in (0, 1))
        terms = length_terms(quality_N, length_N, of_all_processes(self, lengths_2B.flatten()))
        overlap = head_overlap(scalar_head_weight(self.model).flatten(), self.length_head.weight.flatten())
        return {"length_correlation": terms.quality, "length_head_correlation": terms.length, "head_overlap": overlap}

    def _penalty(self, measures: Mapping[str, Tensor]) -> Tensor:
        """What keeps length out of the first head."""
        # Each process has the gradient of its own scores alone, and gradients are averaged over processes.
        follows = self.trainer.world_size * (measures["length_correlation"] - measures["length_head_correlation"])
        return self.weights.length * follows + self.weights.orthogonality * measures["head_overlap"]


def _ranking(parts: list[PairBatch], scores_2BH: Tensor) -> dict[str, LossSum]:
    """``loss``, the cross-entropy of the sum of both heads, and ``accuracy``, the agreement of the first."""
    p_first_B = torch.cat([part.p_first_B for part in parts])
    weight_B = torch.cat([part.weight_B for part in parts])
    gap_BH = scores_2BH[0] - scores_2BH[1]
    return {
        "loss": preference_cross_entropy(gap_BH.sum(-1), p_first_B, weight_B),
        "accuracy": pairwise_agreement(gap_BH[:, 0].detach(), p_first_B, weight_B),
    }
