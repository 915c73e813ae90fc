"""Self-consistency, rankings, panels and classifiers as labelers."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, EngineError, GateStopped
from rlaif.functional.seeds import derive_seed
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler, disagreement
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler, answers
from rlaif.labelers.reward_model import RewardModelLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.models.classifiers import load_reward_model
from rlaif.naming import as_typed, named_as
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model, tiny_tokenizer
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Sampling, StructuredPrompt

PROMPT = Prompt(task="dialogue", text="\n\nHuman: hi\n\nAssistant:")


def pair(first: str, second: str) -> Comparison:
    return Comparison(prompt=PROMPT, first=Completion(text=first), second=Completion(text=second))


class Sampler(ScriptedEngine):
    """Its rationale depends on the seed; the verdict on the rationale."""

    def __init__(self, by_rationale: Mapping[str, Mapping[str, float]], rationales: Sequence[str | None]) -> None:
        super().__init__(dict(by_rationale))
        self.rationales = rationales
        self.seeds: list[int] = []

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        assert sampling.temperature == 0.7 and sampling.top_k == 40 and sampling.stop == ("\n",)
        reply = self.rationales[len(self.seeds) % len(self.rationales)]
        self.seeds.append(sampling.seed)
        if reply is None:
            return [Generation(missing="timeout", finished=False) for _ in prompts]
        return [Generation(text=f" {reply}", token_ids=(1,), num_prompt_tokens=3) for _ in prompts]


VERDICTS = {"Rationale: yes": {"1": 0.9, "2": 0.1}, "Rationale: no": {"1": 0.3, "2": 0.7}}


def consistent(engine: Sampler, num_samples: int) -> SelfConsistencyLabeler:
    return SelfConsistencyLabeler(JudgePrompts(), engine, num_samples=num_samples, temperature=0.7)


def test_self_consistency_averages_the_samples_of_each_order_and_then_the_orders() -> None:
    engine = Sampler(VERDICTS, ["yes", "no"])
    (label,) = consistent(engine, 2).label([pair("a", "b")])
    assert label.p_first_by_order == pytest.approx((0.6, 0.4))  # slot 1 has (0.9 + 0.3) / 2 in both orders
    assert label.p_first == pytest.approx(0.5)
    assert [judgment.reply for judgment in label.judgments] == ["yes", "no", "yes", "no"]
    assert len(set(engine.seeds)) == 2


def test_a_failed_sample_is_left_out_and_an_order_without_any_is_missing() -> None:
    (label,) = consistent(Sampler(VERDICTS, ["yes", None]), 2).label([pair("a", "b")])
    assert label.p_first_by_order == pytest.approx((0.9, 0.1))
    assert label.missing is None
    (label,) = consistent(Sampler(VERDICTS, [None]), 2).label([pair("a", "b")])
    assert label.p_first is None and label.missing == "timeout"


def test_self_consistency_options_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"labeler\.temperature=0\.0: .* labeler=cot_pairwise"):
        SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), temperature=0.0)
    with pytest.raises(ConfigError, match=r"labeler\.num_samples=0"):
        SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), num_samples=0)
    with pytest.raises(ConfigError, match=r"labeler\.top_k=-1: must be 0 \(all tokens\) or above"):
        SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), top_k=-1)
    assert SelfConsistencyLabeler(JudgePrompts(), ScriptedEngine(), num_samples=1, top_k=0).num_samples == 1


def by_quality(text: str) -> dict[str, float]:
    """Ranks responses that are numbers, the highest first, with 0.7 on the right order and a taste for slot 1."""
    lines = [line for line in text.splitlines() if line.startswith("Response ")]
    qualities = [float(line.split(": ")[1]) for line in lines]
    best_first = sorted(range(len(qualities)), key=lambda slot: -qualities[slot])
    right = " ".join(str(slot + 1) for slot in best_first)
    as_shown = " ".join(str(slot + 1) for slot in range(len(qualities)))
    return {right: 0.7, as_shown: 0.3} if right != as_shown else {right: 1.0}


def test_a_ranking_becomes_pairwise_labels_and_its_taste_for_a_slot_cancels() -> None:
    pairs = [pair(a, b) for a, b in combinations(("1", "3", "2"), 2)]
    engine = ScriptedEngine(by_quality)
    labels = RankingLabeler(JudgePrompts(), engine).for_plan(pairs).label(pairs)
    assert engine.num_prompts == 2  # one slate of three, in two orders
    assert [label.p_first for label in labels] == pytest.approx([0.15, 0.15, 0.85])
    swapped = [Comparison(prompt=item.prompt, first=item.second, second=item.first) for item in pairs]
    turned = RankingLabeler(JudgePrompts(), ScriptedEngine(by_quality)).for_plan(swapped).label(swapped)
    assert [label.p_first for label in turned] == pytest.approx([0.85, 0.85, 0.15])


def test_what_is_ranked_together_depends_on_the_plan_and_not_on_the_call() -> None:
    pairs = [pair(a, b) for a, b in combinations(("1", "2", "3", "4"), 2)]
    labeler = RankingLabeler(JudgePrompts(), ScriptedEngine(by_quality), orders="all").for_plan(pairs)
    together = labeler.label(pairs)
    alone = [labeler.label([item])[0] for item in pairs]
    assert together == alone
    assert all(len(label.judgments) == 8 for label in together)  # each of four in each slot, and reversed


def test_pairs_across_slates_are_ranked_alone() -> None:
    pairs = [pair(a, b) for a, b in combinations(("1", "2", "3"), 2)]
    engine = ScriptedEngine(by_quality)
    labels = RankingLabeler(JudgePrompts(), engine, max_candidates=2).for_plan(pairs).label(pairs)
    assert [label.p_first for label in labels] == pytest.approx([0.15, 0.15, 0.15])
    assert engine.num_prompts == 6


def test_ranking_options_and_answers() -> None:
    assert answers(3) == ("1 2 3", "1 3 2", "2 1 3", "2 3 1", "3 1 2", "3 2 1")
    with pytest.raises(ConfigError, match=r"labeler\.max_candidates=9: must be between 2 and 5"):
        RankingLabeler(JudgePrompts(), ScriptedEngine(), max_candidates=9)


class Fixed:
    """A labeler with one answer, or none."""

    prompt = None
    engine = None

    def __init__(self, name: str, p_first: float | None, source: str = "ai") -> None:
        self.name, self.p_first, self.source = name, p_first, source
        self.identity = f"{name} {p_first}"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        missing = "no answer" if self.p_first is None else None
        return [
            Preference(comparison=item, p_first=self.p_first, missing=missing, source=self.source)
            for item in comparisons
        ]


def panel(*members: Fixed, **options: object) -> PanelLabeler:
    return PanelLabeler({member.name: member for member in members}, **options)  # type: ignore[arg-type]


def test_a_panel_pools_by_weight_and_keeps_how_far_its_members_were_apart() -> None:
    (label,) = panel(Fixed("a", 0.9), Fixed("b", 0.5), weights={"a": 3.0, "b": 1.0}).label([pair("x", "y")])
    assert label.p_first == pytest.approx(0.8)
    assert disagreement(label) == pytest.approx(0.4)
    assert [judgment.judge for judgment in label.judgments] == ["a", "b"]


def test_a_member_without_a_verdict_is_left_out_until_too_few_are_left() -> None:
    members = (Fixed("a", 0.9), Fixed("b", None), Fixed("c", None, source="human"))
    (label,) = panel(*members).label([pair("x", "y")])
    assert label.p_first == pytest.approx(0.9)
    assert label.source == "ai + human"
    assert disagreement(label) is None
    (label,) = panel(*members, min_verdicts=2).label([pair("x", "y")])
    assert label.p_first is None
    assert label.missing == "1 of 3 members have a verdict (b: no answer; c: no answer)"


class ByPair(Fixed):
    """A member whose answer, or reason for none, depends on the pair's first response."""

    def __init__(self, name: str, answers: Mapping[str, float | str], judgments: tuple[Judgment, ...] = ()) -> None:
        super().__init__(name, None)
        self.answers, self.judgments = answers, judgments

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [self._label(item, self.answers[item.first.text]) for item in comparisons]

    def _label(self, item: Comparison, answer: float | str) -> Preference:
        if isinstance(answer, str):
            return Preference(comparison=item, p_first=None, missing=answer, judgments=self.judgments)
        return Preference(comparison=item, p_first=answer, judgments=self.judgments)


