"""What every record and function of the evaluation promises: fixed fields, options by name, 95 % unless told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, asdict
from typing import Any, NamedTuple

import pytest
from records import assert_fixed

from rlaif.errors import ConfigError
from rlaif.evaluation import checks, evaluators, figures, matches, records, summary, temperatures
from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    chance_figures,
    label_figures,
    position_estimate,
    reliability_diagram,
)
from rlaif.evaluation.attacks import all_attacks
from rlaif.evaluation.bandit import Bandit
from rlaif.evaluation.collapse import collapse_figures
from rlaif.evaluation.detection import detection_figures
from rlaif.evaluation.harmless import harmless_figures
from rlaif.evaluation.judges import AnnotatorJudge, HarmJudge, LabelJudge, PeopleJudge, RatingJudge, ResponseRating
from rlaif.evaluation.orders import order_figures
from rlaif.evaluation.pooled_curves import pool_curves
from rlaif.evaluation.probe import Target, pattern_figures, policy_figures, probe_figures
from rlaif.evaluation.rationales import rationale_figures
from rlaif.evaluation.responses import kl_figures, response_figures
from rlaif.evaluation.scorecard import scorecard_figures
from rlaif.evaluation.summary import paired_differences, pool_figures, standard_error
from rlaif.evaluation.truth import TrueQuality, judge_accuracy_figures
from rlaif.evaluation.votes import Votes
from rlaif.evaluation.win_rate import length_controlled_figures, policy_verdict, win_rate_figures
from rlaif.functional.across_runs import Pooled
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt

PROMPTS = [Prompt(task="dialogue", text=str(number)) for number in range(12)]
PAIRS = [
    Comparison(prompt=prompt, first=Completion(text="a" * (1 + number % 5)), second=Completion(text="bbb"))
    for number, prompt in enumerate(PROMPTS)
]
P_FIRST = [0.9, 0.2, 0.7, 0.6, 0.1, 0.8] * 2
VOTES: Votes = [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.0, 0.0), (1.0, 1.0)] * 2
FIGURE = Figure(name="policy/kl", value=1.0)


def judgments(number: int) -> tuple[Judgment, ...]:
    return tuple(
        Judgment(order=order, prompt="p", p_slot1=p, reply=f"Reply {number} {order}.")
        for order, p in (("given", P_FIRST[number]), ("swapped", P_FIRST[-number]))
    )


LABELS = [
    Preference(comparison=pair, p_first=P_FIRST[number], judgments=judgments(number), labeler="planted", source="ai")
    for number, pair in enumerate(PAIRS)
]
TARGETS = [Target(comparison=pair, good_is_first=True) for pair in PAIRS]
ATTACKED = {"echo": LABELS[::-1]}


class People:
    """Annotators who find the first better with 0.6, and say so two times in three."""

    name = "people"
    identity = "people"

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        return [0.6 if number % 3 else 0.4 for number, _ in enumerate(comparisons)]

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [float(number % 3 > 0) for number, _ in enumerate(comparisons)]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> Any:
        return [(float(number % 3 > 0),) for number, _ in enumerate(prompts)]

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        return VOTES


class Run(NamedTuple):
    seed: str
    figures: dict[str, Figure]


RUNS = [
    Run(str(seed), {"policy/kl": Figure(name="policy/kl", value=value, low=value - 1, high=value + 1)})
    for seed, value in enumerate((1.0, 2.0, 4.0))
]
BASE = [Run(run.seed, {"policy/kl": Figure(name="policy/kl", value=number)}) for number, run in enumerate(RUNS)]
SINGLE = [
    Preference(
        comparison=pair,
        p_first=0.5,
        judgments=(Judgment(order="first", prompt="", option_logprobs=(-1.0, -2.0), options=("bad", "good")),),
    )
    for pair in PAIRS
]
CURVES = [records.ValidationCurves(win_rates={"all": ((0, 0.5), (10, value))}, rewards=()) for value in (0.5, 0.6, 0.9)]
DRAWN = {0.0: [Completion(text="a")] * 12, 0.5: [Completion(text="b")] * 12}


@pytest.mark.parametrize(
    "record",
    [
        checks.Check(name="c", passed=True, detail="d"),
        checks.CheckLimits(),
        evaluators.Evaluator(),
        figures.RatePlot(name="p", title="P"),
        figures.Column(table="scorecards", heading="h", order=1),
        figures.FigureSpec(name="a/b", label="b"),
        matches.AtBest(temperature=0.5, responses=()),
        matches.HarmlessNames(),
        matches.Match(name="m", prompts=(), first=(), second=(), sampling=""),
        records.CurvePoint(step=1),
        records.Curves(points=()),
        records.ValidationCurves(win_rates={}),
        records.ReliabilityBin(predicted=0.5, observed=0.5, count=1),
        records.ReliabilityDiagram(title="t", bins=(), judged_by="people"),
        records.PFirstHistogram(p_first=()),
        records.LabelSamples(labels=()),
        records.SideBySideRow(prompt="p", sft="s", policy="q"),
        records.SideBySide(rows=()),
        records.CrossTable(title="t", hint="", row_heading="r", columns={}, rows={}),
        records.LinePanel(title="t", x_label="x", lines={}),
        records.LinePlot(title="t", panels=()),
        records.Table(title="t", columns=(), rows=()),
        records.Text(title="t", text=""),
        summary.PooledFigure(name="a/b", pooled=Pooled(1.0, None, None, None, None, 1), values={}, num_items=None),
        temperatures.Tried(temperature=0.5, value=1.0, low=None, high=None),
        temperatures.Choice(temperature=0.5, by="people", score=""),
        Target(comparison=PAIRS[0], good_is_first=True),
        ResponseRating(prompt="p", response="r", rating=1.0),
        Bandit(),
        all_attacks()[0],
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_stays_as_it_was_given(record: object) -> None:
    assert_fixed(record)


@pytest.mark.parametrize(
    "record",
    [
        checks.AtMost("c", 0.5),
        checks.AtLeast("c", 0.5),
        checks.NotShownAbove("c", 0.5),
        checks.AboveChance("c"),
        checks.NotInferior("c", 0.5),
        records.Findings(),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_rule_and_findings_stay_as_they_were_given(record: object) -> None:
    assert_fixed(record, is_keyword_only=False)


def test_judges_of_annotators_stay_as_they_were_given() -> None:
    for judge in (AnnotatorJudge(People()), TrueQuality(People())):
        with pytest.raises(FrozenInstanceError):
            judge.name = "others"  # type: ignore[misc]


def test_what_a_record_holds_where_nothing_else_is_said() -> None:
    assert asdict(Bandit()) == {
        "student": 40.0,
        "teacher": 80.0,
        "variance": 150.0,
        "beta": 0.1,
        "reward_steps": 7_500,
        "sft_steps": 15_000,
        "lr": 0.01,
        "num_draws": 250_000,
    }, "the settings of arXiv 2402.12366"
    judge = AnnotatorJudge(People())
    assert (judge.num_raters, judge.first_rater, judge.name) == (1, 0, "simulated annotators")
    match = matches.Match(name="m", prompts=(), first=(), second=(), sampling="")
    assert not (match.is_headline or match.is_against_opponent or match.length_controlled or match.harmless)
    assert matches.HarmlessNames() == matches.HarmlessNames(
        difference="policy/harmless_rate_difference", first="policy/harmless_rate", second="sft/harmless_rate"
    )
    assert temperatures.Choice(temperature=0.5, by="people", score="").num_prompts == 0
    pooled = summary.PooledFigure(name="a/b", pooled=Pooled(1.0, None, None, None, None, 1), values={}, num_items=None)
    assert (pooled.note, pooled.missing) == ("", 0)
    assert records.LinePlot(title="t", panels=()).is_stacked is False
    assert evaluators.Evaluator().confidence == 0.95


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [
        ("student", (0.0, 99.0), (-0.1, 99.1)),
        ("teacher", (0.0, 99.0), (-0.1, 99.1)),
        ("beta", (0.001, 1000.0), (0.0009, 1000.1)),
        ("variance", (0.1,), (0.0,)),
        ("reward_steps", (1,), (0,)),
        ("num_draws", (1,), (0,)),
    ],
)
def test_bounds_of_a_bandit(option: str, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    for value in inside:
        assert getattr(Bandit(**{option: value}), option) == value  # type: ignore[arg-type]
    for value in outside:
        with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}="):
            Bandit(**{option: value})  # type: ignore[arg-type]


def test_judges_that_rate_single_responses_are_told_from_those_of_pairs() -> None:
    assert isinstance(AnnotatorJudge(People()), HarmJudge)
    assert not isinstance(PeopleJudge([]), HarmJudge)
    assert not isinstance(RatingJudge([], name="students"), HarmJudge)


def test_what_a_judge_must_be_asked_is_known_with_and_without_its_labels() -> None:
    twins = Comparison(prompt=PROMPTS[0], first=Completion(text="a"), second=Completion(text="a\n"))
    assert LabelJudge.to_ask([PAIRS[1], twins]) == LabelJudge([], model="m").to_ask([PAIRS[1], twins]) == [PAIRS[1]]


def test_findings_are_added_in_their_order() -> None:
    one, other = records.Text(title="one", text=""), records.Text(title="other", text="")
    found = records.Findings((FIGURE,), (one,)) + records.Findings((), (other,))
    assert found == records.Findings((FIGURE,), (one, other))


@pytest.mark.parametrize(
    ("function", "rows", "option"),
    [
        (label_figures, ([],), "labeler"),
        (alignment_figures, ([], [], [], "x"), "labeler/alignment"),
        (chance_figures, ([], [], [], "x"), "labeler/alignment"),
        (calibration_figures, ([], [], [], "x"), "labeler"),
        (reliability_diagram, ([], [], [], "x"), "Labeler"),
        (win_rate_figures, ([], [], "x"), "policy/win_rate_vs_sft"),
        (length_controlled_figures, ([], [], "x"), "policy/win_rate_vs_sft"),
        (harmless_figures, ([], [], [], "x"), matches.HarmlessNames()),
        (response_figures, ("sft", [], []), 0.95),
        (kl_figures, ([], []), 0.95),
        (order_figures, ([], [], "x"), 0.95),
        (detection_figures, ([], People()), 0.95),
        (scorecard_figures, ([], [], "x"), None),
        (collapse_figures, ("sft", [], [], None), ""),
        (policy_figures, ([], {}), 0.95),
        (pattern_figures, ([], [], []), "probe/pattern_rate"),
        (probe_figures, ([], [], {}, {}), 0.95),
        (pool_figures, ([],), False),
        (paired_differences, ([], []), False),
        (rationale_figures, ([], "x"), "labeler"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_gives_nothing_and_options_are_given_by_name(
    function: Callable[..., Any], rows: tuple[Any, ...], option: Any
) -> None:
    found = function(*rows)
    assert found == [] or found.bins == ()
    with pytest.raises(TypeError, match="positional"):
        function(*rows, option)


@pytest.mark.parametrize(
    ("function", "rows"),
    [
        (label_figures, (LABELS,)),
        (alignment_figures, (PAIRS, P_FIRST, VOTES, "x")),
        (chance_figures, (PAIRS, P_FIRST, VOTES, "x")),
        (calibration_figures, (PAIRS, [0.9, 0.2] * 6, VOTES, "x")),
        (position_estimate, (LABELS,)),
        (win_rate_figures, (PAIRS, VOTES, "x")),
        (length_controlled_figures, (PAIRS, VOTES, "x")),
        (harmless_figures, (PROMPTS, VOTES, VOTES[::-1], "x")),
        (response_figures, ("sft", PROMPTS, [pair.first.text for pair in PAIRS])),
        (kl_figures, (PROMPTS, P_FIRST)),
        (order_figures, (LABELS, VOTES, "x")),
        (detection_figures, (SINGLE, People())),
        (scorecard_figures, (LABELS, VOTES, "x")),
        (collapse_figures, ("sft", PROMPTS, [["a", "b", "c" * (1 + n % 2)] for n in range(12)], [[-1.0, -2.0]] * 12)),
        (policy_figures, (PROMPTS, ATTACKED)),
        (pattern_figures, (PROMPTS, ["", *["text"] * 11], all_attacks()[:1])),
        (probe_figures, (TARGETS, LABELS, ATTACKED, ATTACKED)),
        (pool_figures, (RUNS,)),
        (paired_differences, (RUNS, BASE)),
        (pool_curves, (CURVES,)),
        (standard_error, (RUNS[0].figures["policy/kl"],)),
        (temperatures.choose_by_annotators, (PROMPTS, DRAWN, AnnotatorJudge(People()))),
        (temperatures.choose_by_reward, (PROMPTS, DRAWN, lambda prompts, responses: P_FIRST)),
        (policy_verdict, ([Figure(name="policy/win_rate_vs_sft", value=0.5, low=0.4, high=0.6)], "dialogue")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_intervals_are_of_95_percent_unless_told(function: Callable[..., Any], rows: tuple[Any, ...]) -> None:
    assert repr(function(*rows)) == repr(function(*rows, confidence=0.95))
    assert repr(function(*rows)) != repr(function(*rows, confidence=0.5))


def test_the_accuracy_of_a_judge_is_of_95_percent_unless_told() -> None:
    rows, name = (PAIRS, People(), TrueQuality(People())), "policy/x"
    assert judge_accuracy_figures(*rows, name=name) == judge_accuracy_figures(*rows, name=name, confidence=0.95)
    assert judge_accuracy_figures(*rows, name=name) != judge_accuracy_figures(*rows, name=name, confidence=0.5)
