"""Labeling a plan: killed, stopped and divided runs against an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rlaif.errors import ConfigError, GateStopped, PluginError, StoreError
from rlaif.labelers.base import Labeler
from rlaif.labeling.label_json import preference_from_json, preference_to_json
from rlaif.labeling.label_run import finished_run, label_comparisons, label_part, rate_batch
from rlaif.labeling.plan import LabelPlan
from rlaif.labeling.summary import summarize_labels
from rlaif.labeling.team import Team
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Rating, content_id


def plan(size: int) -> list[Comparison]:
    prompt = Prompt(task="dialogue", text="\n\nHuman: Say a number.\n\nAssistant:")
    return [
        Comparison(prompt=prompt, first=Completion(text=f"{number}"), second=Completion(text=f"not {number}"))
        for number in range(size)
    ]


@dataclass
class Counting:
    """Answers from a hash of the comparison and of the batch it stands in, as padding would."""

    answered: list[str] = field(default_factory=list)
    fails: Callable[[str], str | None] = lambda text: None
    unreadable: bool = False
    identity: str = "counting"
    name: str = "counting"
    source: str = "ai"
    prompt: None = None
    engine: None = None

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        batch = content_id(*(comparison.id for comparison in comparisons))
        return [self._label(comparison, batch) for comparison in comparisons]

    def _label(self, comparison: Comparison, batch: str) -> Preference:
        self.answered.append(comparison.first.text)
        reason = self.fails(comparison.first.text)
        p = int(content_id(comparison.id, batch), 16) / 2**64
        judgment = Judgment(
            order="given",
            prompt="é" * 20,
            p_slot1=None if reason else p,
            missing=reason,
            unreadable=self.unreadable and reason is not None,
        )
        return Preference(
            comparison=comparison, p_first=judgment.p_first, missing=reason, judgments=(judgment,), source="ai"
        )


def labeled(
    labeler: Labeler, comparisons: Sequence[Comparison], directory: Path, **options: object
) -> list[Preference]:
    """The labels of a plan, read back from disk."""
    return list(label_comparisons(labeler, comparisons, directory, **options))  # type: ignore[arg-type]


def test_labels_come_in_the_order_of_the_plan_and_equal_pairs_are_judged_once(tmp_path: Path) -> None:
    comparisons = [*plan(7), *plan(3)]
    labeler, seen = Counting(), []
    labels = labeled(
        labeler, comparisons, tmp_path, batch_size=3, progress=lambda done, total: seen.append((done, total))
    )
    assert [label.comparison for label in labels] == comparisons
    assert labels[:3] == labels[7:]
    assert sorted(labeler.answered) == sorted(str(number) for number in range(7))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert labeled(labeler, [], tmp_path / "empty") == []


@pytest.mark.parametrize("last_batch", [0, 1, 3])
def test_a_run_that_breaks_off_goes_on_and_ends_the_same(tmp_path: Path, last_batch: int) -> None:
    comparisons = plan(10)

    class Dying(Counting):
        def label(self, batch: Sequence[Comparison]) -> list[Preference]:
            if batch[0].first.text == str(3 * last_batch):
                raise KeyboardInterrupt
            return super().label(batch)

    whole = labeled(Counting(), comparisons, tmp_path / "whole", batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        labeled(Dying(), comparisons, tmp_path / "broken", batch_size=3)
    labeler = Counting()
    assert labeled(labeler, comparisons, tmp_path / "broken", batch_size=3) == whole
    assert len(labeler.answered) == 10 - 3 * last_batch
    assert _bytes(tmp_path / "broken") == _bytes(tmp_path / "whole")


def _bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_failures_are_missing_in_their_attempt_and_asked_again_in_the_next(tmp_path: Path) -> None:
    comparisons = plan(8)
    down = Counting(fails=lambda text: "server down" if text in "15" else None)
    labels = labeled(down, comparisons, tmp_path, batch_size=4, max_missing_rate=0.5)
    assert [label.missing for label in labels] == [None, "server down", None, None, None, "server down", None, None]
    up = Counting()
    again = labeled(up, comparisons, tmp_path, batch_size=4)
    assert up.answered == ["1", "5"]
    assert all(label.missing is None for label in again)
    assert [again[number] for number in (0, 2, 3, 4, 6, 7)] == [labels[number] for number in (0, 2, 3, 4, 6, 7)]


def test_a_label_that_lacks_a_failed_judgement_is_asked_for_again(tmp_path: Path) -> None:
    """A panel goes on without a member whose server was down; at the next start that member is asked."""

    class WithoutOne(Counting):
        def _label(self, comparison: Comparison, batch: str) -> Preference:
            label = super()._label(comparison, batch)
            failed = Judgment(order="given", prompt="", missing="timeout", judge="b")
            broken = self.fails(comparison.first.text) is None and comparison.first.text in down
            return replace(label, judgments=(*label.judgments, failed)) if broken else label

    down = {"1", "4"}
    labeled(WithoutOne(), plan(6), tmp_path, batch_size=3)
    down.clear()
    again = WithoutOne()
    labels = labeled(again, plan(6), tmp_path, batch_size=3)
    assert again.answered == ["1", "4"]
    assert all(len(label.judgments) == 1 for label in labels)
    assert summarize_labels(labels).failed_judgments == {}


def test_an_unreadable_answer_is_an_outcome_and_is_not_paid_for_again(tmp_path: Path) -> None:
    labeler = Counting(fails=lambda text: "rationale cut at 9 tokens" if text == "1" else None, unreadable=True)
    first = labeled(labeler, plan(8), tmp_path, batch_size=4)
    assert labeled(labeler, plan(8), tmp_path, batch_size=4) == first
    assert len(labeler.answered) == 8


def test_too_many_missing_stop_the_run_early_with_reasons_and_the_next_start_goes_on(tmp_path: Path) -> None:
    def fails(text: str) -> str | None:
        return {0: "server down", 1: "server down", 2: "too long"}.get(int(text) % 10)

    labeler = Counting(fails=fails)
    with pytest.raises(GateStopped) as stopped:
        labeled(labeler, plan(100), tmp_path, batch_size=10, max_missing_rate=0.2)
    message = str(stopped.value)
    assert "label.max_missing_rate=0.2: 21 of 70 judged comparisons are missing" in message
    assert "14 × server down; 7 × too long" in message and "start again" in message
    assert len(labeler.answered) == 70
    up = Counting()
    assert len(labeled(up, plan(100), tmp_path, batch_size=10)) == 100
    assert len(up.answered) == 21 + 30


def test_exactly_the_limit_is_allowed(tmp_path: Path) -> None:
    labeler = Counting(fails=lambda text: "no" if text in "01" else None)
    labels = labeled(labeler, plan(10), tmp_path, batch_size=5, max_missing_rate=0.2)
    assert sum(label.missing is not None for label in labels) == 2


def test_another_plan_in_the_folder_and_a_damaged_batch_are_refused(tmp_path: Path) -> None:
    labeled(Counting(), plan(4), tmp_path, batch_size=2)
    for labeler, comparisons, size in [
        (Counting(identity="b"), plan(4), 2),
        (Counting(), plan(5), 2),
        (Counting(), plan(4), 3),
    ]:
        with pytest.raises(StoreError, match="another plan"):
            labeled(labeler, comparisons, tmp_path, batch_size=size)
    damaged = tmp_path / "batch-000001.json.gz"
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(StoreError, match="delete this file"):
        labeled(Counting(), plan(4), tmp_path, batch_size=2)


def test_bad_options_and_a_labeler_that_loses_pairs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        labeled(Counting(), plan(2), tmp_path, batch_size=0, max_missing_rate=2)
    assert len(error.value.problems) == 2

    class Losing(Counting):
        def label(self, batch: Sequence[Comparison]) -> list[Preference]:
            return super().label(batch)[1:]

    with pytest.raises(PluginError, match="rlaif-plugins check counting"):
        labeled(Losing(), plan(2), tmp_path)


def label_in_parts(size: int, parts: int, fails: Callable[[str], str | None], directory: Path) -> list[str | None]:
    """Let one process after the other do its part; what each was stopped by."""
    stopped: list[str | None] = []
    for rank in range(parts):
        team = Team(directory, rank=rank, size=parts)
        try:
            label_part(Counting(fails=fails), LabelPlan(plan(size), 5), team, max_missing_rate=0.2)
            stopped.append(None)
        except GateStopped as error:
            team.stop(str(error))
            stopped.append(str(error))
    return stopped


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_plan_divided_among_processes_gives_the_same_files(parts: int, tmp_path: Path) -> None:
    comparisons = [*plan(23), *plan(4)]
    whole = labeled(Counting(), comparisons, tmp_path / "whole", batch_size=5)
    divided = LabelPlan(comparisons, 5)
    for rank in reversed(range(parts)):
        label_part(Counting(), divided, Team(tmp_path / "parts", rank=rank, size=parts), max_missing_rate=0.2)
    assert list(finished_run("counting", divided, tmp_path / "parts", 0.2)) == whole
    assert _bytes(tmp_path / "parts") == _bytes(tmp_path / "whole")


def test_processes_count_missing_labels_together_and_stop_together(tmp_path: Path) -> None:
    def fails(text: str) -> str | None:
        return "server down" if int(text) % 5 < 2 else None

    # Of 50 labels 10 may be missing, and each process alone loses 10 of its 25.
    first, second = label_in_parts(50, 2, fails, tmp_path)
    assert first is None and second is not None and "label.max_missing_rate=0.2" in second
    with pytest.raises(GateStopped, match="server down"):
        finished_run("counting", LabelPlan(plan(50), 5), tmp_path, 0.2)
    third = Counting()
    label_part(third, LabelPlan(plan(50), 5), Team(tmp_path, rank=1, size=2), max_missing_rate=1.0)
    assert third.answered == []
    Team(tmp_path).begin()
    assert len(labeled(Counting(), plan(50), tmp_path, batch_size=5)) == 50


def test_a_stop_before_a_batch_keeps_the_batches_before_it(tmp_path: Path) -> None:
    asked: list[int] = []

    def before_asking() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise GateStopped("budget.max_tokens=2: reached")

    labeler = Counting()
    with pytest.raises(GateStopped, match="budget"):
        label_comparisons(labeler, plan(10), tmp_path, batch_size=2, before_asking=before_asking)
    assert len(labeler.answered) == 4
    asked.clear()
    with pytest.raises(GateStopped, match="budget"):
        label_comparisons(labeler, plan(10), tmp_path, batch_size=2, before_asking=before_asking)
    assert len(labeler.answered) == 8
    label_comparisons(labeler, plan(10), tmp_path, batch_size=2)
    asked[:] = [1, 1]
    label_comparisons(labeler, plan(10), tmp_path, batch_size=2, before_asking=before_asking)
    assert len(labeler.answered) == 10, "a finished plan asks nobody, whatever the budget"


def test_a_damaged_header_and_damaged_labels_are_told_apart_from_none(tmp_path: Path) -> None:
    label_comparisons(Counting(), plan(4), tmp_path, batch_size=2)
    path = tmp_path / "batch-000000.json.gz"
    whole = path.read_bytes()
    for damaged in (b"", whole[:30], whole[:-4], b"x" + whole):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="delete this file"):
            labeled(Counting(), plan(4), tmp_path, batch_size=2)
    path.unlink()
    assert len(labeled(Counting(), plan(4), tmp_path, batch_size=2)) == 4


@pytest.mark.parametrize(("rows", "batch_size"), [([0, 1, 2], 2), ([0, 0, 0], 2), ([2, 1, 2, 0, 1], 1), ([], 3)])
def test_a_plan_asks_each_distinct_comparison_once(rows: list[int], batch_size: int) -> None:
    pairs = plan(3)
    cut = LabelPlan([pairs[row] for row in rows], batch_size)
    batches = [cut.batch(number) for number in range(cut.num_batches)]
    assert [pair for batch in batches for pair in batch] == [pairs[row] for row in dict.fromkeys(rows)]
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert [batches[number][position] for number, position in map(cut.place, range(len(rows)))] == [
        pairs[row] for row in rows
    ]


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_label_run import Counting, plan
from rlaif.labeling.label_run import label_comparisons

class Paid(Counting):
    def label(self, comparisons):
        with open({paid!r}, "a") as file:
            for comparison in comparisons:
                time.sleep(0.002)
                file.write(comparison.first.text + "\\n")
                file.flush()
        return super().label(comparisons)

label_comparisons(Paid(), plan(int(sys.argv[2])), Path(sys.argv[1]), batch_size=8)
"""


