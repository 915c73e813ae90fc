"""Labeling a plan: killed, stopped and concurrent runs against an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rlaif.errors import ConfigError, GateStopped, PluginError, StoreError
from rlaif.labelers.cache import LabelCache
from rlaif.labelers.run import label_comparisons
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, content_id


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


def test_labels_come_in_the_order_of_the_plan_and_equal_pairs_are_judged_once(tmp_path: Path) -> None:
    comparisons = [*plan(7), *plan(3)]
    labeler, seen = Counting(), []
    labels = label_comparisons(
        labeler, comparisons, tmp_path, batch_size=3, progress=lambda done, total: seen.append((done, total))
    )
    assert [label.comparison for label in labels] == comparisons
    assert labels[:3] == labels[7:]
    assert sorted(labeler.answered) == sorted(str(number) for number in range(7))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert label_comparisons(labeler, [], tmp_path / "empty") == []


@pytest.mark.parametrize("last_batch", [0, 1, 3])
def test_a_run_that_breaks_off_goes_on_and_ends_the_same(tmp_path: Path, last_batch: int) -> None:
    comparisons = plan(10)

    class Dying(Counting):
        def label(self, batch: Sequence[Comparison]) -> list[Preference]:
            if batch[0].first.text == str(3 * last_batch):
                raise KeyboardInterrupt
            return super().label(batch)

    whole = label_comparisons(Counting(), comparisons, tmp_path / "whole", batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        label_comparisons(Dying(), comparisons, tmp_path / "broken", batch_size=3)
    labeler = Counting()
    assert label_comparisons(labeler, comparisons, tmp_path / "broken", batch_size=3) == whole
    assert len(labeler.answered) == 10 - 3 * last_batch
    assert _bytes(tmp_path / "broken") == _bytes(tmp_path / "whole")


def _bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_failures_are_missing_in_their_attempt_and_asked_again_in_the_next(tmp_path: Path) -> None:
    comparisons = plan(8)
    down = Counting(fails=lambda text: "server down" if text in "15" else None)
    labels = label_comparisons(down, comparisons, tmp_path, batch_size=4, max_missing_rate=0.5)
    assert [label.missing for label in labels] == [None, "server down", None, None, None, "server down", None, None]
    up = Counting()
    again = label_comparisons(up, comparisons, tmp_path, batch_size=4)
    assert up.answered == ["1", "5"]
    assert all(label.missing is None for label in again)
    assert [again[number] for number in (0, 2, 3, 4, 6, 7)] == [labels[number] for number in (0, 2, 3, 4, 6, 7)]


def test_an_unreadable_answer_is_an_outcome_and_is_not_paid_for_again(tmp_path: Path) -> None:
    labeler = Counting(fails=lambda text: "rationale cut at 9 tokens" if text == "1" else None, unreadable=True)
    first = label_comparisons(labeler, plan(8), tmp_path, batch_size=4)
    assert label_comparisons(labeler, plan(8), tmp_path, batch_size=4) == first
    assert len(labeler.answered) == 8


def test_too_many_missing_stop_the_run_early_with_reasons_and_the_next_start_goes_on(tmp_path: Path) -> None:
    def fails(text: str) -> str | None:
        return {0: "server down", 1: "server down", 2: "too long"}.get(int(text) % 10)

    labeler = Counting(fails=fails)
    with pytest.raises(GateStopped) as stopped:
        label_comparisons(labeler, plan(100), tmp_path, batch_size=10, max_missing_rate=0.2)
    message = str(stopped.value)
    assert "label.max_missing_rate=0.2: 21 of 70 judged comparisons are missing" in message
    assert "14 × server down; 7 × too long" in message and "start again" in message
    assert len(labeler.answered) == 70
    up = Counting()
    assert len(label_comparisons(up, plan(100), tmp_path, batch_size=10)) == 100
    assert len(up.answered) == 21 + 30


def test_exactly_the_limit_is_allowed(tmp_path: Path) -> None:
    labeler = Counting(fails=lambda text: "no" if text in "01" else None)
    labels = label_comparisons(labeler, plan(10), tmp_path, batch_size=5, max_missing_rate=0.2)
    assert sum(label.missing is not None for label in labels) == 2


def test_another_plan_in_the_folder_and_a_damaged_batch_are_refused(tmp_path: Path) -> None:
    label_comparisons(Counting(), plan(4), tmp_path, batch_size=2)
    for labeler, comparisons, size in [
        (Counting(identity="b"), plan(4), 2),
        (Counting(), plan(5), 2),
        (Counting(), plan(4), 3),
    ]:
        with pytest.raises(StoreError, match="another plan"):
            label_comparisons(labeler, comparisons, tmp_path, batch_size=size)
    damaged = tmp_path / "batch-000001.json.gz"
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(StoreError, match="delete this file"):
        label_comparisons(Counting(), plan(4), tmp_path, batch_size=2)


def test_bad_options_and_a_labeler_that_loses_pairs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        label_comparisons(Counting(), plan(2), tmp_path, batch_size=0, max_missing_rate=2)
    assert len(error.value.problems) == 2

    class Losing(Counting):
        def label(self, batch: Sequence[Comparison]) -> list[Preference]:
            return super().label(batch)[1:]

    with pytest.raises(PluginError, match="rlaif-plugins check counting"):
        label_comparisons(Losing(), plan(2), tmp_path)


def test_the_cache_pays_once_across_plans_and_never_keeps_a_failure(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path / "labels.sqlite")
    down = Counting(fails=lambda text: "server down" if text == "1" else None)
    first = label_comparisons(down, plan(6), tmp_path / "a", batch_size=3, cache=cache)
    assert len(cache) == 5
    labeler = Counting()
    second = label_comparisons(labeler, plan(9), tmp_path / "b", batch_size=3, cache=cache)
    assert labeler.answered == ["1", "6", "7", "8"]
    assert [second[number] for number in (0, 2, 3, 4, 5)] == [first[number] for number in (0, 2, 3, 4, 5)]
    assert cache.get("another labeler", plan(6)) == {}
    assert LabelCache(cache.path, code="changed").get("counting", plan(6)) == {}


def test_labels_that_arrive_in_the_cache_later_do_not_change_a_plan(tmp_path: Path) -> None:
    comparisons = plan(9)
    whole = label_comparisons(Counting(), comparisons, tmp_path / "whole", batch_size=3)

    class Dying(Counting):
        def label(self, batch: Sequence[Comparison]) -> list[Preference]:
            if batch[0].first.text == "3":
                raise KeyboardInterrupt
            return super().label(batch)

    cache = LabelCache(tmp_path / "labels.sqlite")
    with pytest.raises(KeyboardInterrupt):
        label_comparisons(Dying(), comparisons, tmp_path / "broken", batch_size=3, cache=cache)
    label_comparisons(Counting(), comparisons[4:8], tmp_path / "other", batch_size=1, cache=cache)
    assert label_comparisons(Counting(), comparisons, tmp_path / "broken", batch_size=3, cache=cache) == whole


def test_a_cache_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="label cache cannot be used"):
        LabelCache(path).get("x", plan(1))


PROGRAM = """
import sys, time
from pathlib import Path
from rlaif.labelers.cache import LabelCache
from rlaif.labelers.run import label_comparisons
sys.path.insert(0, {folder!r})
from test_label_run import Counting, plan

