"""Labelers against a judge whose preferences, slot bias and failures are planted."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError
from rlaif.labelers.file import FileLabeler
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.people import HumanLabeler, People, num_raters_used
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.labeling.label_run import Progress, label_comparisons
from rlaif.labeling.summary import summarize_labels
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.tasks.base import Task
from rlaif.testing.conformance import CHECKS, check_labeler
from rlaif.testing.samples import sample_comparisons
from rlaif.testing.tiny import make_tiny_model, tiny_tokenizer
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Sampling, Segment, StructuredPrompt


@dataclass
class PlantedPrompt:
    """Segments: context, slot 1, slot 2, and the rationale in the second step."""

    asks_for_worse: bool = False
    identity: str = "planted"

    def pairwise(
        self, task: Task, prompt_text: str, first: str, second: str, *, rationale: str | None = None
    ) -> StructuredPrompt:
        texts = (prompt_text, first, second) if rationale is None else (prompt_text, first, second, rationale)
        segments = tuple(Segment(text=text, is_data=True) for text in texts)
        return StructuredPrompt(segments=segments, asks_for_worse=self.asks_for_worse)

    def rationale_request(self, task: Task, prompt_text: str, first: str, second: str) -> StructuredPrompt:
        return self.pairwise(task, prompt_text, first, second)


def _nothing(prompt: StructuredPrompt) -> str | None:
    return None


@dataclass
class PlantedEngine:
    """A response's quality is the number it starts with; slot 1 gets ``slot_bias`` on its log-odds."""

    slot_bias: float = 0.0
    names_worse: bool = False
    fails: Callable[[StructuredPrompt], str | None] = _nothing
    rationale: Callable[[StructuredPrompt], Generation] = lambda prompt: Generation(
        text=f" about {prompt.segments[1].text} and {prompt.segments[2].text}", token_ids=(1, 2), num_prompt_tokens=7
    )
    identity: str = "planted"
    scored: list[StructuredPrompt] = field(default_factory=list)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        assert tuple(options) == ("1", "2")
        self.scored += prompts
        return [self._score(prompt) for prompt in prompts]

    def _score(self, prompt: StructuredPrompt) -> OptionScores:
        if reason := self.fails(prompt):
            return OptionScores(logprobs=None, missing=reason)
        quality1, quality2 = (float(segment.text.split()[0]) for segment in prompt.segments[1:3])
        log_odds = (quality2 - quality1 if self.names_worse else quality1 - quality2) + self.slot_bias
        mass = math.log(0.9)  # The rest of the vocabulary has a share too.
        logprobs = (mass - math.log1p(math.exp(-log_odds)), mass - math.log1p(math.exp(log_odds)))
        return OptionScores(logprobs=logprobs, num_prompt_tokens=10)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        assert sampling.temperature == 0.0 and sampling.stop == ("\n",)
        return [self.rationale(prompt) for prompt in prompts]


def pair(first: float, second: float, context: str = "x") -> Comparison:
    prompt = Prompt(task="dialogue", text=f"\n\nHuman: {context}\n\nAssistant:")
    texts = (f"{first} first", f"{second} second")
    return Comparison(prompt=prompt, first=Completion(text=texts[0]), second=Completion(text=texts[1]))


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def labeled(engine: PlantedEngine, comparison: Comparison, **options: object) -> Preference:
    return PairwiseLabeler(PlantedPrompt(engine.names_worse), engine, **options).label([comparison])[0]  # type: ignore[arg-type]


def test_orders_are_reindexed_per_candidate_before_they_are_averaged() -> None:
    label = labeled(PlantedEngine(slot_bias=3.0), pair(2.0, 0.0))
    assert label.p_first == pytest.approx(0.5 * (sigmoid(2 + 3) + 1 - sigmoid(-2 + 3)))
    assert label.p_first_by_order == (pytest.approx(sigmoid(5)), pytest.approx(1 - sigmoid(1)))
    assert label.source == "ai" and label.labeler.startswith("pairwise:")


