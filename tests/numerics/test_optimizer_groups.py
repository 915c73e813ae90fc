"""Learning rates, groups of parameters and clipping, against torch's and the library's own, and numbers by hand."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from records import assert_fixed
from test_policy_module import tiny_model
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from rlaif.errors import ConfigError
from rlaif.functional.losses import LossSum
from rlaif.inference.micro_batches import automatic_max_tokens
from rlaif.modules import optimizer_step
from rlaif.modules.distributed import mean_over_processes, of_all_processes, pooled_mean
from rlaif.modules.optim import OptimizerSettings, configure, decay_groups, lr_factor
from rlaif.modules.optimizer_step import OptimizerStepModule

SGD = OptimizerSettings(optimizer=torch.optim.SGD, lr=0.5)


def library_factors(schedule: str, warmup_steps: int, num_steps: int) -> list[float]:
    """Factors of the library's schedule, whose warm-up starts at 0 instead of above it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    made = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}[schedule]
    theirs, found = made(optimizer, warmup_steps, num_steps), []
    for _ in range(num_steps + 1):
        found.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    return found


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("fraction", "warmup_steps"), [(0.0, 0), (0.3, 3), (0.21, 3), (0.9, 9)])
def test_the_rate_after_the_warm_up_is_the_librarys(schedule: Any, fraction: float, warmup_steps: int) -> None:
    theirs = library_factors(schedule, warmup_steps, 10)
    ours = [lr_factor(step, num_steps=10, warmup_fraction=fraction, schedule=schedule) for step in range(11)]
    assert ours[:warmup_steps] == pytest.approx([(step + 1) / max(1, warmup_steps) for step in range(warmup_steps)])
    assert ours[warmup_steps:] == pytest.approx(theirs[warmup_steps:], abs=1e-12)


def test_a_constant_rate_and_a_warm_up_over_all_steps() -> None:
    assert [lr_factor(step, num_steps=3, warmup_fraction=0.0, schedule="constant") for step in range(4)] == [1.0] * 4
    for schedule in ("constant", "linear", "cosine"):
        found = [lr_factor(step, num_steps=4, warmup_fraction=1.0, schedule=schedule) for step in range(5)]  # type: ignore[arg-type]
        assert found[:4] == [0.25, 0.5, 0.75, 1.0]
        assert found[4] == 1.0, "a step after the last one"
        beyond = lr_factor(40, num_steps=4, warmup_fraction=0.0, schedule=schedule)  # type: ignore[arg-type]
        assert beyond == (1.0 if schedule == "constant" else 0.0)


def test_matrices_decay_and_vectors_do_not_and_a_tied_weight_is_there_once() -> None:
    linear, norm, head = nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(3, 2, bias=False)
    head.weight = linear.weight
    scalar, cube, frozen = (nn.Module() for _ in range(3))
    scalar.register_parameter("one", nn.Parameter(torch.tensor(1.0)))
    cube.register_parameter("three", nn.Parameter(torch.zeros(2, 2, 2)))
    frozen.register_parameter("two", nn.Parameter(torch.zeros(2, 2), requires_grad=False))
    matrices, vectors = decay_groups([linear, norm, head, scalar, cube, frozen], lr=0.25, weight_decay=0.5)
    assert [id(p) for p in matrices["params"]] == [id(linear.weight), id(cube.three)]
    assert [id(p) for p in vectors["params"]] == [id(linear.bias), id(norm.weight), id(norm.bias), id(scalar.one)]
    assert (matrices["lr"], matrices["weight_decay"]) == (0.25, 0.5)
    assert (vectors["lr"], vectors["weight_decay"]) == (0.25, 0.0)
    assert len(decay_groups([head], lr=1.0, weight_decay=0.0)) == 1, "no group is empty"
    assert_fixed(SGD)


@pytest.mark.parametrize("max_steps", [-1, 0])
def test_a_schedule_without_an_end_is_refused(max_steps: int) -> None:
    groups = decay_groups([nn.Linear(2, 1)], lr=0.5, weight_decay=0.0)
    with pytest.raises(ConfigError, match=rf"trainer\.max_steps={max_steps}: must be the number of optimizer steps"):
        configure(SGD, groups, SimpleNamespace(max_steps=max_steps))  # type: ignore[arg-type]


@pytest.mark.parametrize("max_steps", [1, 4])
def test_the_first_step_of_a_training_has_the_full_rate_of_each_group(max_steps: int) -> None:
    groups = [*decay_groups([nn.Linear(2, 1)], lr=0.5, weight_decay=0.0)]
    groups[1]["lr"] = 0.125
    found = configure(SGD, groups, SimpleNamespace(max_steps=max_steps))  # type: ignore[arg-type]
    assert [group["lr"] for group in found["optimizer"].param_groups] == [0.5, 0.125]
    assert found["lr_scheduler"]["interval"] == "step"


