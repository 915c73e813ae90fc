"""Identity preference optimization with soft labels (arXiv 2310.12036)."""

from __future__ import annotations

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.pair_losses import identity_preference_loss
from rlaif.objectives.base import Losses, PairLabels, PairOutputs
from rlaif.objectives.pairs import log_ratios, pair_measures
from rlaif.ranges import Positive


class Ipo:
    """Squared distance of the margin of log-ratios from ±1/2τ, weighted by the soft label.

    The margin is the sum over tokens, as in the paper; published code that averages it over tokens has another optimum.
    Logs ``loss`` (nats² per pair), ``margin``, ``better_log_ratio`` and ``worse_log_ratio``.

    Args:
        tau: Strength of the regularization towards the reference, above 0.
        length_normalized: Whether the log-ratio of each response is divided by its tokens.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, *, tau: Positive = 0.1, length_normalized: bool = False) -> None:
        self.tau, self.length_normalized = tau, length_normalized
        if problems := [f"policy.pair_objective.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)

    def losses(self, first: PairOutputs, second: PairOutputs, pairs: PairLabels) -> Losses:
        """The weighted squared error of a batch of pairs."""
        ratios = log_ratios(first, second, length_normalized=self.length_normalized)
        loss = identity_preference_loss(ratios.margin, pairs.p_first_B, self.tau, pairs.weight_B)
        return Losses(terms={"loss": loss}, measures=pair_measures(ratios, pairs))
