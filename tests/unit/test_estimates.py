"""Estimates of plans whose questions, replies and rate limits are known: every figure by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from numbered_pairs import numbered_pairs

from rlaif.engines import cached
from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.spending import Spending
from rlaif.errors import ConfigError
from rlaif.labelers.pairwise import ChainOfThoughtLabeler, PairwiseLabeler
from rlaif.labelers.panel import PanelLabeler
from rlaif.labelers.people import People
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.labeling.estimate import LabelEstimate, estimate_labels, stand_in_pairs
from rlaif.outcome import Generation, OptionScores
from rlaif.prompts.judge import JudgePrompts
from rlaif.types import Comparison, Completion, Preference, Prompt, Sampling, StructuredPrompt


class Server(ScriptedEngine):
    """A server with a rate limit."""

    def __init__(self, requests_per_minute: float | None, name: str = "server") -> None:
        super().__init__(name=name)
        self.requests_per_minute = requests_per_minute


class Local(ScriptedEngine):
    """A model of this process, whose every call takes one second by the clock of the test."""

    runs_here = True

    def __init__(self, clock: list[float], num_words: Sequence[int] = (4,)) -> None:
        super().__init__({"": {"1": 0.5, "2": 0.5}})
        self.clock = clock
        self.num_words = num_words
        self.num_written = 0

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        self.clock[0] += 1.0
        return super().score(prompts, options)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        self.clock[0] += 1.0
        lengths = [self.num_words[(self.num_written + index) % len(self.num_words)] for index in range(len(prompts))]
        self.num_written += len(prompts)
        return [Generation(text=" word" * length, token_ids=(1,) * length) for length in lengths]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that calls of engines are timed by."""
    now = [0.0]
    monkeypatch.setattr(cached, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def estimated(labeler: Any, num_pairs: int, **options: Any) -> LabelEstimate:
    return estimate_labels(labeler, numbered_pairs(num_pairs), People(), AnswerPlace("none", ""), **options)


def pairwise(engine: ScriptedEngine) -> PairwiseLabeler:
    return PairwiseLabeler(JudgePrompts(), engine)


def test_a_long_plan_is_counted_on_two_hundred_pairs_and_scaled_up() -> None:
    engine = Server(60.0)
    whole = estimated(pairwise(engine), 200)
    assert whole.expected.num_questions == whole.at_most.num_questions == 400
    assert not any("scaled up" in note for note in whole.notes)
    longer = estimated(pairwise(engine), 250)
    assert longer.num_pairs == 250
    assert "tokens are counted on 200 of the pairs and scaled up" in longer.notes
    assert longer.expected.num_questions == longer.at_most.num_questions == 500
    assert (whole.expected.seconds, longer.expected.seconds) == (400.0, 500.0)
    assert engine.num_prompts == 0, "an estimate asks nobody"


def test_servers_of_a_panel_are_asked_one_after_the_other() -> None:
    """Ten questions each: at 30 and at 60 a minute."""

    def seconds(*limits: float | None) -> float:
        members = {str(n): pairwise(Server(limit, name=str(n))) for n, limit in enumerate(limits)}
        return estimated(PanelLabeler(members), 5).expected.seconds

    assert seconds(30.0, 60.0) == pytest.approx(20.0 + 10.0)
    assert seconds(30.0, None) == 0.0, "not known"


def test_a_local_model_is_measured_on_eight_pairs(clock: list[float]) -> None:
    """Sixteen rationales in one call and sixteen verdicts in another, 2 s; of 3 and 4 words in turn, on the mean 3.5.

    Python rounds a half to the even number.
    """
    labeler = ChainOfThoughtLabeler(JudgePrompts(), Local(clock, (3, 4)), max_rationale_tokens=9)
    estimate = estimated(labeler, 20)
    assert estimate.notes == ("time and length of replies are measured on 8 pairs on this machine",)
    assert estimate.expected.num_questions == 20 * 2 * 2
    assert estimate.expected.seconds == estimate.at_most.seconds == pytest.approx(80 * 2 / 32)
    assert estimate.expected.num_reply_tokens == 40 * (4 + 1)
    assert estimate.at_most.num_reply_tokens == 40 * (9 + 1)


def test_the_time_of_one_question_and_of_none(clock: list[float]) -> None:
    """Equal responses are one question; a labeler may also ask nothing of the model that it has."""

    class Silent:
        name, source, identity = "silent", "ai", "silent"

        def __init__(self) -> None:
            self.engine = Local(clock)

        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]

    (pair,) = numbered_pairs(1)
    same = [replace(pair, second=pair.first)]
    rater = ScoreLabeler(JudgePrompts(), Local(clock))
    estimate = estimate_labels(rater, same, People(), AnswerPlace("none", ""))
    assert (estimate.expected.num_questions, estimate.expected.seconds) == (1, 1.0)
    nothing = estimated(Silent(), 3)
    assert (nothing.expected.num_questions, nothing.expected.seconds) == (0, 0.0)


