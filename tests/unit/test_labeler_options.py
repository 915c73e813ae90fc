"""Options of labelers that ask a model: their ends, what is taken where they are left out, and what they change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError
from rlaif.labelers.base import LearnsFromPeople, PlansAhead, Rater, Recorded, Reseeded
from rlaif.labelers.convert import AgainstReference
from rlaif.labelers.criteria import CriteriaLabeler, weighted_score
from rlaif.labelers.pairwise import Case, ChainOfThoughtLabeler, PairwiseLabeler, both_orders, combine_orders
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.people import (
    HumanLabeler,
    People,
    are_peoples,
    bind_people,
    label_sources,
    labeler_in_words,
    num_raters_used,
)
from rlaif.labelers.pointwise import (
    BinaryLabeler,
    ChainOfThoughtScoreLabeler,
    ScoreLabeler,
    preference_from_ratings,
)
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labelers.rationale import Rationales
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.criteria import CriteriaPrompts, Criterion, built_in_criteria, built_in_tasks
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Rating, Sampling, StructuredPrompt

PROMPT = Prompt(task="dialogue", text="\n\nHuman: hi\n\nAssistant:")
Make = Callable[..., Any]


def pair(first: str, second: str, prompt: Prompt = PROMPT) -> Comparison:
    return Comparison(prompt=prompt, first=Completion(text=first), second=Completion(text=second))


def typed(value: str) -> str:
    """The same text as another object, as a command line gives it."""
    return "".join(list(value))


DOCUMENTED: list[tuple[Make, dict[str, Any]]] = [
    (PairwiseLabeler, {"debias": "probability", "min_answer_mass": 1e-6}),
    (
        ChainOfThoughtLabeler,
        {"debias": "probability", "min_answer_mass": 1e-6, "max_rationale_tokens": 512, "rationale": "own"},
    ),
    (
        SelfConsistencyLabeler,
        {
            "debias": "probability",
            "min_answer_mass": 1e-6,
            "num_samples": 4,
            "temperature": 0.5,
            "top_k": 40,
            "max_rationale_tokens": 512,
            "seed": 0,
        },
    ),
    (ScoreLabeler, {"min_answer_mass": 1e-9}),
    (ChainOfThoughtScoreLabeler, {"min_answer_mass": 1e-9, "max_rationale_tokens": 512}),
    (BinaryLabeler, {"min_answer_mass": 1e-9}),
    (RankingLabeler, {"max_candidates": 4, "orders": "reversed", "min_answer_mass": 1e-12}),
]


@pytest.mark.parametrize(("make", "options"), DOCUMENTED, ids=[make.__name__ for make, _ in DOCUMENTED])
def test_an_option_left_out_is_what_its_documentation_says(make: Make, options: dict[str, Any]) -> None:
    """And any other value is another labeler, whose labels are not taken for this one's."""
    whole = make(JudgePrompts(), ScriptedEngine(), **options)
    assert isinstance(whole.identity, str)
    assert make(JudgePrompts(), ScriptedEngine()).identity == whole.identity
    others: dict[str, Any] = {"debias": "logit", "orders": "all", "rationale": "empty"}
    others |= {"min_answer_mass": 0.5, "max_candidates": 3}
    for name, value in options.items():
        changed = {**options, name: others[name] if name in others else value + 1}
        assert make(JudgePrompts(), ScriptedEngine(), **changed).identity != whole.identity, name


def test_members_options_left_out_are_what_their_documentation_says() -> None:
    members: Any = {"a": PairwiseLabeler(JudgePrompts(), ScriptedEngine())}
    whole = PanelLabeler(members, weights="equal", num_known=200, min_verdicts=1)
    assert PanelLabeler(members).identity == whole.identity
    assert HumanLabeler().identity == HumanLabeler(rater=0).identity != HumanLabeler(rater=1).identity
    rubric = CriteriaLabeler(CriteriaPrompts(), ScriptedEngine(), min_answer_mass=1e-9, min_weight=1.0)
    assert CriteriaLabeler(CriteriaPrompts(), ScriptedEngine()).identity == rubric.identity