def start(tmp_path: Path, directory: Path, size: int) -> subprocess.Popen[bytes]:
    folder = str(Path(__file__).parent)
    program = PROGRAM.format(folder=folder, paid=str(tmp_path / "paid"))
    return subprocess.Popen([sys.executable, "-c", program, str(directory), str(size)])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the labeling process did not get on"
        time.sleep(0.003)


def test_kill_9_loses_at_most_the_batch_in_flight_of_a_labeler_without_an_engine(tmp_path: Path) -> None:
    size, batch_size, kills = 200, 8, 3
    broken, paid = tmp_path / "broken", tmp_path / "paid"

    def num_paid() -> int:
        return len(paid.read_text().splitlines()) if paid.exists() else 0

    for kill in range(kills):
        process = start(tmp_path, broken, size)
        goal = num_paid() + 37 + 3 * kill
        wait_for(lambda goal=goal, process=process: num_paid() >= goal or process.poll() is not None)  # type: ignore[misc]
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(tmp_path, broken, size).wait() == 0
    assert size <= num_paid() <= size + kills * batch_size

    whole = labeled(Counting(), plan(size), tmp_path / "whole", batch_size=batch_size)
    assert labeled(Counting(), plan(size), broken, batch_size=batch_size) == whole
    assert _bytes(broken) == _bytes(tmp_path / "whole")


