"""How a trainer is set up, where a training goes on, and what its end raises."""

from __future__ import annotations

import logging
import signal
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary, Timer
from transformers.utils import logging as transformers_logging

from rlaif.errors import GateStopped
from rlaif.interruption import Terminated
from rlaif.modules.checkpointing import AtomicCheckpointIO, PeriodicCheckpoint
from rlaif.modules.notices import quiet_lightning, quiet_transformers
from rlaif.modules.stopping import StopOnSignal, StoppedBySignal
from rlaif.modules.trainer import build_trainer, fit, seeded

CPU = partial(Trainer, accelerator="cpu", devices=1)


def test_a_trainer_without_checkpoints_writes_and_prints_nothing(tmp_path: Path) -> None:
    trainer = build_trainer(trainer_factory=CPU, directory=tmp_path, max_steps=7)
    assert (trainer.max_steps, trainer.max_epochs, trainer.default_root_dir) == (7, -1, str(tmp_path))
    assert trainer.loggers == [] and trainer.progress_bar_callback is None and trainer.checkpoint_callback is None
    assert not any(isinstance(callback, ModelSummary) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    assert trainer.num_sanity_val_steps == 0
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    assert not trainer._accelerator_connector.use_distributed_sampler, "the loaders divide rows among processes"
    assert not any(tmp_path.iterdir())


def test_a_training_with_checkpoints_stops_on_signals(tmp_path: Path) -> None:
    saver = PeriodicCheckpoint(tmp_path)
    trainer = build_trainer(CPU, directory=tmp_path, max_steps=1, callbacks=[saver, Callback()])
    (stopper,) = (callback for callback in trainer.callbacks if isinstance(callback, StopOnSignal))  # type: ignore[attr-defined]
    assert stopper.saver is saver
    assert trainer.callbacks[-2:] == [saver, stopper], "checkpoints come after all other callbacks"  # type: ignore[attr-defined]


def test_a_seed_decides_what_is_drawn_inside_and_nothing_outside() -> None:
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.random.get_rng_state(), before)


def ended(*callbacks: object, step: int = 3, max_steps: int = 1_500, raises: BaseException | None = None) -> Any:
    """A trainer whose training ends at a step, or with an exception; ``asked`` is what it was called with."""
    trainer = SimpleNamespace(callbacks=list(callbacks), global_step=step, max_steps=max_steps, asked=None)

    def train(module: object, **options: object) -> None:
        trainer.asked = options
        if raises is not None:
            raise raises

    trainer.fit = train
    return trainer


def test_a_training_goes_on_from_the_newest_checkpoint_of_its_first_saver(tmp_path: Path) -> None:
    for name, step in (("first", 12), ("first", 9), ("second", 40)):
        (tmp_path / name).mkdir(exist_ok=True)
        torch.save({}, tmp_path / name / f"step={step:09d}.ckpt")
    savers = [PeriodicCheckpoint(tmp_path / name) for name in ("first", "second")]
    trainer = ended(Callback(), *savers, step=1_500)
    assert fit(trainer, None, seed=0) == 12  # type: ignore[arg-type]
    expected = {"ckpt_path": tmp_path / "first" / "step=000000012.ckpt", "datamodule": None, "weights_only": True}
    assert trainer.asked == expected
    fresh = ended(PeriodicCheckpoint(tmp_path / "none"), step=1_500)
    assert fit(fresh, None, seed=0) == 0 and fresh.asked["ckpt_path"] is None  # type: ignore[arg-type]


def test_a_training_that_ended_early_says_how_far_it_was() -> None:
    with pytest.raises(GateStopped, match=r"^the training stopped after 1,200 of 1,500 optimizer steps"):
        fit(ended(step=1_200), None, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timers", "limit"),
    [
        ([Timer(duration={"minutes": 90})], "trainer.max_time=1:30:00: the training"),
        ([Timer(duration=None)], "the training"),
        ([Callback(), Timer(duration={"minutes": 1}), Timer(duration={"minutes": 2})], "trainer.max_time=0:01:00: the"),
    ],
    ids=["a limit", "no limit", "the first of two"],
)
def test_the_limit_that_ended_a_training_is_named(timers: list[Callback], limit: str) -> None:
    with pytest.raises(GateStopped) as stopped:
        fit(ended(*timers), None, seed=0)  # type: ignore[arg-type]
    assert str(stopped.value).startswith(limit)


class Rule(Callback):
    """A rule that has ended the training, or has not."""

    def __init__(self, has_stopped: bool) -> None:
        self.has_stopped = has_stopped


def test_a_rule_of_the_configuration_may_end_a_training_before_its_last_step() -> None:
    assert fit(ended(Rule(False), Rule(True)), None, seed=0) == 0  # type: ignore[arg-type]
    assert fit(ended(Rule(False), step=1_500), None, seed=0) == 0  # type: ignore[arg-type]
    with pytest.raises(GateStopped, match="not finished"):
        fit(ended(Rule(False), Callback()), None, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_ends_a_training_as_an_exception(signum: signal.Signals, kind: type, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(ended(raises=StoppedBySignal(signum)), None, seed=0)  # type: ignore[arg-type]
    assert type(stopped.value) is kind
    noted = StopOnSignal(PeriodicCheckpoint(tmp_path))
    noted.signum = signum
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(ended(noted, step=1_500), None, seed=0)  # type: ignore[arg-type]
    assert type(stopped.value) is kind
    noted.signum = None
    assert fit(ended(Callback(), noted, step=1_500), None, seed=0) == 0  # type: ignore[arg-type]


def test_what_lightning_makes_of_ctrl_c_is_ctrl_c_again() -> None:
    made_of_ctrl_c, plain = SystemExit(1), SystemExit(2)
    made_of_ctrl_c.__context__ = KeyboardInterrupt()
    plain.__context__ = ValueError()
    with pytest.raises(KeyboardInterrupt):
        fit(ended(raises=made_of_ctrl_c), None, seed=0)  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as raised:
        fit(ended(raises=plain), None, seed=0)  # type: ignore[arg-type]
    assert raised.value.code == 2


def test_libraries_tell_nothing_about_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    before = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.enable_progress_bar()
        with monkeypatch.context() as without:
            without.delitem(sys.modules, "transformers")
            quiet_transformers()
            assert "transformers" not in sys.modules, "what is not loaded stays so"
        assert transformers_logging.is_progress_bar_enabled()
        quiet_transformers()
        assert not transformers_logging.is_progress_bar_enabled()
    finally:
        (transformers_logging.enable_progress_bar if before else transformers_logging.disable_progress_bar)()
    quiet_lightning()
    assert not logging.getLogger("lightning.pytorch").isEnabledFor(logging.INFO)
    assert logging.getLogger("lightning.pytorch").isEnabledFor(logging.WARNING)
