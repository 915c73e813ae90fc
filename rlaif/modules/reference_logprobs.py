"""Log-probs of labeled pairs under the reference, computed once for a whole training and kept in a file.

Shapes: N pairs, B pairs of a batch, T response tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.artifacts import atomic_write
from rlaif.data.batches.preferences import PreferenceBatch, PreferenceExample, collate_preferences
from rlaif.inference.logprobs import response_logprobs
from rlaif.inference.micro_batches import cut_by_tokens, max_tokens_to_read


def pair_logprobs(model: PreTrainedModel, batch: PreferenceBatch) -> Tensor:
    """log π of both responses of each pair [B, 2], summed over their tokens, at temperature 1."""
    read = response_logprobs(model, batch.prompts, batch.tokens_BT, batch.mask_BT)
    return read.logprobs_BT.sum(-1).view(-1, 2)


class ReferenceLogprobs:
    """The reference's log-probs of all examples.

    The batches follow from the examples and the model alone, so a resumed training would compute the same numbers; it
    reads those that were written before, batch by batch.

    Args:
        path: File that keeps them.
        examples: The pairs of training and validation.
        load: Loads the reference, where the file is not there yet.
        batch_size: Pairs per forward pass at most; fewer of long ones.
        begin: Is called with the number of pairs before they are read; the result takes (pairs read, pairs in all).
    """

    def __init__(
        self,
        path: Path,
        examples: Sequence[PreferenceExample],
        load: Callable[[], PreTrainedModel],
        *,
        batch_size: int,
        begin: Callable[[int], Callable[[int, int], None]] = lambda total: lambda done, total: None,
    ) -> None:
        self.path = path
        self.examples = examples
        self.load = load
        self.batch_size = batch_size
        self.begin = begin

    @property
    def is_kept(self) -> bool:
        """True when the file has them."""
        return self.path.is_file()

    def read(self) -> Tensor:
        """By place [N, 2] from the file; NaN at places that no example has."""
        return torch.tensor(json.loads(self.path.read_text(encoding="utf-8")), dtype=torch.float32).view(-1, 2)

    @torch.no_grad()
    def compute(self, device: torch.device, *, rank: int = 0, world_size: int = 1) -> Tensor:
        """By place [N, 2] the numbers of every ``world_size``-th batch, and 0 elsewhere: their sum over ranks is whole.

        Each batch is written down as soon as it is read: a process that was killed does not read it again.
        """
        reference = torch.nn.Module.to(self.load().eval(), device)
        lengths = [2 * example.length for example in self.examples]
        batches = cut_by_tokens(lengths, max_tokens_to_read(reference), max_rows=self.batch_size)[rank::world_size]
        num_pairs = sum(map(len, batches))
        known, progress, num_read = self._written(), self.begin(num_pairs), 0
        found = self._unread(rank).to(device)
        with self._part(rank).open("a", encoding="utf-8") as part:
            for rows in batches:
                batch = collate_preferences([self.examples[row] for row in rows])
                if not known.keys() >= {*batch.place_B.tolist()}:
                    moved = batch._replace(tokens_BT=batch.tokens_BT.to(device), mask_BT=batch.mask_BT.to(device))
                    known |= _write(part, batch.place_B, pair_logprobs(reference, moved))
                found[batch.place_B] = torch.tensor([known[place] for place in batch.place_B.tolist()], device=device)
                num_read += len(rows)
                progress(num_read, num_pairs)
        return found

    def keep(self, logprobs: Tensor) -> None:
        """Write the file, and remove the parts that it is made of.

        Args:
            logprobs: As :meth:`compute` gives them, summed over ranks.
        """
        atomic_write(self.path, json.dumps(logprobs.tolist()) + "\n")
        for part in self._parts():
            part.unlink()

    def _unread(self, rank: int) -> Tensor:
        """Zeros, to which what is read is added; NaN, on one rank, at places that no example has."""
        places = [example.place for example in self.examples]
        found = torch.full((1 + max(places, default=-1), 2), 0.0 if rank else torch.nan)
        found[places] = 0.0
        return found

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{rank}.jsonl")

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.stem}.*.jsonl"))

    def _written(self) -> dict[int, list[float]]:
        """Numbers by place of the batches that a killed process had read, on whatever rank."""
        known: dict[int, list[float]] = {}
        for path in self._parts():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    known |= {int(place): values for place, values in json.loads(line).items()}
                except json.JSONDecodeError:  # cut off by the kill, or joined with the line after that
                    continue
        return known


def _write(part: TextIO, place_B: Tensor, logprobs_B2: Tensor) -> dict[int, list[float]]:
    """The numbers of a batch by place, which are also written as a line of a file."""
    found = dict(zip(place_B.tolist(), logprobs_B2.float().tolist(), strict=True))
    part.write(json.dumps(found) + "\n")
    part.flush()
    return found
