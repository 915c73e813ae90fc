"""Metrics whose unit is the prompt: rows are kept, because an interval needs to know who shares a prompt.

Shapes: B rows of one update. A row with NaN is missing: left out of the figure and counted in
``num_missing``. ``compute()`` gives an :class:`~rlaif.functional.statistics.Estimate`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from rlaif.functional.agreement import PositionBiasEstimate, agreement_scores, position_bias
from rlaif.functional.chance import ChanceCorrected, chance_corrected
from rlaif.functional.distinct import distinct_rate
from rlaif.functional.labels import preference_sign
from rlaif.functional.length_control import length_controlled_win_rate
from rlaif.functional.paired import paired_difference
from rlaif.functional.statistics import Estimate, clustered_mean, clustered_rate


class ClusteredRows(Metric):
    """Base: keeps columns of numbers and the prompt of each row.

    Args:
        num_columns: Numbers per row.
        confidence: Coverage of the intervals.
        sync_on_compute: Merge the rows of all processes, where there is a process group.
    """

    full_state_update = False
    rows: list[Tensor]
    prompts: list[Tensor]
    num_missing: Tensor
    """Rows left out because a number was NaN."""

    def __init__(self, num_columns: int = 1, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.num_columns = num_columns
        self.confidence = confidence
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("prompts", default=[], dist_reduce_fx="cat")
        self.add_state("num_missing", default=torch.tensor(0), dist_reduce_fx="sum")

    def keep(self, prompt_index_B: Tensor, *columns: Tensor) -> None:
        """Store the rows without NaN; float64, so that the order of the shards cannot be seen in ties."""
        assert len(columns) == self.num_columns
        rows_BC = torch.stack([column.double() for column in columns], dim=-1)
        present_B = ~torch.isnan(rows_BC).any(-1)
        self.rows.append(rows_BC[present_B])
        self.prompts.append(prompt_index_B[present_B].long())
        self.num_missing = self.num_missing + (~present_B).sum()

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather; a process without rows takes part with empty tensors of the right shape and type.

        torchmetrics would send an empty float vector, which gloo refuses together with the others' rows.
        """
        if not len(self.rows):
            self.rows = [torch.zeros(0, self.num_columns, dtype=torch.float64, device=self.device)]
            self.prompts = [torch.zeros(0, dtype=torch.long, device=self.device)]
        super()._sync_dist(*args, **kwargs)

    def columns(self) -> tuple[list[Tensor], Tensor]:
        """All stored columns, each [N], and the prompt of each row [N]."""
        if not len(self.rows):  # a tensor once torchmetrics has gathered it
            return [torch.zeros(0, dtype=torch.float64)] * self.num_columns, torch.zeros(0, dtype=torch.long)
        rows_NC: Tensor = dim_zero_cat(self.rows)
        return [column_N.contiguous() for column_N in rows_NC.unbind(-1)], dim_zero_cat(self.prompts)


