"""Missing labels in words and counts: limits, reasons, summaries, and options as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.spending import Spending
from rlaif.errors import ConfigError, GateStopped, PluginError
from rlaif.labelers.people import People
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Budget, LabelCost, Prices
from rlaif.labeling.estimate import estimate_labels
from rlaif.labeling.first_request import FirstRequests, WillAsk
from rlaif.labeling.missing import MissingLimit, missing_by_reason, reasons_in_words
from rlaif.labeling.results import check_missing, labels_in_words
from rlaif.labeling.shards import BatchOutcome, failed_without_answer, read_outcome, was_refused, write_shard
from rlaif.labeling.summary import LabelerSummary, summarize_labels
from rlaif.naming import named_as
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt


def pair(first: str = "yes", second: str = "no") -> Comparison:
    prompt = Prompt(task="dialogue", text="\n\nHuman: Well?\n\nAssistant:")
    return Comparison(prompt=prompt, first=Completion(text=first), second=Completion(text=second))


def missing(reason: str, *judgments: Judgment) -> Preference:
    return Preference(comparison=pair(), p_first=None, missing=reason, judgments=judgments)


def judgment(order: Any = "given", **more: Any) -> Judgment:
    return Judgment(order=order, prompt="", **more)


@pytest.mark.parametrize(
    ("max_rate", "num_missing", "is_allowed"),
    [(0.2, 2, True), (0.2, 3, False), (0.0, 0, True), (0.0, 1, False), (1.0, 10, True)],
)
def test_a_share_of_the_plan_may_be_missing(max_rate: float, num_missing: int, is_allowed: bool) -> None:
    assert MissingLimit(max_rate).allows(num_missing, 10) == is_allowed


@pytest.mark.parametrize("max_rate", [-0.1, 1.1, float("nan")])
def test_a_limit_that_is_no_share_is_refused(max_rate: float) -> None:
    with pytest.raises(ConfigError, match=rf"reward\.max_missing_rate={max_rate:g}: must be between 0 and 1"):
        MissingLimit(max_rate, "reward.max_missing_rate")


def test_the_three_most_frequent_reasons_are_told_with_what_to_type() -> None:
    reasons = {"http 500": 1, "timeout": 4, "cannot connect": 4, "http 401; timeout": 2, "odd": 1}
    assert reasons_in_words(reasons) == "4 × cannot connect; 4 × timeout; 2 × http 401; timeout"
    message = str(MissingLimit(0.2).error(reasons, 20, 100, "Start again."))
    assert message.startswith(
        "label.max_missing_rate=0.2: 12 of 20 judged comparisons are missing, 100 are planned "
        "(4 × cannot connect; 4 × timeout; 2 × http 401; timeout). Start again. Mend the cause (start the server, or"
    )
    assert message.count("labeler.engine.total_timeout_s") == 1, "a hint is given once"
    assert "labeler.engine.key_env" in message
    assert message.endswith("), or raise label.max_missing_rate to accept it.")
    plain = str(MissingLimit(0.2).error({"odd": 3}, 3, 3, "Start again."))
    assert plain.endswith("(3 × odd). Start again. Mend the cause, or raise label.max_missing_rate to accept it.")


def test_reasons_are_counted_the_most_frequent_first_and_else_by_name() -> None:
    labels = [missing(reason) for reason in ("b", "c", "a", "c")] + [Preference(comparison=pair(), p_first=0.5)]
    assert list(missing_by_reason(labels).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_errors_name_options_where_a_labeler_is_composed() -> None:
    with pytest.raises(ConfigError) as several, named_as("evaluation.judge"):
        raise ConfigError(["labeler.debias=x: no", "no model", "mylabeler.x and labeler. End"])
    assert several.value.problems == [
        "evaluation.judge.debias=x: no",
        "evaluation.judge: no model",
        "evaluation.judge: mylabeler.x and labeler. End",
    ]
    with pytest.raises(GateStopped, match=r"^budget of reward\.labeler\.engine$"), named_as("reward.labeler"):
        raise GateStopped("budget of labeler.engine")
    with pytest.raises(PluginError, match=r"^evaluation\.judge: it is broken$"), named_as("evaluation.judge"):
        raise PluginError("it is broken")
    own = ConfigError("labeler.debias=x: no")
    with pytest.raises(ConfigError) as same, named_as("labeler"):
        raise own
    assert same.value is own
    with pytest.raises(KeyError), named_as("evaluation.judge"):
        raise KeyError("labeler.debias")


def test_a_label_failed_where_a_question_got_no_answer() -> None:
    answered, unread = judgment(p_slot1=0.5), judgment("swapped", missing="no verdict", unreadable=True)
    failed = judgment("swapped", missing="timeout")
    assert failed_without_answer(missing("timeout", answered, failed))
    assert failed_without_answer(Preference(comparison=pair(), p_first=0.5, judgments=(answered, failed)))
    assert failed_without_answer(missing("down")), "nobody was asked"
    assert not failed_without_answer(missing("no verdict", answered, unread))
    assert not failed_without_answer(Preference(comparison=pair(), p_first=0.5))
    assert not failed_without_answer(Preference(comparison=pair(), p_first=0.5, judgments=(answered,)))


def test_a_label_was_refused_where_any_of_its_prompts_was() -> None:
    refused = judgment(missing="refused: content filter", unreadable=True)
    too_long = judgment(missing="prompt too long", unreadable=True)
    assert was_refused(missing("x", judgment(p_slot1=0.5), refused)) and was_refused(missing("x", too_long))
    assert not was_refused(missing("timeout", judgment(missing="timeout")))
    assert not was_refused(missing("refused: nothing was asked"))


def test_a_batch_counts_its_missing_and_failed_labels(tmp_path: Path) -> None:
    labels = [
        Preference(comparison=pair(), p_first=0.5, judgments=(judgment(missing="timeout"),)),
        missing("down"),
        missing("odd", judgment(missing="odd", unreadable=True)),
        missing("odd", judgment(missing="odd", unreadable=True)),
        Preference(comparison=pair(), p_first=0.5),
    ]
    counted = BatchOutcome(num_labels=5, missing={"down": 1, "odd": 2}, num_failed=2)
    assert write_shard(tmp_path / "new" / "a.json.gz", "plan", labels) == counted
    assert read_outcome(tmp_path / "new" / "a.json.gz", "plan") == counted
    assert read_outcome(tmp_path / "b.json.gz", "plan") is None


def test_a_summary_counts_questions_without_an_answer_tokens_and_masses() -> None:
    given = judgment(p_slot1=0.9, answer_mass=0.8, num_prompt_tokens=10, num_reply_tokens=1)
    swapped = judgment("swapped", p_slot1=0.8, answer_mass=0.4, num_prompt_tokens=20, num_reply_tokens=2)
    failed = judgment(missing="timeout", num_prompt_tokens=5, answer_mass=None)
    unread = judgment("swapped", missing="no verdict", unreadable=True, answer_mass=0.3)
    summary = summarize_labels(
        [
            Preference(comparison=pair(), p_first=0.5, judgments=(given, swapped)),
            Preference(comparison=pair("same ", "same"), p_first=0.5, judgments=(given, swapped)),
            missing("timeout", failed, unread),
            missing("down"),
            missing("down"),
        ]
    )
    mass: Any = pytest.approx((2 * 0.8 + 2 * 0.4 + 0.3) / 5)
    assert summary == LabelerSummary(
        n=5,
        missing={"down": 2, "timeout": 1},
        failed_judgments={"timeout": 1},
        num_both_orders=1,
        same_slot_share=1.0,
        answer_mass=mass,
        num_prompt_tokens=2 * 30 + 5,
        num_reply_tokens=2 * 3,
    )
    assert (summary.num_missing, summary.missing_rate) == (3, 0.6)
    assert summarize_labels([]) == LabelerSummary(n=0) and LabelerSummary(n=0).missing_rate == 0.0


def finished(directory: Path, **more: Any) -> Path:
    summary = {"n": 1234, "missing": {"down": 2, "odd": 1}, "failed_judgments": {}, "labeler": "pairwise:ab"}
    summary |= {"source": "ai", "num_judged": 100, "num_judged_missing": 20}
    (directory / "summary.json").write_text(json.dumps({**summary, **more}))
    return directory


def test_members_of_a_panel_that_give_no_verdict_are_counted() -> None:
    def verdict(judge: str, **more: Any) -> Judgment:
        return judgment("verdict", judge=judge, **more)

    silent = verdict("scorer", missing="no option among the 20 likeliest tokens", unreadable=True)
    given = verdict("pairwise", p_slot1=0.75)
    label = Preference(comparison=pair(), p_first=0.75, judgments=(given, silent))
    summary = summarize_labels([label, label, replace(label, judgments=(given,))])
    assert summary.silent_members == {"scorer": 2} and summary.missing == summary.failed_judgments == {}


def test_finished_labels_in_a_line(tmp_path: Path) -> None:
    assert labels_in_words(finished(tmp_path)) == "1,234 pairs by pairwise, 3 missing"
    failed = {"timeout": 4, "http 500": 3}
    assert labels_in_words(finished(tmp_path, failed_judgments=failed)) == (
        "1,234 pairs by pairwise, 3 missing, 7 questions without an answer"
    )
    silent = {"scorer": 1200, "binary": 2}
    assert labels_in_words(finished(tmp_path, silent_members=silent)) == (
        "1,234 pairs by pairwise, 3 missing, 1,200 without a verdict of scorer, 2 without a verdict of binary"
    )
    assert labels_in_words(finished(tmp_path, labeler="", source="human")) == "1,234 pairs by human, 3 missing"


def test_finished_labels_are_held_against_the_limit_of_those_that_were_judged(tmp_path: Path) -> None:
    check_missing(finished(tmp_path), 0.2)
    with pytest.raises(GateStopped, match=r"0\.19: 3 of 1234 judged comparisons are missing, 1234 are planned"):
        check_missing(finished(tmp_path), 0.19)


class Coin:
    """A labeler without a model."""

    name, source, identity = "coin", "ai", "coin"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        return [Preference(comparison=pair, p_first=0.5) for pair in comparisons]


NO_CACHE = AnswerPlace("none", "")


def asked() -> WillAsk:
    """What a step asks that asks no model."""
    will_ask = WillAsk(labeler=Coin(), examples=[pair()], answers=NO_CACHE)
    assert FirstRequests().send(will_ask) == Spending()
    return will_ask


@pytest.mark.parametrize(
    "make",
    [
        Prices,
        Budget,
        lambda: LabelCost.of(Spending(), 1, 1.0, Prices()),
        lambda: estimate_labels(Coin(), [pair()], People(), NO_CACHE),
        lambda: AskingSettings(answers=NO_CACHE, prices=Prices(), budget=Budget()),
        asked,
        lambda: BatchOutcome.of([]),
        lambda: summarize_labels([]),
    ],
    ids=["Prices", "Budget", "LabelCost", "LabelEstimate", "AskingSettings", "WillAsk", "BatchOutcome", "Summary"],
)
def test_figures_are_given_by_name_and_never_change(make: Callable[[], Any]) -> None:
    """Two prices in the wrong order would be another price."""
    record = make()
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    with pytest.raises(FrozenInstanceError):
        setattr(record, next(iter(values)), 1.0)
    assert type(record)(**values) == record
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        type(record)(*values.values())


def test_a_limit_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        MissingLimit(0.2).max_rate = 0.5  # type: ignore[misc]
