"""What objectives of labeled pairs share: the log-ratios of both responses, and figures to log.

Shapes: B pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.functional.losses import LossSum
from rlaif.objectives.base import PairLabels, PairOutputs


class LogRatios(NamedTuple):
    """log π/π_SFT of both responses, in nats per response, or per token."""

    first_B: Tensor
    second_B: Tensor

    @property
    def margin(self) -> Tensor:
        """h: that of the first minus that of the second."""
        return self.first_B - self.second_B


def log_ratios(first: PairOutputs, second: PairOutputs, *, length_normalized: bool) -> LogRatios:
    """log π/π_SFT of both responses.

    Args:
        first: Of the first response of each pair.
        second: Of the second.
        length_normalized: Whether each is divided by the tokens of its response, which the outputs then must tell.
    """

    def ratio(side: PairOutputs) -> Tensor:
        summed_B = side.logprobs_B.float() - side.ref_logprobs_B.detach().float()
        if not length_normalized:
            return summed_B
        assert side.num_tokens_B is not None, "length_normalized needs PairOutputs.num_tokens_B"
        return summed_B / side.num_tokens_B.clamp(min=1)

    return LogRatios(ratio(first), ratio(second))


@torch.no_grad()
def pair_measures(ratios: LogRatios, pairs: PairLabels) -> dict[str, LossSum]:
    """Weighted means over pairs: ``margin`` towards the label, and log-ratios of the better and the worse response."""
    p_first_B, weight_B = pairs.p_first_B.float(), pairs.weight_B.float()
    first_B, second_B = ratios.first_B.detach(), ratios.second_B.detach()
    figures = {
        "margin": (2.0 * p_first_B - 1.0) * (first_B - second_B),
        "better_log_ratio": p_first_B * first_B + (1.0 - p_first_B) * second_B,
        "worse_log_ratio": (1.0 - p_first_B) * first_B + p_first_B * second_B,
    }
    return {name: LossSum((weight_B * figure_B).sum(), weight_B.sum()) for name, figure_B in figures.items()}
