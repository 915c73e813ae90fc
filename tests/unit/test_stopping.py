"""What a signal does to a training: it ends its step, saves, and stops, on all processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from counted_training import CountedTraining

from rlaif.modules.checkpointing import PeriodicCheckpoint
from rlaif.modules.stopping import StopOnSignal, StoppedBySignal


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the process come back after each test."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def started(trainer: CountedTraining, directory: Path, *, step: int = 3, is_drawing: bool = False) -> StopOnSignal:
    stopper = StopOnSignal(PeriodicCheckpoint(directory))
    trainer.lightning_module = SimpleNamespace(is_drawing=is_drawing)
    stopper.on_train_start(trainer, None)  # type: ignore[arg-type]
    trainer.global_step = step
    return stopper


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_step_is_ended_and_saved_before_the_training_stops(signum: signal.Signals, tmp_path: Path) -> None:
    trainer = CountedTraining()
    stopper = started(trainer, tmp_path)
    trainer.step(stopper, 4)
    signal.raise_signal(signum)
    assert trainer.saved == [], "the step goes on"
    with pytest.raises(StoppedBySignal) as stopped:
        trainer.step(stopper, 5)
    assert stopped.value.signum == signum and trainer.saved == [5]


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    trainer = CountedTraining()
    started(trainer, tmp_path)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(StoppedBySignal) as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.signum == signal.SIGTERM and trainer.saved == []


@pytest.mark.parametrize(("step", "saved"), [(0, []), (1, [1])])
def test_while_responses_are_drawn_the_first_signal_stops(step: int, saved: list[int], tmp_path: Path) -> None:
    trainer, asked = CountedTraining(), list[int]()
    stopper = started(trainer, tmp_path, step=step, is_drawing=True)
    stopper.saver = SimpleNamespace(save=lambda trainer: asked.append(trainer.global_step))  # type: ignore[assignment]
    with pytest.raises(StoppedBySignal):
        signal.raise_signal(signal.SIGINT)
    assert asked == saved, "there is nothing to keep before the first step"


def test_a_training_that_draws_nothing_ends_its_step(tmp_path: Path) -> None:
    trainer = CountedTraining()
    stopper = started(trainer, tmp_path)
    trainer.lightning_module = SimpleNamespace()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(StoppedBySignal):
        trainer.step(stopper, 4)
    assert trainer.saved == [4]


def test_one_of_several_processes_does_not_stop_alone(tmp_path: Path) -> None:
    trainer = CountedTraining(world_size=2, answer=lambda own: own)
    stopper = started(trainer, tmp_path, is_drawing=True)
    trainer.step(stopper, 4)
    signal.raise_signal(signal.SIGINT)
    assert trainer.saved == []
    with pytest.raises(StoppedBySignal):
        trainer.step(stopper, 5)


def test_a_signal_to_another_process_stops_this_one(tmp_path: Path) -> None:
    trainer = CountedTraining(world_size=2, answer=lambda own: True)
    stopper = started(trainer, tmp_path)
    with pytest.raises(StoppedBySignal) as stopped:
        trainer.step(stopper, 4)
    assert stopped.value.signum == signal.SIGTERM and trainer.saved == [4]


def test_a_training_in_a_thread_leaves_the_signals_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    failures: list[BaseException] = []

    def start() -> None:
        try:
            started(CountedTraining(), tmp_path)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert failures == [] and signal.getsignal(signal.SIGTERM) is before
