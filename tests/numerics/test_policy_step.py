"""Parts of a policy step: what is logged, where the baseline starts, and what the trainer gets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from made_rollouts import rollouts
from test_policy_module import TEMPERATURE, TRAINER, GivenResponses, make_module, tiny_model

from rlaif.errors import ConfigError
from rlaif.functional.losses import LossSum
from rlaif.modules.policy import PolicyModule
from rlaif.objectives.base import Losses, Needs, Updates
from rlaif.objectives.grpo import Grpo
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.shaping import mean_shaped_reward

ALONE = SimpleNamespace(world_size=1)


def sums(total: float, count: float) -> LossSum:
    return LossSum(torch.tensor(total), torch.tensor(count))


@pytest.mark.parametrize(("length", "per_token"), [(4.0, 0.75), (0.5, 3.0)])
def test_figures_of_an_update_are_over_its_parts_and_some_per_token(length: float, per_token: float) -> None:
    """A mean length below one token, of responses that are nearly all empty, does not raise a figure."""
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(
        _metrics={"policy/length": torch.tensor(length), "policy/reward": torch.tensor(0.5)},
        trainer=ALONE,
        device=torch.device("cpu"),
        log_dict=lambda metrics: logged.update({name: value.item() for name, value in metrics.items()}),
    )
    parts = [
        Losses(terms={"loss": sums(6.0, 3.0), "bonus": sums(2.0, 1.0)}, per_token=frozenset({"bonus"})),
        Losses(terms={"loss": sums(1.0, 1.0), "bonus": sums(4.0, 1.0)}, per_token=frozenset({"bonus"})),
    ]
    PolicyModule._log_update(module, parts)
    assert logged == {"policy/length": length, "policy/reward": 0.5, "policy/loss": 1.75, "policy/bonus": per_token}


def test_the_mean_reward_is_over_the_responses_that_have_one() -> None:
    assert mean_shaped_reward(rollouts([1.0, float("nan"), 4.0], [1, 1, 1], 1)).item() == 2.5


class Observed:
    """A baseline that says how often it was told of a mean return."""

    def __init__(self, is_first: bool) -> None:
        self.is_first = is_first
        self.means: list[float] = []

    def observe(self, mean_return: torch.Tensor) -> bool:
        self.means.append(mean_return.item())
        return self.is_first


def credited_by(value: Observed | None, scored: Rollouts, **fields: torch.Tensor) -> tuple[Rollouts, int]:
    """The credited rollouts, and how often the objective was asked for them: returns are 1, 2, ... by response."""
    calls: list[Rollouts] = []

    def credit(batch: Rollouts) -> Rollouts:
        calls.append(batch)
        returns_BT = torch.arange(1.0, 1.0 + len(batch))[:, None].expand(batch.mask_BT.shape)
        counted_B = torch.ones(len(batch), dtype=torch.bool)
        given = {"advantages_BT": returns_BT, "returns_BT": returns_BT, "counted_mask_B": counted_B, **fields}
        return replace(batch, **given)

    module: Any = SimpleNamespace(
        trainer=ALONE,
        value=value,
        objective=SimpleNamespace(credit=credit),
        shaping=SimpleNamespace(applied=lambda batch: batch),
    )
    return PolicyModule._credited(module, scored), len(calls)


def test_the_first_step_is_credited_again_with_the_mean_return_as_its_values() -> None:
    """Responses of 1, 2 and 3 tokens with the returns 1, 2 and 3 have the mean 14/6 over tokens."""
    scored, value = rollouts([0.0] * 3, [1, 2, 3], 1), Observed(is_first=True)
    found, times = credited_by(value, scored)
    assert value.means == [pytest.approx(14 / 6)] and times == 2
    torch.testing.assert_close(found.values_BT, torch.full((3, 3), 14 / 6))
    later = Observed(is_first=False)
    found, times = credited_by(later, scored)
    assert later.means == value.means and times == 1
    torch.testing.assert_close(found.values_BT, torch.zeros(3, 3))
    assert credited_by(None, scored)[1] == 1


def test_returns_that_are_made_of_values_tell_the_baseline_nothing() -> None:
    scored, value = rollouts([0.0] * 3, [1, 2, 3], 1), Observed(is_first=True)
    nan = float("nan")
    credited_by(value, scored, last_values_B=torch.tensor([nan, 0.0, nan]))
    assert value.means == [pytest.approx((1 * 1 + 3 * 3) / 4)], "the second is left out"
    _, times = credited_by(value, scored, last_values_B=torch.zeros(3))
    assert times == 1 and len(value.means) == 1, "no return is left"
    _, times = credited_by(value, scored, counted_mask_B=torch.tensor([False, False, True]))
    assert value.means[1:] == [3.0]


@pytest.mark.parametrize(
    ("objective", "world_size", "option"),
    [(Grpo(), 4, "prompts_per_step=6"), (Grpo(minibatches=4), 1, "objective.minibatches=4")],
)
def test_prompts_that_do_not_divide_are_refused_before_the_first_response(
    objective: Grpo, world_size: int, option: str
) -> None:
    module = make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses([(1, 0)] * 12, 2), objective)
    module.__dict__["_trainer"] = SimpleNamespace(world_size=world_size)
    with pytest.raises(ConfigError, match=rf"policy\.{option}: must "):
        module.train_dataloader()


def test_a_training_has_as_many_batches_as_optimizer_steps() -> None:
    objective = Grpo(minibatches=3)
    module = make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses([(1, 0)] * 12, 2), objective, steps=7)
    module.__dict__["_trainer"] = SimpleNamespace(world_size=2, global_step=4)
    with pytest.raises(ConfigError):
        make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses([(1, 0)] * 12, 2), Grpo(minibatches=0))
    module.__dict__["_trainer"].world_size = 1
    loader = module.train_dataloader()
    assert len(loader) == module.num_optimizer_steps == 21
    assert loader.optimizer_steps() == 4 and loader.device() == torch.device("cpu")


def test_logits_of_policy_and_reference_are_those_of_plain_passes_at_the_temperature() -> None:
    policy, reference = tiny_model(5, 0), tiny_model(5, 1)
    responses = GivenResponses([(1, 2, 0), (3, 4, 4)], 1)
    module = make_module(policy, reference, responses, Grpo())
    module.objective = SimpleNamespace(needs=Needs(vocabulary_logits=True))  # type: ignore[assignment]
    batch = responses.draw(None, 0).rollouts
    outputs, entropy_BT = module.outputs(batch)
    assert outputs.logits_BTV is not None and outputs.ref_logits_BTV is not None and entropy_BT is None
    assert outputs.values_BT is None and outputs.logits_BTV.requires_grad and not outputs.ref_logits_BTV.requires_grad
    for model, found in ((policy, outputs.logits_BTV), (reference, outputs.ref_logits_BTV)):
        ids = torch.tensor([[*batch.prompt_ids[row], *batch.tokens_BT[row].tolist()] for row in range(2)])
        start = len(batch.prompt_ids[0]) - 1
        plain = model(input_ids=ids).logits[:, start:-1] / TEMPERATURE
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    probabilities = outputs.logits_BTV.softmax(-1)
    (_, entropy_BT) = module.outputs(batch, with_entropy=True)
    expected = -(probabilities * probabilities.log()).sum(-1)
    assert entropy_BT is not None
    torch.testing.assert_close(entropy_BT, expected * batch.mask_BT, rtol=1e-4, atol=1e-5)


def test_updates_of_a_policy_step_are_passes_times_minibatches() -> None:
    module: Any = SimpleNamespace(steps=5, objective=SimpleNamespace(updates=Updates(epochs=2, minibatches=3)))
    assert cast(property, PolicyModule.num_optimizer_steps).fget(module) == 30  # type: ignore[misc]


def test_what_is_only_read_has_no_gradient() -> None:
    """The reference never has one, nor have log-probs and entropies of the policy outside of an update."""
    responses = GivenResponses([(1, 2, 0), (3, 4, 4)], 1)
    module = make_module(tiny_model(5, 0), tiny_model(5, 1), responses, Grpo())
    module.trainer = TRAINER
    batch = responses.draw(None, 0).rollouts
    assert not any(weight.requires_grad for weight in module.reference.parameters())
    assert all(weight.requires_grad for weight in module.policy.parameters())
    assert not module.logprobs(module.policy, batch).requires_grad
    assert not module.entropies(batch).requires_grad
    assert module.read(module.policy, batch).entropy_BT is None, "nobody asked for it"
