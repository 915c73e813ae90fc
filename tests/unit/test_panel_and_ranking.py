"""Self-consistency, rankings, panels and classifiers as labelers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
import torch

from rlaif.engines.scripted import ScriptedEngine
from rlaif.errors import ConfigError, EngineError, GateStopped
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler, disagreement
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.labelers.ranking import RankingLabeler, answers
from rlaif.labelers.reward_model import RewardModelLabeler
from rlaif.labelers.self_consistency import SelfConsistencyLabeler
from rlaif.models.classifiers import load_reward_model
from rlaif.outcome import Generation
from rlaif.prompts.judge import JudgePrompts
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model, tiny_tokenizer
from rlaif.types import Comparison, Completion, Preference, Prompt, Sampling, StructuredPrompt

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


def test_panel_options_are_checked() -> None:
    with pytest.raises(ConfigError) as error:
        panel(Fixed("a", 0.5), weights={"b": 1.0, "a": 0.0}, min_verdicts=3)
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "labeler.weights.b",
        "labeler.weights.a=0.0",
        "labeler.min_verdicts=3",
    ]
    with pytest.raises(ConfigError, match="at least one member"):
        panel()


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