@given(quality=st.floats(0.05, 4), bias=st.floats(-6, 6))
def test_an_additive_slot_bias_never_turns_the_winner(quality: float, bias: float) -> None:
    engine = PlantedEngine(slot_bias=bias)
    assert labeled(engine, pair(quality, 0.0)).p_first > 0.5  # type: ignore[operator]
    assert labeled(engine, pair(0.0, quality)).p_first < 0.5  # type: ignore[operator]
    assert labeled(engine, pair(quality, 0.0), debias="logit").p_first == pytest.approx(sigmoid(quality))


def test_without_debiasing_the_bias_wins_and_the_other_order_stays_as_evidence() -> None:
    label = labeled(PlantedEngine(slot_bias=5.0), pair(0.0, 2.0), debias="none")
    assert label.p_first == pytest.approx(sigmoid(3.0))
    assert len(label.judgments) == 2


def test_the_distribution_is_inverted_where_the_prompt_asks_for_the_worse() -> None:
    label = labeled(PlantedEngine(names_worse=True), pair(2.0, 0.0))
    assert label.p_first == pytest.approx(sigmoid(2.0))
    given_order = label.judgments[0]
    assert given_order.option_logprobs is not None and given_order.p_slot1 is not None
    assert given_order.option_logprobs[0] < given_order.option_logprobs[1]
    assert given_order.p_slot1 > 0.5


def test_inversion_and_slot_bias_together() -> None:
    label = labeled(PlantedEngine(names_worse=True, slot_bias=4.0), pair(1.0, 0.0))
    assert 0.5 < label.p_first < sigmoid(1.0)  # type: ignore[operator]


def test_both_orders_of_a_pair_stand_side_by_side() -> None:
    engine = PlantedEngine()
    PairwiseLabeler(PlantedPrompt(), engine).label([pair(1, 2, "a"), pair(3, 4, "b")])
    slots = [tuple(segment.text[:1] for segment in prompt.segments[1:3]) for prompt in engine.scored]
    assert slots == [("1", "2"), ("2", "1"), ("3", "4"), ("4", "3")]


@pytest.mark.parametrize("debias", ["probability", "logit", "none"])
@pytest.mark.parametrize("failing_slot1", ["1.0 first", "0.0 second"])
def test_one_missing_order_makes_the_label_missing_and_keeps_the_other(debias: str, failing_slot1: str) -> None:
    engine = PlantedEngine(fails=lambda prompt: "too long" if prompt.segments[1].text == failing_slot1 else None)
    label = labeled(engine, pair(1.0, 0.0), debias=debias)
    assert label.p_first is None and label.missing == "too long"
    assert sorted(judgment.missing is None for judgment in label.judgments) == [False, True]
    assert sum(p is None for p in label.p_first_by_order) == 1


def test_no_probability_on_either_option_is_missing() -> None:
    class Silent(PlantedEngine):
        def _score(self, prompt: StructuredPrompt) -> OptionScores:
            return OptionScores(logprobs=(-math.inf, -math.inf))

    label = labeled(Silent(), pair(1.0, 0.0))
    assert label.p_first is None and label.missing == "no probability on any answer option"
    assert all(judgment.unreadable for judgment in label.judgments)


def test_one_option_outside_the_top_k_is_certainty_about_the_other() -> None:
    class TopOne(PlantedEngine):
        def _score(self, prompt: StructuredPrompt) -> OptionScores:
            return OptionScores(logprobs=(-0.1, -math.inf) if "first" in prompt.segments[1].text else (-math.inf, -0.2))

    assert labeled(TopOne(), pair(1.0, 0.0)).p_first == 1.0


def cot(engine: PlantedEngine, **options: object) -> ChainOfThoughtLabeler:
    return ChainOfThoughtLabeler(PlantedPrompt(), engine, **options)  # type: ignore[arg-type]