class Two:
    """The other process of two has these numbers, in the order in which they are asked for."""

    world_size = 2

    def __init__(self, *others: float) -> None:
        self.others = [torch.tensor(other) for other in others]
        self.strategy = SimpleNamespace(reduce=self.reduce)

    def reduce(self, own: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "mean"
        own += self.others.pop(0)
        return own.div_(2)


def process_of(trainer: object, rank: int = 0) -> Any:
    def gather(own: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full_like(own, -1.0) if row != rank else own for row in range(3)])

    return SimpleNamespace(trainer=trainer, device=torch.device("cpu"), global_rank=rank, all_gather=gather)


ALONE = SimpleNamespace(world_size=1)


def test_a_mean_over_processes_leaves_the_own_number_alone() -> None:
    own = torch.tensor(3.0, requires_grad=True)
    assert mean_over_processes(process_of(ALONE), own).item() == 3.0
    mean = mean_over_processes(process_of(Two(7.0)), own)
    assert mean.item() == 5.0 and own.item() == 3.0 and not mean.requires_grad


def test_a_figure_is_the_total_of_all_parts_of_all_processes_over_their_count() -> None:
    parts = [LossSum(torch.tensor(6.0), torch.tensor(2.0)), LossSum(torch.tensor(3.0), torch.tensor(1.0))]
    assert pooled_mean(process_of(ALONE), parts).item() == 9 / 3
    assert pooled_mean(process_of(Two(1.0, 2.0)), parts).item() == 10 / 5
    assert pooled_mean(process_of(Two(1.0, 0.5)), []).item() == 1 / 0.5, "the other process alone has some"
    small = [LossSum(torch.tensor(0.5), torch.tensor(0.25))]
    assert pooled_mean(process_of(ALONE), small).item() == 2.0


def test_a_figure_that_nothing_counts_for_is_0_unless_told_otherwise() -> None:
    nothing = [LossSum(torch.tensor(0.0), torch.tensor(0.0))]
    assert pooled_mean(process_of(ALONE), nothing).item() == pooled_mean(process_of(ALONE), []).item() == 0.0
    assert math.isnan(pooled_mean(process_of(ALONE), nothing, empty=math.nan).item())
    with pytest.raises(TypeError, match="positional"):
        pooled_mean(process_of(ALONE), nothing, 1.0)  # type: ignore[misc]


@pytest.mark.parametrize("rank", [0, 2])
def test_of_the_values_of_all_processes_the_own_ones_have_a_gradient(rank: int) -> None:
    own_N = torch.tensor([2.0, 5.0], requires_grad=True)
    assert of_all_processes(process_of(ALONE, rank), own_N) is own_N
    found = of_all_processes(process_of(SimpleNamespace(world_size=3), rank), own_N)
    expected = [-1.0] * 6
    expected[2 * rank : 2 * rank + 2] = [2.0, 5.0]
    assert found.tolist() == expected
    (found**2).sum().backward()
    assert own_N.grad is not None and own_N.grad.tolist() == [4.0, 10.0]


class RowsOf:
    """Rows of some tokens each, by number."""

    def __init__(self, numbers: list[int], lengths: list[int]) -> None:
        self.numbers, self.lengths = numbers, lengths

    def row_tokens(self) -> list[int]:
        return [self.lengths[number] for number in self.numbers]

    def rows(self, rows: list[int]) -> RowsOf:
        return RowsOf([self.numbers[row] for row in rows], self.lengths)


def module_with(trainer: object, *, max_tokens: int | None = 10, **options: Any) -> Any:
    """A module under a trainer that stands in for Lightning's."""
    module: Any = OptimizerStepModule(
        trained=tiny_model(17, 0),
        optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=1.0, **options),
        max_tokens_per_forward=max_tokens,
    )
    module.__dict__["_trainer"] = trainer
    return module


