"""A labeling plan: which comparisons are judged, each once, in which fixed batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlaif.types import Comparison, content_id


class LabelPlan:
    """All comparisons of a run, cut into batches before the first is judged.

    Equal comparisons are judged once. What is held besides the comparisons is a number or two for each.

    Args:
        comparisons: The whole plan.
        batch_size: Distinct comparisons per batch, at least 1.
    """

    def __init__(self, comparisons: Sequence[Comparison], batch_size: int) -> None:
        self.comparisons = comparisons
        self.batch_size = batch_size
        ids = np.fromiter((int(comparison.id, 16) for comparison in comparisons), np.uint64, len(comparisons))
        first_rows, self._distinct_of_row = first_appearances(ids)
        self._first_row = first_rows
        self._content = hashlib.sha256("".join(f"{key:016x}" for key in ids[first_rows].tolist()).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.comparisons)

    @property
    def num_distinct(self) -> int:
        """Comparisons that are judged."""
        return len(self._first_row)

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return -(-self.num_distinct // self.batch_size)

    def id(self, labeler_identity: str) -> str:
        """Hash of the batches and of the labeler's identity."""
        return content_id(labeler_identity, str(self.batch_size), self._content)

    def batch(self, number: int) -> list[Comparison]:
        """The comparisons of one batch, in the order of the plan."""
        start = number * self.batch_size
        return [self.comparisons[row] for row in self._first_row[start : start + self.batch_size]]

    def place(self, row: int) -> tuple[int, int]:
        """Number of the batch in which a row of the plan is judged, and its position there."""
        return divmod(int(self._distinct_of_row[row]), self.batch_size)


def first_appearances(keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Distinct keys in the order in which they appear.

    Args:
        keys: [N]

    Returns:
        Row of each distinct key's first appearance [D], ascending; for each row the number of its key [N], in [0, D).

    >>> rows, numbers = first_appearances(np.array([7, 3, 7, 5], np.uint64))
    >>> rows.tolist(), numbers.tolist()
    ([0, 1, 3], [0, 1, 0, 2])
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return first[order], number[inverse]