def test_each_order_is_scored_after_its_own_rationale() -> None:
    engine = PlantedEngine()
    label = cot(engine).label([pair(2.0, 0.0)])[0]
    rationales = ["about 2.0 first and 0.0 second", "about 0.0 second and 2.0 first"]
    assert [prompt.segments[3].text for prompt in engine.scored] == rationales
    assert [judgment.reply for judgment in label.judgments] == rationales
    assert label.p_first == pytest.approx(sigmoid(2.0))
    assert (label.judgments[0].num_prompt_tokens, label.judgments[0].num_reply_tokens) == (17, 3)


@pytest.mark.parametrize(
    ("generation", "reason", "unreadable"),
    [
        (Generation(text="on and on", token_ids=(1,) * 9, finished=False), "rationale cut at 9 tokens", True),
        (Generation(text="  "), "empty rationale", True),
        (Generation(missing="server gone"), "server gone", False),
    ],
)
def test_a_rationale_that_is_not_whole_is_missing_and_is_not_scored(
    generation: Generation, reason: str, unreadable: bool
) -> None:
    engine = PlantedEngine(rationale=lambda prompt: generation)
    label = cot(engine, max_rationale_tokens=9).label([pair(2.0, 0.0)])[0]
    assert label.p_first is None and label.missing == reason
    assert engine.scored == []
    assert [judgment.unreadable for judgment in label.judgments] == [unreadable, unreadable]
    assert label.judgments[0].reply == generation.text.strip()


def test_ablation_empty_generates_nothing() -> None:
    engine = PlantedEngine(rationale=lambda prompt: pytest.fail("generated"))
    assert cot(engine, rationale="empty").label([pair(2.0, 0.0)])[0].p_first == pytest.approx(sigmoid(2.0))
    assert engine.scored[0].segments[3].text == ""


def test_ablation_other_takes_a_rationale_of_another_prompt_whatever_the_batch() -> None:
    pairs = [pair(number, 0.0, f"prompt {number}") for number in range(5)] + [pair(0.0, 9.0, "prompt 0")]
    labeler = cot(PlantedEngine(), rationale="other").for_plan(pairs)
    together = labeler.label(pairs)
    assert together == [labeler.label([comparison])[0] for comparison in pairs]
    for label in together:
        assert label.comparison.first.text not in label.judgments[0].reply
    with pytest.raises(ConfigError, match=r"labeler\.rationale=other"):
        cot(PlantedEngine(), rationale="other").label(pairs)


def test_identity_names_everything_that_a_label_depends_on() -> None:
    engine, prompt = PlantedEngine(), PlantedPrompt()
    identities = {
        PairwiseLabeler(prompt, engine).identity,
        PairwiseLabeler(prompt, engine, debias="logit").identity,
        PairwiseLabeler(PlantedPrompt(identity="other"), engine).identity,
        PairwiseLabeler(prompt, PlantedEngine(identity="other")).identity,
        cot(engine).identity,
        cot(engine, max_rationale_tokens=8).identity,
        cot(engine, rationale="empty").identity,
        cot(engine, rationale="other").for_plan([pair(1, 2)]).identity,
        cot(engine, rationale="other").for_plan([pair(1, 3)]).identity,
    }
    assert len(identities) == 9
    assert cot(engine).identity == cot(PlantedEngine()).identity


def test_options_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match=r"labeler.debias=mean: must be one of probability, logit, none"):
        PairwiseLabeler(PlantedPrompt(), PlantedEngine(), debias="mean")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"labeler.max_rationale_tokens=0"):
        cot(PlantedEngine(), max_rationale_tokens=0)


@given(st.floats(0, 1), st.floats(max_value=0), st.floats(max_value=0))
def test_json_keeps_every_bit(p: float, logprob1: float, logprob2: float) -> None:
    judgment = Judgment(order="swapped", prompt="é\ud800\n", option_logprobs=(logprob1, logprob2), p_slot1=p)
    label = Preference(comparison=pair(1, 2), p_first=p, judgments=(judgment,), labeler="l", source="ai", confidence=8)
    assert preference_from_json(pair(1, 2), preference_to_json(label)) == label