@dataclass
class Numpy(Counting):
    """Returns numbers of numpy, as a labeler does that scores with a model."""

    def _label(self, comparison: Comparison, batch: str) -> Preference:
        p = np.float32(0.25)
        judgment = Judgment(order="given", prompt="", p_slot1=p, option_logprobs=(p, -p))  # type: ignore[arg-type]
        return Preference(comparison=comparison, p_first=p, judgments=(judgment,), source="ai")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_labels_and_words_are_none(tmp_path: Path) -> None:
    labels = labeled(Numpy(), plan(2), tmp_path)
    assert [(type(label.p_first), label.p_first) for label in labels] == [(float, 0.25)] * 2
    assert labels[0].judgments[0].option_logprobs == (0.25, -0.25)
    with pytest.raises(ValueError, match=r"p_first='0\.7' is no number"):
        Preference(comparison=plan(1)[0], p_first="0.7")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="p_first=nan is not a probability"):
        Preference(comparison=plan(1)[0], p_first=np.float32("nan"))  # type: ignore[arg-type]


def test_numbers_of_torch_are_pythons_own() -> None:
    """With their gradient, as a model gives them that nobody put under no_grad."""
    p = torch.tensor(0.25, requires_grad=True) * 1.0
    judgment = Judgment(order="given", prompt="", p_slot1=p, option_logprobs=torch.stack([-p, -p]), answer_mass=p)  # type: ignore[arg-type]
    label = Preference(comparison=plan(1)[0], p_first=p, judgments=(judgment,), source="ai")  # type: ignore[arg-type]
    rating = Rating(
        prompt=label.comparison.prompt,
        completion=label.comparison.first,
        distribution=torch.tensor([0.25, 0.75]),  # type: ignore[arg-type]
    )
    assert preference_from_json(label.comparison, preference_to_json(label)) == label
    assert (judgment.option_logprobs, rating.distribution) == ((-0.25, -0.25), (0.25, 0.75))
    assert {type(number) for number in (label.p_first, judgment.p_slot1, judgment.answer_mass, rating.score)} == {float}


