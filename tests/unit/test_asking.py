"""Asking a labeler to measure it: what is in the cache is not asked again, and an outage is no measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Spending
from rlaif.errors import ConfigError, GateStopped, PluginError
from rlaif.labelers.base import Labeler
from rlaif.labelers.convert import AgainstReference
from rlaif.labelers.pairwise import PairwiseLabeler
from rlaif.labelers.ranking import RankingLabeler
from rlaif.labeling.asking import Asking, AskingSettings, one_budget
from rlaif.labeling.cost import Budget, LabelCost, Prices
from rlaif.outcome import OptionScores
from rlaif.pipeline.plan import Plan
from rlaif.prompts.judge import JudgePrompts
from rlaif.reporting.terminal import RunDisplay
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating, StructuredPrompt

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=f"\n\nHuman: {number}?\n\nAssistant:"),
        first=Completion(text="yes"),
        second=Completion(text="no"),
    )
    for number in range(5)
]


class AlwaysMissing:
    """A labeler without a model that never answers."""

    name, source, identity = "missing", "nobody", "missing"

    def label(self, comparisons: list[Comparison]) -> list[Preference]:
        return [Preference(comparison=pair, p_first=None, missing="down") for pair in comparisons]


def asked(
    tmp_path: Path, labeler: Labeler, max_missing_rate: float = 0.2, **prices: float
) -> tuple[list[Preference], LabelCost]:
    settings = AskingSettings(
        answers=AnswerPlace("local", tmp_path),
        prices=Prices(**prices),
        budget=Budget(),
        max_missing_rate=max_missing_rate,
    )
    asking = settings.begin(None, batch_size=2)
    with RunDisplay().stage("scorecard") as display:
        (labels,) = asking.label(labeler, [PAIRS], display)
    return labels, asking.cost


def scripted(engine: ScriptedEngine) -> Labeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def test_answers_are_kept_and_not_asked_again(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    labels, first = asked(tmp_path, scripted(engine))
    assert (len(labels), engine.num_prompts) == (5, 10)
    assert first.seconds_per_label is not None and first.usd_per_label is None
    again, second = asked(tmp_path, scripted(engine))
    assert [label.p_first for label in again] == [label.p_first for label in labels]
    assert engine.num_prompts == 10
    assert second.seconds_per_label is None


def test_prices_count_cached_answers_as_if_they_had_been_asked(tmp_path: Path) -> None:
    prices = {
        "usd_per_million_input_tokens": 30.0,
        "usd_per_million_output_tokens": 60.0,
        "human_usd_per_label": 0.5,
    }
    labels, first = asked(tmp_path, scripted(ScriptedEngine()), **prices)
    read = sum(judgment.num_prompt_tokens for label in labels for judgment in label.judgments)
    assert first.usd_per_label == pytest.approx((read * 30 + 10 * 60) / 1e6 / 5)
    assert first.human_usd_per_label == 0.5
    _, second = asked(tmp_path, scripted(ScriptedEngine()), **prices)
    assert second.usd_per_label == pytest.approx(first.usd_per_label)


def test_answers_that_nobody_can_read_are_measured(tmp_path: Path) -> None:
    labels, took = asked(tmp_path, scripted(ScriptedEngine(lambda prompt: {})), max_missing_rate=0.0)
    assert [label.missing for label in labels] == ["no probability on any answer option"] * 5
    assert took.seconds_per_label is not None


def test_an_outage_stops_and_the_next_start_asks_for_the_rest(tmp_path: Path) -> None:
    answered: list[str] = []

    def respond(prompt: str) -> dict[str, float]:
        if len(answered) == 4:
            raise ConnectionError("refused")
        answered.append(prompt)
        return {"1": 0.5, "2": 0.5}

    with pytest.raises(GateStopped) as stopped:
        asked(tmp_path, scripted(ScriptedEngine(respond)))
    assert stopped.value.exit_code == 3
    assert "label.max_missing_rate=0.2: 2 of 4 judged comparisons are missing, 5 are planned" in str(stopped.value)
    assert "2 × ConnectionError: refused" in str(stopped.value)
    engine = ScriptedEngine(lambda prompt: {"1": 0.5, "2": 0.5})
    labels, _ = asked(tmp_path, scripted(engine))
    assert engine.num_prompts == 6 and all(label.p_first == 0.5 for label in labels)


def test_an_outage_is_accepted_where_the_limit_says_so(tmp_path: Path) -> None:
    labels, took = asked(tmp_path, AlwaysMissing(), max_missing_rate=1.0)
    assert [label.missing for label in labels] == ["down"] * 5
    assert took.seconds_per_label is not None and took.usd_per_label is None


class Shown:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int | None, str]] = []
        self.told: list[tuple[int, int]] = []

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        self.begun.append((total, unit))
        return lambda done, of: self.told.append((done, of))


class Coin:
    """A labeler and rater without a model."""

    name, source, identity = "coin", "nobody", "coin"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        scales = [(0.25, 0.75)] * len(prompts)
        return [
            Rating(prompt=prompt, completion=completion, distribution=scale, lowest=0.0, highest=1.0)
            for prompt, completion, scale in zip(prompts, completions, scales, strict=True)
        ]


class Down(Coin):
    """Fails without an answer."""

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        scales = {"distribution": None, "lowest": 0.0, "highest": 1.0, "missing": "down"}
        return [
            Rating(prompt=prompt, completion=completion, **scales)  # type: ignore[arg-type]
            for prompt, completion in zip(prompts, completions, strict=True)
        ]


def test_ratings_that_are_missing_name_their_rater_and_what_they_are_of(tmp_path: Path) -> None:
    asking = settings(tmp_path).begin(None, option="evaluation.harm_judge")
    rows = [(pair.prompt, pair.first) for pair in PAIRS]
    with pytest.raises(GateStopped) as stopped:
        list(asking.rate(Down(), rows, Shown()))
    told = f"evaluation.harm_judge: label.max_missing_rate=0.2: {len(rows)} of {len(rows)} rated responses are missing"
    assert str(stopped.value).startswith(told)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (lambda prompts, completions: Coin().rate(prompts[1:], completions[1:]), "returned 1 ratings for 2 responses"),
        (
            lambda prompts, completions: [replace(one, lowest=1.0) for one in Coin().rate(prompts, completions)],
            "rated on a scale from 1.0 to 1.0, which must rise",
        ),
    ],
)
def test_ratings_of_a_reward_are_held_against_their_contract(rate: Any, said: str, tmp_path: Path) -> None:
    rater: Any = SimpleNamespace(name="coin", source="nobody", identity="coin", rate=rate)
    with pytest.raises(PluginError, match=f"labeler coin: {said}"):
        settings(tmp_path).begin(None).rater(rater).rate([pair.prompt for pair in PAIRS[:2]], [PAIRS[0].first] * 2)
    few: Any = SimpleNamespace(name="coin", source="nobody", identity="coin", label=lambda pairs: [])
    references = {pair.prompt.id: pair.second for pair in PAIRS}
    with pytest.raises(PluginError, match="labeler coin: returned 0 labels for 1 comparisons"):
        AgainstReference(few, references).rate([PAIRS[0].prompt], [PAIRS[0].first])


class Refusing(ScriptedEngine):
    """A server that refuses every prompt."""

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        self.num_prompts += len(prompts)
        return [OptionScores(logprobs=None, missing="refused: content filter", is_final=True) for _ in prompts]


def settings(root: Path, **options: Any) -> AskingSettings:
    chosen: dict[str, Any] = {"answers": AnswerPlace("local", root), "prices": Prices(), "budget": Budget()}
    return AskingSettings(**(chosen | options))


def test_the_display_is_told_of_every_batch_over_all_plans(tmp_path: Path) -> None:
    shown = Shown()
    labels = settings(tmp_path).begin(None, batch_size=2).label(Coin(), [PAIRS[:3], PAIRS], shown)
    assert [len(plan) for plan in labels] == [3, 5]
    assert shown.begun == [(8, "pairs")]
    assert shown.told == [(2, 8), (3, 8), (5, 8), (7, 8), (8, 8)]


def test_a_judge_tells_the_display_of_each_of_its_calls(tmp_path: Path) -> None:
    shown = Shown()
    judge = settings(tmp_path).begin(None, batch_size=2).judge(Coin(), shown)
    assert [label.comparison for label in judge.label(PAIRS)] == PAIRS
    assert judge.label(PAIRS[:1])[0].p_first == 0.5
    assert shown.begun == [(5, "pairs"), (1, "pairs")]
    assert shown.told == [(2, 5), (4, 5), (5, 5), (1, 1)]
    assert (judge.name, judge.source, judge.identity) == ("coin", "nobody", "coin")


def test_the_seconds_of_a_labeler_without_a_model_are_those_of_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches of a second each, five labels."""
    seconds = iter(range(100))
    monkeypatch.setattr("rlaif.labeling.asking.time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
    asking = settings(tmp_path).begin(None, batch_size=2)
    asking.label(Coin(), [PAIRS], Shown())
    assert asking.cost.seconds_per_label == pytest.approx(3 / 5)


def test_figures_are_of_the_labels_asked_for_or_of_those_obtained(tmp_path: Path) -> None:
    asking = settings(tmp_path).begin(None)
    asking.label(scripted(ScriptedEngine()), [PAIRS], Shown())
    figures = asking.cost_figures()
    assert (figures["num_labels"], figures["num_questions"]) == (5, 10)
    read = figures["num_prompt_tokens"]
    assert read and figures["tokens_per_label"] == pytest.approx((read + 10) / 5)
    assert asking.cost_figures(4)["tokens_per_label"] == pytest.approx((read + 10) / 4)
    assert asking.cost_figures(0)["tokens_per_label"] is None


def test_without_options_a_step_asks_for_64_pairs_at_once_and_a_fifth_may_be_missing(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Sizes(Coin):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            sizes.append(len(comparisons))
            return super().label(comparisons)

    many = [replace(PAIRS[0], first=Completion(text=f"{number}")) for number in range(65)]
    settings(tmp_path).begin(None).label(Sizes(), [many], Shown())
    Asking(None, answers=AnswerPlace("none", "")).label(Sizes(), [many], Shown())
    assert sizes == [64, 1, 64, 1]

    class Misses(Coin):
        def __init__(self, count: int) -> None:
            self.count = count

        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            missing = [Preference(comparison=pair, p_first=None, missing="down") for pair in comparisons]
            return [*missing[: self.count], *super().label(comparisons)[self.count :]]

    for asking in (settings(tmp_path).begin(None), Asking(None, answers=AnswerPlace("none", ""))):
        asking.label(Misses(1), [PAIRS], Shown())
        with pytest.raises(GateStopped, match=r"label\.max_missing_rate=0\.2: 2 of 5"):
            asking.label(Misses(2), [PAIRS], Shown())


def test_answers_are_read_from_elsewhere_unless_a_step_keeps_its_own(tmp_path: Path) -> None:
    def num_asked(step: str, **options: Any) -> int:
        engine = ScriptedEngine()
        asking = settings(tmp_path / "store").begin(tmp_path / step, **options)
        asking.label(scripted(engine), [PAIRS], Shown())
        asking.close()
        return engine.num_prompts

    assert num_asked("a") == 10
    assert num_asked("b") == 0
    assert num_asked("c", keeps_answers_apart=True) == 10
    assert num_asked("c", keeps_answers_apart=True) == 0, "its own are found again"
    engine = ScriptedEngine()
    in_memory = settings(tmp_path / "store").begin(None, keeps_answers_apart=True)
    in_memory.label(scripted(engine), [PAIRS], Shown())
    assert engine.num_prompts == 0, "without a directory there is no place of its own"


def test_what_was_spent_is_kept_in_the_file_of_the_process_until_the_step_is_finished(tmp_path: Path) -> None:
    directory = tmp_path / "step"
    first = settings(tmp_path).begin(directory, before=Spending(num_questions=1, num_prompt_tokens=7))
    first.close()
    assert [path.name for path in directory.glob("spent-*")] == ["spent-0.jsonl"]
    other = settings(tmp_path).begin(directory, rank=1)
    other.ledger.add(Spending(num_questions=2))
    other.close()
    assert (directory / "spent-1.jsonl").exists(), "a step that is not finished keeps its files"
    again = Asking(directory, answers=AnswerPlace("none", ""))
    assert again.ledger.total() == Spending(num_questions=3, num_prompt_tokens=7)
    again.ledger.add(Spending(num_questions=1))
    assert len((directory / "spent-0.jsonl").read_text().splitlines()) == 2
    again.close(remove=True)
    assert not directory.exists()
    again.close(remove=True)
    settings(tmp_path).begin(None).close(remove=True)


@pytest.mark.parametrize("kept", [True, False])
def test_a_spent_budget_stops_labelers_and_raters_before_they_ask(kept: bool, tmp_path: Path) -> None:
    budget = Budget(max_tokens=5)
    asking = settings(tmp_path / "store", budget=budget).begin(
        tmp_path / "step" if kept else None, option="evaluation.judge", before=Spending(num_questions=1)
    )
    prompts, responses = [PAIRS[0].prompt], [PAIRS[0].first]
    rater = asking.rater(Coin())
    assert (rater.name, rater.source, rater.identity) == ("coin", "nobody", "coin")
    (rating,) = rater.rate(prompts, responses)
    assert rating.score == 0.75
    asking.ledger.add(Spending(num_prompt_tokens=5))
    where = tmp_path / "step" if kept else tmp_path / "store"
    for ask in (lambda: rater.rate(prompts, responses), lambda: asking.judge(Coin(), Shown()).label(PAIRS)):
        with pytest.raises(GateStopped, match=r"budget\.max_tokens=5: reached") as stopped:
            ask()
        assert f"kept in {where}:" in str(stopped.value)


def test_a_judge_that_plans_ahead_sees_the_plan_where_there_is_one(tmp_path: Path) -> None:
    """Three responses of one prompt are one ranking in two orders; without a plan each pair is ranked alone."""
    texts = [Completion(text=text) for text in "abc"]
    pairs = [Comparison(prompt=PAIRS[0].prompt, first=a, second=b) for a, b in combinations(texts, 2)]
    rankings = {"": {"1 2 3": 0.6, "3 2 1": 0.4, "1 2": 0.6, "2 1": 0.4}}

    def num_asked(plan: Sequence[Comparison] | None) -> int:
        engine = ScriptedEngine(rankings)
        asking = settings(tmp_path, answers=AnswerPlace("none", "")).begin(None)
        asking.judge(RankingLabeler(JudgePrompts(), engine), Shown(), plan).label(pairs)
        return engine.num_prompts

    assert (num_asked(pairs), num_asked(None)) == (2, 6)
    assert settings(tmp_path).begin(None).judge(Coin(), Shown(), pairs).label(pairs)[0].p_first == 0.5


def test_a_budget_in_money_needs_a_price_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget\.max_usd=1: no price is known"):
        settings(tmp_path, budget=Budget(max_usd=1.0))
    with pytest.raises(ConfigError, match=r"budget\.max_usd=1: no price is known"):
        Asking(None, answers=AnswerPlace("none", ""), budget=Budget(max_usd=1.0))


@pytest.mark.parametrize("again", [True, False])
def test_refused_prompts_are_asked_again_only_on_request(again: bool, tmp_path: Path) -> None:
    engine = Refusing()
    for number in range(2):
        asking = settings(tmp_path, max_missing_rate=1.0, **({"ask_refused_again": True} if again else {})).begin(None)
        asking.label(scripted(engine), [PAIRS], Shown())
        assert engine.num_prompts == (10 * (number + 1) if again else 10)
        asking.close()


MakePlan = Callable[..., Plan]
SIZES = ("data.num_eval_preferences=40", "probe.num_pairs=6", "probe.attacks=[empty,choose_1,echo]")


def build(plan: Plan, name: str, labeler: Labeler, directory: Path) -> None:
    """Build a step with another labeler."""
    step = plan.step(name)
    stage: Any = step.stage
    stage.labeler = labeler
    with RunDisplay().stage(name) as display:
        stage.build(plan.work(step, directory, display))


@pytest.mark.parametrize("stage", ["scorecard", "probe"])
def test_no_stage_is_finished_by_an_outage(stage: str, make_plan: MakePlan, tmp_path: Path) -> None:
    sizes = SIZES if stage == "probe" else SIZES[:1]
    with pytest.raises(GateStopped, match="start again to ask"):
        build(make_plan(f"pipeline={stage}", *sizes), stage, AlwaysMissing(), tmp_path)


def test_each_attack_is_judged_on_its_own(make_plan: MakePlan, tmp_path: Path) -> None:
    """A ranking labeler ranks a prompt's candidates of one plan together."""
    num_rankings: set[int] = set()

    class Engine(ScriptedEngine):
        def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
            num_rankings.update([len(options)])
            return super().score(prompts, options)

    labeler = RankingLabeler(JudgePrompts(), Engine(lambda prompt: {"1 2": 0.6, "2 1": 0.4}))
    build(make_plan("pipeline=probe", *SIZES), "probe", labeler, tmp_path)
    assert num_rankings == {2}  # of two candidates; four have 24


def test_the_steps_of_a_run_share_a_budget(tmp_path: Path) -> None:
    """Each asks as often as its own budget allows; together they do not."""

    def spend(times: int) -> int:
        for done in range(times):
            begun = AskingSettings(
                answers=AnswerPlace("local", tmp_path), prices=Prices(), budget=Budget(max_tokens=100)
            ).begin(None, batch_size=2)
            try:
                begun.check_budget()
            except GateStopped:
                return done
            begun.ledger.add(Spending(num_prompt_tokens=40))
        return times

    assert spend(5) == 5
    with one_budget():
        assert spend(5) == 3, "120 tokens are above 100"
    with one_budget():
        assert spend(2) == 2, "another run"
