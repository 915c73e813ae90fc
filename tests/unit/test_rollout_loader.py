"""Which responses an optimizer step of which process learns from, and where a training goes on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from made_rollouts import rollouts
from records import assert_fixed

from rlaif.modules.policy import PolicyModule
from rlaif.modules.rollout_loader import Collected, PolicyBatch, RolloutLoader
from rlaif.objectives.base import Updates


def collected(num_responses: int) -> Collected:
    """Response n has the reward n and the share n in the denominator."""
    made = rollouts([float(n) for n in range(num_responses)], [1 + n % 3 for n in range(num_responses)], 1)
    counted_B = torch.ones(num_responses, dtype=torch.bool)
    credited = replace(made, shares_B=torch.arange(float(num_responses)), counted_mask_B=counted_B)
    return Collected(credited=credited, metrics={})


def batches(rank: int, world_size: int, updates: Updates) -> list[PolicyBatch]:
    module = SimpleNamespace(
        trainer=SimpleNamespace(world_size=world_size, global_rank=rank),
        objective=SimpleNamespace(updates=updates),
        _reads_prompts_once=True,
    )
    return PolicyModule.batches(cast(Any, module), collected(8))


@pytest.mark.parametrize(("world_size", "minibatches", "epochs"), [(1, 2, 1), (2, 1, 1), (2, 2, 3)])
def test_processes_and_minibatches_share_the_responses_and_each_steps_denominator(
    world_size: int, minibatches: int, epochs: int
) -> None:
    by_rank = [batches(rank, world_size, Updates(epochs=epochs, minibatches=minibatches)) for rank in range(world_size)]
    assert {len(steps) for steps in by_rank} == {minibatches * epochs}
    for step in range(minibatches * epochs):
        rewards = [part[step].rollouts.rewards_B for part in by_rank]
        assert all(reward is not None for reward in rewards)
        of_one = batches(0, 1, Updates(epochs=epochs, minibatches=minibatches))[step].rollouts.rewards_B
        together = torch.cat([reward for reward in rewards if reward is not None])
        assert of_one is not None and torch.equal(together, of_one), "the same responses as in one process"
        shares = sum(reward.sum().item() for reward in rewards if reward is not None)
        # Lightning averages the gradients of the processes.
        assert [part[step].denominator.item() for part in by_rank] == pytest.approx([shares / world_size] * world_size)
    seen = [part.rollouts.rewards_B for steps in by_rank for part in steps[:minibatches]]
    assert sorted(torch.cat([one for one in seen if one is not None]).tolist()) == [float(n) for n in range(8)]


def test_a_step_of_which_nothing_counts_is_divided_by_one() -> None:
    module = SimpleNamespace(
        trainer=SimpleNamespace(world_size=1, global_rank=0),
        objective=SimpleNamespace(updates=Updates()),
        _reads_prompts_once=True,
    )
    none = replace(collected(4).credited, shares_B=torch.zeros(4))
    (batch,) = PolicyModule.batches(cast(Any, module), Collected(credited=none, metrics={}))
    assert batch.denominator.item() == 1.0


def loader(done: list[int], drawn: list[int]) -> RolloutLoader:
    def collect(step: int) -> Collected:
        drawn.append(step)
        return collected(4)

    def halves(found: Collected) -> list[PolicyBatch]:
        return [PolicyBatch(rollouts=found.credited.rows(slice(n, n + 2)), denominator=torch.ones(())) for n in (0, 2)]

    return RolloutLoader(
        collect,
        halves,
        num_steps=3,
        batches_per_step=2,
        optimizer_steps=lambda: done[0],
        device=lambda: torch.device("cpu"),
    )


def rewards_of(batch: PolicyBatch) -> list[float]:
    assert batch.rollouts.rewards_B is not None
    return batch.rollouts.rewards_B.tolist()


def test_a_training_goes_on_inside_of_a_step_and_draws_nothing_twice() -> None:
    done, drawn = [0], list[int]()
    whole = loader(done, drawn)
    assert len(whole) == 6
    assert [rewards_of(batch) for batch in whole] == [[0.0, 1.0], [2.0, 3.0]] * 3 and drawn == [0, 1, 2]

    first = loader(done, drawn)
    for number, _ in enumerate(first, start=1):
        done[0] = number
        if number == 3:
            break
    state = first.state_dict()
    assert state["next_batch"] == 3 and "collected" in state
    drawn.clear()
    again = loader(done, drawn)
    again.load_state_dict(state)
    assert [rewards_of(batch) for batch in again] == [[2.0, 3.0], [0.0, 1.0], [2.0, 3.0]]
    assert drawn == [2]


def test_between_two_steps_no_responses_are_kept() -> None:
    done, drawn = [0], list[int]()
    first = loader(done, drawn)
    for number, _ in enumerate(first, start=1):
        done[0] = number
        if number == 2:
            break
    assert first.state_dict() == {"next_batch": 2}


@pytest.mark.parametrize("done", [1, 2, 3, 5, 6, 12])
def test_a_checkpoint_has_the_responses_only_where_they_are_still_learned_from(done: int) -> None:
    """Each policy step has three optimizer steps, and eleven of them are made."""

    def thirds(found: Collected) -> list[PolicyBatch]:
        return [PolicyBatch(rollouts=found.credited, denominator=torch.tensor(float(n))) for n in range(3)]

    def loader_of_thirds(optimizer_steps: int) -> RolloutLoader:
        return RolloutLoader(
            lambda step: collected(2 + step),
            thirds,
            num_steps=11,
            batches_per_step=3,
            optimizer_steps=lambda: optimizer_steps,
            device=lambda: torch.device("cpu"),
        )

    first = loader_of_thirds(done)
    assert len(first) == 33
    batches = iter(first)
    for _ in range(done):
        next(batches)
    state = first.state_dict()
    assert state["next_batch"] == done
    assert ("collected" in state) == (done in (1, 2, 5))
    again = loader_of_thirds(done)
    again.load_state_dict(state)
    following = next(iter(again))
    assert following.denominator.item() == done % 3 and len(following.rollouts) == 2 + done // 3


def test_kept_responses_come_back_with_their_figures() -> None:
    kept = Collected(credited=collected(4).credited, metrics={"policy/reward": torch.tensor(0.5)})
    again = Collected.from_state(kept.state_dict(), torch.device("cpu"))
    assert again.metrics == kept.metrics
    for name, value in kept.credited.state_dict().items():
        found = getattr(again.credited, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_a_part_of_a_step_is_divided_by_what_counts_in_the_whole_step() -> None:
    whole = PolicyBatch(rollouts=collected(4).credited, denominator=torch.tensor(3.0))
    part = whole.rows([3, 1])
    assert rewards_of(part) == [3.0, 1.0] and part.denominator.item() == 3.0
    # One prompt token each, and responses of 1, 2, 3 and 1 tokens.
    assert whole.row_tokens() == [2, 3, 4, 2] and part.row_tokens() == [2, 3]
    assert whole.to("meta") is whole, "the tensors already are where they are needed"
    assert_fixed(whole)
    assert_fixed(collected(2))


def test_the_next_step_is_drawn_only_after_the_one_before_is_learned() -> None:
    done, drawn = [0], list[int]()
    batches = iter(loader(done, drawn))
    drawn_before = [len(drawn) for _ in batches]
    assert drawn_before == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("world_size", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_an_optimizer_step_has_its_own_rows_and_its_own_denominator(world_size: int, rank: int) -> None:
    """Eight responses with the shares 0 to 7 in three passes over two halves."""
    found = batches(rank, world_size, Updates(epochs=3, minibatches=2))
    num_own = 4 // world_size
    own = [[float(n) for n in range(half + rank * num_own, half + (rank + 1) * num_own)] for half in (0, 4)]
    assert [rewards_of(batch) for batch in found] == own * 3
    # 0 + 1 + 2 + 3 and 4 + 5 + 6 + 7, and with two processes half of them.
    assert [batch.denominator.item() for batch in found] == [6.0 / world_size, 22.0 / world_size] * 3


def test_processes_average_the_gradients_of_a_step_of_which_little_counts() -> None:
    module = SimpleNamespace(
        trainer=SimpleNamespace(world_size=4, global_rank=0),
        objective=SimpleNamespace(updates=Updates()),
        _reads_prompts_once=True,
    )
    shares_B = torch.tensor([0.0, 0.0, 0.5, 0.0])
    credited = replace(collected(4).credited, shares_B=shares_B)
    (batch,) = PolicyModule.batches(cast(Any, module), Collected(credited=credited, metrics={}))
    assert batch.denominator.item() == 0.5 / 4
    nothing = Collected(credited=replace(credited, shares_B=torch.zeros(4)), metrics={})
    (batch,) = PolicyModule.batches(cast(Any, module), nothing)
    assert batch.denominator.item() == 1 / 4
