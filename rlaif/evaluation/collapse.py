"""Whether a policy has collapsed: how different several samples of one prompt are, and the policy's entropy.

Answers to different prompts differ also where the policy gives one answer to each, so they do not show it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.checks import AtLeast
from rlaif.evaluation.estimates import figure
from rlaif.evaluation.figures import FigureSpec
from rlaif.functional.distinct import sample_diversity
from rlaif.functional.statistics import clustered_mean
from rlaif.types import Figure, Prompt

_DIVERSITY = "Chance that two samples of one prompt are different texts; 0 where it always says the same."
_ENTROPY = "Of the distribution of a whole response; near 0 one response has nearly all probability."
FIGURES = (
    FigureSpec(
        name="policy/sample_diversity",
        label="two samples differ",
        explanation=_DIVERSITY,
        order=62,
        check=AtLeast("the policy has not collapsed", "min_sample_diversity"),
    ),
    FigureSpec(name="policy/entropy", label="entropy", unit="nats", explanation=_ENTROPY, order=64),
    FigureSpec(name="sft/sample_diversity", label="two samples differ", explanation=_DIVERSITY, order=22),
    FigureSpec(name="sft/entropy", label="entropy", unit="nats", explanation=_ENTROPY, order=24),
)


def collapse_figures(
    group: str,
    prompts: Sequence[Prompt],
    samples: Sequence[Sequence[str]],
    logprobs: Sequence[Sequence[float]] | None = None,
    *,
    note: str = "",
    confidence: float = 0.95,
) -> list[Figure]:
    """``<group>/sample_diversity``, and ``<group>/entropy`` where log-probabilities are known.

    Args:
        group: ``policy`` or ``sft``.
        prompts: The prompts that were sampled several times.
        samples: Per prompt two responses or more, drawn with different random numbers at one temperature above 0.
        logprobs: Per sample its log-probability in nats, of all tokens together and at the temperature of the sampling:
            its negative mean is the entropy.
        note: How they were sampled, for example ``temperature 0.9``.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    clusters = [prompt.id for prompt in prompts]
    count = min((len(row) for row in samples), default=0)
    words = "; ".join(filter(None, ["no judge", f"{count} samples of {len(prompts)} prompts", note]))
    figures = figure(f"{group}/sample_diversity", sample_diversity(samples, clusters, confidence), words)
    if logprobs is None:
        return figures
    flat = [-value for row in logprobs for value in row]
    repeated = [cluster for cluster, row in zip(clusters, logprobs, strict=True) for _ in row]
    return [*figures, *figure(f"{group}/entropy", clustered_mean(flat, repeated, confidence), words)]
