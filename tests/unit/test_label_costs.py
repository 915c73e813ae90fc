"""What labels cost, against sums done by hand: prices, budget, estimate."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rlaif.engines.cached import CachedEngine
from rlaif.engines.dry import DryEngine
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Ledger, Spending
from rlaif.errors import ConfigError, GateStopped
from rlaif.labeling.cost import Budget, LabelCost, Prices, cost_figures, in_words
from rlaif.labeling.estimate import LabelEstimate, _spread, stand_in_pairs
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import estimate as run_estimate
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.labels import LabelStage
from rlaif.types import Comparison, Completion, Prompt, Sampling, Segment, StructuredPrompt

PAPER = Prices(usd_per_million_input_tokens=30.0, usd_per_million_output_tokens=60.0)
"""arXiv 2309.00267, appendix L: $0.03 and $0.06 per thousand tokens."""


def ledger(*spent: Spending) -> Ledger:
    filled = Ledger()
    for spending in spent:
        filled.add(spending)
    return filled


def test_the_papers_own_example_costs_what_the_paper_says() -> None:
    one_label = Spending(num_questions=2, num_prompt_tokens=2 * 830, num_reply_tokens=2 * 61)
    assert PAPER.usd(one_label) == pytest.approx(0.0571, abs=5e-5)
    figures = cost_figures(ledger(one_label), PAPER, num_labels=1)
    assert figures["usd_per_1000_labels"] == pytest.approx(57.1, abs=0.05)
    assert figures["human_usd_per_1000_labels"] == pytest.approx(670.0)
    assert figures["human_usd_per_1000_labels"] / figures["usd_per_1000_labels"] == pytest.approx(11.7, abs=0.05)
    assert figures["tokens_per_label"] == 1782


def test_money_of_a_rented_machine_and_of_nothing_known() -> None:
    assert Prices(usd_per_hour=4.0).usd(Spending(seconds=900.0)) == 1.0
    assert Prices().usd(Spending(seconds=900.0, num_prompt_tokens=10**9)) is None
    assert Prices(usd_per_million_output_tokens=1.0).usd(Spending(num_prompt_tokens=10**6)) == 0.0


def test_cached_answers_are_free_and_still_count_in_what_a_label_costs() -> None:
    half = Spending(
        num_questions=10,
        num_prompt_tokens=1000,
        num_reply_tokens=10,
        num_cached=10,
        num_cached_prompt_tokens=1000,
        num_cached_reply_tokens=10,
        seconds=5.0,
    )
    figures = cost_figures(ledger(half), PAPER, num_labels=10)
    assert figures["usd"] == pytest.approx((1000 * 30 + 10 * 60) / 1e6)
    assert figures["usd_per_1000_labels"] == pytest.approx(2 * 100 * figures["usd"])
    assert figures["seconds"] == 5.0 and figures["seconds_per_1000_labels"] == 1000.0
    assert figures["tokens_per_label"] == (2 * 1000 + 2 * 10) / 10
    each = LabelCost.of(half, 10, 99.0, PAPER)
    assert each.seconds_per_label == pytest.approx(2 * 5.0 / 10)
    assert each.usd_per_label == pytest.approx(2 * figures["usd"] / 10)
    rented = Prices(usd_per_hour=3600.0)
    assert cost_figures(ledger(half), rented, num_labels=10)["usd_per_1000_labels"] == pytest.approx(1000.0)
    assert LabelCost.of(half, 10, 99.0, rented).usd_per_label == pytest.approx(1.0)
    known = Spending(num_cached=4, num_cached_prompt_tokens=8)
    assert cost_figures(ledger(known), rented, num_labels=2)["usd_per_1000_labels"] is None
    assert LabelCost.of(known, 2, 99.0, rented) == LabelCost(seconds_per_label=None, usd_per_label=None)
    assert LabelCost.of(Spending(), 4, 8.0, rented) == LabelCost(seconds_per_label=2.0, usd_per_label=None)
    all_known = cost_figures(ledger(Spending(num_cached=4, num_cached_prompt_tokens=8)), PAPER, num_labels=2)
    assert all_known["usd"] == 0.0 and all_known["seconds_per_1000_labels"] is None
    assert all_known["usd_per_1000_labels"] == pytest.approx(1000 * 8 * 30 / 1e6 / 2)
    none = cost_figures(Ledger(), Prices(usd_per_hour=1.0), num_labels=0)
    assert none["tokens_per_label"] is None and none["usd_per_1000_labels"] is None


@pytest.mark.parametrize(
    ("budget", "stops"),
    [
        (Budget(), False),
        (Budget(max_tokens=111), False),
        (Budget(max_tokens=110), True),
        (Budget(max_usd=0.0037), False),
        (Budget(max_usd=0.0036), True),
        (Budget(max_hours=0.51), False),
        (Budget(max_hours=0.5), True),
    ],
)
def test_a_budget_stops_once_it_is_spent(budget: Budget, stops: bool, tmp_path: Path) -> None:
    spent = ledger(Spending(num_questions=4, num_prompt_tokens=100, num_reply_tokens=10, seconds=1800.0))
    if not stops:
        budget.check(spent, PAPER, tmp_path)
        return
    with pytest.raises(GateStopped) as stopped:
        budget.check(spent, PAPER, tmp_path)
    assert stopped.value.exit_code == 3
    message = str(stopped.value)
    assert "4 questions, 100 tokens read, 10 written, 0.50 hours, 0.0036 USD" in message
    assert str(tmp_path) in message and "start again to go on" in message


def test_hours_are_those_of_the_slowest_process_and_tokens_those_of_all(tmp_path: Path) -> None:
    for rank in range(2):
        Ledger(tmp_path, rank=rank).add(Spending(num_prompt_tokens=60, seconds=1800.0 * (rank + 1)))
    both = Ledger(tmp_path)
    Budget(max_hours=1.1, max_tokens=121).check(both, PAPER, tmp_path)
    with pytest.raises(GateStopped, match=r"max_hours"):
        Budget(max_hours=1.0).check(both, PAPER, tmp_path)
    with pytest.raises(GateStopped, match=r"max_tokens"):
        Budget(max_tokens=120).check(both, PAPER, tmp_path)


def test_options_out_of_range_are_named_as_typed() -> None:
    with pytest.raises(ConfigError) as error:
        Prices(usd_per_hour=-1.0, human_usd_per_label=-2.0)
    assert [problem.split("=")[0] for problem in error.value.problems] == [
        "cost.usd_per_hour",
        "cost.human_usd_per_label",
    ]
    with pytest.raises(ConfigError, match=r"budget\.max_tokens=0: must be above 0"):
        Budget(max_tokens=0)
    with pytest.raises(ConfigError, match=r"budget\.max_usd=1: no price is known; set cost\.usd_per"):
        Budget(max_usd=1.0).check_prices(Prices())


def test_tokens_that_a_server_had_read_before_have_a_price_of_their_own() -> None:
    """1,000 read, 400 of them reused, 50 written, half an hour of a machine."""
    spent = Spending(num_prompt_tokens=1000, num_reused_prompt_tokens=400, num_reply_tokens=50, seconds=1800.0)
    prices = replace(PAPER, usd_per_million_cached_input_tokens=10.0, usd_per_hour=2.0)
    assert prices.usd(spent) == pytest.approx(0.018 + 0.004 + 0.003 + 1.0)
    assert replace(prices, usd_per_million_cached_input_tokens=0.0).usd(spent) == pytest.approx(0.018 + 0.003 + 1.0)
    assert replace(PAPER, usd_per_hour=2.0).usd(spent) == pytest.approx(0.03 + 0.003 + 1.0)
    assert Prices(usd_per_million_input_tokens=30.0).usd(spent) == pytest.approx(0.03)


def test_figures_of_a_run_that_found_six_of_ten_answers_by_hand() -> None:
    """Four questions in 8 s: ten would have taken 20 s."""
    spent = Spending(
        num_questions=4,
        num_prompt_tokens=400,
        num_reused_prompt_tokens=100,
        num_reply_tokens=20,
        num_retried=3,
        num_cached=6,
        num_cached_prompt_tokens=500,
        num_cached_reply_tokens=30,
        seconds=8.0,
    )
    prices = Prices(
        usd_per_million_input_tokens=1000.0,
        usd_per_million_cached_input_tokens=500.0,
        usd_per_million_output_tokens=10_000.0,
        usd_per_hour=36.0,
        human_usd_per_label=0.5,
    )
    assert cost_figures(ledger(spent), prices, num_labels=5) == {
        "num_labels": 5,
        "num_questions": 4,
        "num_retried": 3,
        "num_prompt_tokens": 400,
        "num_reused_prompt_tokens": 100,
        "num_reply_tokens": 20,
        "num_cached": 6,
        "num_cached_prompt_tokens": 500,
        "num_cached_reply_tokens": 30,
        "seconds": 8.0,
        "usd": pytest.approx(0.3 + 0.05 + 0.2 + 0.08),
        "tokens_per_label": 950 / 5,
        "seconds_per_1000_labels": pytest.approx(4000.0),
        "usd_per_1000_labels": pytest.approx(200 * (0.8 + 0.05 + 0.5 + 0.2)),
        "human_usd_per_1000_labels": 500.0,
    }
    each = LabelCost.of(spent, 5, 99.0, prices)
    assert each.seconds_per_label == pytest.approx(4.0)
    assert each.usd_per_label == pytest.approx((0.8 + 0.05 + 0.5 + 0.2) / 5)
    assert each.human_usd_per_label == 0.5


def test_the_time_of_a_labeler_that_asks_a_model_is_that_of_its_questions() -> None:
    asked = Spending(num_questions=4, num_prompt_tokens=10**6, seconds=8.0)
    assert LabelCost.of(asked, 2, 99.0, PAPER) == LabelCost(seconds_per_label=4.0, usd_per_label=15.0)
    at_once, rented = Spending(num_questions=4), Prices(usd_per_hour=3600.0)
    assert LabelCost.of(at_once, 2, 99.0, rented) == LabelCost(seconds_per_label=0.0, usd_per_label=0.0)
    assert cost_figures(ledger(at_once), rented, num_labels=2)["usd_per_1000_labels"] == 0.0


def test_a_run_without_labels_tells_what_it_spent_and_nothing_per_label() -> None:
    asked = Spending(num_questions=4, num_prompt_tokens=10**6, seconds=8.0)
    figures = cost_figures(ledger(asked), PAPER, num_labels=0)
    per_label = ("tokens_per_label", "seconds_per_1000_labels", "usd_per_1000_labels")
    assert [figures[name] for name in per_label] == [None, None, None]
    assert (figures["usd"], figures["seconds"]) == (30.0, 8.0)
    assert LabelCost.of(asked, 0, 99.0, PAPER) == LabelCost(seconds_per_label=8.0, usd_per_label=30.0)


def test_a_persons_label_costs_what_the_paper_says_where_nothing_else_is_said() -> None:
    assert Prices().human_usd_per_label == LabelCost().human_usd_per_label == 0.67


def test_failed_requests_are_told_where_there_are_any() -> None:
    words = in_words(Spending(num_questions=1234, num_retried=1500, seconds=5400.0), None)
    assert words == ("1,234 questions, 0 tokens read, 0 written, 1.50 hours, 1,500 failed requests made again")


@pytest.mark.parametrize("limit", ["max_usd", "max_tokens", "max_hours"])
def test_of_several_limits_the_one_that_is_reached_stops_and_is_named(limit: str, tmp_path: Path) -> None:
    spent = ledger(Spending(num_prompt_tokens=100, seconds=3600.0))
    far = {"max_usd": 9.0, "max_tokens": 1000.0, "max_hours": 9.0}
    Budget(**far).check(spent, PAPER, tmp_path)
    with pytest.raises(GateStopped, match=rf"^budget\.{limit}=0\.001: reached.*raise budget\.{limit} and start"):
        Budget(**(far | {limit: 0.001})).check(spent, PAPER, tmp_path)


def test_money_that_nobody_can_count_reaches_no_limit(tmp_path: Path) -> None:
    Budget(max_usd=0.5).check(ledger(Spending(num_prompt_tokens=10**9)), Prices(), tmp_path)


def test_nothing_may_cost_nothing_and_a_limit_of_nothing_is_refused() -> None:
    free = Prices(usd_per_million_input_tokens=0.0, usd_per_hour=0.0)
    assert free.usd(Spending(num_prompt_tokens=10**6, seconds=3600.0)) == 0.0
    with pytest.raises(ConfigError, match=r"cost\.usd_per_hour=-0\.5: must be a finite number of at least 0$"):
        Prices(usd_per_hour=-0.5)
    with pytest.raises(ConfigError, match=r"budget\.max_hours=-1: must be above 0, or null for no limit$"):
        Budget(max_hours=-1.0)
    assert Budget(max_hours=0.5).max_hours == 0.5


@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_a_limit_that_nothing_reaches_and_a_price_that_is_no_number_are_refused(number: float) -> None:
    for name in ("max_usd", "max_tokens", "max_hours"):
        with pytest.raises(ConfigError, match=rf"^budget\.{name}={number}: must be above 0"):
            Budget(**{name: number})
    for price in (number, math.inf):
        with pytest.raises(ConfigError, match=rf"^cost\.usd_per_hour={price}: must be a finite number"):
            Prices(usd_per_hour=price)


SMALL = ("pipeline=label", "data.num_demonstrations=6", "data.num_label_prompts=5", "model=pocket_xs")
MakePlan = Callable[..., Plan]


@pytest.fixture
def make_labeling(make_plan: MakePlan) -> MakePlan:
    """Plans of ``pipeline=label`` with five prompts."""
    return lambda *overrides: make_plan(*SMALL, *overrides)


def estimate_labels(plan: Plan) -> LabelEstimate:
    """What the labels of a plan would take."""
    step = plan.step("labels")
    stage, stand_ins = plan.stage_to_estimate(step)
    assert isinstance(stage, LabelStage)
    return stage.estimate(replace(plan.work(step), stand_ins=stand_ins))


def label_stage(plan: Plan) -> LabelStage:
    stage = plan.step("labels").stage
    assert isinstance(stage, LabelStage)
    return stage


def test_a_limit_on_money_needs_a_price(find_problems: Callable[..., list[str]]) -> None:
    (problem,) = find_problems("pipeline=label", "budget.max_usd=3")
    assert problem.startswith("budget.max_usd=3: no price is known")
    assert find_problems("pipeline=label", "budget.max_usd=3", "cost.usd_per_hour=0.5") == []


def test_a_local_estimate_counts_the_tokens_that_labeling_then_reads(make_labeling: MakePlan, tmp_path: Path) -> None:
    run = make_labeling("labeler=pairwise", "labeler.engine.model=pocket:XS", "cost.usd_per_hour=3.6")
    estimate = estimate_labels(run)
    assert estimate.num_pairs == 5
    assert estimate.expected == estimate.at_most
    assert estimate.expected.seconds > 0
    assert any("has not sampled yet" in note for note in estimate.notes)
    responses = [Completion(text=item.response) for item in run.memory["data"].demonstrations]
    pairs = [
        Comparison(prompt=prompt, first=responses[2 * n % 6], second=responses[(2 * n + 1) % 6])
        for n, prompt in enumerate(run.memory["data"].label_prompts)
    ]
    labels = label_stage(run).labeler.label(pairs)
    judgments = [judgment for label in labels for judgment in label.judgments]
    assert estimate.expected.num_questions == len(judgments) == 10
    # A prompt's segments are tokenized one by one when it is asked, and as one text when it is counted.
    read = sum(judgment.num_prompt_tokens for judgment in judgments)
    assert estimate.expected.num_prompt_tokens == pytest.approx(read, rel=0.02)
    assert estimate.expected.num_reply_tokens == 10
    assert not list(tmp_path.glob("labels-*"))


SERVER = ("labeler/engine=openai", "labeler.engine.model=m", "labeler.engine.url=http://127.0.0.1:9/v1")
"""Nobody listens there: an estimate that asked would fail."""


def test_a_server_is_not_asked_and_its_time_follows_from_its_limit(make_labeling: MakePlan) -> None:
    limits = ("labeler.engine.requests_per_minute=30", "estimate_reply_tokens=61", "labeler.max_rationale_tokens=200")
    estimate = estimate_labels(make_labeling(*SERVER, *limits))
    assert estimate.expected.num_questions == estimate.at_most.num_questions == 5 * 2 * 2
    assert estimate.expected.num_reply_tokens == 10 * (61 + 1)
    assert estimate.at_most.num_reply_tokens == 10 * (200 + 1)
    assert estimate.expected.num_prompt_tokens < estimate.at_most.num_prompt_tokens
    assert estimate.expected.seconds == 20 * 60 / 30


@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_every_pair_of_a_prompts_samples_is_counted(num_samples: int, make_labeling: MakePlan) -> None:
    samples = f"label.samples_per_prompt={num_samples}"
    num_pairs = 5 * num_samples * (num_samples - 1) // 2
    estimate = estimate_labels(make_labeling("labeler=pairwise", *SERVER, samples))
    assert (estimate.num_pairs, estimate.expected.num_questions) == (num_pairs, 2 * num_pairs)
    # Each response is rated once, for whatever number of pairs.
    rated = estimate_labels(make_labeling("labeler=scorer", *SERVER, samples))
    assert (rated.num_pairs, rated.expected.num_questions) == (num_pairs, 5 * num_samples)
    assert rated.expected.num_cached == 0 and not any("label cache" in note for note in rated.notes)


def test_a_sample_of_a_plan_takes_whole_prompts() -> None:
    pairs = [
        Comparison(
            prompt=Prompt(task="summarization", text=f"Post {number}."),
            first=Completion(text=first),
            second=Completion(text=second),
        )
        for number in range(300)
        for first, second in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    spread = _spread(pairs, 200)
    by_prompt = Counter(pair.prompt.id for pair in spread)
    assert len(by_prompt) == 66 and set(by_prompt.values()) == {3}
    assert spread[0] == pairs[0] and pairs.index(spread[-1]) > 880
    assert _spread(pairs[:3], 2) == pairs[:3] and _spread(pairs, 10**6) == pairs


def test_pairs_of_samples_to_come_take_the_given_responses_in_turn() -> None:
    prompts = [Prompt(task="summarization", text=f"Post {number}.") for number in range(3)]
    responses = [Completion(text=str(number)) for number in range(5)]

    def shown(samples_per_prompt: int, has_opponent: bool) -> list[str]:
        pairs = stand_in_pairs(prompts, responses, samples_per_prompt, has_opponent=has_opponent)
        assert [pair.prompt.text for pair in pairs] == sorted(pair.prompt.text for pair in pairs)
        return [pair.first.text + pair.second.text for pair in pairs]

    assert shown(2, has_opponent=False) == ["01", "23", "40"]
    assert shown(2, has_opponent=True) == ["02", "12", "24", "34", "41", "01"]
    assert stand_in_pairs(prompts, [], 2) == []


def test_a_ranking_is_read_once_per_beginning_of_it(make_labeling: MakePlan) -> None:
    three = ("label.samples_per_prompt=3", "labeler.engine.requests_per_minute=60")
    estimate = estimate_labels(make_labeling("labeler=ranking", *SERVER, *three))
    assert estimate.expected.num_questions == 5 * 2
    assert estimate.expected.seconds == 5 * 2 * (1 + 3 + 3 * 2)


def test_a_question_is_paid_once_in_whatever_batch_it_repeats(make_labeling: MakePlan) -> None:
    """Five prompts, three responses each, one pair per batch."""
    rated = ("labeler=scorer", "label.samples_per_prompt=3", "label.batch_size=1")
    estimate = estimate_labels(make_labeling(*rated, *SERVER))
    assert (estimate.expected.num_questions, estimate.expected.num_cached) == (15, 0)
    without = estimate_labels(make_labeling(*rated, *SERVER, "label.cache=none"))
    assert without.expected.num_questions == 30, "without a cache each batch asks for itself"


def test_every_sampled_rationale_is_followed_by_a_question_of_its_own(make_labeling: MakePlan) -> None:
    estimate = estimate_labels(make_labeling("labeler=self_consistency", "labeler.num_samples=3", *SERVER))
    assert estimate.expected.num_questions == 5 * 2 * (3 + 3)
    assert estimate.expected.num_cached == 0


def test_votes_read_a_prompt_once_each(make_labeling: MakePlan) -> None:
    once = estimate_labels(make_labeling("labeler=pairwise", *SERVER))
    votes = ("labeler.engine.scoring=votes", "labeler.engine.num_votes=8", "labeler.engine.requests_per_minute=60")
    eight = estimate_labels(make_labeling("labeler=pairwise", *SERVER, *votes))
    assert eight.expected.num_prompt_tokens == 8 * once.expected.num_prompt_tokens
    assert once.expected.seconds == 0.0 and eight.expected.seconds == 8 * 10


def test_what_the_cache_knows_is_free_and_a_labeler_without_a_model_costs_nothing(make_labeling: MakePlan) -> None:
    run = make_labeling("labeler=pairwise", *SERVER)
    before = estimate_labels(run)
    labeler = label_stage(run).labeler

    class Answering(ScriptedEngine):
        identity = labeler.engine.identity  # type: ignore[attr-defined]

        rendered = labeler.engine.rendered  # type: ignore[attr-defined]

    demonstrations = [Completion(text=item.response) for item in run.memory["data"].demonstrations]
    first = Comparison(prompt=run.memory["data"].label_prompts[0], first=demonstrations[0], second=demonstrations[1])
    labeler.engine = CachedEngine(Answering(), label_stage(run).asking.answers.open())  # type: ignore[attr-defined]
    labeler.label([first])
    after = estimate_labels(run)
    assert after.expected.num_questions == before.expected.num_questions - 2
    assert after.expected.num_cached == 2
    human = estimate_labels(make_labeling("labeler=human"))
    assert human.expected == Spending() and "asks no language model" in human.notes[-1]


def test_the_estimate_is_printed_with_the_human_price(make_labeling: MakePlan) -> None:
    console = Console(file=io.StringIO(), width=100)
    prices = ("cost.usd_per_million_input_tokens=30", "cost.usd_per_million_output_tokens=60")
    run_estimate(make_labeling(*SERVER, *prices), RunDisplay(console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "people would cost" in text and "3.35 USD" in text
    assert "not estimated" in text and "Nothing was labeled" in text


def test_an_estimate_without_labels_is_refused(make_plan: MakePlan) -> None:
    for pipeline in ("sft", "scorecard", "direct"):
        with pytest.raises(ConfigError, match=r"estimate=true: this pipeline labels no plan") as refused:
            run_estimate(make_plan(f"pipeline={pipeline}"), RunDisplay(Console(quiet=True)))
        assert refused.value.exit_code == 2


def test_tokens_of_placeholders_are_as_many_as_asked_for() -> None:
    prompt = StructuredPrompt(segments=(Segment(text="How many words are these?"),))
    engine = DryEngine(ScriptedEngine(), reply_tokens=7)
    (generation,) = engine.generate([prompt], Sampling(max_new_tokens=100))
    assert len(generation.token_ids) == 7 and engine.num_tokens(generation.text) == 7
    assert generation.num_prompt_tokens == 5 and generation.finished
    (cut,) = engine.generate([prompt], Sampling(max_new_tokens=3))
    assert len(cut.token_ids) == 3
    (scores,) = engine.score([prompt], ("1", "2"))
    assert scores.logprobs is not None and scores.logprobs[0] == scores.logprobs[1]
    assert engine.num_requests == 3


def test_finished_labels_are_held_against_a_stricter_limit(make_labeling: MakePlan, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    summary = {"n": 12, "missing": {"server down": 3, "too long": 1}, "num_judged": 10, "num_judged_missing": 2}
    (labels / "summary.json").write_text(json.dumps(summary))

    def accept(limit: str) -> str:
        plan = make_labeling(f"label.max_missing_rate={limit}")
        step = plan.step("labels")
        step.stage.accept(plan.work(step, labels))
        return plan.fingerprint(step)

    accepted = accept("0.2")
    with pytest.raises(
        GateStopped, match=r"label\.max_missing_rate=0\.19: 4 of 12 .* delete that directory"
    ) as stopped:
        accept("0.19")
    assert str(labels) in str(stopped.value) and "3 × server down; 1 × too long" in str(stopped.value)
    assert accepted == accept("0.9"), "a limit makes no other labels"


@pytest.mark.parametrize("weights", ["equal", "learned"])
def test_an_estimate_of_a_panel_counts_every_member_once(weights: str, make_labeling: MakePlan) -> None:
    panel = ("labeler=panel", "labeler.engine.model=pocket:XS", f"labeler.weights={weights}")
    estimate = estimate_labels(make_labeling(*panel))
    # Pairs in both orders, and each response alone by the scorer and by good or bad.
    assert estimate.expected.num_questions == 5 * (2 + 2 + 2)
