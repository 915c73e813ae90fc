"""What responses look like without a judge: how different, how long, how far from the SFT policy; and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlaif.evaluation.estimates import figure, stratified
from rlaif.functional.statistics import clustered_mean, distinct_rate
from rlaif.types import Figure, Prompt


def response_figures(
    group: str, prompts: Sequence[Prompt], texts: Sequence[str], *, confidence: float = 0.95
) -> list[Figure]:
    """``<group>/distinct_rate`` and ``<group>/mean_length`` in characters.

    Args:
        group: ``policy`` or ``sft``.
        prompts: The prompt of each response.
        texts: The responses.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    clusters = [prompt.id for prompt in prompts]
    return [
        *figure(f"{group}/distinct_rate", distinct_rate(texts, clusters, confidence)),
        *figure(f"{group}/mean_length", clustered_mean([float(len(text)) for text in texts], clusters, confidence)),
    ]


def kl_figures(prompts: Sequence[Prompt], kl: Sequence[float], *, confidence: float = 0.95) -> list[Figure]:
    """``policy/kl``: mean KL from the SFT policy in nats per response.

    Args:
        prompts: The prompt of each response.
        kl: Per response, the sum over its tokens of log π(token) - log π_SFT(token), or an exact KL.
        confidence: Coverage of the interval.
    """
    clusters = [prompt.id for prompt in prompts]
    return stratified(
        "policy/kl",
        prompts,
        lambda rows: clustered_mean([kl[row] for row in rows], [clusters[row] for row in rows], confidence),
    )


def time_figures(stage_seconds: Mapping[str, float]) -> list[Figure]:
    """``time/<stage>`` of every stage and ``time/total``, in seconds.

    >>> [figure.name for figure in time_figures({"sft": 2.0, "labels": 3.0})]
    ['time/sft', 'time/labels', 'time/total']
    """
    times = [Figure(name=f"time/{stage}", value=seconds) for stage, seconds in stage_seconds.items()]
    return [*times, Figure(name="time/total", value=sum(stage_seconds.values()))] if times else []
