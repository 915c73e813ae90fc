"""Collapse is read off several samples of one prompt."""

from __future__ import annotations

import math

import pytest

from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.collapse import collapse_figures
from rlaif.types import Figure, Prompt

PROMPTS = [Prompt(task="dialogue", text=f"Question {number}?") for number in range(20)]


def named(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_one_answer_to_each_prompt_is_a_collapse() -> None:
    figures = collapse_figures("policy", PROMPTS, [[f"Answer {number}."] * 4 for number in range(20)])
    assert figures[0].value == 0.0 and figures[0].n == 20
    (check,) = run_checks(figures)
    assert check.name == "the policy has not collapsed" and not check.passed


def test_samples_that_differ_are_none() -> None:
    figures = collapse_figures(
        "policy", PROMPTS, [[f"{number} {sample}" for sample in range(4)] for number in range(20)]
    )
    assert figures[0].value == 1.0 and [check.passed for check in run_checks(figures)] == [True]


def test_entropy_is_the_mean_of_the_negative_log_probabilities() -> None:
    """Four samples of a policy that says one of four texts, each with the chance 1/4: log 4 nats."""
    samples, logprobs = [["a", "b", "c", "d"]] * 20, [[math.log(0.25)] * 4] * 20
    figures = named(collapse_figures("sft", PROMPTS, samples, logprobs, note="temperature 0.9"))
    assert figures["sft/entropy"].value == pytest.approx(math.log(4)) and figures["sft/entropy"].n == 20
    assert "4 samples of 20 prompts; temperature 0.9" in figures["sft/sample_diversity"].note


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="two are needed"):
        collapse_figures("policy", PROMPTS[:1], [["a"]])