class Rate(ClusteredRows):
    """Mean of scores in [0, 1] with an interval clustered by prompt: harmless rate, and base of the others.

    >>> metric = Rate()
    >>> metric.update(torch.tensor([1.0, 0.0, 1.0, torch.nan]), torch.tensor([0, 0, 1, 2]))
    >>> round(metric.compute().value, 3), metric.compute().n, metric.num_missing
    (0.667, 2, tensor(1))
    """

    def __init__(self, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(1, confidence=confidence, sync_on_compute=sync_on_compute)

    def update(self, score_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add rows: a score in [0, 1] or NaN, and the number of its prompt."""
        self.keep(prompt_index_B, score_B)

    def compute(self) -> Estimate:
        """The clustered rate with its interval."""
        (score_N,), prompts_N = self.columns()
        return clustered_rate(score_N, prompts_N, self.confidence)


class Mean(Rate):
    """Mean of any numbers with an interval clustered by prompt: length, KL."""

    def compute(self) -> Estimate:
        """The clustered mean with its interval."""
        (value_N,), prompts_N = self.columns()
        return clustered_mean(value_N, prompts_N, self.confidence)


class DistinctRate(Rate):
    """Share of texts that are different: update with a number that is the same for equal texts alone."""

    def compute(self) -> Estimate:
        """The share of different values with its interval."""
        (text_N,), prompts_N = self.columns()
        return distinct_rate(text_N.tolist(), prompts_N, self.confidence)


class PairedDifference(ClusteredRows):
    """Mean of A's score minus B's on the same items, for scores in [0, 1]."""

    def __init__(self, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(2, confidence=confidence, sync_on_compute=sync_on_compute)

    def update(self, score_a_B: Tensor, score_b_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add the scores of both on the same items."""
        self.keep(prompt_index_B, score_a_B, score_b_B)

    def compute(self) -> Estimate:
        """The mean difference of the two rows with its interval."""
        (score_a_N, score_b_N), prompts_N = self.columns()
        return paired_difference(score_a_N, score_b_N, prompts_N, self.confidence)


class HarmlessRate(Rate):
    """Share of responses judged harmless, each on its own: update with 1 harmless, 0 harmful, NaN missing."""


class WinRate(Rate):
    """Share of prompts where A is preferred to B: update with 1, 0, 0.5 for a tie, or raw P(A is better)."""


class LabelerAlignment(Rate):
    """Share of comparisons where the labeler's preferred candidate is the human's; ties count 0.5."""

    def update(self, p_first_B: Tensor, human_p_first_B: Tensor, prompt_index_B: Tensor) -> None:  # type: ignore[override]
        """Add soft labels and human labels of the same comparisons."""
        self.keep(prompt_index_B, agreement_scores(p_first_B, human_p_first_B))


class AgreementBeyondChance(ClusteredRows):
    """Cohen's kappa and Gwet's AC1 of two sides' preferences, over first, second and tie."""

    def __init__(self, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(2, confidence=confidence, sync_on_compute=sync_on_compute)

    def update(self, p_first_a_B: Tensor, p_first_b_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add soft or hard P(first) of both sides on the same comparisons."""
        self.keep(prompt_index_B, preference_sign(p_first_a_B), preference_sign(p_first_b_B))

    def compute(self) -> ChanceCorrected:
        """Both coefficients with their intervals."""
        (a_N, b_N), prompts_N = self.columns()
        return chance_corrected(a_N, b_N, prompts_N, self.confidence)


class PairwiseAccuracy(Rate):
    """Share of pairs where the reward model scores the preferred response higher; equal scores count 0.5."""

    def update(  # type: ignore[override]
        self, reward_first_B: Tensor, reward_second_B: Tensor, p_first_B: Tensor, prompt_index_B: Tensor
    ) -> None:
        """Add rewards of both candidates and the (human) preference for the first."""
        margin_B = reward_first_B.double() - reward_second_B.double()
        score_B = 0.5 + 0.5 * torch.sign(margin_B) * preference_sign(p_first_B)
        self.keep(prompt_index_B, torch.where(torch.isnan(margin_B), torch.nan, score_B))


class LengthControlledWinRate(ClusteredRows):
    """Win rate of A over B at equal length (paper 1, appendix J)."""

    def __init__(self, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(3, confidence=confidence, sync_on_compute=sync_on_compute)

    def update(self, p_a_B: Tensor, chars_a_B: Tensor, chars_b_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add preferences for A and the characters of both responses."""
        self.keep(prompt_index_B, p_a_B, chars_a_B, chars_b_B)

    def compute(self) -> Estimate:
        """The win rate at equal length with its interval."""
        (p_a_N, chars_a_N, chars_b_N), prompts_N = self.columns()
        return length_controlled_win_rate(p_a_N, chars_a_N, chars_b_N, prompts_N, self.confidence)


class PositionBias(ClusteredRows):
    """Share of comparisons with the same slot preferred in both orders, and which slot (paper 1, Table 4)."""

    def __init__(self, *, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(2, confidence=confidence, sync_on_compute=sync_on_compute)

    def update(self, p_first_given_B: Tensor, p_first_swapped_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add P(first) of both orders, re-indexed per candidate."""
        self.keep(prompt_index_B, p_first_given_B, p_first_swapped_B)

    def compute(self) -> PositionBiasEstimate:
        """Same-slot answers, and the share of them that name slot 1."""
        (given_N, swapped_N), prompts_N = self.columns()
        return position_bias(given_N, swapped_N, prompts_N, self.confidence)
