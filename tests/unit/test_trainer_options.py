"""Options of the trainer are used or refused before anything is loaded, and every allowed precision trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import DictConfig, OmegaConf
from test_optimizer_step import demonstrations, pairs
from test_policy_module import GivenResponses, TableReward, every_response, tiny_model
from torch.utils.data import DataLoader

from rlaif.config.check import check
from rlaif.config.trainer_options import trainer_problems
from rlaif.data.batches.examples import collate_pairs, collate_tokens
from rlaif.models.classifiers import reward_model_from
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.optimizer_step import OptimizerStepModule
from rlaif.modules.policy import PolicyModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.sft import SFTModule
from rlaif.modules.trainer import build_trainer
from rlaif.objectives.reinforce import Reinforce
from rlaif.pipeline.devices import machine_problems, num_processes
from rlaif.rollouts.sampler import LocalSampler

FUSED = OptimizerSettings(optimizer=partial(torch.optim.AdamW, fused=True), lr=1e-2, max_grad_norm=0.01)


def plain(fused: bool) -> OptimizerSettings:
    """An optimizer whose steps are as long as its gradients."""
    return OptimizerSettings(optimizer=partial(torch.optim.SGD, fused=fused), lr=1.0, max_grad_norm=0.01)


REFUSED = {
    "trainer.precision=bf16-true": "type trainer.precision=bf16-mixed",
    "trainer.precision=16-true": "type trainer.precision=bf16-mixed",
    "trainer.precision=16-mixed": "needs a GPU",
    "trainer.precision=64-true": "allowed are 32-true, bf16-mixed, 16-mixed",
    "trainer.devices=[0]": "the CPU takes a number of processes; type trainer.devices=1",
    "trainer.devices=0": "at least 1",
    "trainer.num_nodes=0": "at least 1",
    "trainer.log_every_n_steps=-1": "at least 1",
    "trainer.accelerator=tup": "allowed are auto, cpu, gpu, cuda, mps, tpu",
    "trainer.max_time=01:00:00": "as +trainer.max_time=00:02:00:00 for two hours",
    "trainer.max_time=abc": "days, hours, minutes and seconds",
    "trainer.profiler=foo": "allowed are simple, advanced, pytorch, xla",
    "+trainer.accumulate_grad_batches=2": "sft.max_tokens_per_forward",
    "+trainer.gradient_clip_val=1.0": "sft.max_grad_norm",
    "+trainer.max_steps=3": "sft.steps",
    "+trainer.limit_train_batches=3": "remove it",
    "+trainer.fast_dev_run=true": "remove it",
    "+trainer.strategy=fsdp": "type trainer.strategy=ddp",
}


def test_options_that_would_not_work_or_not_be_used_are_refused_together() -> None:
    lines = [line for line in REFUSED if line.startswith("+")]
    problems = check(lines, places=False)
    assert len(problems) == len(lines)
    for typed in lines:
        assert any(p.startswith(typed.lstrip("+")) and REFUSED[typed] in p for p in problems), problems


@pytest.mark.parametrize("typed", [line for line in REFUSED if not line.startswith("+")])
def test_what_a_training_cannot_work_with_is_refused(typed: str) -> None:
    name, _, value = typed.removeprefix("trainer.").partition("=")
    (problem,) = trainer_problems(group(**{name: yaml_value(value)}))
    assert problem.startswith(typed) and REFUSED[typed] in problem


def yaml_value(text: str) -> object:
    return OmegaConf.create(f"value: {text}").value


def group(**options: object) -> DictConfig:
    return OmegaConf.create({"trainer": {"_target_": "lightning.Trainer", "accelerator": "cpu", **options}})


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "gpu", "precision": "16-mixed", "devices": [0]},
        {"accelerator": "gpu", "devices": "auto"},
        {"precision": "bf16-mixed", "devices": 2, "strategy": "ddp"},
        {"max_time": "00:01:00:00", "profiler": "simple"},
        {"max_time": {"hours": 2}, "num_nodes": 2},
    ],
    ids=str,
)
def test_an_option_that_is_used_passes(options: dict[str, object]) -> None:
    assert trainer_problems(group(**options)) == []


def test_gpus_in_a_list_are_counted() -> None:
    assert num_processes(group(accelerator="gpu", devices=[1, 3])) == 2


def test_devices_that_the_machine_lacks_are_told_before_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(machine_problems(group())) == []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("lightning.pytorch.accelerators.MPSAccelerator.is_available", lambda: False)
    (problem,) = machine_problems(group(accelerator="gpu"))
    assert problem.startswith("trainer.accelerator=gpu: this machine has none") and "type trainer=cpu" in problem
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert list(machine_problems(group(accelerator="gpu", devices=2))) == []
    for devices in (3, [0, 2]):
        (problem,) = machine_problems(group(accelerator="gpu", devices=devices))
        assert problem.startswith("trainer.devices=") and "this machine has 2 GPUs; type trainer.devices=2" in problem


def test_a_run_on_a_gpu_that_is_not_there_stops_in_the_first_seconds(find_problems: Callable[..., list[str]]) -> None:
    if not torch.cuda.is_available():
        (problem,) = find_problems("trainer=gpu")
        assert problem.startswith("trainer.accelerator=gpu")


def test_weights_of_16_bits_are_refused_before_anything_is_trained(find_problems: Callable[..., list[str]]) -> None:
    found = find_problems("model.dtype=bfloat16")
    assert len(found) == 1 and found[0].startswith("model.dtype=bfloat16: a trained model needs float32 weights")


def modules(settings: OptimizerSettings) -> dict[str, tuple[OptimizerStepModule, list[object] | None]]:
    """A module of every stage, with its batches."""
    model, policy = tiny_model(17, 3), tiny_model(5, 0)
    scorer = reward_model_from(tiny_model(17, 3), 0, head_std=1.0)
    learner = PolicyModule(
        policy,
        reference=tiny_model(5, 1),
        sampler=LocalSampler(policy, eos_id=0, pad_id=0),
        responses=GivenResponses(every_response(5, 3)[14:38], 2, missing=(1, 4, 17)),  # type: ignore[arg-type]
        reward=TableReward(),
        objective=Reinforce(),
        optimization=settings,
        steps=2,
        value_lr=1e-2,
        max_tokens_per_forward=30,
    )
    steps = range(2)
    return {
        "sft": (
            SFTModule(model, optimization=settings, max_tokens_per_forward=40),
            [collate_tokens(demonstrations(step), pad_id=0) for step in steps],
        ),
        "reward_model": (
            RewardModelModule(scorer, optimization=settings, max_tokens_per_forward=40),
            [collate_pairs(pairs(step), pad_id=0) for step in steps],
        ),
        "policy": (learner, None),
    }


def trained_with(
    precision: str | MixedPrecision,
    kind: str,
    directory: Path,
    *,
    accelerator: str = "cpu",
    settings: OptimizerSettings = FUSED,
) -> dict[str, torch.Tensor]:
    """The movement of each weight in two steps, clipped."""
    module, batches = modules(settings)[kind]
    before = {name: weight.clone() for name, weight in module.state_dict().items()}

    def factory(*, plugins: list[object], **options: object) -> Trainer:
        if isinstance(precision, str):
            return Trainer(accelerator=accelerator, devices=1, precision=precision, plugins=plugins, **options)  # type: ignore[arg-type]
        return Trainer(accelerator=accelerator, devices=1, plugins=[*plugins, precision], **options)  # type: ignore[arg-type, list-item]

    trainer = build_trainer(factory, directory=directory, max_steps=2)
    if batches is None:
        trainer.fit(module)
    else:
        trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))  # type: ignore[arg-type]
    after = {name: weight.cpu() for name, weight in module.state_dict().items()}
    assert trainer.global_step == 2
    assert all(weight.dtype == torch.float32 for weight in after.values() if weight.is_floating_point())
    return {name: after[name] - before[name] for name in before}


def length(changes: dict[str, torch.Tensor]) -> float:
    """Norm of a movement of all weights."""
    return torch.cat([change.flatten().float() for change in changes.values()]).norm().item()


def same_direction(exact: dict[str, torch.Tensor], mixed: dict[str, torch.Tensor]) -> float:
    """Cosine of two movements of all weights."""
    flat = [torch.cat([change.flatten().float() for change in changes.values()]) for changes in (exact, mixed)]
    return torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0).item()


@pytest.mark.parametrize("kind", ["sft", "reward_model", "policy"])
def test_bf16_mixed_trains_float32_weights_with_the_shipped_optimizer(kind: str, tmp_path: Path) -> None:
    exact, mixed = (trained_with(precision, kind, tmp_path) for precision in ("32-true", "bf16-mixed"))
    assert 0.9 < same_direction(exact, mixed) < 1.0


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_are_clipped_after_the_loss_scale_is_taken_out(fused: bool, tmp_path: Path) -> None:
    """The CPU twin of 16-mixed, with a scaler of the CPU: gradients are clipped to 0.01, far below
    their norm, and scaled ones would then move the weights 1,024 times less."""
    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    exact, mixed = (trained_with(plugin, "sft", tmp_path, settings=plain(fused)) for plugin in ("32-true", scaled))
    assert 0.9 < same_direction(exact, mixed) < 1.0
    assert length(mixed) == pytest.approx(length(exact), rel=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed needs a GPU; its CPU twin is bf16-mixed")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["sft", "reward_model", "policy"])
def test_mixed_precisions_of_a_gpu_clip_unscaled_gradients(kind: str, precision: str, tmp_path: Path) -> None:
    """Its CPU twin is above."""
    exact, mixed = (
        trained_with(name, kind, tmp_path, accelerator="gpu", settings=plain(True)) for name in ("32-true", precision)
    )
    assert 0.9 < same_direction(exact, mixed) < 1.0
    assert length(mixed) == pytest.approx(length(exact), rel=0.1)