def in_order(order: Any, p_slot1: float) -> Judgment:
    return Judgment(order=order, prompt="", p_slot1=p_slot1)


BOTH_ORDERS = (in_order("given", 0.9), in_order("swapped", 0.3))


@pytest.mark.parametrize("judgments", [BOTH_ORDERS[:1], BOTH_ORDERS[1:], ()])
def test_a_member_that_saw_one_order_counts_with_its_label_in_both(judgments: tuple[Judgment, ...]) -> None:
    """The other member has 0.9 and 0.7 by order."""
    both, half = ByPair("both", {"x": 0.8}, BOTH_ORDERS), ByPair("half", {"x": 0.2}, judgments)
    (label,) = panel(both, half).label([pair("x", "y")])
    assert label.p_first_by_order == pytest.approx(((0.9 + 0.2) / 2, (0.7 + 0.2) / 2))
    assert label.p_first == pytest.approx((0.8 + 0.2) / 2)
    assert [item.order for item in label.judgments] == [
        *("given", "swapped"),
        *("verdict", "given", "swapped"),
        *("verdict", *(item.order for item in judgments)),
    ]


def test_the_orders_of_a_member_without_a_label_do_not_count() -> None:
    both, none = ByPair("both", {"x": 0.8}, BOTH_ORDERS), ByPair("none", {"x": "odd"}, BOTH_ORDERS)
    (label,) = panel(none, both).label([pair("x", "y")])
    assert label.p_first_by_order == pytest.approx((0.9, 0.7))
    (alone,) = panel(none).label([pair("x", "y")])
    assert (alone.p_first, alone.p_first_by_order) == (None, (None, None))
    assert alone.missing == "0 of 1 members have a verdict (none: odd)"
    verdict = alone.judgments[0]
    assert (verdict.order, verdict.missing, verdict.unreadable) == ("verdict", "odd", True)


