"""Direct preference optimization with soft labels (arXiv 2305.18290)."""

from __future__ import annotations

from typing import Annotated

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.losses import preference_cross_entropy
from rlaif.functional.pair_losses import conservative_labels
from rlaif.objectives.base import Losses, PairLabels, PairOutputs
from rlaif.objectives.pairs import log_ratios, pair_measures
from rlaif.ranges import Bounds, Positive


class Dpo:
    """Binary cross-entropy of σ(β h) to each pair's own soft label, h the margin of log-ratios.

    A label of ½ pulls the margin to 0, one of p to log(p/(1 - p))/β. Logs ``loss`` (nats per pair), ``margin``,
    ``better_log_ratio`` and ``worse_log_ratio``.

    Args:
        beta: Strength of the regularization towards the reference, above 0.
        label_noise: ε, at least 0 and below ½: p becomes (1 - ε) p + ε (1 - p) (cDPO).
        length_normalized: Whether the log-ratio of each response is divided by its tokens.

    Raises:
        ConfigError: With every option that is out of range.
    """

    def __init__(
        self,
        *,
        beta: Positive = 0.1,
        label_noise: Annotated[float, Bounds(0, 0.5, exclusive_highest=True)] = 0.0,
        length_normalized: bool = False,
    ) -> None:
        self.beta, self.label_noise, self.length_normalized = beta, label_noise, length_normalized
        if problems := [f"policy.pair_objective.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        """The weighted cross-entropy of a batch of pairs."""
        ratios = log_ratios(first, second, length_normalized=self.length_normalized)
        labels_B = conservative_labels(pairs.p_first_B.float(), self.label_noise)
        loss = preference_cross_entropy(self.beta * ratios.margin, labels_B, pairs.weight_B)
        return Losses(terms={"loss": loss}, measures=pair_measures(ratios, pairs))
