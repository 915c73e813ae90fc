"""Lightning data modules for supervised fine-tuning and reward models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Generic, Protocol, TypeVar

from lightning import LightningDataModule
from transformers import PreTrainedTokenizerBase

from rlaif.data.batches.examples import (
    PairBatch,
    PairExample,
    TokenBatch,
    TokenExample,
    Tokenized,
    collate_pairs,
    collate_tokens,
    pad_id,
    pair_examples,
    sft_examples,
)
from rlaif.data.batches.loader import BatchPlan, EvaluationLoader, ResumableLoader
from rlaif.data.held_out import is_held_out
from rlaif.errors import ConfigError
from rlaif.tasks.base import Task
from rlaif.types import Demonstration, Preference


class Example(Protocol):
    """What the split and the batches ask of an example of any training."""

    @property
    def prompt_id(self) -> str:
        """Of its prompt, which is held out as a whole."""
        ...

    @property
    def length(self) -> int:
        """Tokens of its longest row."""
        ...


ExampleT = TypeVar("ExampleT", bound=Example)
BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Batch sizes, length limit and collation of examples."""

    batch_size: int
    """Examples per batch over all devices (``sft.batch_size``, ``reward_model.batch_size``)."""
    max_length: int
    """Tokens of prompt and response together; a longer prompt is cut from the left."""
    epochs: float = 1.0
    """Length of the training in passes over the training part."""
    num_batches: int | None = None
    """Length of the training in batches; None takes ``epochs``."""
    validation_fraction: float = 0.05
    """Share of the prompts that is held out."""


class SplitDataModule(LightningDataModule, Generic[ExampleT, BatchT]):
    """Training batches that resume, and a validation part split off by prompt.

    One Lightning epoch is the whole training: use ``max_epochs=1``, and ``val_check_interval`` in batches.

    Args:
        tokenized: The examples.
        collate: Makes a batch of examples.
        batching: Batch size, length of the training and validation part.
        name: Of the config group, whose shuffle this is.
        seed: The run's seed.
    """

    def __init__(
        self,
        tokenized: Tokenized[ExampleT],
        collate: Callable[[Sequence[ExampleT]], BatchT],
        *,
        batching: Batching,
        name: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.tokenized = tokenized
        self.collate = collate
        self.batch_size = batching.batch_size
        fraction = batching.validation_fraction
        held_out = [is_held_out(e.prompt_id, fraction, "validation") for e in tokenized.examples]
        self.train_examples = [e for e, out in zip(tokenized.examples, held_out, strict=True) if not out]
        self.validation_examples = [e for e, out in zip(tokenized.examples, held_out, strict=True) if out]
        if len(self.train_examples) < self.batch_size:
            _check_left_out(tokenized, len(self.train_examples), batching, name)
        lengths = tuple(example.length for example in self.train_examples)
        self.plan = BatchPlan(lengths=lengths, batch_size=self.batch_size, seed=seed, name=name)
        in_epochs = max(1, ceil(batching.epochs * self.plan.batches_per_epoch - 1e-9))
        self.num_batches = batching.num_batches or in_epochs

    @property
    def read_examples(self) -> list[ExampleT]:
        """The examples of the validation, and those that the batches of the training have."""
        positions = self.plan.positions(self.num_batches)
        return [*(self.train_examples[position] for position in positions), *self.validation_examples]

    def train_dataloader(self) -> ResumableLoader[ExampleT, BatchT]:
        """The batches of this process, from the step at which a checkpoint stopped."""
        rank, world_size = self._place()
        return ResumableLoader(
            examples=self.train_examples,
            plan=self.plan,
            collate=self.collate,
            num_batches=self.num_batches,
            rank=rank,
            world_size=world_size,
        )

    def val_dataloader(self) -> EvaluationLoader[ExampleT, BatchT] | list[object]:
        """The batches of the held-out examples."""
        rank, world_size = self._place()
        if not self.validation_examples:
            return []
        return EvaluationLoader(
            examples=self.validation_examples,
            lengths=[example.length for example in self.validation_examples],
            collate=self.collate,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _check_left_out(tokenized: Tokenized[ExampleT], num_left: int, batching: Batching, name: str) -> None:
    """Refuse a training for which too few examples are left.

    Args:
        tokenized: Counts what was left out.
        num_left: Training examples, fewer than a batch has.
        batching: Batch size and length limit.
        name: Config group.

    Raises:
        ConfigError: Some were left out: it says why.
    """
    limit = f"{name}.max_length"
    causes = {
        f"with a response too long for {limit}={batching.max_length}": tokenized.num_too_long,
        "without a label": tokenized.num_missing,
        "with a label of weight 0": tokenized.num_without_weight,
    }
    left_out = [f"{count:,} {words}" for words, count in causes.items() if count]
    if not left_out:
        return
    instead = [f"type a larger {limit}"] if tokenized.num_too_long else ["give more labeled data"]
    instead += [f"{name}.batch_size={num_left} or less"] if num_left else []
    raise ConfigError(
        f"{name}.batch_size={batching.batch_size}: {num_left or 'no'} training examples are left, without"
        f" {' and '.join(left_out)}; {', or '.join(instead)}"
    )


class SFTDataModule(SplitDataModule[TokenExample, TokenBatch]):
    """Demonstrations as batches.

    Args:
        demonstrations: What to imitate.
        task: Gives the text that a policy continues.
        tokenizer: The policy's.
        batching: Batch size, longest example, length of the training and validation part.
        seed: The run's seed.
    """

    def __init__(
        self,
        demonstrations: Sequence[Demonstration],
        *,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        batching: Batching,
        seed: int,
    ) -> None:
        super().__init__(
            sft_examples(demonstrations, task, tokenizer, batching.max_length),
            partial(collate_tokens, pad_id=pad_id(tokenizer)),
            batching=batching,
            name="sft",
            seed=seed,
        )


class PreferenceDataModule(SplitDataModule[PairExample, PairBatch]):
    """Labeled pairs as batches; missing labels are left out (``tokenized.num_missing``).

    Args:
        preferences: Soft labels.
        task: Gives the text that a policy continues.
        tokenizer: The reward model's.
        batching: Batch size, longest example (prompt and longer candidate), length of the training and validation part.
        seed: The run's seed.
    """

    def __init__(
        self,
        preferences: Sequence[Preference],
        *,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        batching: Batching,
        seed: int,
    ) -> None:
        super().__init__(
            pair_examples(preferences, task, tokenizer, batching.max_length),
            partial(collate_pairs, pad_id=pad_id(tokenizer)),
            batching=batching,
            name="reward_model",
            seed=seed,
        )