def test_each_pair_of_a_call_has_the_orders_and_reasons_of_its_own() -> None:
    first = ByPair("a", {"x": 0.9, "y": "timeout", "z": "timeout"})
    second = ByPair("b", {"x": "odd", "y": 0.2, "z": "odd"})
    labels = panel(first, second).label([pair(text, "other") for text in "xyz"])
    assert [label.p_first for label in labels] == [0.9, pytest.approx(0.2), None]
    assert labels[2].missing == "0 of 2 members have a verdict (a: timeout; b: odd)"
    assert [disagreement(label) for label in labels] == [None, None, None]


def test_members_are_as_far_apart_as_the_highest_and_the_lowest_of_them() -> None:
    (label,) = panel(Fixed("a", 0.4), Fixed("b", 0.9), Fixed("c", 0.2)).label([pair("x", "y")])
    assert disagreement(label) == pytest.approx(0.7)
    (agreed,) = panel(Fixed("a", 0.4), Fixed("b", 0.4)).label([pair("x", "y")])
    assert disagreement(agreed) == 0.0


def test_a_member_that_loses_a_label_makes_no_shorter_list() -> None:
    class Losing(Fixed):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            return super().label(comparisons)[1:]

    pairs = [pair("x", "z"), pair("y", "z")]
    for members in ([Losing("a", 0.5)], [Losing("a", 0.5), Fixed("b", 0.5)]):
        with pytest.raises(ValueError, match=r"shorter|sequence of length"):
            panel(*members).label(pairs)


def test_a_panel_that_cannot_learn_tells_the_first_reason_of_each_member() -> None:
    first = ByPair("a", {"x": "timeout", "y": "http 500"})
    second = ByPair("b", {"x": "odd", "y": "http 500"})
    labeler = panel(first, second, weights="learned")
    people = [Preference(comparison=pair(text, "z"), p_first=1.0) for text in "xy"]
    unknown = Preference(comparison=pair("?", "z"), p_first=None, missing="no human label")
    told = r"on any of the 2 pairs that people labeled \(a: timeout; b: odd\)\. Mend"
    with pytest.raises(GateStopped, match=told):
        labeler.fit([unknown, *people])
    with pytest.raises(GateStopped, match=r"any of the 1 pairs that people labeled \(a: timeout; b: odd\)"):
        labeler.fit(people[:1])
    with pytest.raises(ConfigError, match=r"people labeled none of the plan's first 2 pairs"):
        labeler.fit([unknown, unknown])