def test_an_expected_length_that_is_typed_is_taken_as_typed(clock: list[float]) -> None:
    labeler = ChainOfThoughtLabeler(JudgePrompts(), Local(clock, (4,)), max_rationale_tokens=9)
    assert estimated(labeler, 3, reply_tokens=1).expected.num_reply_tokens == 6 * (1 + 1)
    for length in (0, -3):
        with pytest.raises(ConfigError, match=rf"^estimate_reply_tokens={length}: must be at least 1, or null"):
            estimated(pairwise(Server(None)), 3, reply_tokens=length)


def test_a_panel_of_a_local_model_and_a_server_is_not_measured(clock: list[float]) -> None:
    """Measuring would ask the server."""
    local = Local(clock)
    estimate = estimated(PanelLabeler({"here": pairwise(local), "there": pairwise(Server(60.0))}), 3)
    assert local.num_prompts == 0 and estimate.expected.seconds == 0.0
    assert estimate.notes == ("estimate_reply_tokens is not set: replies are taken as long as the labeler allows",)
    assert estimated(pairwise(Server(60.0)), 3, reply_tokens=5).notes == ()


def test_the_time_of_several_processes_is_told_as_theirs() -> None:
    together = "the time is that of 2 processes at once"
    timed = estimated(pairwise(Server(60.0)), 3, num_processes=2, notes=("from a file",), reply_tokens=1)
    assert (timed.num_processes, timed.notes) == (2, ("from a file", together))
    assert estimated(pairwise(Server(None)), 3, num_processes=2, reply_tokens=1).notes == ()
    alone = estimated(pairwise(Server(60.0)), 3, reply_tokens=1)
    assert (alone.num_processes, alone.notes) == (1, ())


def test_an_estimate_of_no_pairs_is_refused_and_one_without_a_model_is_nothing() -> None:
    class Coin:
        name, source, identity = "coin", "ai", "coin"

        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]

    with pytest.raises(ConfigError, match=r"estimate=true: there is no pair to label"):
        estimated(pairwise(Server(None)), 0)
    free = estimated(Coin(), 3, notes=("from a file",))
    assert (free.num_pairs, free.expected, free.at_most) == (3, Spending(), Spending())
    assert free.notes == ("from a file", "labeler coin asks no language model: its labels cost nothing")


def test_pairs_are_judged_in_the_batches_of_the_run() -> None:
    class Counting:
        name, source, identity = "counting", "ai", "counting"

        def __init__(self) -> None:
            self.engine = Server(None)
            self.batches: list[int] = []

        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            self.batches.append(len(comparisons))
            return PairwiseLabeler(JudgePrompts(), self.engine).label(comparisons)

    by_default, chosen = Counting(), Counting()
    estimated(by_default, 65)
    assert by_default.batches == [64, 1] * 2, "with the expected and with the longest replies"
    estimated(chosen, 8, batch_size=3)
    assert chosen.batches == [3, 3, 2] * 2


def test_three_samples_of_a_prompt_make_three_pairs_of_responses_in_turn() -> None:
    prompts = [Prompt(task="dialogue", text=f"{number}") for number in range(3)]
    responses = [Completion(text=str(number)) for number in range(8)]
    pairs = stand_in_pairs(prompts, responses, 3)
    shown = [pair.first.text + pair.second.text for pair in pairs]
    assert shown == ["01", "02", "12", "34", "35", "45", "67", "60", "70"]
