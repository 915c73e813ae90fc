"""When a checkpoint is written, which ones are kept, and what is restored from one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from counted_training import CountedTraining

from rlaif.modules import checkpointing
from rlaif.modules.checkpointing import AtomicCheckpointIO, PeriodicCheckpoint, checkpoint_path, list_checkpoints


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: self.now))


def run(saver: PeriodicCheckpoint, steps: list[int], *, start: int = 0, **options: Any) -> list[int]:
    """The optimizer steps of a training after which there was a checkpoint."""
    trainer = CountedTraining(**options)
    trainer.global_step = start
    trainer.run(saver, steps)
    return trainer.saved


def by_steps(directory: Path, every_n_steps: int, **options: Any) -> PeriodicCheckpoint:
    return PeriodicCheckpoint(directory=directory, every_n_steps=every_n_steps, every_s=None, **options)


def test_every_third_step_is_saved_but_not_the_last(tmp_path: Path) -> None:
    assert run(by_steps(tmp_path, 3), list(range(1, 10)), max_steps=9) == [3, 6]
    assert run(by_steps(tmp_path, 300), [300, 600, 900], max_steps=900) == [300, 600]
    assert run(by_steps(tmp_path, 3), list(range(1, 10)), max_steps=10) == [3, 6, 9]


def test_a_step_that_passes_over_a_multiple_is_saved(tmp_path: Path) -> None:
    assert run(by_steps(tmp_path, 3), [2, 4, 6, 8, 10, 11]) == [4, 6, 10]


def test_a_resumed_training_saves_at_the_same_steps(tmp_path: Path) -> None:
    assert run(by_steps(tmp_path, 3), list(range(5, 10)), start=4) == [6, 9]


def test_without_options_the_clock_decides_and_starts_with_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, trainer = Clock(monkeypatch), CountedTraining()
    saver = PeriodicCheckpoint(tmp_path)
    clock.now = 7.0
    saver.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step, clock.now in enumerate([26.9, 27.0, 46.5, 47.0, 100.0, 119.0], start=1):
        trainer.step(saver, step)
    assert trainer.saved == [2, 4, 5], "20 s after the start, 20 s later, and late"


def test_a_checkpoint_of_either_kind_restarts_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, trainer = Clock(monkeypatch), CountedTraining()
    saver = PeriodicCheckpoint(tmp_path, every_n_steps=3, every_s=10.0)
    saver.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step, clock.now in enumerate([4.0, 8.0, 9.0, 18.0, 19.0, 20.0, 21.0], start=1):
        trainer.step(saver, step)
    assert trainer.saved == [3, 5, 6]


def test_without_clock_and_steps_only_the_end_of_the_time_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, trainer = Clock(monkeypatch), CountedTraining()
    saver = PeriodicCheckpoint(tmp_path, every_s=None)
    trainer.run(saver, [1, 2])
    clock.now, trainer.should_stop = 1e9, True
    trainer.step(saver, 3)
    assert trainer.saved == [3]


@pytest.mark.parametrize(("others", "saved"), [(True, [1]), (False, [])])
def test_of_several_processes_the_first_ones_clock_decides(
    others: bool, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, trainer = Clock(monkeypatch), CountedTraining(world_size=2, answer=lambda own: others)
    saver = PeriodicCheckpoint(tmp_path, every_s=10.0)
    saver.on_train_start(trainer, None)  # type: ignore[arg-type]
    clock.now = 0.0 if others else 11.0
    trainer.step(saver, 1)
    assert trainer.saved == saved


@pytest.mark.parametrize(("options", "kept"), [({}, [3, 4]), ({"keep": 1}, [4]), ({"keep": 3}, [2, 3, 4])])
def test_the_newest_checkpoints_are_kept(options: dict[str, int], kept: list[int], tmp_path: Path) -> None:
    saver = by_steps(tmp_path, 1, **options)
    assert run(saver, [1, 2, 3, 4]) == [1, 2, 3, 4]
    assert list_checkpoints(tmp_path) == [checkpoint_path(tmp_path, step) for step in kept]


def test_only_the_first_process_removes_checkpoints(tmp_path: Path) -> None:
    assert run(by_steps(tmp_path, 1), [1, 2, 3], rank=1) == [1, 2, 3]
    assert len(list_checkpoints(tmp_path)) == 3


def test_a_step_is_saved_once_and_the_start_never(tmp_path: Path) -> None:
    saver, trainer = PeriodicCheckpoint(tmp_path), CountedTraining()
    for step in (0, 1, 500, 500, 2):
        trainer.global_step = int(str(step))
        saver.save(trainer)  # type: ignore[arg-type]
    assert trainer.saved == [1, 500, 2]


def test_files_that_are_no_checkpoints_are_left_alone(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "missing") == []
    for name in ("step=000000002.ckpt", "step=000000001.ckpt", "step=1.ckpt", "last.ckpt", "step=000000003.ckpt.old"):
        (tmp_path / name).touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step=000000001.ckpt", "step=000000002.ckpt"]


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "folder" / "step=000000001.ckpt"
    for value in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"value": value}, path)
    assert torch.load(path) == {"value": 2}

    def full_disk(checkpoint: object, file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        AtomicCheckpointIO().save_checkpoint({"value": 3}, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert torch.load(path) == {"value": 2}


def test_a_checkpoint_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("flush"), flush(file))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("rename"), rename(old, new))[1])
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "step=000000001.ckpt")
    assert calls == ["flush", "rename", "flush"], "the file, its name, and the folder that holds the name"


@pytest.mark.parametrize(("free", "raised"), [(100, OSError), (2**30, RuntimeError)])
def test_a_full_disk_is_told_as_one_although_the_unfinished_file_is_gone(
    free: int, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch reports it as an error of its own."""

    def fails(*given: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2076352 vs 2076240")

    monkeypatch.setattr(torch, "save", fails)
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=free))
    with pytest.raises(raised) as error:
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "step=000000001.ckpt")
    assert getattr(error.value, "errno", None) == (errno.ENOSPC if raised is OSError else None)
    assert list(tmp_path.iterdir()) == []


def test_the_random_state_goes_on_where_it_was(tmp_path: Path) -> None:
    saver = PeriodicCheckpoint(tmp_path)
    with torch.random.fork_rng(devices=[]):
        state = saver.state_dict()
        expected = torch.rand(3)
        torch.rand(5)
        saver.load_state_dict(state)
        assert torch.equal(torch.rand(3), expected)
    (own,) = state["random_states"]
    assert ("cuda" in own) == torch.cuda.is_available()


def test_the_random_state_of_the_own_gpu_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    saver = PeriodicCheckpoint(tmp_path)
    saver.load_state_dict(saver.state_dict())
    assert [state.tolist() for state in restored] == [[7]]


def test_a_checkpoint_of_more_processes_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_rng_state()
    state = {"cpu": torch.zeros_like(before)}
    PeriodicCheckpoint(tmp_path).load_state_dict({"random_states": [state, state]})
    assert "the checkpoint is of 2 processes" in caplog.text
    PeriodicCheckpoint(tmp_path).load_state_dict(state)
    assert "the checkpoint is of an earlier version" in caplog.text
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_of_a_cpu_is_loaded_on_a_machine_with_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, restored = PeriodicCheckpoint(tmp_path), list[object]()
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    saver.load_state_dict({"random_states": [{"cpu": torch.get_rng_state()}]})
    assert restored == []