@pytest.mark.parametrize(("others", "num_parts"), [(1, 2), (2, 2), (3, 3), (4, 4)])
def test_every_process_has_as_many_micro_batches_as_the_one_with_most(
    others: int, num_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rows of five tokens are two parts of at most ten."""
    batch = RowsOf([0, 1, 2, 3], [5, 5, 5, 5])
    module = module_with(SimpleNamespace(world_size=2))
    monkeypatch.setattr(module, "all_gather", lambda own: torch.stack([own, torch.tensor(others)]))
    monkeypatch.setattr(type(module), "device", torch.device("cpu"))
    parts = module.micro_batches(batch)
    assert len(parts) == num_parts
    assert sorted(number for part in parts for number in part.numbers) == [0, 1, 2, 3]


def test_rows_within_the_budget_are_not_cut() -> None:
    module = module_with(SimpleNamespace(world_size=1, precision="32-true"), max_tokens=20)
    whole = RowsOf([0, 1, 2, 3], [5, 5, 5, 5])
    assert module.micro_batches(whole) == module.parts_to_read(whole) == [whole]
    more = RowsOf([0, 1, 2, 3, 4], [5, 5, 5, 5, 5])
    for parts in (module.micro_batches(more), module.parts_to_read(more)):
        assert len(parts) == 2 and sorted(number for part in parts for number in part.numbers) == [0, 1, 2, 3, 4]
    assert module.token_budget == 20
    automatic = module_with(module.trainer, max_tokens=None)
    assert automatic.token_budget == automatic_max_tokens(tiny_model(17, 0), "32-true")


def test_gradients_are_exchanged_in_the_last_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    module, calls = module_with(SimpleNamespace(precision_plugin=object())), list[str]()

    class Kept(AbstractContextManager[None]):
        def __enter__(self) -> None:
            calls.append("kept")

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(optimizer_step, "LightningOptimizer", SimpleNamespace)
    wrapped = SimpleNamespace(optimizer=optimizer, step=optimizer.step, zero_grad=optimizer.zero_grad)
    monkeypatch.setattr(module, "optimizers", lambda: wrapped)
    monkeypatch.setattr(module, "lr_schedulers", lambda: schedule)
    monkeypatch.setattr(module, "manual_backward", lambda loss: (calls.append("backward"), loss.backward()))
    monkeypatch.setattr(module, "_without_exchange", Kept)
    module.take_step([1.0, 2.0, 4.0], lambda part: part * weight.sum())
    assert calls == ["kept", "backward", "kept", "backward", "backward"]
    assert weight.item() == -7.0 and weight.grad is None
    assert optimizer.param_groups[0]["lr"] == 0.5
    module.take_step([1.0], lambda part: part * weight.sum())
    assert calls[5:] == ["backward"] and weight.item() == -7.5


def test_only_processes_that_exchange_gradients_can_hold_them_back() -> None:
    alone = module_with(SimpleNamespace(strategy=SingleDeviceStrategy("cpu")))
    assert isinstance(alone._without_exchange(), nullcontext)
    strategy, marks = DDPStrategy(), list[str]()
    strategy.block_backward_sync = lambda: marks.append("held back")  # type: ignore[assignment,method-assign,return-value]
    module_with(SimpleNamespace(strategy=strategy))._without_exchange()
    assert marks == ["held back"]


@pytest.mark.parametrize(("limit", "norms"), [(None, [5.0, 13.0]), (6.5, [5.0, 6.5]), (100.0, [5.0, 13.0])])
def test_each_group_is_clipped_apart_and_its_norm_before_that_is_logged(
    limit: float | None, norms: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, logged = module_with(SimpleNamespace(), max_grad_norm=limit), dict[str, float]()
    first, second, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([5.0, 12.0])
    monkeypatch.setattr(module, "clipped", lambda: {"a": [first, unused], "b": [second], "c": [unused]})
    monkeypatch.setattr(module, "log", lambda name, value: logged.update({name: value.item()}))
    module.on_before_optimizer_step(None)
    assert logged == {"a": pytest.approx(5.0), "b": pytest.approx(13.0)}
    assert [grad.grad.norm().item() for grad in (first, second)] == pytest.approx(norms, rel=1e-4)  # type: ignore[union-attr]
    logged.clear()
    monkeypatch.setattr(module, "clipped", lambda: {"": [first, second]})
    module.on_before_optimizer_step(None)
    assert logged == {}, "a group without a name logs nothing"


@pytest.mark.parametrize(("has_scaler", "is_fused", "times"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_a_loss_scale_is_taken_out_here_where_lightning_does_not(has_scaler: bool, is_fused: bool, times: int) -> None:
    unscaled: list[object] = []
    plugin = SimpleNamespace(scaler=SimpleNamespace(unscale_=unscaled.append) if has_scaler else None)
    optimizer: Any = SimpleNamespace(_step_supports_amp_scaling=True) if is_fused else SimpleNamespace()
    module_with(SimpleNamespace(precision_plugin=plugin))._unscale(optimizer)
    assert unscaled == [optimizer] * times


def test_frozen_weights_and_the_clock_are_not_kept_and_come_back() -> None:
    module = module_with(SimpleNamespace())
    module.model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1, bias=False))
    module.model[0].requires_grad_(False)
    start = {name: weight.clone() for name, weight in module.state_dict().items()}
    timer = "Timer{'interval': 'step'}"
    checkpoint = {"state_dict": module.state_dict(), "callbacks": {timer: {}, "PeriodicCheckpoint": {"cpu": 1}}}
    module.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["model.1.weight"]
    assert checkpoint["callbacks"] == {"PeriodicCheckpoint": {"cpu": 1}}
    checkpoint["state_dict"]["model.1.weight"] = torch.full((1, 1), 9.0)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(module.model[0].weight, start["model.0.weight"]) and module.model[1].weight.item() == 9.0
    plain: dict[str, Any] = {"state_dict": {}}
    module.on_save_checkpoint(plain)
    assert plain["callbacks"] == {}
