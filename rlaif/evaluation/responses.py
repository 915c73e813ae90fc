"""Figures of responses without a judge: distinct rate, length, KL from the SFT policy; and times of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.evaluation import collapse
from rlaif.evaluation.estimates import column, figure, mean_figures, prompt_numbers
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.records import SideBySide, SideBySideRow
from rlaif.evaluation.votes import Votes
from rlaif.metrics.clustered import DistinctRate, Mean
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Figure, Preference, Prompt, content_id

_DISTINCT = "Share of responses to different prompts that differ from all before."
FIGURES = (
    FigureSpec(name="policy/distinct_rate", label="distinct responses", explanation=_DISTINCT, order=60),
    FigureSpec(
        name="policy/kl",
        label="KL from SFT",
        unit="nats",
        explanation="Per response: how far RL moved the policy.",
        order=70,
    ),
    FigureSpec(name="policy/mean_length", label="mean length", unit="characters", order=80),
    FigureSpec(name="sft/distinct_rate", label="distinct responses", explanation=_DISTINCT, order=20),
    FigureSpec(name="sft/mean_length", label="mean length", unit="characters", order=30),
    FigureSpec(name="time/*", label="*", unit="seconds"),
    *collapse.FIGURES,
)


def response_figures(
    group: str,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """``<group>/distinct_rate`` and ``<group>/mean_length`` in characters.

    Args:
        group: ``policy`` or ``sft``.
        prompts: The prompt of each response.
        texts: The responses.
        confidence: Coverage of the intervals, which are clustered by prompt.
        processes: Processes that hold further responses.
    """
    clusters = prompt_numbers(prompts)
    distinct = DistinctRate(confidence=confidence, sync_on_compute=processes.merge)
    distinct.update(column([_number_of(text) for text in texts]), clusters)
    length = Mean(confidence=confidence, sync_on_compute=processes.merge)
    length.update(column([float(len(text)) for text in texts]), clusters)
    return [
        *figure(f"{group}/distinct_rate", distinct.compute()),
        *figure(f"{group}/mean_length", length.compute()),
    ]


def _number_of(text: str) -> float:
    """A whole number that a float64 holds exactly and that is the same for equal texts alone (52 bits of a hash)."""
    return float(int(content_id(text), 16) >> 12)


def kl_figures(
    prompts: Sequence[Prompt],
    kl: Sequence[float],
    *,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """``policy/kl``: mean KL from the SFT policy in nats per response.

    Args:
        prompts: The prompt of each response.
        kl: Per response, the sum over its tokens of log π(token) - log π_SFT(token), or an exact KL.
        confidence: Coverage of the interval.
        processes: Processes that hold further responses.
    """
    return mean_figures("policy/kl", prompts, kl, confidence=confidence, processes=processes)


def time_figures(stage_seconds: Mapping[str, float]) -> list[Figure]:
    """``time/<stage>`` of every stage and ``time/total``, in seconds.

    >>> [figure.name for figure in time_figures({"sft": 2.0, "labels": 3.0})]
    ['time/sft', 'time/labels', 'time/total']
    """
    times = [Figure(name=f"time/{stage}", value=seconds) for stage, seconds in stage_seconds.items()]
    return [*times, Figure(name="time/total", value=sum(stage_seconds.values()))] if times else []


def side_by_side(pairs: Sequence[Comparison], annotators: Votes, judged: Sequence[Preference] = ()) -> SideBySide:
    """Pairs of responses with the verdicts of judges, for a page.

    Args:
        pairs: The policy's response first, the SFT policy's second.
        annotators: Verdicts of simulated annotators; an empty row where there are none.
        judged: Labels of an LLM judge, of some of the pairs.
    """
    labels = {label.comparison.id: label for label in judged}
    rows = [
        SideBySideRow(
            prompt=pair.prompt.text,
            sft=pair.second.trimmed,
            policy=pair.first.trimmed,
            label=labels.get(pair.id),
            annotators=sum(verdicts) / len(verdicts) if verdicts else None,
        )
        for pair, verdicts in zip(pairs, annotators, strict=True)
    ]
    return SideBySide(rows=tuple(rows))
