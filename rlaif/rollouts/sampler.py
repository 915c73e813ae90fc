"""Samplers: prompts' tokens in, rollouts out, from a model in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.data.batches.examples import pad_id
from rlaif.errors import EngineError
from rlaif.inference.micro_batches import automatic_max_tokens, cut_by_tokens
from rlaif.inference.sample import sample
from rlaif.models.ends import end_token_ids
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.rollouts.batch import Rollouts, rows_of
from rlaif.types import Sampling

SAMPLED_SHARE = 3
"""Tokens that are sampled together, to those of a forward pass with gradient: sampling keeps keys and values alone."""


class Sampler(Protocol):
    """Samples responses from one policy."""

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], *, num_samples: int, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollouts:
        """Responses to P prompts.

        Args:
            prompt_ids: Tokens of each prompt.
            num_samples: Responses per prompt.
            sampling: Temperature, token limit, top-k and top-p.
            seeds: One per response (P times ``num_samples``); a response depends on nothing but weights, prompt,
                sampling and its seed.

        Returns:
            Rows prompt-major, with the log-probs of sampling where the sampler records them.
        """
        ...

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Sample from these weights from now on.

        Args:
            weights: The policy's ``state_dict``.
            version: Optimizer steps that the policy has made.
        """
        ...


class LocalSampler:
    """Samples from a model in this process.

    The log-probs of sampling are a by-product of drawing the tokens: recording them costs nothing.

    Args:
        model: A causal LM; training it in place changes what is sampled next.
        eos_id: Token or tokens that end a response.
        pad_id: What stands after a response.
    """

    def __init__(self, model: PreTrainedModel, *, eos_id: int | Sequence[int], pad_id: int) -> None:
        self.model = model
        self.eos_id = eos_id
        self.pad_id = pad_id
        self.version = 0

    @classmethod
    def of_model(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LocalSampler:
        """A sampler of a loaded model; any of the model's end tokens ends a response."""
        return cls(model, eos_id=end_token_ids(model, tokenizer), pad_id=pad_id(tokenizer))

    @classmethod
    def of_folder(cls, folder: Path, tokenizer: PreTrainedTokenizerBase, *, dtype: str = "float32") -> LocalSampler:
        """A sampler of a model folder.

        Args:
            folder: Hugging Face folder of a causal LM.
            tokenizer: The model's.
            dtype: Number format of the weights, as ``model.dtype`` spells it.
        """
        return cls.of_model(load_causal_lm(ModelSpec(str(folder), dtype=dtype)), tokenizer)

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], *, num_samples: int, sampling: Sampling, seeds: Sequence[int]
    ) -> Rollouts:
        """As :meth:`Sampler.sample`, with the log-probs of sampling; many long prompts are sampled in portions.

        Raises:
            EngineError: The model gives no distribution to draw from: its logits are NaN.
        """
        lengths = [num_samples * (len(ids) + sampling.max_new_tokens) for ids in prompt_ids]
        portions = cut_by_tokens(lengths, SAMPLED_SHARE * automatic_max_tokens(self.model, "32-true"))
        drawn = [
            sample(
                self.model,
                [prompt_ids[prompt] for prompt in prompts],
                num_samples=num_samples,
                sampling=sampling,
                eos_id=self.eos_id,
                pad_id=self.pad_id,
                seeds=[seeds[row] for row in rows_of(prompts, num_samples)],
                with_entropy=True,
            )
            for prompts in portions
        ]
        if any(part.logprobs_BT.isnan().any() for part in drawn):
            raise EngineError(
                f"the logits of the {type(self.model).__name__} that is sampled from are NaN: its weights are, or they"
                f" overflow in {self.model.dtype}; in a training, take a lower learning rate"
            )
        order = [row for prompts in portions for row in rows_of(prompts, num_samples)]
        return Rollouts(
            prompt_ids=[list(ids) for ids in prompt_ids],
            tokens_BT=_in_order(order, [part.tokens_BT for part in drawn], self.pad_id),
            mask_BT=_in_order(order, [part.mask_BT for part in drawn], False),
            finished_B=_in_order(order, [part.finished_B for part in drawn], False),
            samples_per_prompt=num_samples,
            sampled_logprobs_BT=_in_order(order, [part.logprobs_BT for part in drawn], 0.0),
            sampled_entropy_BT=_in_order(
                order, [part.entropy_BT for part in drawn if part.entropy_BT is not None], 0.0
            ),
            policy_version=self.version,
        )

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copy weights into the model; those that are the model's own tensors are already there."""
        own = self.model.state_dict()
        if any(tensor.data_ptr() != own[name].data_ptr() for name, tensor in weights.items()):
            self.model.load_state_dict(weights)
        self.version = version


def _in_order(order: Sequence[int], parts: Sequence[Tensor], padding: float) -> Tensor:
    """Rows of several tensors, put in their places and padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.shape[-1] for part in parts)
    padded = [part if part.dim() == 1 else pad(part, (0, width - part.shape[1]), value=padding) for part in parts]
    rows = torch.cat(padded)
    placed = torch.empty_like(rows)
    placed[list(order)] = rows
    return placed
