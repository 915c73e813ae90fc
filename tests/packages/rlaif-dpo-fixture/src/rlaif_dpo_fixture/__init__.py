"""Direct preference optimization (arXiv 2305.18290): a policy that learns from labeled pairs, without a reward model.

Shapes: B pairs, T response positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.batches.examples import Tokenized, completion_ids, pad_right, prompt_ids
from rlaif.data.batches.modules import SplitDataModule
from rlaif.functional.losses import LossSum, preference_cross_entropy
from rlaif.inference.logprobs import response_logprobs
from rlaif.labeling.results import read_labels
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.settings import SupervisedSettings
from rlaif.modules.supervised import SupervisedModule
from rlaif.objectives.base import Losses, PairLabels, PairObjective, PairOutputs
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads
from rlaif.stages.supervised import train_supervised
from rlaif.tasks.base import Task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Preference


class Dpo:
    """Logistic loss of the margin of log-ratios (eq. 7), with soft labels.

    Args:
        beta: Strength of the regularization towards the reference, above 0.
    """

    def __init__(self, *, beta: float = 0.1) -> None:
        self.beta = beta

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        """The loss of all pairs; logs their margin."""
        margin_B = self.beta * (first.logprobs_B - first.ref_logprobs_B - second.logprobs_B + second.ref_logprobs_B)
        loss = preference_cross_entropy(margin_B, pairs.p_first_B, pairs.weight_B)
        return Losses(terms={"loss": loss}, measures={"margin": LossSum(margin_B.sum(), loss.count)})


class Pair(NamedTuple):
    """Tokens of a labeled pair."""

    prompt: tuple[int, ...]
    first: tuple[int, ...]
    """Of the response, end token included."""
    second: tuple[int, ...]
    p_first: float
    weight: float
    prompt_id: str

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer response."""
        return len(self.prompt) + max(len(self.first), len(self.second))


class PairRows(NamedTuple):
    """A batch of pairs."""

    prompts: list[tuple[int, ...]]
    first_BT: Tensor
    first_mask_BT: Tensor
    second_BT: Tensor
    second_mask_BT: Tensor
    p_first_B: Tensor
    weight_B: Tensor

    def row_tokens(self) -> list[int]:
        """Tokens of both sides of each pair, prompts included."""
        responses = self.first_mask_BT.sum(-1) + self.second_mask_BT.sum(-1)
        return [2 * len(prompt) + int(tokens) for prompt, tokens in zip(self.prompts, responses, strict=True)]

    def rows(self, rows: Sequence[int]) -> PairRows:
        """Some pairs."""
        return PairRows([self.prompts[row] for row in rows], *(tensor[list(rows)] for tensor in self[1:]))


def pairs_of_labels(
    labels: Sequence[Preference], task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokenized[Pair]:
    """Tokenize labeled pairs; missing labels and pairs that are too long are left out."""
    present = [label for label in labels if label.p_first is not None and label.weight > 0]
    pieces, examples = PromptTokenizer(tokenizer), []
    prompts = prompt_ids(pieces, task, [label.comparison.prompt for label in present])
    for label, prompt in zip(present, prompts, strict=True):
        sides = [completion_ids(pieces, side) for side in (label.comparison.first, label.comparison.second)]
        room = max_length - max(map(len, sides))
        if room > 0:
            first, second = map(tuple, sides)
            assert label.p_first is not None
            prompt_id = label.comparison.prompt.id
            examples.append(Pair(tuple(prompt[-room:]), first, second, label.p_first, label.weight, prompt_id))
    return Tokenized(examples=examples, num_missing=len(labels) - len(present))


def collate(pairs: Sequence[Pair]) -> PairRows:
    """Pad pairs to one batch."""
    columns = []
    for side in ([pair.first for pair in pairs], [pair.second for pair in pairs]):
        tokens_BT, lengths_B = pad_right(side, pad_id=0)
        columns += [tokens_BT, torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]]
    p_first_B, weight_B = (torch.tensor(column) for column in zip(*[(p.p_first, p.weight) for p in pairs], strict=True))
    return PairRows([pair.prompt for pair in pairs], *columns, p_first_B, weight_B)