def test_a_member_with_a_verdict_somewhere_is_learned_from() -> None:
    """The other has none, so no evidence; one that says the opposite of people counts against what it says."""
    right, silent = ByPair("a", {"x": 0.8, "y": "odd"}), ByPair("b", {"x": "odd", "y": "odd"})
    people = [Preference(comparison=pair(text, "z"), p_first=1.0) for text in "xy"]
    fitted = panel(right, silent, weights="learned").fit(people)
    assert fitted.learned is not None and fitted.learned["a"] > 0.0
    assert fitted.learned["b"] == pytest.approx(0.0, abs=1e-12)
    wrong = panel(ByPair("a", {"x": 0.2}), weights="learned").fit(people[:1])
    (label,) = wrong.label([pair("x", "z")])
    assert label.p_first is not None and label.p_first > 0.5


def test_learned_weights_add_up_log_odds() -> None:
    """2 · logit 0.8 + 1 · logit 0.5 is the log of 16 to 1."""
    labeler = panel(Fixed("a", 0.8), Fixed("b", 0.5), weights="learned")
    assert labeler.learns and labeler.learned is None
    restored = labeler.restore({"b": 1.0, "a": 2.0})
    (label,) = restored.label([pair("x", "y")])
    assert label.p_first == pytest.approx(16 / 17)
    assert not restored.learns and labeler.learns, "a copy has learned, the panel has not"
    assert not panel(Fixed("a", 0.8)).learns


class ByText(Fixed):
    """Right about the better text with a given sureness, or random."""

    def __init__(self, name: str, sureness: float, right: float) -> None:
        super().__init__(name, 0.5)
        self.sureness, self.right = sureness, right

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        generator = torch.Generator().manual_seed(len(self.name))
        is_right = torch.rand(len(comparisons), generator=generator) < self.right
        p = [
            self.sureness if ok == (item.first.text > item.second.text) else 1 - self.sureness
            for item, ok in zip(comparisons, is_right.tolist(), strict=True)
        ]
        return [Preference(comparison=item, p_first=x) for item, x in zip(comparisons, p, strict=True)]


def test_learned_weights_favour_the_member_that_agrees_with_people() -> None:
    pairs = [pair(str(i), str((i * 7) % 300)) for i in range(1, 300)]
    people = [Preference(comparison=item, p_first=float(item.first.text > item.second.text)) for item in pairs]
    members = {"good": ByText("good", 0.7, 0.9), "random": ByText("random", 0.9, 0.5)}
    labeler = PanelLabeler(members, weights="learned")
    with pytest.raises(ConfigError, match="a run learns them that labels pairs of its own"):
        labeler.label(pairs)
    fitted = labeler.fit(people)
    agree = [(label.p_first or 0.0) > 0.5 for label in fitted.label(pairs)]
    share = sum(a == bool(b.p_first) for a, b in zip(agree, people, strict=True)) / len(pairs)
    assert share > 0.85
    assert fitted.identity != labeler.identity
    restored = labeler.restore(fitted.learned or {})
    assert restored.identity == fitted.identity and not restored.learns
    assert restored.label(pairs) == fitted.label(pairs)
    with pytest.raises(ConfigError, match="people labeled none of the plan's first 0 pairs"):
        labeler.fit([])
    with pytest.raises(GateStopped, match=r"no member has a verdict on any of the 299 pairs .* \(a: no answer\)"):
        panel(Fixed("a", None), weights="learned").fit(people)


