"""Planted situations with a known truth for every kind of interval that is printed.

Each draws one data set as an evaluation would have it and gives the estimate with the truth. ``above`` says why an
interval covers more than 97 % there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from rlaif.functional.across_runs import pool_runs
from rlaif.functional.calibration import calibration_error
from rlaif.functional.chance import chance_corrected
from rlaif.functional.correlation import clustered_correlation, rank_correlation
from rlaif.functional.distinct import distinct_rate, sample_diversity
from rlaif.functional.length_bias import rate_at_equal_preference
from rlaif.functional.length_control import length_controlled_win_rate
from rlaif.functional.paired import paired_difference
from rlaif.functional.slopes import rate_slope
from rlaif.functional.statistics import clustered_mean, clustered_rate

Rng = np.random.Generator
Vector = NDArray[np.float64]
Ends = tuple[float | None, float | None]
DISCRETE = "so few outcomes that every interval covers more than it says, as the exact one does"


@dataclass(frozen=True)
class Case:
    """A situation."""

    method: str
    """Name of the function whose interval is tried."""
    name: str
    draw: Callable[[Rng], tuple[Ends, float]]
    """From random numbers to the ends of an interval and the truth; ends are None where it is undefined."""
    above: str = ""
    """Why it covers more than 97 %; empty where it does not."""


CASES: list[Case] = []


def case(
    method: str, name: str, *arguments: object, above: str = ""
) -> Callable[[Callable[..., tuple[Ends, float]]], Callable[..., tuple[Ends, float]]]:
    """Register a situation, with the arguments that its function takes behind the random numbers."""

    def register(function: Callable[..., tuple[Ends, float]]) -> Callable[..., tuple[Ends, float]]:
        CASES.append(Case(method, name, lambda rng: function(rng, *arguments), above))
        return function

    return register


def own_rates(rng: Rng, rate: float, num_prompts: int, correlation: float) -> Vector:
    """Each prompt's own rate: a beta variable of that mean, and that correlation of two of its verdicts."""
    if not correlation:
        return np.full(num_prompts, rate)
    mass = (1.0 - correlation) / correlation
    return rng.beta(rate * mass, (1.0 - rate) * mass, num_prompts)


@case("clustered_rate", "a win rate: 400 prompts, 3 raters", 0.66, 400, 3, 0.3)
@case("clustered_rate", "an alignment: 64 pairs, 3 raters", 0.7, 64, 3, 0.3)
@case("clustered_rate", "harmless responses: 400 prompts, 1 rater", 0.95, 400, 1, 0.0)
@case("clustered_rate", "32 pairs, 1 vote", 0.6, 32, 1, 0.0)
@case("clustered_rate", "rare missing labels", 0.01, 500, 1, 0.0, above=DISCRETE)
def _rate(rng: Rng, rate: float, num_prompts: int, num_votes: int, correlation: float) -> tuple[Ends, float]:
    own = own_rates(rng, rate, num_prompts, correlation)
    votes = (rng.random((num_votes, num_prompts)) < own).astype(float)
    return clustered_rate(votes.ravel(), np.tile(np.arange(num_prompts), num_votes))[1:3], rate


@case("clustered_rate", "1 to 6 pairs per prompt")
def _uneven(rng: Rng) -> tuple[Ends, float]:
    clusters = np.repeat(np.arange(120), rng.integers(1, 7, 120))
    own = own_rates(rng, 0.3, 120, 0.3)
    return clustered_rate((rng.random(clusters.size) < own[clusters]).astype(float), clusters)[1:3], 0.3


@case("clustered_rate", "a fifth are ties")
def _ties(rng: Rng) -> tuple[Ends, float]:
    return clustered_rate(rng.choice([0.0, 0.5, 1.0], size=200, p=[0.3, 0.2, 0.5]))[1:3], 0.6


@case("clustered_rate", "answer masses near 1")
def _masses(rng: Rng) -> tuple[Ends, float]:
    """Of numbers in [0, 1] that hardly vary the interval keeps the width of one more prompt with outcomes 0 and 1."""
    return clustered_rate(rng.beta(8.0, 2.0, 200))[1:3], 0.8


