"""The evaluation's judge is killed, and stopped by a budget: no question is paid twice."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rlaif.data.preferences_io import read_preferences

if TYPE_CHECKING:
    from conftest import Command, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def judged_by(log: Path, *, answer_s: float = 0.0) -> tuple[str, ...]:
    """Direct RLAIF whose judge writes down each question that it is paid for."""
    return (
        "pipeline=direct",
        "labeler/engine@evaluation.judge.engine=coin",
        "~evaluation.judge.engine.model",
        f"evaluation.judge.engine.log={log}",
        f"evaluation.judge.engine.answer_s={answer_s}",
        "label.batch_size=4",
    )


def paid(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def whole(extended: Command) -> Run:
    """A run that nothing interrupts, and whose judge leaves its answers in no cache of the others."""
    run = extended.run("whole", *judged_by(extended.home / "whole.paid"), store="whole_store")
    assert run.code == 0, run.stdout + run.stderr
    questions = paid(extended.home / "whole.paid")
    assert len(questions) == len(set(questions)) > 30
    return run


def same_evaluation(run: Run, other: Run) -> None:
    (ours,), (theirs,) = run.stored("evaluation"), other.stored("evaluation")
    assert ours.name == theirs.name, "how long an answer takes and where it is logged is no part of a fingerprint"
    assert run.figures() == other.figures()
    labels = [read_preferences(folder / "judged.parquet") for folder in (ours, theirs)]
    assert labels[0] == labels[1] and labels[0]
    costs = [json.loads((folder / "cost.json").read_text()) for folder in (ours, theirs)]
    asked, whole = (cost["num_questions"] + cost["num_cached"] for cost in costs)
    assert asked == whole and costs[0]["num_labels"] == costs[1]["num_labels"]
    assert costs[0]["num_questions"] == whole, "what was spent before the kill stays counted, to the question"
    assert not (ours / "asked").exists()


def test_a_judge_that_was_killed_pays_no_question_twice(extended: Command, whole: Run) -> None:
    log = extended.home / "killed.paid"
    slow = judged_by(log, answer_s=0.15)
    process = extended.start("killed", *slow, store="killed_store")
    deadline = time.monotonic() + 600
    while len(paid(log)) < 13:
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = paid(log)
    assert list((extended.home / "killed_store").glob("evaluation-*.partial")), "the kill came inside the evaluation"
    again = extended.run("killed", *slow, store="killed_store")
    assert again.code == 0, again.stdout + again.stderr
    assert again.reused() == {
        "sft",
        "policy",
        "respond policy",
        "respond policy at 0",
        "respond sft",
        "respond sft at 0",
        "respond grid sft",
    }
    twice = [question for question, count in Counter(paid(log)).items() if count > 1]
    assert set(twice) <= {before[-1]}, "at most the question in flight is paid again"
    assert set(paid(log)) == set(paid(extended.home / "whole.paid"))
    same_evaluation(again, whole)


def test_a_budget_stops_the_judge_and_the_next_start_goes_on(extended: Command, whole: Run) -> None:
    log = extended.home / "budget.paid"
    options = judged_by(log)
    rewards = json.loads((whole.directory / "policy" / "cost.json").read_text())
    judge = json.loads((whole.stored("evaluation")[0] / "cost.json").read_text())
    half = judge["num_prompt_tokens"] // 2
    roomy = f"budget.max_tokens={rewards['num_prompt_tokens'] + judge['num_prompt_tokens'] * 2}"
    prepared = extended.run("policy", *options, "pipeline.stages=[data,sft,policy]", store="budget_store")
    assert prepared.code == 0, prepared.stdout + prepared.stderr
    stopped = extended.run("budget", *options, f"budget.max_tokens={half}", store="budget_store")
    assert stopped.code == 3, stopped.stdout + stopped.stderr
    assert f"evaluation.judge: budget.max_tokens={half}" in stopped.stderr and "start again" in stopped.stderr
    assert 0 < len(paid(log)) < judge["num_questions"]
    again = extended.run("budget", *options, f"budget.max_tokens={half}", store="budget_store")
    num_paid = len(paid(log))
    assert again.code == 3 and num_paid == len(set(paid(log))), "what was spent stays counted"
    last = extended.run("budget", *options, roomy, store="budget_store")
    assert last.code == 0, last.stdout + last.stderr
    assert len(paid(log)) == len(set(paid(log))) == judge["num_questions"], "nothing was paid twice"
    same_evaluation(last, whole)
