"""How different texts are: of all prompts together, and of one prompt's samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from rlaif.functional.statistics import (
    Clusters,
    Estimate,
    cluster_index,
    clustered_mean,
    clustered_rate,
    undefined,
    wilson_estimate,
)


def distinct_rate(texts: Sequence[Hashable], clusters: Clusters = None, confidence: float = 0.95) -> Estimate:
    """Number of different texts over number of texts; it falls with the number of texts.

    The interval says what as many texts of other prompts would give: Wilson's at the effective sample size. The
    variance is the jackknife's over clusters, which counts f1 (1 - f1/G) for f1 texts that occur in one cluster alone
    and is up to four times too large (Efron & Stein 1981), less f2 - f3 for those in two and in three: the first terms
    of Good & Toulmin's (1956) series for the expected number of new texts.

    >>> distinct_rate(["a", "b", "a", "c"]).value
    0.75
    """
    index, num_clusters = cluster_index(clusters, len(texts))
    if not texts:
        return undefined(0, "no rows")
    owners: dict[Hashable, set[int]] = {}
    for cluster, text in zip(index.tolist(), texts, strict=True):
        owners.setdefault(text, set()).add(cluster)
    rate = len(owners) / len(texts)
    if num_clusters < 2:
        return wilson_estimate(rate, 0.0, num_clusters, len(texts), confidence)
    only_here = np.bincount([next(iter(own)) for own in owners.values() if len(own) == 1], minlength=num_clusters)
    without = (len(owners) - only_here) / (len(texts) - np.bincount(index))
    jackknife = (num_clusters - 1) / num_clusters * float(((without - without.mean()) ** 2).sum())
    spread = Counter(len(own) for own in owners.values())
    variance = min(jackknife, max(0.0, jackknife - (spread[2] - spread[3]) / len(texts) ** 2))
    return wilson_estimate(rate, variance, num_clusters, len(texts), confidence)


def sample_diversity(
    samples: Sequence[Sequence[Hashable]], clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """Probability that two samples of one prompt are different texts, mean over prompts.

    Of one prompt it is 1 - Σ c (c - 1) / k (k - 1) over the counts c of equal texts (Simpson 1949), which does not
    depend on the number k of samples. A policy that has collapsed reads near 0, a greedy one reads 0, whatever it
    answers to other prompts. Near 1 the prompts' values are skewed: each end of the interval is the outer one of that
    for rates and that for means.

    Args:
        samples: Per prompt two texts or more, drawn with different random numbers.
        clusters: Label of each prompt; None makes every one independent.
        confidence: Coverage of the interval.

    >>> sample_diversity([["a", "a", "a"], ["a", "b", "c"]]).value
    0.5
    """
    short = next((number for number, row in enumerate(samples) if len(row) < 2), None)
    if short is not None:
        raise ValueError(f"sample_diversity: prompt {short} has {len(samples[short])} samples, two are needed")
    differ = [1.0 - sum(c * (c - 1) for c in Counter(row).values()) / (len(row) * (len(row) - 1)) for row in samples]
    rate, mean = clustered_rate(differ, clusters, confidence), clustered_mean(differ, clusters, confidence)
    if rate.low is None or rate.high is None or mean.low is None or mean.high is None:
        return rate
    return rate._replace(low=max(0.0, min(rate.low, mean.low)), high=min(1.0, max(rate.high, mean.high)))