@dataclass
class Raising(Counting):
    def _label(self, comparison: Comparison, batch: str) -> Preference:
        raise KeyError("x")


def test_an_error_in_a_labelers_own_code_names_the_labeler(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        labeled(Raising(), plan(2), tmp_path)
    assert caught.value.__notes__ == ["labeler counting: `rlaif-plugins check counting` tests its contract"]


@dataclass
class Returning(Counting):
    value: Any = None

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        labels = super().label(comparisons)
        return self.value(labels)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (lambda labels: None, "a NoneType"),
        (lambda labels: (label for label in labels), "a generator"),
        (lambda labels: [0.5 for _ in labels], "a list with a float"),
        (lambda labels: [labels[0], None], "a list with a NoneType"),
        (lambda labels: {0: labels[0]}, "a dict"),
    ],
)
def test_what_is_no_list_of_labels_is_told(tmp_path: Path, value: Any, told: str) -> None:
    with pytest.raises(PluginError, match=f"labeler counting: returned {told}, must be a list of Preference; `rlaif-p"):
        labeled(Returning(value=value), plan(2), tmp_path)
    rated = SimpleNamespace(name="counting", rate=lambda prompts, completions: value([1.0, 2.0]))
    with pytest.raises(PluginError, match=r"labeler counting: returned .* must be a list of Rating; `rlaif-p"):
        rate_batch(rated, [plan(1)[0].prompt] * 2, [plan(1)[0].first] * 2)  # type: ignore[arg-type]


