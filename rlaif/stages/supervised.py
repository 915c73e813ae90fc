"""Shared by the stages that learn from a fixed data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlaif.data.batches.loader import device_problems
from rlaif.data.batches.modules import Batching, SplitDataModule
from rlaif.models.adapters import LoraSettings, merged
from rlaif.modules.supervised import SupervisedModule
from rlaif.pipeline.stage import Work

EXAMPLES = "examples.json"
"""Counts of the training examples, and of those that were cut or left out."""


def train_supervised(
    work: Work,
    module: SupervisedModule[Any],
    data: SplitDataModule[Any, Any],
    tokenizer: PreTrainedTokenizerBase,
    lora: LoraSettings | None = None,
    *,
    before_saving: Callable[[], None] = lambda: None,
) -> None:
    """Fit a module to a fixed data set, and write its model and tokenizer.

    Args:
        work: Of the step.
        module: Its model may have an adapter, which is merged into what is written.
        data: Training examples, and those of the validation.
        tokenizer: The model's.
        lora: Settings of the adapter, which say whether it is kept apart, too.
        before_saving: What is done with the trained module while its checkpoint is still there: killed in it, the step
            does not train again.
    """
    training = work.training
    (work.directory / EXAMPLES).write_text(json.dumps(data.tokenized.counts, indent=1, sort_keys=True) + "\n")
    trainer = training.fit(module, data, max_steps=data.num_batches)
    before_saving()
    training.save(trainer, merged(module.model), tokenizer)
    if lora is not None and trainer.is_global_zero:
        lora.keep(module.model, work.directory)


def examples_told(directory: Path, group: str, max_length: int) -> str:
    """The examples that were cut or left out because of their length, in words; empty where there are none.

    Args:
        directory: Result of the step.
        group: Config group of the stage, e.g. ``sft``.
        max_length: Of the stage, in tokens.
    """
    file = directory / EXAMPLES
    counts: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    words = {"num_cut_prompts": "prompts cut", "num_too_long": "left out"}
    told = [f"{counts[name]:,} {what}" for name, what in words.items() if counts.get(name)]
    return f", {' and '.join(told)} ({group}.max_length={max_length})" if told else ""


def batch_problems(
    group: str, batching: Batching, count: int | None, what: str, *, num_processes: int
) -> Iterator[str]:
    """A batch that the devices cannot share, or that the examples cannot fill.

    Args:
        group: Config group of the stage, e.g. ``sft``.
        batching: Batch size and share for validation.
        count: Number of examples, before any is left out; None where it is not known before the training.
        what: The examples in words.
        num_processes: Devices that train together.
    """
    yield from device_problems(group, batching.batch_size, num_processes)
    if count is None:
        return
    fraction = batching.validation_fraction
    left = int(count * (1 - fraction))
    if batching.batch_size <= left:
        return
    share = f"{fraction:.0%} of them for validation"
    told = f"{group}.batch_size={batching.batch_size}: there are only {count:,} {what}, {share}"
    if left:
        yield f"{told}; type {group}.batch_size={left} or less, or give more data"
    else:
        skip = ", or leave the step out with sft=skip (and a model that follows instructions)" if group == "sft" else ""
        yield f"{told}; give data with {what}{skip}"
