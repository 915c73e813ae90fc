"""Agreement beyond chance, beside every agreement that is shown: Cohen's kappa and Gwet's AC1.

The categories are those of a pair as it is shown: first, second, tie; soft labels are made hard first. A coefficient
is absent where all verdicts are of one category: chance then explains everything, and 0 would claim a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rlaif.evaluation.estimates import column, figure, stratified
from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.functional.chance import ChanceCorrected, chance_corrected
from rlaif.functional.labels import preference_sign
from rlaif.functional.statistics import Clusters, Estimate
from rlaif.metrics.clustered import AgreementBeyondChance
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Figure, Prompt

AgreementRows = Callable[[list[int]], tuple[Tensor, Tensor, Tensor]]
CATEGORIES = "over first, second and tie, as shown"
_COEFFICIENTS = ("kappa", "ac1")
_KAPPA = "Cohen's kappa: agreement beyond what both sides' own shares give by chance; 0 is chance."
_AC1 = "Gwet's AC1: the same, not misled where nearly all verdicts are of one category."
_KAPPA_COLUMN = Column(table="scorecards", heading="κ", order=12, on_terminal=True)


def _specs(agreement: str, label: str, order: int, columns: tuple[Column, ...] = ()) -> tuple[FigureSpec, ...]:
    return (
        FigureSpec(
            name=f"{agreement}_kappa",
            label=f"{label}: κ",
            unit="coefficient",
            explanation=_KAPPA,
            order=order,
            columns=columns,
        ),
        FigureSpec(
            name=f"{agreement}_ac1", label=f"{label}: AC1", unit="coefficient", explanation=_AC1, order=order + 1
        ),
    )


FIGURES = (
    *_specs("labeler/alignment", "alignment", 11, (_KAPPA_COLUMN,)),
    *_specs("labeler/self_consistency", "self-consistency", 111),
    *_specs("people/agreement", "one with another", 11),
    *_specs("reward_model/accuracy", "pairwise accuracy", 11),
)


def beyond_chance_figures(
    name: str,
    prompts: Sequence[Prompt],
    rows: AgreementRows,
    note: str,
    *,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """``<name>_kappa`` and ``<name>_ac1``, also for each stratum.

    Args:
        name: Of the agreement, ``group/figure``.
        prompts: The prompt of each item.
        rows: From numbers of items to one row per verdict: P(first) of both sides, and the number of the prompt.
        note: Judge and method in words.
        confidence: Coverage of the intervals, which are clustered by prompt.
        processes: Processes that hold further items.
    """

    def both(items: list[int]) -> ChanceCorrected:
        metric = AgreementBeyondChance(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(*rows(items))
        return metric.compute()

    def kappa(items: list[int]) -> Estimate:
        return both(items).kappa

    def ac1(items: list[int]) -> Estimate:
        return both(items).ac1

    estimates = zip(_COEFFICIENTS, (kappa, ac1), strict=True)
    note = f"{note}; {CATEGORIES}"
    return [
        item for key, estimate in estimates for item in stratified(f"{name}_{key}", prompts, estimate, note, processes)
    ]


def beyond_chance(
    name: str, p_first_a: Sequence[float], p_first_b: Sequence[float], clusters: Clusters, note: str, confidence: float
) -> list[Figure]:
    """The same of two columns of P(first) without NaN, in one process and without strata."""
    a, b = (preference_sign(column(values)) for values in (p_first_a, p_first_b))
    both = chance_corrected(a, b, clusters, confidence)
    words = f"{note}; {CATEGORIES}"
    return [*figure(f"{name}_kappa", both.kappa, words), *figure(f"{name}_ac1", both.ac1, words)]