@case("clustered_mean", "lengths of 400 responses", "lognormal", 0.4, 400)
@case("clustered_mean", "lengths of 32 responses", "lognormal", 0.4, 32)
@case("clustered_mean", "skewed: 32 lognormal numbers", "lognormal", 1.0, 32)
@case("clustered_mean", "KL of 32 responses", "gamma", 0.5, 32)
@case("clustered_mean", "KL of 400 responses", "gamma", 0.5, 400)
@case("clustered_mean", "20 symmetric numbers", "normal", 1.0, 20)
def _mean(rng: Rng, kind: str, shape: float, num_prompts: int) -> tuple[Ends, float]:
    if kind == "lognormal":
        return clustered_mean(rng.lognormal(0.0, shape, num_prompts))[1:3], float(np.exp(shape**2 / 2))
    if kind == "gamma":
        return clustered_mean(rng.gamma(shape, size=num_prompts))[1:3], shape
    return clustered_mean(rng.normal(0.0, shape, num_prompts))[1:3], 0.0


@cache
def zipf(num_texts: int, exponent: float) -> Vector:
    """Shares of texts that fall with a power of their rank."""
    share = 1.0 / np.arange(1, num_texts + 1) ** exponent
    return np.asarray(share / share.sum())


@case("distinct_rate", "800 texts that are equally likely", 800, 0.0, 400, 1)
@case("distinct_rate", "texts by rank", 5000, 1.0, 400, 1)
@case("distinct_rate", "texts by rank, 4 of each prompt", 3000, 0.8, 100, 4)
@case("distinct_rate", "few texts are equal", 8000, 0.0, 400, 1)
def _distinct(rng: Rng, num_texts: int, exponent: float, num_prompts: int, per_prompt: int) -> tuple[Ends, float]:
    share = zipf(num_texts, exponent)
    drawn = rng.choice(num_texts, size=num_prompts * per_prompt, p=share)
    truth = float((1.0 - (1.0 - share) ** drawn.size).sum()) / drawn.size
    return distinct_rate(drawn.tolist(), np.repeat(np.arange(num_prompts), per_prompt))[1:3], truth


@case("sample_diversity", "8 samples of 32 prompts", 32, 8, 0.6)
@case("sample_diversity", "4 samples of 64 prompts, nearly all differ", 64, 4, 0.95)
def _diversity(rng: Rng, num_prompts: int, num_samples: int, mean: float) -> tuple[Ends, float]:
    """Each prompt has a favourite text of its own share and countless others; 1 - share² is the chance to differ."""
    mass = 4.0
    share = np.sqrt(1.0 - rng.beta(mean * mass, (1.0 - mean) * mass, num_prompts))
    favourite = rng.random((num_prompts, num_samples)) < share[:, None]
    texts = np.where(favourite, -1, np.arange(num_prompts * num_samples).reshape(num_prompts, num_samples))
    return sample_diversity(texts.tolist())[1:3], mean


@case("paired_difference", "4 discordant of 400", 400, 0.005, 0.005)
@case("paired_difference", "30 % discordant of 400", 400, 0.2, 0.1)
@case("paired_difference", "30 % discordant of 400, 3 raters a side", 400, 0.2, 0.1, 3)
@case("paired_difference", "half discordant of 32", 32, 0.3, 0.2)
@case("paired_difference", "under one discordant of 400", 400, 0.001, 0.001, above=DISCRETE)
def _paired(rng: Rng, num_rows: int, above: float, below: float, num_raters: int = 1) -> tuple[Ends, float]:
    first = np.empty((num_raters, num_rows))
    second = np.empty((num_raters, num_rows))
    drawn = rng.random(num_rows)
    for rater in range(num_raters):
        own = np.where(rng.random(num_rows) < 0.5, drawn, rng.random(num_rows))  # raters agree half of the time
        wins, loses = own < above, own > 1.0 - below
        both = rng.random(num_rows) < 0.7
        first[rater], second[rater] = np.where(wins, 1.0, np.where(loses, 0.0, both)), np.where(wins, 0.0, loses | both)
    return paired_difference(first.mean(0), second.mean(0))[1:3], above - below


AT_0 = "a root mean square cannot be below 0: there the interval is one-sided, 97.5 %"


