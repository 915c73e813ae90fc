"""The LLM judge against the better text of planted pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.evaluation.evaluators import PolicyEvaluator
from rlaif.evaluation.matches import Match
from rlaif.evaluation.truth import TrueQuality
from rlaif.evaluation.votes import Votes
from rlaif.types import Comparison, Completion, Figure, Prompt

QUALITY = {"good": 0.8, "fair": 0.6, "also fair": 0.6, "bad": 0.2}


class Exact:
    """Annotators whose probability is one half and half the difference in quality."""

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        return [0.5 + (QUALITY[pair.first.text] - QUALITY[pair.second.text]) / 2 for pair in comparisons]


@dataclass
class Scripted:
    """Verdicts by the text of the prompt."""

    verdicts: dict[str, float]
    name: str = "LLM judge scripted"

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        return [(self.verdicts[pair.prompt.text],) if pair.prompt.text in self.verdicts else () for pair in comparisons]


def figures_of(rows: Sequence[tuple[str, str, float | None]], stratum: str = "") -> dict[str, Figure]:
    """Rows are the policy's text, that of SFT, and the judge's verdict for the policy."""
    prompts = [Prompt(task="dialogue", text=str(number), stratum=stratum) for number in range(len(rows))]
    match = Match(
        name="policy/greedy_win_rate_vs_sft",
        prompts=prompts,
        first=[Completion(text=first) for first, _, _ in rows],
        second=[Completion(text=second) for _, second, _ in rows],
        sampling="both greedy",
        is_headline=True,
    )
    judge = Scripted({str(number): row[2] for number, row in enumerate(rows) if row[2] is not None})
    found = PolicyEvaluator().match(match, None, judge, TrueQuality(Exact()))
    return {figure.name.removeprefix("policy/greedy_win_rate_vs_sft_"): figure for figure in found}


def test_a_judge_that_always_names_the_policy_is_right_where_the_policy_is_better() -> None:
    found = figures_of([("good", "bad", 1.0)] * 3 + [("bad", "good", 1.0)])
    assert found["llm_judge"].value == 1.0
    assert found["by_true_quality"].value == 0.75
    assert found["llm_judge_accuracy"].value == 0.75


def test_equal_quality_is_a_tie_of_the_win_rate_and_no_pair_of_the_accuracy() -> None:
    found = figures_of([("fair", "also fair", 1.0), ("good", "bad", 1.0)])
    assert found["by_true_quality"].value == 0.75
    assert (found["llm_judge_accuracy"].value, found["llm_judge_accuracy"].n) == (1.0, 1)


def test_ties_of_the_judge_count_half_and_missing_verdicts_nothing() -> None:
    found = figures_of([("good", "bad", 0.5), ("good", "bad", 1.0), ("bad", "good", None)])
    assert (found["llm_judge_accuracy"].value, found["llm_judge_accuracy"].n) == (0.75, 2)


def test_strata_stand_beside_the_whole() -> None:
    assert "llm_judge_accuracy/unseen" in figures_of([("good", "bad", 1.0)] * 4, stratum="unseen")


def test_annotators_without_probabilities_give_no_figures_of_the_judge() -> None:
    prompts = [Prompt(task="dialogue", text="0")]
    match = Match(
        name="policy/greedy_win_rate_vs_sft",
        prompts=prompts,
        first=[Completion(text="good")],
        second=[Completion(text="bad")],
        sampling="both greedy",
        is_headline=True,
    )
    names = [figure.name for figure in PolicyEvaluator().match(match, None, Scripted({"0": 1.0}))]
    assert names == ["policy/greedy_win_rate_vs_sft_llm_judge"]