def test_a_panels_orders_are_pooled_from_its_members_orders() -> None:
    """A member twice as heavy with both orders, a member that sees responses alone: their orders, pooled."""
    engine = ScriptedEngine({"Score=": {"7": 1.0}, "Better Response=": {"1": 0.9, "2": 0.1}})
    labeler = PanelLabeler(
        {"pairs": partial(PairwiseLabeler), "scores": partial(ScoreLabeler)},
        weights={"pairs": 2.0, "scores": 1.0},
        prompt=JudgePrompts(),
        engine=engine,
    )
    (label,) = labeler.label([pair("x", "y")])
    # In slot 1 "x" gets 0.9, in slot 2 it gets 0.1; the scores are equal and see no slot.
    assert label.p_first_by_order == pytest.approx(((2 * 0.9 + 0.5) / 3, (2 * 0.1 + 0.5) / 3))
    assert label.p_first == pytest.approx(0.5)
    verdicts = {item.judge: item.p_first for item in label.judgments if item.order == "verdict"}
    assert verdicts == pytest.approx({"pairs": 0.5, "scores": 0.5})


def test_a_panel_of_members_that_saw_no_orders_has_none() -> None:
    (label,) = panel(Fixed("a", 0.9), Fixed("b", None)).label([pair("x", "y")])
    assert label.p_first_by_order == (None, None)


def test_a_panel_on_a_panel_keeps_all_names_and_its_own_members_disagreement() -> None:
    inner = panel(Fixed("a", 0.9), Fixed("b", 0.1))
    (label,) = PanelLabeler({"inner": inner, "c": Fixed("c", 0.7)}).label([pair("x", "y")])
    assert [item.judge for item in label.judgments] == ["inner", "inner/a", "inner/b", "c"]
    assert label.p_first == pytest.approx(0.6)
    assert disagreement(label) == pytest.approx(0.2)


def test_members_composed_as_partial_share_the_panels_prompt_and_engine() -> None:
    engine = ScriptedEngine({"Score=": {"7": 1.0}, "Better Response=": {"1": 0.6, "2": 0.4}})
    labeler = PanelLabeler(
        {"pairs": partial(PairwiseLabeler), "scores": partial(ScoreLabeler)}, prompt=JudgePrompts(), engine=engine
    )
    assert all(member.engine is engine for member in labeler.labelers.values())  # type: ignore[attr-defined]
    (label,) = labeler.label([pair("x", "y")])
    assert label.p_first == pytest.approx(0.5)


class Stopped(ScriptedEngine):
    """A server that is given up."""

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        logging.getLogger("test").warning(as_typed("labeler.engine.omit=[seed]"))
        raise GateStopped("labeler.engine.break_after=10: given up")


def test_a_member_with_a_model_of_its_own_names_its_options(caplog: pytest.LogCaptureFixture) -> None:
    own = PairwiseLabeler(JudgePrompts(), Stopped())
    labeler = PanelLabeler({"judge": own}, prompt=JudgePrompts(), engine=ScriptedEngine())
    with pytest.raises(GateStopped, match=r"^labeler.labelers.judge.engine.break_after=10"):
        labeler.label([pair("x", "y")])
    with named_as("evaluation.judge"), pytest.raises(GateStopped) as stopped:
        labeler.label([pair("x", "y")])
    assert stopped.match(r"^labeler.labelers.judge.engine.break_after=10"), "renamed further out"
    assert "evaluation.judge.labelers.judge.engine.omit=[seed]" in caplog.text
    shared = PanelLabeler({"judge": partial(PairwiseLabeler)}, prompt=JudgePrompts(), engine=Stopped())
    with pytest.raises(GateStopped, match=r"^labeler.engine.break_after=10"):
        shared.label([pair("x", "y")])


def test_panel_options_are_checked() -> None:
    with pytest.raises(ConfigError) as error:
        panel(Fixed("a", 0.5), weights={"b": 1.0, "a": 0.0}, min_verdicts=3)
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "labeler.weights.b",
        "labeler.weights.a=0.0",
        "labeler.min_verdicts=3",
    ]
    for weight in (math.inf, math.nan, "high", True, None):
        with pytest.raises(ConfigError, match=rf"^labeler\.weights\.a={weight}: must be a finite number above 0$"):
            panel(Fixed("a", 0.5), weights={"a": weight})
    with pytest.raises(ConfigError, match="at least one member"):
        panel()


