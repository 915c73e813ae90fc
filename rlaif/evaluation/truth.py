"""How far the LLM judge can be believed, where the exact probabilities of simulated annotators tell the better text.

Annotators are noisy, so a judge that sees every difference gives a better policy more wins than they do. Whether the
judge flatters the policy is therefore held against the better text of each pair, not against the annotators' verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.data.base import ExactAnnotators
from rlaif.evaluation.alignment import alignment_figures
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.judges import Judge
from rlaif.evaluation.votes import Votes
from rlaif.evaluation.win_rate import BY_ANNOTATORS, GREEDY, VS_BEST, WIN_RATES
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Figure

BY_TRUTH, JUDGE_ACCURACY = "by_true_quality", "llm_judge_accuracy"
_BY_TRUTH = "Share of prompts where the policy's response is the better one for most annotators; no annotator is drawn."
_ACCURACY = "Share of pairs of unequal quality of which the LLM judge prefers the better text."
FIGURES = tuple(
    spec
    for name, words, order in (
        (GREEDY, "both greedy", 15),
        (VS_BEST, "vs best SFT", 17),
        (BY_ANNOTATORS, "same temperature", 24),
    )
    for spec in (
        FigureSpec(
            name=f"{name}_{BY_TRUTH}",
            label=f"{words}, true quality",
            explanation=_BY_TRUTH,
            order=order,
            plot=WIN_RATES,
        ),
        FigureSpec(
            name=f"{name}_{JUDGE_ACCURACY}", label=f"{words}, judge right", explanation=_ACCURACY, order=order + 1
        ),
    )
)


@dataclass(frozen=True)
class TrueQuality:
    """The candidate that an annotator prefers with more than one half; at one half it is a tie.

    Args:
        annotators: Annotators whose exact probabilities are known.
    """

    annotators: ExactAnnotators
    name: str = "true quality"

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        """One verdict per comparison."""
        return [(0.5 if p == 0.5 else float(p > 0.5),) for p in self.annotators.p_first(comparisons)]


def judge_accuracy_figures(
    pairs: Sequence[Comparison],
    judge: Judge,
    truth: TrueQuality,
    *,
    name: str,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """Share of the pairs of unequal quality of which a judge prefers the better candidate; its ties count ½.

    Args:
        pairs: What was judged.
        judge: Whose hard verdicts are held against the truth; pairs without a verdict are left out.
        truth: Tells the better candidate.
        name: Of the figure.
        confidence: Coverage of the interval, which is clustered by prompt.
        processes: Processes that hold further pairs.
    """
    p_first = [row[0] if row else None for row in judge.votes(pairs)]
    better = [() if row == (0.5,) else row for row in truth.votes(pairs)]
    note = f"{judge.name} against {truth.name}"
    return alignment_figures(pairs, p_first, better, note, name=name, confidence=confidence, processes=processes)
