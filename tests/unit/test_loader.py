"""Batches in a fixed order that Lightning continues after a restart."""

import warnings
from itertools import islice

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from rlaif.data.batches.loader import BatchPlan, EvaluationLoader, ResumableLoader
from rlaif.errors import ConfigError

LENGTHS = tuple((7 * i) % 23 + 1 for i in range(50))


def make_plan(batch_size: int = 4, lengths: tuple[int, ...] = LENGTHS) -> BatchPlan:
    return BatchPlan(lengths=lengths, batch_size=batch_size, seed=3, name="sft")


def make_loader(num_batches: int = 14, plan: BatchPlan | None = None, **place: int) -> ResumableLoader:
    plan = plan or make_plan(batch_size=8)
    return ResumableLoader(
        examples=range(len(plan.lengths)), plan=plan, collate=torch.tensor, num_batches=num_batches, **place
    )


def test_an_epoch_holds_every_example_at_most_once_and_epochs_differ():
    plan = make_plan()
    epochs = [plan.epoch(epoch) for epoch in range(3)]
    for batches in epochs:
        flat = [i for batch in batches for i in batch]
        assert len(batches) == plan.batches_per_epoch == 12
        assert len(set(flat)) == len(flat) == 48
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == make_plan().epoch(0)


def test_another_seed_or_name_draws_another_order():
    plans = [make_plan(), BatchPlan(lengths=LENGTHS, batch_size=4, seed=4, name="sft")]
    plans.append(BatchPlan(lengths=LENGTHS, batch_size=4, seed=3, name="reward_model"))
    assert len({str(plan.epoch(0)) for plan in plans}) == 3


def test_buckets_leave_little_padding():
    lengths = tuple(torch.randint(1, 200, (800,), generator=torch.Generator().manual_seed(0)).tolist())
    plan = make_plan(batch_size=8, lengths=lengths)
    padded = sum(8 * max(lengths[i] for i in batch) for batch in plan.epoch(0))
    assert padded / sum(lengths) < 1.2


def test_global_random_state_is_not_used():
    before = torch.get_rng_state()
    make_plan().epoch(0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_stream_goes_on_after_any_batch_and_over_epochs():
    whole = list(islice(make_loader(), 20))
    for stop in (0, 1, 5, 6, 7, 19):
        first = make_loader()
        head = list(islice(first, stop))
        second = make_loader()
        second.load_state_dict(first.state_dict())
        tail = list(islice(second, 20 - stop))
        assert torch.equal(torch.stack(head + tail), torch.stack(whole))


@pytest.mark.parametrize("num_batches", [1, 2, 3, 4, 7])
def test_the_positions_of_a_training_are_those_of_its_batches(num_batches: int) -> None:
    plan = BatchPlan(lengths=tuple(range(10)), batch_size=3, seed=0)
    loader = ResumableLoader(examples=list(range(10)), plan=plan, collate=list, num_batches=num_batches)
    read = [position for batch in islice(loader, num_batches) for position in batch]
    assert plan.positions(num_batches) == sorted(set(read))


def test_ranks_share_each_batch():
    whole = list(islice(make_loader(), 7))
    ranks = [list(islice(make_loader(rank=rank, world_size=2), 7)) for rank in range(2)]
    for batch, first, second in zip(whole, *ranks, strict=True):
        assert len(first) == len(second) == 4
        assert sorted([*first.tolist(), *second.tolist()]) == sorted(batch.tolist())


def test_impossible_batch_sizes_are_explained():
    with pytest.raises(ConfigError, match=r"sft\.batch_size=51: there are only 50 training examples"):
        make_plan(batch_size=51)
    with pytest.raises(ConfigError, match=r"sft\.batch_size=0: must be at least 1"):
        make_plan(batch_size=0)
    with pytest.raises(ConfigError, match=r"sft\.batch_size=8: must be a multiple of the number of devices, 3"):
        make_loader(world_size=3)


def test_evaluation_loader_gives_every_example_once_each_time():
    def loader(**place: int) -> EvaluationLoader:
        return EvaluationLoader(examples=range(50), lengths=LENGTHS, collate=list, batch_size=8, **place)

    assert sorted(i for batch in loader() for i in batch) == list(range(50))
    assert len(loader()) == len(list(loader())) == 7
    shares = [i for rank in range(2) for batch in loader(rank=rank, world_size=2) for i in batch]
    assert sorted(shares) == list(range(50))


def test_every_process_has_a_batch_of_a_small_validation_part() -> None:
    """Lightning refuses a loader that is empty in one process, and the others would wait for it."""
    shares = [
        list(
            EvaluationLoader(
                examples=range(20), lengths=LENGTHS[:20], collate=list, batch_size=8, rank=rank, world_size=8
            )
        )
        for rank in range(8)
    ]
    assert len(shares[0]) == 3 and all(share == shares[0] for share in shares)


class Recorder(LightningModule):
    """Adam on one weight whose gradient depends on the batch; remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(50))
        self.seen: list[list[int]] = []

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append(batch.tolist())
        return ((self.weight[batch] - batch) ** 2).mean()

    def validation_step(self, batch: torch.Tensor) -> None:
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(directory, loader: ResumableLoader, ckpt: str | None = None, **options: object) -> Recorder:
    module = Recorder()
    checkpoints = ModelCheckpoint(directory, "{step}", save_top_k=-1, every_n_train_steps=1)
    warnings.simplefilter("ignore")
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[checkpoints],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **options,
    )
    val = EvaluationLoader(examples=range(3), lengths=[1, 1, 1], collate=torch.tensor, batch_size=2)
    trainer.fit(module, loader, val, ckpt_path=ckpt, weights_only=True)
    return module


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 1},
        {"max_epochs": 1, "val_check_interval": 6},
        {"max_steps": 14, "max_epochs": -1},
        {"max_steps": 7, "max_epochs": -1, "accumulate_grad_batches": 2},
    ],
    ids=["one-epoch", "with-validation", "max-steps", "accumulation"],
)
def test_lightning_continues_bit_for_bit_from_every_checkpoint(tmp_path, options):
    whole = fit(tmp_path / "whole", make_loader(), **options)
    assert len(whole.seen) == 14
    assert whole.seen[:6] == [batch.tolist() for batch in islice(make_loader(), 6)]
    accumulation = options.get("accumulate_grad_batches", 1)
    steps = range(1, 14 // accumulation + 1)
    for step in steps if options == {"max_epochs": 1} else (3, steps[-1] - 1, steps[-1]):
        rest = fit(tmp_path / f"rest{step}", make_loader(), str(tmp_path / "whole" / f"step={step}.ckpt"), **options)
        assert rest.seen == whole.seen[step * accumulation :], f"resumed from step {step}"
        assert torch.equal(rest.weight, whole.weight), f"resumed from step {step}"


def test_lightning_epochs_that_are_plan_epochs_continue_too(tmp_path):
    options = {"max_steps": 18, "max_epochs": -1}
    whole = fit(tmp_path / "whole", make_loader(num_batches=6), **options)
    assert len(whole.seen) == 18
    for step in (5, 6, 7, 12, 13):
        checkpoint = str(tmp_path / "whole" / f"step={step}.ckpt")
        rest = fit(tmp_path / f"rest{step}", make_loader(num_batches=6), checkpoint, **options)
        assert rest.seen == whole.seen[step:]
        assert torch.equal(rest.weight, whole.weight)
