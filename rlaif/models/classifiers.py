"""Loading of reward models and of other classifiers, and heads for them."""

from __future__ import annotations

from collections.abc import Container
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlaif.errors import EngineError
from rlaif.functional.seeds import generator
from rlaif.inference.linear import fast_linear
from rlaif.models.ends import end_token_ids
from rlaif.models.load import ModelSpec, from_pretrained, load_causal_lm, load_tokenizer, load_weights
from rlaif.models.scalar_head import WIDTH, ScalarHeadForSequenceClassification


def load_reward_model(spec: ModelSpec | str, *, seed: int = 0, head_std: float = 0.02) -> PreTrainedModel:
    """A model with one scalar output: a saved reward model, or a causal LM with a new head.

    Args:
        spec: A folder or hub name of either kind.
        seed: Seed of the new head's weights.
        head_std: Standard deviation of the new head's weights; 0 starts with equal rewards.

    Returns:
        An ``AutoModelForSequenceClassification`` with one label, or a scalar head of our own where the library has no
        such class, in evaluation mode. Its forward reads the last token that is not ``config.pad_token_id``.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, or a saved classifier has more than one label.
    """
    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    config = from_pretrained(AutoConfig, spec)
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        _check_one_label(spec, config)
        return _load_classifier(spec)
    model, tokenizer = load_causal_lm(spec), load_tokenizer(spec)
    pad_id = classifier_pad_id(tokenizer, end_token_ids(model, tokenizer))
    return reward_model_from(model, pad_id, seed=seed, head_std=head_std)


def load_trained_reward_model(spec: ModelSpec | str) -> PreTrainedModel:
    """A reward model that was trained, in evaluation mode, on the CPU.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, is no sequence classifier, or has more than one label.
    """
    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    model = load_classifier(spec)
    _check_one_label(spec, model.config)
    return model


def _check_one_label(spec: ModelSpec, config: PreTrainedConfig) -> None:
    if config.num_labels != 1:
        raise EngineError(f"model.name={spec.name}: a reward model has one label, this one has {config.num_labels}")


def classifier_pad_id(tokenizer: PreTrainedTokenizerBase, ends: Container[int]) -> int:
    """A token that no text ends with: a classifier looks for the last token before the padding.

    Args:
        tokenizer: The classifier's.
        ends: Tokens that end texts.

    Returns:
        The tokenizer's padding or, where that ends texts or stands for unknown characters, another special token; where
        there is none the id after the tokenizer's last one, for which :func:`add_pad_row` makes a row.
    """
    special = [index for index, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    named = sorted(special, key=lambda index: "pad" not in tokenizer.added_tokens_decoder[index].content)
    candidates = (tokenizer.pad_token_id, tokenizer.bos_token_id, *named)
    unfit = (None, tokenizer.unk_token_id)
    return next((one for one in candidates if one not in unfit and one not in ends), len(tokenizer))


def add_pad_row(model: PreTrainedModel, pad_id: int) -> None:
    """Give the padding a row of zeros in the embedding, where it has none."""
    num_rows = _num_rows(model)
    if pad_id >= num_rows:
        resized: Any = model.resize_token_embeddings(pad_id + 1, mean_resizing=False)
        resized.weight.data[num_rows:] = 0.0


def _num_rows(model: PreTrainedModel) -> int:
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def load_classifier(spec: ModelSpec | str) -> PreTrainedModel:
    """Any saved ``AutoModelForSequenceClassification``, in evaluation mode, on the CPU, with a padding token.

    Raises:
        ConfigError: The name leads nowhere.
        EngineError: It cannot be read, or it is no sequence classifier.
    """
    spec = ModelSpec(spec) if isinstance(spec, str) else spec
    architectures = from_pretrained(AutoConfig, spec).architectures or ()
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise EngineError(
            f"model.name={spec.name}: a {', '.join(architectures) or 'model without architecture'}, where a sequence "
            "classifier is expected; rlaif's own are the reward_model/ of a run directory"
        )
    return _load_classifier(spec)


def _load_classifier(spec: ModelSpec) -> PreTrainedModel:
    """A saved classifier; one without a padding token gets an id that ends no text, which its forward looks for."""
    saved = from_pretrained(AutoConfig, spec)
    if ScalarHeadForSequenceClassification.__name__ in (saved.architectures or ()):
        return load_weights(_ReadsScalarHead(saved), spec)
    model = load_weights(AutoModelForSequenceClassification, spec)
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        tokenizer = load_tokenizer(spec, needs_end=False)
        config.pad_token_id = classifier_pad_id(tokenizer, (tokenizer.eos_token_id,))
        add_pad_row(model, config.pad_token_id)
    return model


def reward_model_from(
    causal_lm: PreTrainedModel, pad_token_id: int, *, seed: int = 0, head_std: float = 0.02
) -> PreTrainedModel:
    """A reward model on a copy of a causal LM's body; the global random state is left as it was.

    Args:
        causal_lm: Whose weights below the language head are copied.
        pad_token_id: Padding that the reward model skips when it looks for the last token.
        seed: Seed of the head.
        head_std: Standard deviation of the head's weights.
    """
    config = deepcopy(causal_lm.config)
    config.num_labels = 1
    config.pad_token_id = pad_token_id if pad_token_id < _num_rows(causal_lm) else None
    with torch.random.fork_rng(devices=[]):
        model = _classifier_of(config, causal_lm)
    model.base_model.load_state_dict(causal_lm.base_model.state_dict())
    with torch.random.fork_rng(devices=[]):
        add_pad_row(model, pad_token_id)
    model.config.pad_token_id = pad_token_id
    head = model.get_submodule("score").get_parameter("weight")
    noise = torch.randn(head.shape, generator=generator(seed, "reward head"))
    head.data.copy_(noise * head_std)
    return fast_linear(model.eval())


def _classifier_of(config: PreTrainedConfig, causal_lm: PreTrainedModel) -> PreTrainedModel:
    """The library's classifier with a linear head on the same body, or our own where it has none."""
    options = {"dtype": causal_lm.dtype, "attn_implementation": causal_lm.config._attn_implementation}
    if type(config) in AutoModelForSequenceClassification._model_mapping:
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, **options)
        if type(model.base_model) is type(causal_lm.base_model) and "score" in dict(model.named_children()):
            return model
    setattr(config, WIDTH, causal_lm.get_output_embeddings().weight.shape[-1])
    config._attn_implementation = options["attn_implementation"]
    own = ScalarHeadForSequenceClassification(config)
    torch.nn.Module.to(own, causal_lm.dtype)
    return own


def scalar_head_weight(model: PreTrainedModel) -> torch.Tensor:
    """The weight [1, hidden width] of a reward model's head, that of its adapter where it has one.

    Raises:
        EngineError: The classifier's head is no linear map named ``score``.
    """
    head = getattr(model, "score", None)
    trained = getattr(head, "modules_to_save", None)
    head = head if trained is None else next(iter(trained.values()))
    if not isinstance(head, torch.nn.Linear):
        raise EngineError(
            "reward_model.debias=length: needs a reward model with one linear head, and"
            f" {type(model).__name__} has another; start from a causal LM, or type reward_model.debias=none"
        )
    return head.weight


@dataclass(frozen=True)
class _ReadsScalarHead:
    """Reads a folder with our own head as the library's auto classes read theirs."""

    config: PreTrainedConfig

    def from_pretrained(self, folder: str, **options: Any) -> Any:
        return ScalarHeadForSequenceClassification.read(folder, self.config, **options)