def test_options_of_a_panel_at_their_ends() -> None:
    two = (Fixed("a", 0.9), Fixed("b", 0.5))
    (label,) = panel(*two, min_verdicts=2, num_known=1, weights={"a": 1e-9, "b": 1e-9}).label([pair("x", "y")])
    assert label.p_first == pytest.approx(0.7)
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"min_verdicts": 0}, "labeler.min_verdicts=0: must be between 1 and 2 members"),
        ({"min_verdicts": 3}, "labeler.min_verdicts=3: must be between 1 and 2 members"),
        ({"num_known": 0}, "labeler.num_known=0: must be at least 1"),
        ({"weights": "best"}, "labeler.weights=best: must be equal, learned, or a weight for each member's name"),
        ({"weights": {"a": -1.0}}, "labeler.weights.a=-1.0: must be a finite number above 0"),
        ({"weights": {"c": 1.0}}, "labeler.weights.c: no such member; there are a, b"),
    ]
    for options, problem in refusals:
        with pytest.raises(ConfigError) as refused:
            panel(*two, **options)
        assert refused.value.problems == [problem]
    with pytest.raises(ConfigError) as nobody:
        panel()
    assert nobody.value.problems == ["labeler.labelers: a panel needs at least one member"]


def test_a_member_without_a_weight_of_its_own_counts_once() -> None:
    (label,) = panel(Fixed("a", 0.9), Fixed("b", 0.3), weights={"a": 2.0}).label([pair("x", "y")])
    assert label.p_first == pytest.approx((2 * 0.9 + 0.3) / 3)


def test_what_a_panels_labels_depend_on_is_its_identity() -> None:
    a, b = Fixed("a", 0.9), Fixed("b", 0.5)
    learned = panel(a, b, weights="learned")
    panels = [
        panel(a, b),
        panel(a),
        panel(a, Fixed("b", 0.6)),
        PanelLabeler({"a": a, "c": b}),
        panel(a, b, weights={"a": 1.0}),
        panel(a, b, weights={"a": 2.0}),
        panel(a, b, num_known=7),
        panel(a, b, min_verdicts=2),
        learned,
        learned.restore({"a": 1.0, "b": 1.0}),
        learned.restore({"a": 1.0, "b": 2.0}),
    ]
    assert len({labeler.identity for labeler in panels}) == len(panels)
    assert panel(a, b, weights={"a": 1.0, "b": 2.0}).identity == panel(a, b, weights={"b": 2.0, "a": 1.0}).identity


def test_one_sample_is_its_own_mean() -> None:
    engine = Sampler(VERDICTS, ["yes"])
    (label,) = consistent(engine, 1).label([pair("a", "b")])
    assert label.p_first_by_order == pytest.approx((0.9, 0.1)) and len(label.judgments) == 2
    assert engine.seeds == [derive_seed(0, 0)]
    assert [(item.num_prompt_tokens > 3, item.num_reply_tokens) for item in label.judgments] == [(True, 2)] * 2


def test_samples_of_several_pairs_stay_with_their_pair_and_order() -> None:
    """Two pairs in two orders: each order's two samples are judged side by side."""
    asked: list[str] = []

    def respond(text: str) -> Mapping[str, float]:
        asked.append(text)
        return {"1": 0.9, "2": 0.1} if "Response 1: a\n" in text else {"1": 0.4, "2": 0.6}

    engine = Sampler({}, ["yes", None, "no"])
    engine.respond = respond
    labels = consistent(engine, 3).label([pair("a", "b"), pair("c", "d")])
    assert [len(label.judgments) for label in labels] == [6, 6]
    for label in labels:
        assert [item.reply for item in label.judgments] == ["yes", "", "no"] * 2
        assert [item.order for item in label.judgments] == ["given"] * 3 + ["swapped"] * 3
    assert labels[0].p_first_by_order == pytest.approx((0.9, 0.6))
    assert labels[1].p_first_by_order == pytest.approx((0.4, 0.6))
    shown = [text.split("Response 1: ")[-1][0] for text in asked]
    assert shown == list("aabbccdd")


def test_equal_responses_of_a_ranking_are_a_tie() -> None:
    same = [pair("2", "2 "), pair("1", "2")]
    labeler = RankingLabeler(JudgePrompts(), ScriptedEngine(by_quality)).for_plan(same)
    tie, other = labeler.label(same)
    assert tie.p_first == pytest.approx(0.5) and [item.order for item in tie.judgments] == ["given", "given"]
    assert other.p_first == pytest.approx(0.15)


