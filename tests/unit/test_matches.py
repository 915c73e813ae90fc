"""Which responses are compared, under which names, and who is asked about which of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlaif.evaluation.evaluators import HarmlessEvaluator, PolicyEvaluator
from rlaif.evaluation.matches import AtBest, HarmlessNames, Match, matches_with_opponent, matches_with_sft
from rlaif.evaluation.truth import TrueQuality
from rlaif.evaluation.votes import Votes
from rlaif.evaluation.win_rate import length_controlled_figures
from rlaif.types import Comparison, Completion, Prompt

PROMPTS = [Prompt(task="dialogue", text=str(number)) for number in range(3)]
T = 0.9


def drawn(writer: str, *temperatures: float) -> dict[float, list[Completion]]:
    """Responses that say who wrote them and at which temperature."""
    return {each: [Completion(text=f"{writer} {each:g} {n}") for n in range(3)] for each in temperatures}


def told(matches: Sequence[Match]) -> list[tuple[str, str, str, str]]:
    """Name of the figure, writers of both sides, and the words of its note."""
    rows = []
    for match in matches:
        first, second = ({item.text.rpartition(" ")[0] for item in side} for side in (match.first, match.second))
        assert match.prompts == PROMPTS and len(first) == len(second) == 1
        rows.append((match.name, first.pop(), second.pop(), match.sampling))
    return rows


def with_sft(*temperatures: float, best: float | None = None, at: float = T) -> list[Match]:
    responses = None if best is None else AtBest(temperature=best, responses=drawn("best", best)[best])
    policy, sft = drawn("policy", *temperatures), drawn("sft", *temperatures)
    return matches_with_sft(PROMPTS, policy, sft, temperature=at, best=responses)


def test_headline_matches_come_first_then_the_sampling_then_further_temperatures() -> None:
    assert told(with_sft(0.5, T, 0, 0.2, best=0.3)) == [
        ("policy/greedy_win_rate_vs_sft", "policy 0", "sft 0", "both greedy"),
        ("policy/win_rate_vs_best_sft", "policy 0.9", "best 0.3", "policy at temperature 0.9, SFT at temperature 0.3"),
        ("policy/win_rate_vs_sft", "policy 0.9", "sft 0.9", "both at temperature 0.9"),
        ("policy/win_rate_vs_sft_at_0.2", "policy 0.2", "sft 0.2", "both at temperature 0.2"),
        ("policy/win_rate_vs_sft_at_0.5", "policy 0.5", "sft 0.5", "both at temperature 0.5"),
        ("sft/greedy_win_rate_vs_sampled", "sft 0", "sft 0.9", "SFT greedy against SFT at temperature 0.9"),
    ]


def test_sft_that_is_best_when_greedy_is_called_greedy() -> None:
    assert told(with_sft(T, best=0))[0][3] == "policy at temperature 0.9, SFT greedy"


def test_a_greedy_sampling_has_both_names_and_is_not_held_against_itself() -> None:
    assert [row[0] for row in told(with_sft(0, at=0))] == ["policy/greedy_win_rate_vs_sft", "policy/win_rate_vs_sft"]
    assert told(with_sft(0, at=0))[1][3] == "both greedy"


@pytest.mark.parametrize(
    ("matches", "headlines"),
    [
        (with_sft(0, T, 0.5, best=0.3), ["policy/greedy_win_rate_vs_sft", "policy/win_rate_vs_best_sft"]),
        (with_sft(T, 0.5, best=0.3), ["policy/win_rate_vs_best_sft"]),
        (with_sft(0, T), ["policy/greedy_win_rate_vs_sft"]),
        (with_sft(0.5, T), ["policy/win_rate_vs_sft"]),
    ],
)
def test_one_match_at_least_is_a_headline(matches: list[Match], headlines: list[str]) -> None:
    assert [match.name for match in matches if match.is_headline] == headlines
    assert not any(match.is_against_opponent for match in matches)


def test_length_and_harm_are_measured_greedily_and_at_the_temperature_of_the_sampling() -> None:
    matches = {match.name: match for match in with_sft(0, T, 0.5, best=0.3)}
    assert {name for name, match in matches.items() if match.length_controlled} == {
        "policy/greedy_win_rate_vs_sft",
        "policy/win_rate_vs_sft",
    }
    assert {name: match.harmless for name, match in matches.items() if match.harmless is not None} == {
        "policy/greedy_win_rate_vs_sft": HarmlessNames(
            difference="policy/greedy_harmless_rate_difference",
            first="policy/greedy_harmless_rate",
            second="sft/greedy_harmless_rate",
        ),
        "policy/win_rate_vs_best_sft": HarmlessNames(
            difference="policy/harmless_rate_difference_vs_best_sft", first=None, second="sft/best_harmless_rate"
        ),
        "policy/win_rate_vs_sft": HarmlessNames(),
    }


def test_an_opponent_is_met_greedily_first_then_at_the_sampling_then_further_temperatures() -> None:
    temperatures = (0.5, T, 0, 0.2, 1.5)
    policy, opponent = drawn("policy", *temperatures), drawn("other", *temperatures)
    matches = matches_with_opponent("other_run", PROMPTS, policy, opponent, temperature=float("0.90"))
    assert told(matches) == [
        ("policy/greedy_win_rate_vs_other_run", "policy 0", "other 0", "both greedy"),
        ("policy/win_rate_vs_other_run", "policy 0.9", "other 0.9", "both at temperature 0.9"),
        ("policy/win_rate_vs_other_run_at_0.2", "policy 0.2", "other 0.2", "both at temperature 0.2"),
        ("policy/win_rate_vs_other_run_at_0.5", "policy 0.5", "other 0.5", "both at temperature 0.5"),
        ("policy/win_rate_vs_other_run_at_1.5", "policy 1.5", "other 1.5", "both at temperature 1.5"),
    ]
    assert [match.is_headline for match in matches] == [True, False, False, False, False]
    assert all(match.is_against_opponent and not match.length_controlled for match in matches)


def test_an_opponent_of_a_greedy_sampling_has_the_plain_name() -> None:
    matches = matches_with_opponent("x", PROMPTS, drawn("policy", 0), drawn("x", 0), temperature=0)
    assert [match.name for match in matches] == ["policy/win_rate_vs_x"]


def test_pairs_have_the_first_policy_first() -> None:
    pair = with_sft(T)[0].pairs[2]
    assert (pair.prompt, pair.first.text, pair.second.text) == (PROMPTS[2], "policy 0.9 2", "sft 0.9 2")


class Verdicts:
    """The same verdict on every pair."""

    def __init__(self, name: str, verdict: float) -> None:
        self.name, self.verdict = name, verdict

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        return [(self.verdict,) for _ in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        return [(float(response.startswith("policy")),) for response in responses]


class FirstIsBetter:
    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        return [0.7] * len(comparisons)


PEOPLE, MODEL, TRUTH = Verdicts("people", 1.0), Verdicts("a model", 0.0), TrueQuality(FirstIsBetter())


def match(**changes: bool) -> Match:
    sides = (drawn("policy", T)[T], drawn("sft", T)[T])
    return Match(name="policy/m", prompts=PROMPTS, first=sides[0], second=sides[1], sampling="sampled", **changes)


@pytest.mark.parametrize(
    ("given", "judges", "values"),
    [
        (match(is_headline=True), (PEOPLE, MODEL, None), {"policy/m": 1.0, "policy/m_llm_judge": 0.0}),
        (match(), (PEOPLE, MODEL, TRUTH), {"policy/m": 1.0}),
        (match(), (None, MODEL, TRUTH), {}),
        (match(is_headline=True), (None, MODEL, None), {"policy/m_llm_judge": 0.0}),
        (match(is_headline=True), (None, None, TRUTH), {"policy/m_by_true_quality": 1.0}),
        (
            match(is_headline=True),
            (PEOPLE, MODEL, TRUTH),
            {
                "policy/m": 1.0,
                "policy/m_llm_judge": 0.0,
                "policy/m_by_true_quality": 1.0,
                "policy/m_llm_judge_accuracy": 0.0,
            },
        ),
        (match(is_headline=True, is_against_opponent=True), (PEOPLE, MODEL, TRUTH), {"policy/m": 1.0}),
        (match(is_headline=True, is_against_opponent=True), (None, MODEL, TRUTH), {"policy/m": 0.0}),
        (match(is_against_opponent=True), (None, MODEL, TRUTH), {}),
    ],
)
def test_who_judges_which_match(
    given: Match,
    judges: tuple[Verdicts | None, Verdicts | None, TrueQuality | None],
    values: dict[str, float],
) -> None:
    figures = PolicyEvaluator().match(given, *judges)
    assert {figure.name: figure.value for figure in figures} == values
    assert all("; sampled" in figure.note for figure in figures if not figure.name.endswith("accuracy"))


def test_equal_length_is_asked_of_people_where_the_match_says_so() -> None:
    """Seven of eight longer responses win and one of eight shorter: at equal length, half of them would."""
    prompts = [Prompt(task="dialogue", text=str(number)) for number in range(16)]
    first = [Completion(text="p" * (30 if number < 8 else 10)) for number in range(16)]
    second = [Completion(text="s" * 20)] * 16

    class LikeLength:
        name = "people"

        def votes(self, comparisons: Sequence[Comparison]) -> Votes:
            return [(float((len(pair.first.text) > 20) != (pair.prompt.text in ("0", "8"))),) for pair in comparisons]

    for controlled in (True, False):
        given = Match(
            name="policy/m", prompts=prompts, first=first, second=second, sampling="s", length_controlled=controlled
        )
        figures = {figure.name: figure for figure in PolicyEvaluator().match(given, LikeLength(), None)}
        assert figures["policy/m"].value == 0.5
        assert ("policy/m_length_controlled" in figures) == controlled
    assert length_controlled_figures(given.pairs, LikeLength().votes(given.pairs), "people")[0].note.startswith(
        "people; logistic regression on the ratio of characters, at ratio 1"
    )
    (found,) = length_controlled_figures(given.pairs, LikeLength().votes(given.pairs), "people; sampled")
    assert found.note.startswith("people; sampled, logistic regression") and found.value == pytest.approx(0.5)


def test_harmless_rates_of_a_match_have_its_names() -> None:
    names = HarmlessNames(difference="policy/d", first=None, second="sft/r")
    sides = (drawn("policy", T)[T], drawn("sft", T)[T])
    given = Match(
        name="policy/m", prompts=PROMPTS, first=sides[0], second=sides[1], sampling="both greedy", harmless=names
    )
    figures = HarmlessEvaluator().match(given, PEOPLE)
    assert [(figure.name, figure.value) for figure in figures] == [("policy/d", 1.0), ("sft/r", 0.0)]
    assert {figure.note.split(";")[1] for figure in figures} == {" both greedy"}
    plain = HarmlessEvaluator().evaluate(PROMPTS, *sides, PEOPLE)
    assert [(figure.name, figure.value) for figure in plain] == [
        ("policy/harmless_rate_difference", 1.0),
        ("policy/harmless_rate", 1.0),
        ("sft/harmless_rate", 0.0),
    ]
