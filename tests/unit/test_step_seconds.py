"""Seconds of the parts of policy steps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlaif.modules import step_seconds
from rlaif.modules.step_seconds import SecondsWriter, StepSeconds, read_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is moved."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(step_seconds, "perf_counter", lambda: clock.now)
    return clock


def test_a_part_inside_another_counts_for_itself_alone(clock: SimpleNamespace) -> None:
    seconds = StepSeconds()
    with seconds.of("learn"):
        clock.now += 1
        with seconds.of("sample"):
            clock.now += 10
            with seconds.of("reward"):
                clock.now += 100
            clock.now += 20
        clock.now += 2
    clock.now += 1000  # outside of all parts: a validation
    with seconds.of("learn"):
        clock.now += 4
    assert seconds.by_part == {"sample": 30.0, "reward": 100.0, "learn": 7.0, "validate": 0.0}


def test_an_error_ends_its_part(clock: SimpleNamespace) -> None:
    seconds = StepSeconds()

    def fail() -> None:
        clock.now += 3
        raise RuntimeError

    with pytest.raises(RuntimeError), seconds.of("learn"), seconds.of("reward"):
        fail()
    clock.now += 50
    assert seconds.by_part == {"sample": 0.0, "reward": 3.0, "learn": 0.0, "validate": 0.0}


def test_a_resumed_training_goes_on_from_its_checkpoint(clock: SimpleNamespace, tmp_path: Path) -> None:
    first = StepSeconds()
    with first.of("sample"):
        clock.now += 5
    state = SecondsWriter(tmp_path / "seconds.json", first).state_dict()
    second = StepSeconds()
    writer = SecondsWriter(tmp_path / "seconds.json", second)
    writer.load_state_dict(state)
    with second.of("sample"):
        clock.now += 2
    assert state["sample"] == 5.0
    writer.on_train_end(SimpleNamespace(is_global_zero=True), SimpleNamespace())  # type: ignore[arg-type]
    expected = {"sample": 7.0, "reward": 0.0, "learn": 0.0, "validate": 0.0}
    assert json.loads((tmp_path / "seconds.json").read_text()) == read_seconds(tmp_path) == expected
    assert read_seconds(tmp_path / "nowhere") == {}


def test_an_unknown_part_is_refused_before_its_block() -> None:
    with pytest.raises(KeyError, match="there are sample, reward, learn, validate"):
        StepSeconds().of("sampling").__enter__()