class Writes(ScriptedEngine):
    """Remembers how it was asked to write."""

    def __init__(self, respond: Mapping[str, Any]) -> None:
        super().__init__(respond)
        self.samplings: list[Sampling] = []
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        self.samplings.append(sampling)
        self.asked += [prompt.text for prompt in prompts]
        return [Generation(text="Hm.", token_ids=(1,)) for _ in prompts]


def test_rationales_are_written_greedily_up_to_512_tokens_as_in_the_paper() -> None:
    for make in (ChainOfThoughtLabeler, ChainOfThoughtScoreLabeler):
        engine = Writes({"": {"1": 0.6, "2": 0.4}})
        (label,) = make(JudgePrompts(), engine).label([pair("a", "b")])
        assert label.missing is None
        assert engine.samplings == [Sampling(max_new_tokens=512, temperature=0.0, top_k=0, stop=("\n",), seed=0)]
    Rationales(1, temperature=0.0, top_k=0)


def test_four_rationales_are_drawn_at_one_half_from_the_40_likeliest_tokens() -> None:
    engine = Writes({"": {"1": 0.6, "2": 0.4}})
    SelfConsistencyLabeler(JudgePrompts(), engine).label([pair("a", "b")])
    assert len({sampling.seed for sampling in engine.samplings}) == 4
    assert {(item.max_new_tokens, item.temperature, item.top_k) for item in engine.samplings} == {(512, 0.5, 40)}
    again = Writes({"": {"1": 0.6, "2": 0.4}})
    SelfConsistencyLabeler(JudgePrompts(), again, seed=1, num_samples=1).label([pair("a", "b")])
    assert again.samplings[0].seed not in {sampling.seed for sampling in engine.samplings}


def test_options_of_rationales_that_are_out_of_range_are_told_together() -> None:
    with pytest.raises(ConfigError) as refused:
        Rationales(0, temperature=-0.1, top_k=-1)
    assert refused.value.problems == [
        "labeler.max_rationale_tokens=0: must be at least 1",
        "labeler.temperature=-0.1: must be a finite number of at least 0 (0 decodes greedily)",
        "labeler.top_k=-1: must be 0 (all tokens) or above",
    ]
    for name, value in (("num_samples", 0), ("temperature", -1.0), ("temperature", float("inf"))):
        with pytest.raises(ConfigError, match=rf"^labeler\.{name}={value}: must be a"):
            SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("generation", "reason"),
    [
        (Generation(text="It is", finished=False), "rationale cut at 9 tokens"),
        (Generation(text="<think>Hm", finished=False), "reasoning cut at 9 tokens"),
        (Generation(text="<think>Hm</think>", finished=False), "reasoning cut at 9 tokens"),
        (Generation(text="<think>Hm</think>It is", finished=False), "rationale cut at 9 tokens"),
        (Generation(text="", reasoning="Hm", finished=False), "reasoning cut at 9 tokens"),
        (Generation(text="", finished=False), "rationale cut at 9 tokens"),
        (Generation(text="<think>Hm"), "reasoning without an end"),
        (Generation(text="<think>Hm</think> \n"), "no rationale after the reasoning"),
        (Generation(text=" \n"), "empty rationale"),
        (Generation(text="<think>Hm</think>It is."), None),
    ],
)
def test_why_a_text_is_no_rationale(generation: Generation, reason: str | None) -> None:
    class Says(ScriptedEngine):
        def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
            return [generation for _ in prompts]

    prompt = JudgePrompts().pairwise(*Case(pair("a", "b"), "given").arguments)
    (judgment,) = Rationales(9).write(Says(), [prompt], ["given"])
    assert (judgment.missing, judgment.unreadable) == (reason, reason is not None)
    assert Rationales(9).write(Says(), [], []) == []