class Paid(Counting):
    def label(self, comparisons):
        with open({paid!r}, "a") as file:
            for comparison in comparisons:
                time.sleep(0.002)
                file.write(comparison.first.text + "\\n")
                file.flush()
        return super().label(comparisons)

directory, size = Path(sys.argv[1]), int(sys.argv[2])
label_comparisons(Paid(), plan(size), directory, batch_size=8, cache=LabelCache(Path({cache!r})))
"""


def start(tmp_path: Path, directory: Path, size: int) -> subprocess.Popen[bytes]:
    folder = str(Path(__file__).parent)
    program = PROGRAM.format(folder=folder, paid=str(tmp_path / "paid"), cache=str(tmp_path / "labels.sqlite"))
    return subprocess.Popen([sys.executable, "-c", program, str(directory), str(size)])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the labeling process did not get on"
        time.sleep(0.003)


def test_kill_9_loses_at_most_the_batch_in_flight(tmp_path: Path) -> None:
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

    whole = label_comparisons(Counting(), plan(size), tmp_path / "whole", batch_size=batch_size)
    assert label_comparisons(Counting(), plan(size), broken, batch_size=batch_size) == whole
    assert _bytes(broken) == _bytes(tmp_path / "whole")
    assert len(LabelCache(tmp_path / "labels.sqlite")) >= size - kills * batch_size


def test_two_processes_share_one_cache(tmp_path: Path) -> None:
    processes = [start(tmp_path, tmp_path / f"run-{number}", 120) for number in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    cache = LabelCache(tmp_path / "labels.sqlite")
    assert len(cache) == 120
    assert cache.get("counting", plan(120)).keys() == {comparison.id for comparison in plan(120)}
