"""Log-probs of labeled pairs under the reference, computed once for a whole training and kept in a file.

Shapes: N pairs, B pairs of a batch, T response tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

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
    reads them.

    Args:
        path: File that keeps them.
        examples: All pairs, of training and validation.
        load: Loads the reference, where the file is not there yet.
        batch_size: Pairs per forward pass at most; fewer of long ones.
    """

    def __init__(
        self,
        path: Path,
        examples: Sequence[PreferenceExample],
        load: Callable[[], PreTrainedModel],
        *,
        batch_size: int,
    ) -> None:
        self.path = path
        self.examples = examples
        self.load = load
        self.batch_size = batch_size

    @property
    def is_kept(self) -> bool:
        """True when the file has them."""
        return self.path.is_file()

    def read(self) -> Tensor:
        """[N, 2] from the file."""
        return torch.tensor(json.loads(self.path.read_text(encoding="utf-8")), dtype=torch.float32).view(-1, 2)

    @torch.no_grad()
    def compute(self, device: torch.device, *, rank: int = 0, world_size: int = 1) -> Tensor:
        """[N, 2] with the numbers of every ``world_size``-th batch, and 0 elsewhere: their sum over ranks is whole."""
        reference = torch.nn.Module.to(self.load().eval(), device)
        found = torch.zeros(len(self.examples), 2, device=device)
        lengths = [2 * example.length for example in self.examples]
        parts = cut_by_tokens(lengths, max_tokens_to_read(reference), max_rows=self.batch_size)
        for rows in parts[rank::world_size]:
            batch = collate_preferences([self.examples[row] for row in rows])
            moved = batch._replace(tokens_BT=batch.tokens_BT.to(device), mask_BT=batch.mask_BT.to(device))
            found[batch.place_B] = pair_logprobs(reference, moved)
        return found

    def keep(self, logprobs: Tensor) -> None:
        """Write the file; a killed process leaves none."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(logprobs.tolist()) + "\n", encoding="utf-8")
        partial.replace(self.path)