@pytest.mark.parametrize("rationale", ["own", "empty"])
def test_only_rationales_of_other_pairs_need_a_plan(rationale: Any) -> None:
    labeler = ChainOfThoughtLabeler(JudgePrompts(), ScriptedEngine(), rationale=rationale)
    assert labeler.for_plan([pair("a", "b"), pair("c", "d")]) is labeler


def test_words_that_come_from_a_command_line_choose_as_ours_do() -> None:
    """They are equal to the words in our code, and other objects."""
    engine = Writes({"": {"1": 0.9, "2": 0.2, "1 2": 0.9, "2 1": 0.2}})
    other = Prompt(task="dialogue", text="\n\nHuman: bye\n\nAssistant:")
    plan = [pair("a", "b"), pair("c", "d", other)]

    def of(make: Make, **options: str) -> Any:
        given = {name: typed(value) for name, value in options.items()}
        labeler = make(JudgePrompts(), engine, **given)
        return labeler.for_plan(plan) if isinstance(labeler, PlansAhead) else labeler

    of(ChainOfThoughtLabeler, rationale="other").label(plan[:1])
    assert ["bye" in text for text in engine.asked] == [True, True], "the other pair's prompt"
    engine.samplings.clear()
    of(ChainOfThoughtLabeler, rationale="empty").label(plan)
    assert engine.samplings == []
    (label,) = of(PairwiseLabeler, debias="none").label(plan[:1])
    assert label.p_first == pytest.approx(9 / 11)
    assert len(of(RankingLabeler, orders="reversed").label(plan)[0].judgments) == 2
    assert len(of(RankingLabeler, orders="all").label(plan)[0].judgments) == 4


def test_the_candidates_of_a_pair_stand_in_both_slots() -> None:
    given, swapped = both_orders([pair("a", "b")])
    assert [item.text for item in given.slots] == ["a", "b"] and [item.text for item in swapped.slots] == ["b", "a"]
    assert (given.order, swapped.order) == ("given", "swapped")
    assert Case(pair("a", "b"), typed("given")).arguments[2:] == ("a", "b")  # type: ignore[arg-type]
    assert Case(pair("a", "b"), typed("swapped")).arguments[2:] == ("b", "a")  # type: ignore[arg-type]


@pytest.mark.parametrize("absent", ["given", "swapped"])
def test_a_label_needs_a_verdict_in_each_order(absent: str) -> None:
    judgments = tuple(
        Judgment(order=order, prompt="", missing="odd", unreadable=True)
        if order == absent
        else Judgment(order=order, prompt="", p_slot1=0.9)
        for order in ("given", "swapped")
    )
    label = combine_orders(pair("a", "b"), judgments, "none", "author", "ai")
    assert (label.p_first, label.missing, label.judgments) == (None, "odd", judgments)
    assert (label.labeler, label.source) == ("author", "ai")


class Loses(ScriptedEngine):
    """An engine that gives one answer too few."""

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        return super().score(prompts, options)[1:]


class LosesText(ScriptedEngine):
    """An engine that gives one text too few."""

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        return super().generate(prompts, sampling)[1:]


@pytest.mark.parametrize("make", [make for make, _ in DOCUMENTED], ids=[make.__name__ for make, _ in DOCUMENTED])
def test_an_answer_that_an_engine_loses_is_never_made_up_by_that_of_another_prompt(make: Make) -> None:
    engines = [Loses({"": "1"})]
    if make in (ChainOfThoughtLabeler, SelfConsistencyLabeler, ChainOfThoughtScoreLabeler):
        engines.append(LosesText({"": "1"}))  # type: ignore[arg-type]
    for engine in engines:
        with pytest.raises(ValueError, match="shorter"):
            make(JudgePrompts(), engine).label([pair("a", "b"), pair("c", "d")])


