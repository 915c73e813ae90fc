"""A labeling plan: which comparisons are judged, each once, in which fixed batches."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

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
        self._first_row = array("q")
        self._distinct_of_row = array("q")
        numbers: dict[int, int] = {}
        digest = hashlib.sha256()
        for row, comparison in enumerate(comparisons):
            key = comparison.id
            number = numbers.setdefault(int(key, 16), len(numbers))
            self._distinct_of_row.append(number)
            if number == len(self._first_row):
                self._first_row.append(row)
                digest.update(key.encode())
        self._content = digest.hexdigest()

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
        return divmod(self._distinct_of_row[row], self.batch_size)
