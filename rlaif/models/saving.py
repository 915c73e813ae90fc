"""Hugging Face folders that stop and sample elsewhere as their model did here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from rlaif.models.ends import end_token_ids

NEW_PAD_TOKEN = "<|pad|>"
"""Padding of a classifier whose tokenizer has no special token but those that end texts."""

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""How a model that also reads images, sounds or videos wants them."""


def save_folder(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, *, temperature: float = 1.0
) -> None:
    """Write a model and its tokenizer, with the chat template, as one Hugging Face folder.

    A causal LM gets a generation configuration of our sampling: every end token, this temperature, and nothing else of
    what the model it was made from sampled with (top-k, top-p, penalties); its tokenizer pads on the side that it came
    with, the left one where others sample in batches. A classifier's tokenizer pads with the token that the classifier
    skips.

    Args:
        model: Its end and padding tokens are set to those that are saved.
        tokenizer: The model's.
        directory: Made when missing.
        temperature: Of the sampling; 0 decodes greedily.
    """
    if model.can_generate():
        _set_generation(model, tokenizer, temperature)
        tokenizer.padding_side = tokenizer.init_kwargs.get("padding_side", tokenizer.padding_side)
    elif (pad_id := model.config.get_text_config().pad_token_id) is not None:
        _set_padding(tokenizer, pad_id)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    _keep_processors(model, directory)


def _keep_processors(model: PreTrainedModel, directory: Path) -> None:
    """Copy what the model came with for inputs that are no text: programs that serve it do not load it without."""
    source = model.name_or_path
    if not source or model.config.get_text_config(decoder=True) is model.config:
        return
    for name in PROCESSORS:
        found = cached_file(
            source,
            name,
            revision=getattr(model.config, "_commit_hash", None) or "main",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is not None:
            shutil.copyfile(found, directory / name)


def _set_padding(tokenizer: PreTrainedTokenizerBase, pad_id: int) -> None:
    if pad_id == len(tokenizer):
        tokenizer.add_special_tokens({"pad_token": NEW_PAD_TOKEN})
    else:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_id)


def _set_generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, temperature: float) -> None:
    ends = end_token_ids(model, tokenizer)
    tokens: dict[str, Any] = {
        "eos_token_id": list(ends) if len(ends) > 1 else ends[0],
        "pad_token_id": tokenizer.pad_token_id,
    }
    for config in {id(each): each for each in (model.config, model.config.get_text_config(decoder=True))}.values():
        for name, value in tokens.items():
            setattr(config, name, value)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    model.generation_config = GenerationConfig(**tokens, **sampling, bos_token_id=tokenizer.bos_token_id)