def test_by_default_64_pairs_go_to_the_labeler_at_once_and_a_fifth_may_be_missing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    label_comparisons(Counting(), plan(65), tmp_path / "a", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 65), (65, 65)]
    label_comparisons(Counting(fails=lambda text: "no" if text in "01" else None), plan(10), tmp_path / "b")
    with pytest.raises(GateStopped, match=r"label\.max_missing_rate=0\.2: 3 of 10 judged"):
        label_comparisons(Counting(fails=lambda text: "no" if text in "012" else None), plan(10), tmp_path / "c")


def test_limits_at_their_ends_are_taken_and_beyond_them_refused(tmp_path: Path) -> None:
    nothing_missing = labeled(Counting(), plan(2), tmp_path / "none", batch_size=1, max_missing_rate=0.0)
    assert len(nothing_missing) == 2
    all_missing = labeled(Counting(fails=lambda text: "no"), plan(2), tmp_path / "all", max_missing_rate=1.0)
    assert [label.missing for label in all_missing] == ["no", "no"]
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 0}, "label.batch_size=0: must be at least 1"),
        ({"max_missing_rate": 1.01}, "label.max_missing_rate=1.01: must be between 0 and 1"),
        ({"max_missing_rate": -0.01}, "label.max_missing_rate=-0.01: must be between 0 and 1"),
    ]
    for options, problem in refusals:
        with pytest.raises(ConfigError) as refused:
            labeled(Counting(), plan(2), tmp_path, **options)
        assert refused.value.problems == [problem]


def test_a_process_tells_how_far_the_plan_is_after_each_of_its_batches(tmp_path: Path) -> None:
    """Seven pairs in batches of two: the second of two processes has the second and the fourth."""
    seen: list[tuple[int, int]] = []
    second = Team(tmp_path, rank=1, size=2)
    label_part(
        Counting(),
        LabelPlan(plan(7), 2),
        second,
        max_missing_rate=0.2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 7), (7, 7)]


