"""Figures of labeled pairs: agreement with soft labels, log-probs of the reference, and what a report gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from test_policy_module import tiny_model
from transformers import LlamaForCausalLM

from rlaif.data.batches.examples import PairExample, collate_pairs
from rlaif.data.batches.preferences import PreferenceExample, collate_preferences
from rlaif.functional.losses import LossSum
from rlaif.models.classifiers import reward_model_from
from rlaif.modules import reference_logprobs
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.reference_logprobs import ReferenceLogprobs, pair_logprobs
from rlaif.modules.reward_lengths import MOST_PAIRS, read_reward_lengths, write_reward_lengths
from rlaif.modules.reward_model import RewardModelModule, pairwise_agreement

SGD = OptimizerSettings(optimizer=torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize(
    ("gap", "p_first", "hits", "counts"),
    [
        (1.0, 0.9, 1, 1),
        (1.0, 0.1, 0, 1),
        (-1.0, 0.9, 0, 1),
        (-1.0, 0.1, 1, 1),
        (0.25, 1.0, 1, 1),
        (-0.25, 0.0, 1, 1),
        (3.0, 0.4, 0, 1),
        (0.0, 0.9, 0.5, 1),
        (0.0, 0.1, 0.5, 1),
        (1.0, 0.5, 0, 0),
        (-1.0, 0.5, 0, 0),
    ],
)
def test_a_pair_agrees_where_its_rewards_are_ordered_as_its_label(
    gap: float, p_first: float, hits: float, counts: float
) -> None:
    for weight_B in (None, torch.tensor([2.0])):
        weight = 1.0 if weight_B is None else 2.0
        found = pairwise_agreement(torch.tensor([gap]), torch.tensor([p_first]), weight_B)
        assert (found.total.item(), found.count.item()) == (weight * hits, weight * counts)


def test_agreements_add_up_by_weight() -> None:
    gaps, labels, weights = (torch.tensor(row) for row in ([1.0, -2.0, 0.0], [0.9, 0.8, 0.1], [3.0, 1.0, 4.0]))
    assert pairwise_agreement(gaps, labels, weights) == LossSum(torch.tensor(5.0), torch.tensor(8.0))
    assert pairwise_agreement(gaps, labels) == LossSum(torch.tensor(1.5), torch.tensor(3.0))


def examples() -> list[PreferenceExample]:
    """Seven pairs of unequal prompts and responses."""
    return [
        PreferenceExample(
            prompt_ids=tuple(range(1, 2 + number % 3)),
            first_ids=tuple((number + place) % 6 + 1 for place in range(1 + number % 4)),
            second_ids=tuple((2 * number + place) % 6 + 1 for place in range(1 + number % 2)),
            p_first=0.5,
            weight=1.0,
            prompt_id=str(number),
            place=number,
        )
        for number in range(7)
    ]


def alone(model: LlamaForCausalLM, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log π of one response, from a plain pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(response)), list(response)].sum().item()


def expected_logprobs(model: LlamaForCausalLM) -> torch.Tensor:
    rows = [[alone(model, each.prompt_ids, side) for side in (each.first_ids, each.second_ids)] for each in examples()]
    return torch.tensor(rows)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 9])
def test_the_reference_has_read_every_pair_once_whatever_the_batch(batch_size: int, tmp_path: Path) -> None:
    model = tiny_model(7, 0).train()
    kept = ReferenceLogprobs(
        path=tmp_path / "kept.json", examples=examples(), load=lambda: model, batch_size=batch_size
    )
    found = kept.compute(device=torch.device("cpu"))
    torch.testing.assert_close(found, expected_logprobs(model), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad and not model.training, "dropout is off"
    assert not kept.is_kept
    kept.keep(found)
    assert kept.is_kept and torch.equal(kept.read(), found)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_processes_share_the_batches_of_the_reference(world_size: int, tmp_path: Path) -> None:
    model = tiny_model(7, 0)
    kept = ReferenceLogprobs(tmp_path / "kept.json", examples(), lambda: model, batch_size=2)
    parts = [kept.compute(torch.device("cpu"), rank=rank, world_size=world_size) for rank in range(world_size)]
    torch.testing.assert_close(sum(parts), expected_logprobs(model), rtol=1e-4, atol=1e-5)
    assert all(((part != 0).all(-1).sum() <= 4).item() for part in parts), "at most two batches of two each"
    assert ((torch.stack(parts) != 0).any(-1).sum(0) == 1).all(), "each pair is read by one process"


def test_a_killed_process_reads_only_the_batches_that_it_had_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, told = tiny_model(7, 0), []

    def begin(total: int) -> Callable[[int, int], None]:
        assert total == 7
        return lambda done, total: told.append(done)

    kept = ReferenceLogprobs(tmp_path / "kept.json", examples(), lambda: model, batch_size=2, begin=begin)
    read: list[list[int]] = []

    def until(limit: int, given: Any, batch: Any) -> torch.Tensor:
        if len(read) == limit:
            raise KeyboardInterrupt
        read.append(batch.place_B.tolist())
        return pair_logprobs(given, batch)

    monkeypatch.setattr(reference_logprobs, "pair_logprobs", partial(until, 2))
    with pytest.raises(KeyboardInterrupt):
        kept.compute(torch.device("cpu"))
    with next(tmp_path.glob("*.jsonl")).open("a") as part:
        part.write('{"3": [-1.')  # a line that the kill cut off
    monkeypatch.setattr(reference_logprobs, "pair_logprobs", partial(until, 9))
    found = kept.compute(torch.device("cpu"))
    assert sorted(place for batch in read for place in batch) == list(range(7)) and told == [2, 4, 2, 4, 6, 7]
    torch.testing.assert_close(found, expected_logprobs(model), rtol=1e-4, atol=1e-5)
    kept.keep(found)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_a_pair_that_is_not_read_has_no_log_prob(tmp_path: Path) -> None:
    model = tiny_model(7, 0)
    kept = ReferenceLogprobs(tmp_path / "kept.json", examples()[1::2], lambda: model, batch_size=2)
    parts = [kept.compute(torch.device("cpu"), rank=rank, world_size=2) for rank in (0, 1)]
    kept.keep(sum(parts))
    found = kept.read()
    torch.testing.assert_close(found[1::2], expected_logprobs(model)[1::2], rtol=1e-4, atol=1e-5)
    assert found[::2].isnan().all()


def test_log_probs_of_a_pair_are_those_of_its_responses_alone() -> None:
    model = tiny_model(7, 0)
    found = pair_logprobs(model, collate_preferences(examples()))
    torch.testing.assert_close(found.detach(), expected_logprobs(model), rtol=1e-4, atol=1e-5)
    assert found.requires_grad


def pairs(count: int, start: int = 0) -> list[PairExample]:
    return [PairExample((1, 2, 3), (1, 4, 5, 6), 0.5, str(number), 1) for number in range(start, start + count)]


def trained(*, rank: int = 0, max_tokens: int = 10_000, is_mixed: bool = False) -> RewardModelModule:
    """A reward model whose training has ended."""
    model = reward_model_from(tiny_model(7, 0), 0, head_std=1.0)
    module = RewardModelModule(model, optimization=SGD, max_tokens_per_forward=max_tokens)
    strategy = SingleDeviceStrategy("cpu")
    precision = SimpleNamespace(forward_context=lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed))
    module.__dict__["_trainer"] = SimpleNamespace(
        is_global_zero=rank == 0, strategy=strategy, precision_plugin=precision
    )
    return module


def data_of(held_out: list[PairExample], others: list[PairExample]) -> Any:
    return SimpleNamespace(
        validation_examples=held_out, train_examples=others, collate=partial(collate_pairs, pad_id=0)
    )


def test_a_report_gets_held_out_pairs_first_and_at_most_512(tmp_path: Path) -> None:
    file = tmp_path / "lengths.jsonl"
    assert read_reward_lengths(file) == []
    write_reward_lengths(trained(), data_of(pairs(300), pairs(300, start=300)), file)
    found = read_reward_lengths(file)
    assert sorted(int(pair.prompt_id) for pair in found) == list(range(512)) and MOST_PAIRS == 512
    assert {tuple(pair.lengths) for pair in found} == {(2, 3)}


@pytest.mark.parametrize("is_mixed", [False, True])
def test_what_a_report_gets_is_read_in_the_precision_of_the_training(tmp_path: Path, is_mixed: bool) -> None:
    module, seen = trained(is_mixed=is_mixed), list[bool]()
    module.model.register_forward_pre_hook(lambda *arguments: seen.append(torch.is_autocast_enabled("cpu")))
    module.model.base_model.register_forward_pre_hook(lambda *arguments: seen.append(torch.is_autocast_enabled("cpu")))
    write_reward_lengths(module, data_of(pairs(2), []), tmp_path / "lengths.jsonl")
    assert seen and set(seen) == {is_mixed}


def test_only_the_first_process_writes_what_a_report_gets(tmp_path: Path) -> None:
    write_reward_lengths(trained(rank=1), data_of(pairs(2), []), tmp_path / "lengths.jsonl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("world_size", "expected"), [(1, 0.8125), (3, 1.4375)])
def test_the_share_of_each_process_in_the_correlations_is_not_averaged_away(world_size: int, expected: float) -> None:
    """Gradients are averaged over processes, and each has the gradient of its own scores alone: the correlations, which
    differ by 5/8 and weigh one half, count once per process, and twice the overlap of 1/4 counts once."""
    module = LengthDebiasedModule(
        reward_model_from(tiny_model(7, 0), 0),
        weights=DebiasWeights(length=0.5, orthogonality=2.0),
        optimization=SGD,
    )
    module.__dict__["_trainer"] = SimpleNamespace(world_size=world_size)
    measures = {"length_correlation": 0.75, "length_head_correlation": 0.125, "head_overlap": 0.25}
    found = module._penalty({name: torch.tensor(value) for name, value in measures.items()})
    assert found.item() == pytest.approx(expected)


def test_the_length_head_starts_as_small_as_the_reward_head_and_alike_in_every_run() -> None:
    first, second = (
        LengthDebiasedModule(
            reward_model_from(tiny_model(7, seed), 0),
            weights=DebiasWeights(length=1, orthogonality=1),
            optimization=SGD,
        ).length_head.weight
        for seed in (0, 1)
    )
    assert torch.equal(first, second) and first.shape == (1, 8)
    assert 0.005 < first.norm().item() / 8**0.5 < 0.05, "about 0.02, the standard deviation of a fresh head"


@pytest.mark.parametrize(("max_tokens", "num_parts", "times"), [(1_000, 1, 1), (8, 2, 2)])
def test_only_a_step_of_several_parts_is_read_a_second_time(max_tokens: int, num_parts: int, times: int) -> None:
    """The activations of one part are kept for its gradient; those of several are made again."""
    module = LengthDebiasedModule(
        reward_model_from(tiny_model(7, 0), 0),
        weights=DebiasWeights(length=1.0, orthogonality=1.0),
        optimization=SGD,
        max_tokens_per_forward=max_tokens,
    )
    stand_in: Any = module
    stand_in.__dict__["_trainer"] = SimpleNamespace(world_size=1)
    stand_in.take_step = lambda parts, loss: loss(parts[0]).backward()
    stand_in.log = lambda name, value: None
    batch = collate_pairs(
        [PairExample((1, 2, 3), (1, 4, 5, 6), 0.9, "a", 1), PairExample((1, 2), (1, 4), 0.2, "b", 1)], pad_id=0
    )
    passes: list[object] = []
    body: Any = module.model.base_model
    body.register_forward_pre_hook(lambda called, inputs: passes.append(called))
    parts = module.micro_batches(batch)
    assert len(parts) == num_parts
    for part in parts:
        module.scores(part)
    once = len(passes)
    passes.clear()
    module.training_step(batch, 0)
    assert len(passes) == once * times


def test_the_longest_pairs_are_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of equal length share a batch, and a lack of memory shows at once."""
    widths: list[list[int]] = []

    def read(model: object, batch: Any) -> torch.Tensor:
        widths.append([examples()[place].length for place in batch.place_B])
        return torch.zeros(len(batch.place_B), 2)

    monkeypatch.setattr(reference_logprobs, "pair_logprobs", read)
    model = tiny_model(7, 0)
    ReferenceLogprobs(tmp_path / "kept.json", examples(), lambda: model, batch_size=2).compute(torch.device("cpu"))
    assert [length for batch in widths for length in batch] == sorted(
        (each.length for each in examples()), reverse=True
    )
    assert [len(batch) for batch in widths] == [2, 2, 2, 1]