def test_nothing_is_asked_about_no_pairs() -> None:
    for make, _ in DOCUMENTED:
        engine = ScriptedEngine(lambda text: pytest.fail("asked"))
        assert make(JudgePrompts(), engine).label([]) == []
    with pytest.raises(ValueError, match="shorter"):
        ScoreLabeler(JudgePrompts(), ScriptedEngine()).rate([PROMPT] * 2, [Completion(text="x")])


# Ratings


def rating(*distribution: float, missing: str | None = None, **more: Any) -> Rating:
    scale = None if missing else distribution
    return Rating(prompt=PROMPT, completion=Completion(text="x"), distribution=scale, missing=missing, **more)


def test_two_ratings_as_a_label_by_hand() -> None:
    """Of three steps: 0.5 · 0.5 that the first is above, and half of the ties, 0.5 · 0.25 twice."""
    label = preference_from_ratings(
        pair("a", "b"),
        rating(0.0, 0.5, 0.5, labeler="l", source="s", judgments=(Judgment(order="first", prompt="1"),)),
        rating(0.5, 0.25, 0.25, judgments=(Judgment(order="first", prompt="2"),)),
    )
    assert label.p_first == pytest.approx(0.5 * 0.5 + 0.5 * 0.75 + (0.5 * 0.25 + 0.5 * 0.25) / 2)
    assert (label.missing, label.labeler, label.source) == (None, "l", "s")
    assert [(item.order, item.prompt) for item in label.judgments] == [("first", "1"), ("second", "2")]


def test_ratings_that_are_missing_make_a_label_missing_with_each_reason_once() -> None:
    good = rating(0.5, 0.5)
    for first, second, reason in [
        ("odd", None, "odd"),
        (None, "odd", "odd"),
        ("odd", "odd", "odd"),
        ("a", "b", "a; b"),
    ]:
        sides = [good if missing is None else rating(missing=missing) for missing in (first, second)]
        label = preference_from_ratings(pair("a", "b"), *sides)
        assert (label.p_first, label.missing) == (None, reason)


def test_a_sum_that_rounds_above_one_is_certainty() -> None:
    """Every score of the first is above every score of the second."""
    high = [count / 26 for count in (4, 5, 6, 8, 3)]
    low = [count / 17 for count in (4, 1, 3, 3, 6)]
    label = preference_from_ratings(pair("a", "b"), rating(*[0.0] * 5, *high), rating(*low, *[0.0] * 5))
    assert label.p_first == pytest.approx(1.0)


def test_a_response_is_rated_by_how_probably_it_beats_its_reference() -> None:
    engine = ScriptedEngine({"Response 1: good": {"1": 0.9, "2": 0.1}, "Response 2: good": {"1": 0.3, "2": 0.7}})
    labeler = PairwiseLabeler(JudgePrompts(), engine)
    other = Prompt(task="dialogue", text="\n\nHuman: bye\n\nAssistant:")
    rater = AgainstReference(labeler, {PROMPT.id: Completion(text="plain")})
    answered = [Completion(text="good"), Completion(text="good"), Completion(text="unknown")]
    without, beaten, failed = rater.rate([other, PROMPT, PROMPT], answered)
    assert beaten.distribution == pytest.approx((0.2, 0.8)) and math.fsum(beaten.distribution or ()) == 1.0
    assert (beaten.lowest, beaten.highest, beaten.score) == (0.0, 1.0, pytest.approx(0.8))
    assert len(beaten.judgments) == 2 and beaten.source == "ai" and beaten.labeler.startswith("pairwise:")
    assert (without.distribution, without.judgments, without.labeler, without.source) == (None, (), "", "")
    assert without.missing == "no reference response for this prompt"
    assert failed.missing == "no scripted answer matches this prompt" and len(failed.judgments) == 2
    assert engine.num_prompts == 4