def test_summary_counts_reasons_slots_and_tokens() -> None:
    engine = PlantedEngine(slot_bias=1.0, fails=lambda prompt: "too long" if "9.0" in prompt.text else None)
    pairs = [pair(0.1, 0.0), pair(3.0, 0.0), pair(9.0, 0.0), pair(0.0, 0.5)]
    summary = summarize_labels(PairwiseLabeler(PlantedPrompt(), engine).label(pairs))
    assert (summary.n, summary.missing, summary.num_both_orders) == (4, {"too long": 1}, 3)
    assert summary.same_slot_share == pytest.approx(2 / 3)
    assert (summary.num_prompt_tokens, summary.num_reply_tokens) == (60, 6)
    assert summarize_labels([]).same_slot_share is None


# Labels from files


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def row(comparison: Comparison, p_first: float | None) -> dict[str, object]:
    texts = {"prompt": comparison.prompt.text, "first": comparison.first.text, "second": comparison.second.text}
    return {**texts, "p_first": p_first}


class Rater:
    """Prefers the longer text; rater 1 the shorter."""

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [float((len(item.first.text) < len(item.second.text)) != (rater == 0)) for item in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return [True for _ in responses]


def test_people_answer_from_the_data_and_else_from_simulated_annotators() -> None:
    known, unknown = pair(1, 2, "known"), pair(3, 4, "unknown")
    swapped = Comparison(prompt=known.prompt, first=known.second, second=known.first)
    given_labels = [Preference(comparison=known, p_first=1.0, source="human")]
    labels = HumanLabeler().bind(People(labels=given_labels)).label([known, swapped, unknown])
    assert [label.p_first for label in labels] == [1.0, 0.0, None]
    assert labels[1].comparison == swapped and labels[2].missing == "no human label for this pair"
    simulated = HumanLabeler(rater=1).bind(People(labels=given_labels, annotators=Rater()))
    assert simulated.source == "simulated annotators"
    labels = simulated.label([unknown, known])
    assert [(label.p_first, label.source) for label in labels] == [(1.0, "simulated annotators"), (1.0, "human")]
    assert HumanLabeler().bind(People(labels=given_labels)).identity != HumanLabeler().bind(People()).identity


# The conformance kit


@dataclass
class ScriptedJudge:
    """Answers by the lengths of the candidates in real judge prompts; too long prompts are missing."""

    identity: str = "by length"
    slot_bias: float = 0.3

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        return [self._score(prompt) for prompt in prompts]

    def _score(self, prompt: StructuredPrompt) -> OptionScores:
        if len(prompt.text) > 10_000:
            return OptionScores(logprobs=None, missing="prompt too long")
        slot1, slot2 = (len(segment.text) for segment in [s for s in prompt.segments if s.is_data][1:3])
        log_odds = 0.1 * (slot1 - slot2) + self.slot_bias
        return OptionScores(logprobs=(0.0, -log_odds), num_prompt_tokens=len(prompt.text))

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        return [Generation(text="The first is longer.", token_ids=(1, 2, 3)) for _ in prompts]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_a_tiny_model_is_the_same_every_time_and_leaves_the_random_state(tiny: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = make_tiny_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in tiny.iterdir()
    }
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer("é 😀\n\nHuman:  x")["input_ids"]) == "é 😀\n\nHuman:  x"


def test_a_real_model_conforms(tiny: Path) -> None:
    engine = TransformersEngine(str(tiny), device="cpu", batch_size=4)
    results = check_labeler(PairwiseLabeler(JudgePrompts(), engine))
    assert [(result.name, result.detail) for result in results if not result.passed] == []
    labels = ChainOfThoughtLabeler(JudgePrompts(), engine, max_rationale_tokens=4).label(sample_comparisons()[:2])
    assert all(label.missing is None or "rationale" in label.missing for label in labels)