def test_one_process_alone_is_stopped_by_no_other(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team.stop("an earlier start was stopped")
    labeler = Counting()
    label_part(labeler, LabelPlan(plan(4), 2), team, max_missing_rate=0.2)
    assert labeler.answered == ["0", "1", "2", "3"]


def test_the_first_reason_to_stop_is_the_one_that_is_told(tmp_path: Path) -> None:
    Team(tmp_path, rank=1, size=3).stop("the budget is spent")
    Team(tmp_path, rank=0, size=3).stop("too many are missing")
    with pytest.raises(GateStopped, match=r"^the budget is spent$"):
        finished_run("counting", LabelPlan(plan(2), 2), tmp_path, 0.2)


def test_missing_labels_of_three_processes_add_up(tmp_path: Path) -> None:
    first, second, third = (Team(tmp_path / "together", rank=rank, size=3) for rank in range(3))
    assert (first.add_missing(0), (tmp_path / "together").exists()) == (0, False)
    assert [first.add_missing(2), first.add_missing(3)] == [2, 5]
    assert [second.add_missing(1), third.add_missing(0), third.add_missing(4)] == [6, 6, 10]
    assert first.add_missing(0) == 10
    Team(tmp_path / "together").begin()
    assert second.add_missing(0) == 1, "what an earlier start counted is forgotten"
    alone = Team(tmp_path / "alone")
    assert [alone.add_missing(2), alone.add_missing(3)] == [2, 5]


@dataclass
class Refused(Counting):
    """A server that refuses some prompts, and is down for others."""

    def _label(self, comparison: Comparison, batch: str) -> Preference:
        label = super()._label(comparison, batch)
        refused = label.missing is not None and label.missing.startswith("refused")
        return replace(label, judgments=(replace(label.judgments[0], unreadable=refused),))


REASONS = {"1": "refused: content filter", "2": "server down"}


@pytest.mark.parametrize(("ask_refused_again", "asked"), [(False, ["2"]), (True, ["1", "2"])])
def test_refused_prompts_are_asked_again_where_that_is_wanted(
    ask_refused_again: bool, asked: list[str], tmp_path: Path
) -> None:
    """Of two batches, the first alone lacks labels; each label stays at the place of its pair."""
    cut = LabelPlan(plan(6), 4)
    label_part(Refused(fails=REASONS.get), cut, Team(tmp_path), max_missing_rate=1.0)
    before = list(finished_run("counting", cut, tmp_path, 1.0))
    calls: list[int] = []
    again = Counting()
    label_part(
        again,
        cut,
        Team(tmp_path),
        max_missing_rate=1.0,
        before_asking=lambda: calls.append(1),
        ask_refused_again=ask_refused_again,
    )
    assert (again.answered, len(calls)) == (asked, 1)
    after = list(finished_run("counting", cut, tmp_path, 1.0))
    assert [label.comparison for label in after] == plan(6)
    changed = [old.comparison.first.text for old, new in zip(before, after, strict=True) if old != new]
    assert changed == asked
    assert [label.comparison.first.text for label in after if label.missing] == ([] if ask_refused_again else ["1"])


def test_a_stopped_run_says_whether_starting_again_would_help(tmp_path: Path) -> None:
    with pytest.raises(GateStopped, match=r"start again to go on from there, comparisons that failed without an"):
        labeled(Counting(fails=lambda text: "server down"), plan(4), tmp_path / "down", batch_size=2)
    with pytest.raises(GateStopped, match=r"nothing is left to ask about the missing ones"):
        labeled(Counting(fails=lambda text: "no verdict", unreadable=True), plan(4), tmp_path / "odd", batch_size=2)


def test_a_stricter_limit_is_held_against_all_finished_batches(tmp_path: Path) -> None:
    failing = Counting(fails=lambda text: "no" if text in "0123" else None)
    cut = LabelPlan(plan(10), 3)
    label_part(failing, cut, Team(tmp_path), max_missing_rate=0.4)
    assert finished_run("counting", cut, tmp_path, 0.4).missing == {"no": 4}
    with pytest.raises(
        GateStopped, match=r"0\.3: 4 of 10 judged comparisons are missing, 10 are planned .*start again"
    ):
        finished_run("counting", cut, tmp_path, 0.3)


def test_labels_are_read_back_in_the_order_of_a_plan_of_many_batches(tmp_path: Path) -> None:
    """Pairs come back long after their batch: it is read from disk again."""
    rows = [*plan(12), *reversed(plan(12))]
    run = label_comparisons(Counting(), rows, tmp_path, batch_size=1)
    labels = list(run)
    assert (len(run), [label.comparison for label in labels]) == (24, rows)
    assert [label.p_first for label in labels[:12]] == [label.p_first for label in labels[:11:-1]]


@pytest.mark.parametrize("error", [GateStopped("spent"), OSError("disk")])
def test_an_error_that_is_no_fault_of_the_labelers_code_is_passed_on_as_it_is(error: Exception, tmp_path: Path) -> None:
    class Fails(Counting):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            raise error

    with pytest.raises(type(error)) as caught:
        labeled(Fails(), plan(2), tmp_path)
    assert not hasattr(caught.value, "__notes__")


def test_labels_in_another_order_are_refused(tmp_path: Path) -> None:
    class Turned(Counting):
        def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
            return super().label(comparisons)[::-1]

    with pytest.raises(PluginError, match=r"labeler counting: returned 3 labels for 3 comparisons, or not in their"):
        labeled(Turned(), plan(3), tmp_path)
    assert len(labeled(Turned(), plan(1), tmp_path)) == 1