class PairModule(SupervisedModule[PairRows]):
    """Trains a causal LM on pairs of responses by whatever pair objective it is given.

    Args:
        model: What learns.
        reference: The policy that it starts from, frozen.
        objective: Turns log-probs of both responses and labels into losses.
        optimization: Optimizer, learning rate and schedule.
        max_tokens_per_forward: Tokens per forward pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        reference: PreTrainedModel,
        objective: PairObjective,
        optimization: OptimizerSettings,
        max_tokens_per_forward: int | None = None,
    ) -> None:
        super().__init__(model, optimization=optimization, max_tokens_per_forward=max_tokens_per_forward)
        self._outside = {"reference": reference.eval().requires_grad_(False)}
        self.objective = objective

    def on_train_start(self) -> None:
        """Log-probs are those of the distribution that is sampled: without dropout."""
        self.model.eval()
        torch.nn.Module.to(self._outside["reference"], self.device)

    def outputs(self, prompts: Sequence[Sequence[int]], tokens_BT: Tensor, mask_BT: Tensor) -> PairOutputs:
        """Log-probs of one response of each pair under both models."""
        logprobs_B = response_logprobs(self.model, prompts, tokens_BT, mask_BT).logprobs_BT.sum(-1)
        with torch.no_grad():
            reference = response_logprobs(self._outside["reference"], prompts, tokens_BT, mask_BT)
        return PairOutputs(logprobs_B, reference.logprobs_BT.sum(-1))

    def figures(self, batch: PairRows) -> Mapping[str, LossSum]:
        """The objective's terms and measures."""
        first = self.outputs(batch.prompts, batch.first_BT, batch.first_mask_BT)
        second = self.outputs(batch.prompts, batch.second_BT, batch.second_mask_BT)
        losses = self.objective.losses(first, second, PairLabels(batch.p_first_B, batch.weight_B))
        return {**losses.terms, **losses.measures}

    def loss_count(self, batch: PairRows) -> Tensor:
        """Weights of the pairs."""
        return batch.weight_B.sum()


@dataclass(frozen=True, kw_only=True)
class DpoSettings(SupervisedSettings):
    """Options of the stage ``dpo_fixture``."""

    group: ClassVar[str] = "dpo"


class DpoStage(Stage):
    """Trains the nearest earlier policy on the nearest earlier labels.

    Args:
        task: Says what text a policy continues.
        dpo: Optimizer, batches and length.
        pair_objective: What the pairs teach.
    """

    trains = True

    def __init__(self, task: Task, dpo: DpoSettings, pair_objective: PairObjective) -> None:
        self.task = task
        self.settings = dpo
        self.objective = pair_objective

    def reads(self) -> Mapping[str, Reads]:
        """The policy to start from, and labels."""
        return {"policy": Reads(kind="policy"), "labels": Reads(kind="labels")}

    def leaves(self) -> frozenset[str]:
        """A policy."""
        return frozenset({"policy"})

    def build(self, work: Work) -> None:
        """Train, and write a Hugging Face folder."""
        spec = ModelSpec(str(work.path("policy")))
        tokenizer, settings = load_tokenizer(spec), self.settings
        module = PairModule(
            load_causal_lm(spec),
            reference=load_causal_lm(spec),
            objective=self.objective,
            optimization=settings.optimization,
            max_tokens_per_forward=settings.max_tokens_per_forward,
        )
        labels = read_labels(work.path("labels"))
        data: SplitDataModule[Pair, PairRows] = SplitDataModule(
            pairs_of_labels(labels, self.task, tokenizer, settings.max_length),
            collate,
            batching=settings.batching,
            name="dpo",
            seed=work.seed,
        )
        train_supervised(work, module, data, tokenizer)

    def told(self, work: Work) -> Told:
        """First and last loss."""
        rows = read_curve(work.directory / CURVE)
        return Told(line=f"loss {rows[0]['train/loss']:.3f} to {rows[-1]['train/loss']:.3f}", link=work.step)
