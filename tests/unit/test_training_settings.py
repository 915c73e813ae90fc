"""The options of a training: bounds, what a script leaves out, and what the modules get of them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from records import assert_fixed
from test_policy_module import tiny_model
from transformers import Adafactor

from rlaif.data.batches.modules import Batching
from rlaif.errors import ConfigError
from rlaif.labelers.rationale import Rationales
from rlaif.models.classifiers import reward_model_from
from rlaif.modules.best_of_n import BestOfNSettings
from rlaif.modules.length_debiased import DebiasWeights, LengthDebiasedModule
from rlaif.modules.online_settings import OnlineSettings
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy_settings import PolicySettings
from rlaif.modules.preference import PreferenceSettings
from rlaif.modules.reference_logprobs import ReferenceLogprobs
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.reward_model_settings import RewardModelSettings
from rlaif.modules.settings import dtype_problems
from rlaif.modules.sft import SFTSettings
from rlaif.modules.step_division import StepDivision
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.shaping import RewardShaping

ADAM = torch.optim.AdamW


def sft(**options: Any) -> SFTSettings:
    return SFTSettings(**{"optimizer": ADAM, "lr": 1e-3, "batch_size": 4, **options})


def reward_model(**options: Any) -> RewardModelSettings:
    return RewardModelSettings(**{"optimizer": ADAM, "lr": 1e-3, "batch_size": 4, **options})


def best_of_n(**options: Any) -> BestOfNSettings:
    given = {"optimizer": ADAM, "lr": 1e-3, "batch_size": 4, "samples_per_prompt": 2}
    return BestOfNSettings(**{**given, **options})


def policy(**options: Any) -> PolicySettings:
    given = {"optimizer": ADAM, "lr": 1e-3, "objective": Reinforce(), "steps": 1, "prompts_per_step": 6}
    return PolicySettings(**{**given, **options})


ALLOWED: dict[str, list[float | None]] = {
    "lr": [1e-9, 0.5, 3.0],
    "max_grad_norm": [None, 0.5],
    "weight_decay": [0.0, 0.5, 2.0],
    "warmup_fraction": [0.0, 0.5, 1.0],
    "max_tokens_per_forward": [None, 1, 2],
    "epochs": [0.5, 1.0],
    "batch_size": [1, 2],
    "steps": [None, 1],
    "max_length": [1, 2],
    "validation_fraction": [0.0, 0.5, 0.999],
}
REFUSED: dict[str, list[float]] = {
    "lr": [0.0, -1.0, float("inf"), math.nan],
    "max_grad_norm": [0.0, float("inf")],
    "weight_decay": [-0.1, float("inf"), math.nan],
    "warmup_fraction": [-0.1, 1.1],
    "max_tokens_per_forward": [0, -1],
    "epochs": [0.0, float("inf")],
    "batch_size": [0],
    "steps": [0],
    "max_length": [0],
    "validation_fraction": [-0.1, 1.0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ALLOWED for value in ALLOWED[name]])
def test_an_option_within_its_bounds_is_taken(name: str, value: float | None) -> None:
    assert getattr(sft(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]])
def test_an_option_out_of_its_bounds_is_refused_by_its_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as refused:
        sft(**{name: value})
    (problem,) = refused.value.problems
    assert problem.startswith(f"sft.{name}={value}: must be ")


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Grpo, "entropy"),
        (Ppo, "entropy"),
        (RewardShaping, "unfinished_penalty"),
        (SamplingSettings, "temperature"),
        (partial(Rationales, 9), "temperature"),
    ],
)
def test_infinity_is_no_number_that_an_option_takes(make: Any, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value}: must be a finite number of at least 0"):
        make(**{name: value})


@pytest.mark.parametrize(
    ("make", "options", "problem"),
    [
        (best_of_n, {"samples_per_prompt": 1}, "policy.samples_per_prompt=1: must be at least 2"),
        (best_of_n, {"temperature": 0.0}, "policy.temperature=0.0: must be a finite number above 0"),
        (best_of_n, {"max_new_tokens": 0}, "policy.max_new_tokens=0: must be at least 1"),
        (reward_model, {"debias": "size"}, "reward_model.debias=size: must be one of none, length"),
        (
            reward_model,
            {"length_weight": -1.0},
            "reward_model.length_weight=-1.0: must be a finite number of at least 0",
        ),
        (
            reward_model,
            {"orthogonality_weight": math.inf},
            "reward_model.orthogonality_weight=inf: must be a finite number of at least 0",
        ),
        (policy, {"prompts_per_step": 0}, "policy.prompts_per_step=0: must be at least 1"),
        (policy, {"steps": 0}, "policy.steps=0: must be at least 1"),
        (policy, {"value_lr": 0.0}, "policy.value_lr=0.0: must be a finite number above 0"),
    ],
)
def test_one_mistake_is_told_once(make: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make(**options)
    assert refused.value.problems == [problem]


@pytest.mark.parametrize(("samples_per_prompt", "objective"), [(2, Rloo()), (3, Rloo()), (1, Reinforce())])
def test_enough_responses_to_a_prompt_are_taken(samples_per_prompt: int, objective: Any) -> None:
    assert policy(samples_per_prompt=samples_per_prompt, objective=objective).samples_per_prompt == samples_per_prompt


def test_too_few_responses_to_compare_are_refused_and_none_at_all_is_another_mistake() -> None:
    for given, told in ((1, "the objective Rloo compares .* needs at least 2"), (0, "must be at least 1")):
        with pytest.raises(ConfigError, match=told) as refused:
            policy(samples_per_prompt=given, objective=Rloo())
        assert len(refused.value.problems) == 1


@pytest.mark.parametrize("objective", [Reinforce(baseline="batch", advantages="unscaled"), Reinforce(), Ppo()])
def test_one_response_has_no_others_to_be_compared_with(objective: Any) -> None:
    told = "policy.prompts_per_step=1: with policy.samples_per_prompt=1 a policy step has 1 response, .* at least 2"
    with pytest.raises(ConfigError, match=told):
        policy(prompts_per_step=1, samples_per_prompt=1, objective=objective)
    for enough in ({"prompts_per_step": 2}, {"samples_per_prompt": 2}):
        options = {"prompts_per_step": 1, "samples_per_prompt": 1, "objective": objective} | enough
        if options["prompts_per_step"] % objective.updates.minibatches == 0:
            assert policy(**options).prompts_per_step == options["prompts_per_step"]


@pytest.mark.parametrize(
    "objective", [Reinforce(advantages="root_mean_square"), Ppo(advantages="unscaled", minibatches=1)]
)
def test_one_response_is_enough_where_its_advantages_keep_the_reward(objective: Any) -> None:
    assert policy(prompts_per_step=1, samples_per_prompt=1, objective=objective).prompts_per_step == 1


def test_prompts_divide_among_devices_and_optimizer_steps() -> None:
    division = StepDivision(prompts_per_step=12, num_updates=3)
    assert [num for num in range(1, 7) if not list(division.problems(num))] == [1, 2, 4]
    (of_updates,) = division.problems(6)
    assert "objective.minibatches=3: must divide the 2 prompts per step and device" in of_updates
    assert "(policy.prompts_per_step=12)" in of_updates
    (of_devices,) = division.problems(5)
    assert of_devices.endswith("a multiple of the number of devices, 5")
    assert_fixed(division)
    settings = policy(objective=Grpo(minibatches=3), samples_per_prompt=2, prompts_per_step=12)
    assert settings.division == division


@pytest.mark.parametrize(("every", "steps", "num"), [(None, 5, 0), (1, 5, 6), (2, 5, 4), (5, 5, 2), (9, 5, 2)])
def test_validations_are_those_of_the_start_of_the_end_and_in_between(every: int | None, steps: int, num: int) -> None:
    assert policy(validate_every=every, steps=steps).num_validations == num


REFUSED_BY_OPTIMIZERS: list[tuple[Any, str]] = [
    (partial(ADAM, betas=[1.5, 0.95]), "AdamW refuses its options: Invalid beta parameter at index 0: 1.5"),
    (partial(ADAM, eps=-1), "AdamW refuses its options: Invalid epsilon value: -1"),
    (partial(ADAM, fused=True, foreach=True), "AdamW refuses its options: `fused` and `foreach` cannot be `True`"),
    (partial(ADAM, betas=[0.9]), "AdamW refuses its options: "),
    (partial(ADAM, speed=2), "AdamW refuses its options: "),
    (torch.optim.SparseAdam, "SparseAdam refuses its options: SparseAdam does not support dense gradients"),
    (partial(Adafactor, relative_step=True), "with these options Adafactor sets its own learning rate, and lr=0.001"),
]
"""Optimizers that no training can take, and what is told."""


@pytest.mark.parametrize(("optimizer", "told"), REFUSED_BY_OPTIMIZERS)
@pytest.mark.parametrize("make", [sft, reward_model, best_of_n, policy])
def test_what_an_optimizer_refuses_is_told_by_its_group(make: Any, optimizer: Any, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make(optimizer=optimizer)
    (problem,) = refused.value.problems
    group = {sft: "sft", reward_model: "reward_model"}.get(make, "policy")
    assert problem.startswith(f"{group}.optimizer: {told}")


@pytest.mark.parametrize(
    "optimizer", [partial(ADAM, fused=True), partial(Adafactor, relative_step=False), torch.optim.SGD, torch.optim.Adam]
)
def test_an_optimizer_is_tried_and_nothing_is_drawn_for_it(optimizer: Any) -> None:
    before = torch.get_rng_state()
    assert sft(optimizer=optimizer, weight_decay=0.1).optimizer is optimizer
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_script_leaves_out_is_what_the_documentation_says() -> None:
    """Temperature 0.9 and value models as in the paper (arXiv 2309.00267, appendices E and F)."""
    sampling = SamplingSettings(temperature=0.9, max_new_tokens=128, max_prompt_tokens=1024)
    settings = policy()
    assert settings.sampling == best_of_n().sampling == sampling
    assert (settings.samples_per_prompt, settings.value_lr, settings.num_candidates) == (1, 0.01, 4)
    assert (settings.keep, settings.watch, settings.judge, settings.export_every) == ("last", None, None, None)
    batching = Batching(max_length=1152, batch_size=4, epochs=1.0, num_batches=None, validation_fraction=0.0)
    assert sft().batching == best_of_n().batching == batching
    assert not sft().skip
    optimization = OptimizerSettings(optimizer=ADAM, lr=1e-3)
    assert sft().optimization == settings.optimization == optimization
    assert (optimization.weight_decay, optimization.warmup_fraction, optimization.max_grad_norm) == (0.0, 0.0, None)
    debiased = reward_model()
    assert (debiased.debias, debiased.length_weight, debiased.orthogonality_weight) == ("none", 1.0, 1.0)


def test_options_stay_as_they_were_checked(tmp_path: Path) -> None:
    online = OnlineSettings(
        optimizer=ADAM, lr=1e-3, objective=Reinforce(), steps=1, prompts_per_step=2, pair_objective=Dpo()
    )
    pairs = PreferenceSettings(optimizer=ADAM, lr=1e-3, batch_size=2, pair_objective=Dpo())
    for settings in (sft(), reward_model(), best_of_n(), policy(), online, pairs):
        assert_fixed(settings, has_slots=False)
    assert_fixed(sft().optimization)
    model = tiny_model(5, 0)
    reference = ReferenceLogprobs(tmp_path / "kept.json", [], lambda: model, batch_size=1)
    assert pairs.module(model, reference).reference is reference


def test_the_module_of_a_stage_has_its_options() -> None:
    options = {"lr": 0.25, "weight_decay": 0.5, "warmup_fraction": 0.125, "schedule": "linear", "max_grad_norm": 2.0}
    for make in (sft, best_of_n):
        module = make(**options, max_tokens_per_forward=77).module(tiny_model(5, 0))
        assert module.optimization == OptimizerSettings(optimizer=ADAM, **options)  # type: ignore[arg-type]
        assert module.max_tokens_per_forward == 77


def test_a_reward_model_is_debiased_where_its_options_say_so() -> None:
    def made(**options: Any) -> RewardModelModule:
        return reward_model(**options).module(reward_model_from(tiny_model(5, 0), 0))

    assert type(made()) is RewardModelModule
    debiased = made(debias="".join(("len", "gth")), length_weight=0.5, orthogonality_weight=0.25)
    assert isinstance(debiased, LengthDebiasedModule)
    assert debiased.weights == DebiasWeights(length=0.5, orthogonality=0.25)
    assert_fixed(debiased.weights)


@pytest.mark.parametrize(("dtype", "num"), [("float32", 0), ("bfloat16", 1), ("float16", 1), ("auto", 1)])
def test_only_weights_of_32_bits_are_trained(dtype: str, num: int) -> None:
    problems = list(dtype_problems("".join(list(dtype))))
    assert len(problems) == num
    assert all(problem.startswith(f"model.dtype={dtype}: ") for problem in problems)


class WithoutCpuKernel(torch.optim.SGD):
    """As optimizers of other packages that run on a GPU alone."""

    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("no kernel for cpu")


def test_an_optimizer_of_another_package_is_made_but_makes_no_step() -> None:
    assert sft(optimizer=WithoutCpuKernel).optimizer is WithoutCpuKernel
    with pytest.raises(ConfigError, match=r"sft\.optimizer: WithoutCpuKernel refuses its options: .*momentum"):
        sft(optimizer=partial(WithoutCpuKernel, momentum=-1))