def test_a_ranking_judges_each_pair_in_the_order_that_its_candidates_stood_in() -> None:
    (label,) = RankingLabeler(JudgePrompts(), ScriptedEngine(by_quality)).label([pair("3", "1")])
    # Shown as 1, 3 and as 3, 1: the right order has 0.7 when it is turned, and all when it is as shown.
    assert [(item.order, item.p_slot1) for item in label.judgments] == [
        ("swapped", pytest.approx(0.3)),
        ("given", pytest.approx(1.0)),
    ]
    assert label.p_first == pytest.approx((0.7 + 1.0) / 2)
    assert label.source == "ai" and label.labeler.startswith("ranking:")


def test_slates_of_different_sizes_and_prompts_are_judged_in_one_call_each() -> None:
    other = Prompt(task="dialogue", text="\n\nHuman: bye\n\nAssistant:")
    three = [pair(a, b) for a, b in combinations(("1", "3", "2"), 2)]
    two = [Comparison(prompt=other, first=Completion(text="5"), second=Completion(text="4"))]
    sizes: list[tuple[int, int]] = []

    class Engine(ScriptedEngine):
        def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
            sizes.append((len(prompts), len(options)))
            return super().score(prompts, options)

    labels = RankingLabeler(JudgePrompts(), Engine(by_quality)).for_plan([*three, *two]).label([*three, *two])
    assert sizes == [(2, 6), (2, 2)]
    assert [label.p_first for label in labels] == pytest.approx([0.15, 0.15, 0.85, 0.85])