@pytest.mark.parametrize("labeler_class", [PairwiseLabeler, ChainOfThoughtLabeler])
def test_our_labelers_conform_with_the_built_in_prompts(labeler_class: type[PairwiseLabeler]) -> None:
    results = check_labeler(labeler_class(JudgePrompts(), ScriptedJudge()))
    assert [(result.name, result.detail) for result in results if not result.passed] == []
    assert len(results) == len(CHECKS) - 1  # they rate no single response


def test_file_and_human_labelers_conform(tmp_path: Path) -> None:
    pairs = sample_comparisons()
    path = write_table(tmp_path / "labels.jsonl", [row(comparison, 0.25) for comparison in pairs])
    labeler = FileLabeler(path, source="human")
    people = HumanLabeler().bind(
        People(labels=[Preference(comparison=item, p_first=1.0, source="human") for item in pairs])
    )
    failed = [result for item in (labeler, people) for result in check_labeler(item) if not result.passed]
    assert failed == []


class Broken:
    """Breaks every promise that the kit tests."""

    name = "broken"
    source = ""

    def __init__(self) -> None:
        self.calls = 0
        self.unpicklable = lambda: None

    @property
    def identity(self) -> str:
        self.calls += 1
        return str(self.calls)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.calls += 1
        if any(not comparison.first.text for comparison in comparisons):
            raise ZeroDivisionError("no text")
        return [Preference(comparison=item, p_first=1.0 / (self.calls + len(comparisons))) for item in comparisons]


def test_the_kit_finds_every_planted_defect_and_never_raises() -> None:
    results = {result.name: result for result in check_labeler(Broken())}
    assert [name for name, result in results.items() if result.passed] == ["declares its models", "one label each"]
    assert "prompt, engine" in results["declares itself"].detail
    assert "ZeroDivisionError" in results["odd input"].detail
    biased = PairwiseLabeler(JudgePrompts(), ScriptedJudge(), debias="none")
    assert [result.name for result in check_labeler(biased) if not result.passed] == ["swap symmetry"]


def test_a_labeler_that_only_misses_does_not_conform(tmp_path: Path) -> None:
    path = write_table(tmp_path / "labels.jsonl", [row(pair(1, 2), 0.5)])
    failed = [result for result in check_labeler(FileLabeler(path, source="human")) if not result.passed]
    assert [result.name for result in failed] == ["one label each"]
    assert "not in file" in failed[0].detail


@pytest.mark.parametrize("steps", [1, 2])
def test_a_model_that_was_loaded_anew_in_mid_plan_gives_the_same_bits(steps: int, tiny: Path, tmp_path: Path) -> None:
    comparisons = [
        Comparison(prompt=item.prompt, first=item.first, second=Completion(text=f"{item.second.text} {number}"))
        for number in range(3)
        for item in sample_comparisons()
    ]

    def labeler() -> PairwiseLabeler:
        prompt, engine = JudgePrompts(preamble="detailed"), TransformersEngine(str(tiny), device="cpu", batch_size=4)
        if steps == 1:
            return PairwiseLabeler(prompt, engine)
        return ChainOfThoughtLabeler(prompt, engine, max_rationale_tokens=8)

    def stop_after_two(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    def run(name: str, progress: Progress | None = None) -> list[Preference]:
        return list(
            label_comparisons(
                labeler(), comparisons, tmp_path / name, batch_size=4, max_missing_rate=1.0, progress=progress
            )
        )

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", stop_after_two)
    assert run("broken") == whole
    # A random model rarely ends its line, so that the second step is mostly missing; its rationales are evidence.
    assert all(label.missing is None for label in whole) if steps == 1 else any(whole[0].judgments[0].reply)


def test_raters_that_label_are_counted_from_the_first() -> None:
    """Those from the number on are free to judge the policy."""
    assert num_raters_used(cot(PlantedEngine())) == 0
    assert num_raters_used(HumanLabeler(rater=0)) == 1
    assert num_raters_used(HumanLabeler(rater=2)) == 3