def test_a_response_that_equals_its_reference_ties_and_is_not_judged() -> None:
    """Where only one order is judged, the answer would be the labeler's bias for a slot."""
    engine = ScriptedEngine({"Response 1: good": {"1": 0.9, "2": 0.1}, "Response 2: good": {"1": 0.1, "2": 0.9}})
    rater = AgainstReference(PairwiseLabeler(JudgePrompts(), engine), {PROMPT.id: Completion(text="plain")})
    same, other = rater.rate([PROMPT, PROMPT], [Completion(text="plain\n"), Completion(text="good")])
    assert (same.distribution, same.reward, same.missing, same.judgments) == ((0.5, 0.5), 0.0, None, ())
    assert other.reward == pytest.approx(0.8) and engine.num_prompts == 2
    assert rater.rate([PROMPT], [Completion(text="plain")])[0].reward == 0.0 and engine.num_prompts == 2


def test_the_identity_of_a_comparison_with_references_names_labeler_and_references() -> None:
    def identity(name: str, **references: str) -> str:
        labeler = PairwiseLabeler(JudgePrompts(), ScriptedEngine(name=name))
        return AgainstReference(labeler, {key: Completion(text=text) for key, text in references.items()}).identity

    assert identity("a", p="x", q="y") == identity("a", q="y", p="x")
    found = [identity("a"), identity("b"), identity("a", p="x"), identity("a", p="y"), identity("a", q="x")]
    assert all(isinstance(item, str) for item in found) and len(set(found)) == len(found)


# Criteria


@pytest.mark.parametrize("min_weight", [0.0, -0.5, 1.01, math.nan])
def test_a_share_of_weight_that_is_no_share_is_refused(min_weight: float) -> None:
    with pytest.raises(ConfigError, match=rf"labeler\.min_weight={min_weight:g}: must be above 0 and at most 1"):
        CriteriaLabeler(CriteriaPrompts(), ScriptedEngine(), min_weight=min_weight)
    CriteriaLabeler(CriteriaPrompts(), ScriptedEngine(), min_weight=1.0)


def yes(p: float | None) -> Judgment:
    if p is None:
        return Judgment(order="first", prompt="", missing="odd", unreadable=True)
    logprobs = tuple(math.log(share) if share else -math.inf for share in (1.0 - p, p))
    return Judgment(order="first", prompt="", option_logprobs=logprobs)


def test_weights_that_add_up_to_the_wanted_share_but_for_rounding_are_enough() -> None:
    """0.1 + 0.2 is a hair above 0.3 for a computer, and 0.7 of 1.0 may be a hair below."""
    tenths = [Criterion(f"{number}?", 0.1) for number in range(10)]
    judged = [yes(1.0)] * 7 + [yes(None)] * 3
    assert weighted_score(tenths, judged, 0.7) == 1.0
    assert weighted_score(tenths, judged, 0.71) is None
    thirds = [Criterion("a?", 0.1), Criterion("b?", 0.2), Criterion("c?", 0.7)]
    assert weighted_score(thirds, [yes(1.0)] * 3, 1.0) == 1.0
    assert weighted_score([], [], 1.0) is None


def test_responses_are_judged_by_the_criteria_that_are_taken() -> None:
    engine = ScriptedEngine({"Is it short?": {"yes": 0.9, "no": 0.1}, "Is it true?": {"yes": 0.2, "no": 0.8}})
    labeler = CriteriaLabeler(CriteriaPrompts(), engine)
    task = built_in_tasks()[0]
    assert labeler.num_common(task) == len(built_in_criteria(task)) > 0
    labeler.take([Criterion("Is it short?", 1.0), Criterion("Is it true?", 3.0), Criterion("Why?", 1.0, "elsewhere")])
    assert labeler.num_common(task) == 2
    (found,) = labeler.rate([PROMPT], [Completion(text="x")])
    assert found.distribution == pytest.approx((1 - (0.9 + 0.6) / 4, (0.9 + 0.6) / 4))
    assert (found.lowest, found.highest, found.source) == (0.0, 1.0, "ai")
    assert found.labeler == f"criteria:{labeler.identity}"


# People


