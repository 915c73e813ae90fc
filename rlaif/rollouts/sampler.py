"""Samplers: prompts' tokens in, rollouts out, from a model in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.data.batches.examples import pad_id
from rlaif.inference.sample import sample
from rlaif.models.ends import end_token_ids
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.rollouts.batch import Rollouts
from rlaif.types import Sampling


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
        """As :meth:`Sampler.sample`, with the log-probs of sampling."""
        drawn = sample(
            self.model,
            prompt_ids,
            num_samples=num_samples,
            sampling=sampling,
            eos_id=self.eos_id,
            pad_id=self.pad_id,
            seeds=seeds,
        )
        return Rollouts(
            prompt_ids=[list(ids) for ids in prompt_ids],
            tokens_BT=drawn.tokens_BT,
            mask_BT=drawn.mask_BT,
            finished_B=drawn.finished_B,
            samples_per_prompt=num_samples,
            sampled_logprobs_BT=drawn.logprobs_BT,
            policy_version=self.version,
        )

    def load(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Copy weights into the model; those that are the model's own tensors are already there."""
        own = self.model.state_dict()
        if any(tensor.data_ptr() != own[name].data_ptr() for name, tensor in weights.items()):
            self.model.load_state_dict(weights)
        self.version = version
