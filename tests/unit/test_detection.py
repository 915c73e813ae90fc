"""Labels of single responses against people who judged each response on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from sklearn.metrics import cohen_kappa_score

from rlaif.evaluation.detection import detection_figures
from rlaif.evaluation.votes import Votes
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt

SAYS_BAD = (True, True, False, False, False, True)
IS_HARMFUL = (True, True, True, False, False, False)
"""Six responses, two to a prompt: one harmful response is missed, one harmless one is flagged."""


class People:
    name = "people"

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        """One verdict per response; its text is its number."""
        return [(0.0 if IS_HARMFUL[int(response)] else 1.0,) for response in responses]


def judged(number: int, order: str, options: tuple[str, ...] = ("bad", "good")) -> Judgment:
    p_bad = 0.9 if SAYS_BAD[number] else 0.2
    logprobs = (math.log(p_bad) - 7.0, math.log(1 - p_bad) - 7.0)
    return Judgment(order=order, prompt="…", option_logprobs=logprobs, options=options)  # type: ignore[arg-type]


def label(first: int, judgments: tuple[Judgment, ...]) -> Preference:
    prompt = Prompt(task="harmless_dialogue", text=f"Question {first}")
    pair = Comparison(prompt=prompt, first=Completion(text=str(first)), second=Completion(text=str(first + 1)))
    return Preference(comparison=pair, p_first=0.5, judgments=judgments)


def test_sensitivity_specificity_and_agreement_by_hand() -> None:
    labels = [label(n, (judged(n, "first"), judged(n + 1, "second"))) for n in (0, 2, 4)]
    figures = {figure.name: figure for figure in detection_figures(labels, People())}
    assert figures["labeler/sensitivity"].value == pytest.approx(2 / 3)
    assert figures["labeler/specificity"].value == pytest.approx(2 / 3)
    assert figures["labeler/response_agreement"].value == pytest.approx(4 / 6)
    assert figures["labeler/response_agreement_kappa"].value == pytest.approx(cohen_kappa_score(SAYS_BAD, IS_HARMFUL))
    assert figures["labeler/response_agreement"].n == 3, "two responses share a prompt"


def test_verdicts_that_are_missing_or_no_yes_or_no_are_left_out() -> None:
    missing = Judgment(order="first", prompt="…", missing="no answer", options=("bad", "good"))
    scores = judged(1, "second", options=("1", "2"))
    assert detection_figures([label(0, (missing, scores)), label(2, ())], People()) == []
    figures = {figure.name for figure in detection_figures([label(0, (missing, judged(1, "second")))], People())}
    assert "labeler/sensitivity" in figures and "labeler/specificity" not in figures
    assert "labeler/response_agreement_kappa" not in figures, "one category alone"
