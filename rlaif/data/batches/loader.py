"""Training batches in an order that depends on the seed alone, and that a restart continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import Generic, TypeVar

import torch

from rlaif.errors import ConfigError
from rlaif.functional.seeds import generator

ExampleT = TypeVar("ExampleT")
BatchT = TypeVar("BatchT")

BATCHES_PER_BUCKET = 16


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The assignment of examples to batches of each epoch.

    An epoch shuffles all examples, sorts them by length within buckets of ``BATCHES_PER_BUCKET`` batches,
    cuts batches of equal size and shuffles those: little padding, and still another order every epoch.
    Examples that do not fill a last batch sit that epoch out.
    """

    lengths: tuple[int, ...]
    """Tokens per example."""
    batch_size: int
    """Examples per optimizer batch, over all devices."""
    seed: int
    name: str = "train"
    """Names the draw, so that two stages of one seed shuffle differently."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"{self.name}.batch_size={self.batch_size}: must be at least 1")
        if num_examples := len(self.lengths):
            told, instead = f"only {num_examples}", f"set {self.name}.batch_size to at most that, or give more data"
        else:
            told, instead = "no", "give data"
        if num_examples < self.batch_size:
            option = f"{self.name}.batch_size={self.batch_size}"
            raise ConfigError(f"{option}: there are {told} training examples; {instead}")

    @property
    def batches_per_epoch(self) -> int:
        """Number of whole batches in one pass over the examples."""
        return len(self.lengths) // self.batch_size

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch, as positions of examples.

        Args:
            epoch: Counted from 0.

        Returns:
            ``batches_per_epoch`` lists of ``batch_size`` positions; none occurs twice.

        >>> plan = BatchPlan(lengths=(3, 9, 4, 8, 5), batch_size=2, seed=0)
        >>> sorted(map(len, plan.epoch(0)))
        [2, 2]
        """
        draw = generator(self.seed, self.name, "batches", epoch)
        order = torch.randperm(len(self.lengths), generator=draw).tolist()
        order = order[: self.batches_per_epoch * self.batch_size]
        bucket_size = self.batch_size * BATCHES_PER_BUCKET
        batches: list[list[int]] = []
        for start in range(0, len(order), bucket_size):
            bucket = sorted(order[start : start + bucket_size], key=self.lengths.__getitem__)
            batches += [bucket[i : i + self.batch_size] for i in range(0, len(bucket), self.batch_size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]

    def positions(self, num_batches: int) -> list[int]:
        """Positions, ascending, of the examples that the first batches have.

        >>> BatchPlan(lengths=(3, 9, 4, 8, 5), batch_size=2, seed=0).positions(100)
        [0, 1, 2, 3, 4]
        """
        found: set[int] = set()
        for epoch in range(ceil(num_batches / self.batches_per_epoch)):
            if len(found) == len(self.lengths):
                break
            found.update(*self.epoch(epoch)[: num_batches - epoch * self.batches_per_epoch])
        return sorted(found)


def device_problems(name: str, batch_size: int, num_devices: int) -> Iterator[str]:
    """A batch that the devices cannot share equally.

    Args:
        name: Config group of the batch, e.g. ``sft``.
        batch_size: Examples per optimizer batch, over all devices.
        num_devices: Devices that share it.
    """
    if batch_size % num_devices:
        yield f"{name}.batch_size={batch_size}: must be a multiple of the number of devices, {num_devices}"


@dataclass(kw_only=True)
class ResumableLoader(Generic[ExampleT, BatchT]):
    """The stream of collated batches of a plan, epoch after epoch.

    Lightning asks a loader for its ``state_dict`` with every checkpoint and gives it back before the first
    batch after a restart. It does not ask again for an iterator in every case that begins an epoch, so the
    iterator does not end: Lightning ends an epoch of its own after ``len(loader)`` batches. Give the whole
    training as one such epoch (``num_batches``) and ``max_epochs=1``: restarts at the end of an epoch are
    then Lightning's ordinary mid-epoch restarts.
    """

    examples: Sequence[ExampleT]
    plan: BatchPlan
    collate: Callable[[list[ExampleT]], BatchT]
    num_batches: int
    """Length of the training, in batches."""
    rank: int = 0
    """This process takes every ``world_size``-th example of a batch, beginning with this one."""
    world_size: int = 1
    num_yielded: int = field(default=0, init=False)
    """Batches handed out so far, over all restarts."""

    def __post_init__(self) -> None:
        assert len(self.examples) == len(self.plan.lengths)
        if problems := list(device_problems(self.plan.name, self.plan.batch_size, self.world_size)):
            raise ConfigError(problems)
        self._epoch = lru_cache(maxsize=1)(self.plan.epoch)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[BatchT]:
        while True:
            epoch, position = divmod(self.num_yielded, self.plan.batches_per_epoch)
            batch = self._epoch(epoch)[position][self.rank :: self.world_size]
            collated = self.collate([self.examples[i] for i in batch])
            self.num_yielded += 1
            yield collated

    def state_dict(self) -> dict[str, int]:
        """Position in the stream; the same on every rank."""
        return {"num_yielded": self.num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the last batch that the saved loader had handed out."""
        self.num_yielded = state["num_yielded"]


@dataclass(frozen=True, kw_only=True)
class EvaluationLoader(Generic[ExampleT, BatchT]):
    """Every example once, longest first, from the start at each iteration; nothing to resume.

    Each of several processes takes every ``world_size``-th batch: sum over processes before dividing. Where there are
    fewer batches than processes, each takes all of them, which leaves a total over a count as it is: a process without
    a batch would skip the validation, and the others would wait for it.
    """

    examples: Sequence[ExampleT]
    lengths: Sequence[int]
    collate: Callable[[list[ExampleT]], BatchT]
    batch_size: int
    rank: int = 0
    world_size: int = 1

    def _batches(self) -> list[list[int]]:
        order = sorted(range(len(self.examples)), key=lambda i: -self.lengths[i])
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        return batches if len(batches) < self.world_size else batches[self.rank :: self.world_size]

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[BatchT]:
        for batch in self._batches():
            yield self.collate([self.examples[i] for i in batch])