@case("calibration_error", "64 calibrated pairs, 1 vote", 64, 1, 0.0, above=AT_0)
@case("calibration_error", "500 calibrated pairs, 3 votes", 500, 3, 0.0, above=AT_0)
@case("calibration_error", "64 pairs, 3 votes, off by 0.15", 64, 3, 0.15)
@case("calibration_error", "500 pairs, 3 votes, off by 0.05", 500, 3, 0.05)
@case("calibration_error", "2000 pairs, 1 vote, off by 0.15", 2000, 1, 0.15)
def _calibration(rng: Rng, num_pairs: int, num_votes: int, off: float) -> tuple[Ends, float]:
    said = rng.uniform(0.2, 0.8, num_pairs)
    chance = own = said + np.where(said > 0.5, -off, off)
    if num_votes > 1:
        own = rng.beta(chance * 9.0, (1.0 - chance) * 9.0)
    votes = (rng.random((num_votes, num_pairs)) < own).astype(float)
    probability = torch.from_numpy(np.tile(said, num_votes))
    clusters = np.tile(np.arange(num_pairs), num_votes)
    return calibration_error(probability, torch.from_numpy(votes.ravel()), clusters)[1:3], off


FAR = "the binomial floor counts a far row's own rate as open, also where all far rows agree"


@case("rate_slope", "500 pairs, 3 votes", 500, 3, 0.0)
@case("rate_slope", "64 pairs, 1 vote", 64, 1, 0.0)
@case("rate_slope", "500 pairs, 3 votes, 2 % far out", 500, 3, 0.02)
@case("rate_slope", "1000 pairs, 1 vote, 2 % far out", 1000, 1, 0.02)
@case("rate_slope", "200 pairs, 1 vote, 2 % far out", 200, 1, 0.02, above=FAR)
def _slope(rng: Rng, num_pairs: int, num_votes: int, far: float) -> tuple[Ends, float]:
    sure = rng.uniform(0.5, 0.54 if far else 1.0, num_pairs)
    sure[: int(far * num_pairs)] = rng.uniform(0.9, 1.0, int(far * num_pairs))
    rate = 0.5 + 0.6 * (sure - 0.5)
    own = rng.beta(rate * 4.0, (1.0 - rate) * 4.0) if num_votes > 1 else rate
    agrees = (rng.random((num_votes, num_pairs)) < own).astype(float)
    clusters = np.tile(np.arange(num_pairs), num_votes)
    return rate_slope(np.tile(sure, num_votes), agrees.ravel(), clusters)[1:3], 0.6


@case("rate_at_equal_preference", "500 pairs, 3 votes", 500, 3, 0.0)
@case("rate_at_equal_preference", "500 pairs, 3 votes, a taste for length", 500, 3, 0.3)
@case("rate_at_equal_preference", "200 pairs, 5 votes", 200, 5, 0.3)
def _equal(rng: Rng, num_pairs: int, num_votes: int, taste: float) -> tuple[Ends, float]:
    preference = rng.beta(2.0, 1.2, num_pairs)
    votes = (rng.random((num_pairs, num_votes)) < preference[:, None]).astype(float)
    verdicts = np.where(rng.random(num_pairs) < taste, 1.0, rng.random(num_pairs) < preference)
    return rate_at_equal_preference(verdicts, votes.tolist())[1:3], 0.5 + taste / 2.0


@case("chance_corrected", "kappa of 400 pairs", "kappa", 400, 1)
@case("chance_corrected", "AC1 of 400 pairs", "ac1", 400, 1)
@case("chance_corrected", "kappa of 100 prompts with 3 pairs", "kappa", 100, 3)
@case("chance_corrected", "AC1 of 64 pairs", "ac1", 64, 1)
def _chance(rng: Rng, which: str, num_prompts: int, per_prompt: int) -> tuple[Ends, float]:
    """Both say 1 with the chance 0.6; one is the other with the chance 0.5 and drawn anew else. Pairs share a draw."""
    clusters = np.repeat(np.arange(num_prompts), per_prompt)
    shared = rng.random(clusters.size) < 0.3 if per_prompt > 1 else np.zeros(clusters.size, bool)
    a = np.where(shared, (rng.random(num_prompts) < 0.6)[clusters], rng.random(clusters.size) < 0.6)
    b = np.where(rng.random(clusters.size) < 0.5, a, rng.random(clusters.size) < 0.6)
    agreed = 0.5 + 0.5 * (0.36 + 0.16)
    by_chance = 0.36 + 0.16 if which == "kappa" else 2.0 * 0.6 * 0.4
    estimate = getattr(chance_corrected(a.astype(float), b.astype(float), clusters), which)
    return estimate[1:3], (agreed - by_chance) / (1.0 - by_chance)