def test_five_candidates_are_ranked_at_once_and_six_in_two_slates() -> None:
    def num_prompts(count: int, **options: Any) -> int:
        pairs = [pair(str(a), str(a + 1)) for a in range(1, count)]
        engine = ScriptedEngine(by_quality)
        RankingLabeler(JudgePrompts(), engine, **options).for_plan(pairs).label(pairs)
        return engine.num_prompts

    assert num_prompts(5, max_candidates=5) == 2
    assert num_prompts(6, max_candidates=5) == 2 + 2, "1 to 5, and 5 with 6 alone"
    assert num_prompts(4) == 2 and num_prompts(5) == 2 + 2, "four by default, in an order and its reverse"
    assert num_prompts(3, orders="all") == 2 * 3


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_candidates": 1}, "labeler.max_candidates=1: must be between 2 and 5"),
        ({"max_candidates": 6}, "labeler.max_candidates=6: must be between 2 and 5"),
        ({"orders": "some"}, "labeler.orders=some: must be one of reversed, all"),
    ],
)
def test_options_of_a_ranking_at_their_ends(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RankingLabeler(JudgePrompts(), ScriptedEngine(), **options)
    assert refused.value.problems == [problem]
    for max_candidates in (2, 5):
        RankingLabeler(JudgePrompts(), ScriptedEngine(), max_candidates=max_candidates)


def scored_by(scores: Sequence[float], **options: Any) -> tuple[RewardModelLabeler, list[str]]:
    """A labeler whose classifier gives these scores, and the texts that it was given."""
    texts: list[str] = []

    def scorer(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> torch.Tensor:
        assert len(prompts) == len(completions)
        texts.extend(completion.text for completion in completions)
        return torch.tensor(scores)

    labeler = RewardModelLabeler("no/model", **options)
    labeler.__dict__.update(_scorer=scorer, _model_identity="weights")
    return labeler, texts


def test_a_classifiers_label_is_the_logistic_of_the_difference_of_its_scores() -> None:
    labeler, texts = scored_by([3.0, 1.0, 1.0, 2.0, math.inf, 0.0, 0.0, math.nan], temperature=2.0, source="rm")
    labels = labeler.label([pair(first, "z") for first in ("a\n", "b", "c", "d")])
    assert texts == ["a", "z", "b", "z", "c", "z", "d", "z"]
    assert [label.p_first for label in labels] == [
        pytest.approx(math.e / (math.e + 1)),
        pytest.approx(1 / (1 + math.sqrt(math.e))),
        None,
        None,
    ]
    not_finite = "the classifier's score is not finite"
    assert [label.missing for label in labels] == [None, None, not_finite, not_finite]
    assert {label.source for label in labels} == {"rm"}
    assert {label.labeler for label in labels} == {f"reward_model:{labeler.identity}"}
    by_default, _ = scored_by([1.0, 0.0])
    assert by_default.label([pair("a", "b")])[0].p_first == pytest.approx(math.e / (math.e + 1))
    assert by_default.label([]) == []


def test_a_classifier_travels_to_another_process_without_its_weights(classifier: Path) -> None:
    labeler = RewardModelLabeler(str(classifier), temperature=2.0)
    labels = labeler.label(sample_comparisons())
    assert "_scorer" in labeler.__dict__
    copy = pickle.loads(pickle.dumps(labeler))
    assert "_scorer" not in copy.__dict__
    assert copy.label(sample_comparisons()) == labels


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"batch_size": 0}, ["labeler.batch_size=0: must be at least 1"]),
        ({"max_length": 0}, ["labeler.max_length=0: must be at least 1"]),
        ({"temperature": -1.0}, ["labeler.temperature=-1.0: must be a finite number above 0"]),
        ({"temperature": math.nan}, ["labeler.temperature=nan: must be a finite number above 0"]),
        ({"label": -1}, ["labeler.label=-1: must be 0 or above"]),
        ({"text_format": "html"}, ["labeler.text_format=html: must be one of plain, pair, chat"]),
        (
            {"batch_size": 0, "label": -2},
            ["labeler.batch_size=0: must be at least 1", "labeler.label=-2: must be 0 or above"],
        ),
    ],
)
def test_options_of_a_classifier_at_their_ends(options: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        RewardModelLabeler("no/model", **options)
    assert refused.value.problems == problems
    RewardModelLabeler("no/model", batch_size=1, max_length=1, temperature=0.01, label=0)


def test_what_a_classifiers_labels_depend_on_is_its_identity() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"source": "rm"},
        {"temperature": 2.0},
        {"label": 1},
        {"max_length": 7},
        {"text_format": "pair"},
    ]
    assert len({scored_by([], **options)[0].identity for options in changes}) == len(changes)
    assert scored_by([], batch_size=3)[0].identity == scored_by([])[0].identity
    documented = {"source": "ai", "temperature": 1.0, "label": 0, "max_length": 2048, "text_format": "plain"}
    assert scored_by([], **documented)[0].identity == scored_by([])[0].identity
    assert RewardModelLabeler("no/model").batch_size == 32


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, base = tmp_path_factory.mktemp("classifier"), tmp_path_factory.mktemp("base")
    make_tiny_model(base)
    load_reward_model(str(base), head_std=1.0).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_classifier_prefers_what_it_scores_higher_whatever_tokens_a_response_was_sampled_as(
    classifier: Path,
) -> None:
    pairs = sample_comparisons()
    labeler = RewardModelLabeler(str(classifier), temperature=2.0)
    labels = labeler.label(pairs)
    scores = labeler._scorer([item.prompt for item in pairs], [item.first for item in pairs])
    others = labeler._scorer([item.prompt for item in pairs], [item.second for item in pairs])
    expected = torch.sigmoid((scores - others).double() / 2.0)
    assert [label.p_first for label in labels] == pytest.approx(expected.tolist(), abs=1e-6)
    sampled = [
        Comparison(prompt=item.prompt, first=Completion(text=item.first.text, token_ids=(3, 4)), second=item.second)
        for item in pairs
    ]
    assert [label.p_first for label in labeler.label(sampled)] == [label.p_first for label in labels]


def test_a_classifier_without_that_output_or_of_another_kind_is_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"labeler\.label=1: .* has 1 outputs"):
        RewardModelLabeler(str(classifier), label=1).label(sample_comparisons())
    make_tiny_model(tmp_path)
    with pytest.raises(EngineError, match="where a sequence classifier is expected"):
        RewardModelLabeler(str(tmp_path)).label(sample_comparisons())
    with pytest.raises(ConfigError, match=r"labeler\.temperature=0"):
        RewardModelLabeler(str(classifier), temperature=0)