def test_people_of_a_panel_are_bound_and_counted_wherever_they_sit() -> None:
    deep = PanelLabeler({"people": HumanLabeler(rater=3), "more": HumanLabeler(rater=1)})  # type: ignore[dict-item]
    members: Any = {"judge": PairwiseLabeler(JudgePrompts(), ScriptedEngine()), "deep": deep}
    labeler = PanelLabeler(members)
    assert num_raters_used(labeler) == 4
    assert num_raters_used(PairwiseLabeler(JudgePrompts(), ScriptedEngine())) == 0
    bind_people(labeler, People(labels=[Preference(comparison=pair("a", "b"), p_first=1.0, source="human")]))
    assert [label.p_first for label in deep.label([pair("a", "b"), pair("b", "a")])] == [1.0, 0.0]


def test_people_and_rationales_do_not_change_once_a_labeler_knows_them() -> None:
    people = People(labels=[Preference(comparison=pair("a", "b"), p_first=1.0)], data_identity="data")
    assert HumanLabeler().bind(people).identity != HumanLabeler().bind(People(labels=people.labels)).identity
    with pytest.raises(FrozenInstanceError):
        people.labels = ()  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        People([])  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        Rationales(9).seed = 1  # type: ignore[misc]


def test_a_null_of_people_stays_missing_in_either_order() -> None:
    unsure = Preference(comparison=pair("a", "b"), p_first=None, missing="unsure", source="human")
    labeler = HumanLabeler().bind(People(labels=[unsure]))
    given, swapped = labeler.label([pair("a", "b"), pair("b", "a")])
    assert (given.missing, swapped.missing) == ("unsure", "unsure")
    assert (given.comparison, swapped.comparison) == (pair("a", "b"), pair("b", "a"))


def test_answers_of_annotators_go_to_the_pairs_that_they_were_asked_about() -> None:
    class Shorter:
        identity = "shorter"

        def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
            return [0.25 * rater if len(item.first.text) < len(item.second.text) else 0.0 for item in comparisons]

        def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
            return []

    known = Preference(comparison=pair("a", "b"), p_first=1.0, source="human")
    labeler = HumanLabeler(rater=2).bind(People(labels=[known], annotators=Shorter()))
    labels = labeler.label([pair("x", "long"), pair("a", "b"), pair("long", "x"), pair("y", "long")])
    assert [label.p_first for label in labels] == [0.5, 1.0, 0.0, 0.5]
    assert labels[0].labeler == f"human:{labeler.identity}" and labels[0].missing is None


def test_whose_labels_they_are_in_words() -> None:
    def label(source: str, labeler: str = "") -> Preference:
        return Preference(comparison=pair("a", "b"), p_first=0.5, source=source, labeler=labeler)

    assert are_peoples([label("human"), label("simulated annotators")]) and are_peoples([])
    assert not are_peoples([label("human"), label("ai")])
    assert label_sources([label("human"), label(""), label("ai"), label("human")]) == "ai and human labels of the data"
    assert label_sources([label("")]) == "unnamed labels of the data"
    assert labeler_in_words(label("human", "file:ab")) == "human"
    assert labeler_in_words(label("ai", "pairwise:ab")) == labeler_in_words(label("", "pairwise:ab")) == "pairwise:ab"
    assert labeler_in_words(label("ai")) == "ai"


# Protocols


class Everything:
    """A plugin with all that a labeler may offer."""

    name, source, seed, num_known = "everything", "ai", 0, 1
    learns, learned, identity = True, None, "everything"

    def holds(self, comparison: Comparison) -> bool:
        return True

    rate = for_plan = with_seed = fit = restore = holds


@pytest.mark.parametrize("protocol", [Rater, Recorded, PlansAhead, Reseeded, LearnsFromPeople])
def test_what_a_labeler_offers_is_seen_from_its_attributes(protocol: Any) -> None:
    assert isinstance(Everything(), protocol)
    assert not isinstance(OptionScores(logprobs=None, missing="x"), protocol)
    offered: Any = Everything()
    assert Recorded.holds(offered, pair("a", "b")) is None, "a protocol decides nothing"
