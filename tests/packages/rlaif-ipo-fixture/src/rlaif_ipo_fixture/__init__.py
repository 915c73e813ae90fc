"""Identity preference optimization (arXiv 2310.12036).

Shapes: B pairs.
"""

from __future__ import annotations

from rlaif.functional.losses import LossSum
from rlaif.objectives.base import Losses, PairLabels, PairOutputs


class Ipo:
    """Squared distance of the margin of log-ratios from (2 p - 1) / (2 τ); p = 1 gives equation 17.

    Args:
        tau: Strength of the regularization towards the reference, above 0.
    """

    def __init__(self, *, tau: float = 0.1) -> None:
        self.tau = tau

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        """The weighted squared error of all pairs."""
        margin_B = first.logprobs_B - first.ref_logprobs_B - second.logprobs_B + second.ref_logprobs_B
        error_B = (margin_B - (2.0 * pairs.p_first_B - 1.0) / (2.0 * self.tau)).square()
        return Losses(terms={"loss": LossSum((pairs.weight_B * error_B).sum(), pairs.weight_B.sum())})