@case("length_controlled_win_rate", "400 prompts, 3 raters", 400, 3)
@case("length_controlled_win_rate", "64 prompts, 3 raters", 64, 3)
def _length(rng: Rng, num_prompts: int, num_votes: int) -> tuple[Ends, float]:
    chars = np.round(rng.lognormal(4.0, 0.3, (2, num_prompts)))
    rate = expit(0.5 + 1.5 * (chars[0] / chars[1] - 1.0))
    votes = (rng.random((num_votes, num_prompts)) < rng.beta(rate * 5.0, (1.0 - rate) * 5.0)).astype(float)
    first, second = (np.tile(side, num_votes) for side in chars)
    clusters = np.tile(np.arange(num_prompts), num_votes)
    return length_controlled_win_rate(votes.ravel(), first, second, clusters)[1:3], float(expit(0.5))


FLOOR = "never narrower than the interval of the runs' own errors, which is right by itself where seeds do not differ"


@case("pool_runs", "5 seeds that differ as much as their prompts", 5, 0.02)
@case("pool_runs", "5 seeds that differ twice as much", 5, 0.04)
@case("pool_runs", "3 seeds that differ twice as much", 3, 0.04)
@case("pool_runs", "2 seeds that differ twice as much", 2, 0.04)
@case("pool_runs", "5 seeds that do not differ", 5, 0.0, above=FLOOR)
def _runs(rng: Rng, num_runs: int, between: float) -> tuple[Ends, float]:
    """Win rates of 400 prompts with 3 raters, each run with its own rate around 0.66."""
    values, errors = [], []
    for rate in np.clip(0.66 + between * rng.normal(size=num_runs), 0.05, 0.95).tolist():
        votes = (rng.random((3, 400)) < own_rates(rng, rate, 400, 0.3)).astype(float)
        estimate = clustered_rate(votes.ravel(), np.tile(np.arange(400), 3))
        assert estimate.value is not None and estimate.low is not None and estimate.high is not None
        values.append(estimate.value)
        errors.append((estimate.high - estimate.low) / (2 * 1.959964))
    return pool_runs(values, errors)[1:3], 0.66


@case("pool_runs", "differences of 5 pairs of runs", 5)
def _differences(rng: Rng, num_runs: int) -> tuple[Ends, float]:
    return pool_runs((0.05 + 0.03 * rng.normal(size=num_runs)).tolist(), [None] * num_runs)[1:3], 0.05


@case("pool_runs", "5 seeds on the same prompts", 5)
def _same_prompts(rng: Rng, num_runs: int) -> tuple[Ends, float]:
    values = 0.66 + 0.02 * rng.normal() + 0.02 * rng.normal(size=num_runs)
    return pool_runs(values.tolist(), [0.02] * num_runs, shares_prompts=True)[1:3], 0.66


@case("clustered_correlation", "rewards and lengths of 100 pairs", 100, 1, 0.4, False)
@case("clustered_correlation", "differences in reward and length of 512 pairs", 512, 1, -0.3, True)
@case("clustered_correlation", "100 prompts, 3 pairs each", 100, 3, 0.6, False)
def _correlation(rng: Rng, num_prompts: int, num_pairs: int, truth: float, about_zero: bool) -> tuple[Ends, float]:
    # Half of each column's variance is the prompt's.
    both = [[1.0, truth], [truth, 1.0]]
    prompts = np.repeat(rng.multivariate_normal([0.0, 0.0], both, num_prompts), num_pairs, axis=0)
    rows = prompts + rng.multivariate_normal([0.0, 0.0], both, num_prompts * num_pairs)
    clusters = np.repeat(np.arange(num_prompts), num_pairs)
    return clustered_correlation(rows[:, 0], rows[:, 1], clusters, about_zero=about_zero)[1:3], truth


@case("rank_correlation", "8 labelers, no relation", 8, 0.0)
@case("rank_correlation", "10 labelers, a strong relation", 10, 0.8)
@case("rank_correlation", "30 labelers, a relation", 30, -0.5)
def _ranks(rng: Rng, num_labelers: int, truth: float) -> tuple[Ends, float]:
    rows = rng.multivariate_normal([0.0, 0.0], [[1.0, truth], [truth, 1.0]], num_labelers)
    # Spearman's correlation of a normal pair (Pearson 1907), up to the bias of small numbers of rows.
    return rank_correlation(rows[:, 0], rows[:, 1])[1:3], 6 / np.pi * np.arcsin(truth / 2)
