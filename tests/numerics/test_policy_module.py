"""The policy module against an enumerated objective: every response of a toy vocabulary, with its probability."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from transformers import LlamaConfig, LlamaForCausalLM, get_scheduler

from rlaif.artifacts.curve import read_curve
from rlaif.inference.heads import head_change
from rlaif.inference.recomputing import recompute_layers
from rlaif.modules.curves import CurveWriter
from rlaif.modules.optim import OptimizerSettings
from rlaif.modules.policy import PolicyModule
from rlaif.modules.trainer import build_trainer, fit
from rlaif.modules.values import ValueModel
from rlaif.objectives.base import RolloutObjective
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import StepResponses
from rlaif.types import Completion, Prompt, Sampling

Response = tuple[int, ...]
BETA, TEMPERATURE = 0.2, 0.9
PROMPT, PROMPT_IDS = Prompt(task="dialogue", text="1 2 2"), [1, 2, 2]
TRAINER = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
MISSING = (-1,)
"""Marks a row without a reward."""


def every_response(vocabulary: int, num_tokens: int) -> list[Response]:
    """Every response of at most so many tokens, where 0 ends a response."""
    words = range(1, vocabulary)
    ended = [(*start, 0) for n in range(num_tokens) for start in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=num_tokens))


def reward_of(response: Response) -> float:
    """Any number that differs between responses, and depends on their order."""
    return float(sum((3 * token - 4) / (place + 1) for place, token in enumerate(response)))


class TableReward:
    """The reward of a response plus a constant; NaN for marked rows."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def reads(self) -> Mapping[str, Reads]:
        return {}

    def prepare(self, resources: RewardResources) -> TableReward:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values_B = torch.tensor(
            [
                float("nan") if response.text == "missing" else reward_of(response.token_ids) + self.shift
                for response in responses
            ]
        )
        return RewardBatch(values_B, values_B.isfinite())

    def to(self, device: torch.device | str) -> None:
        pass


class GivenResponses:
    """Stands in for the draws of a policy step."""

    def __init__(self, rows: Sequence[Response], samples_per_prompt: int, missing: Sequence[int] = ()) -> None:
        self.rows = rows
        self.missing = missing
        self.samples_per_prompt = samples_per_prompt
        self.prompts_per_step = len(rows) // samples_per_prompt
        self.settings = SamplingSettings(temperature=TEMPERATURE, max_new_tokens=max(map(len, rows)))

    def draw(self, sampler: object, step: int, *, rank: int = 0, world_size: int = 1) -> StepResponses:
        width = max(map(len, self.rows))
        lengths_B = torch.tensor([len(row) for row in self.rows])
        rollouts = Rollouts(
            prompt_ids=[PROMPT_IDS] * self.prompts_per_step,
            tokens_BT=torch.tensor([[*row, *[0] * (width - len(row))] for row in self.rows]),
            mask_BT=torch.arange(width) < lengths_B[:, None],
            finished_B=torch.ones(len(self.rows), dtype=torch.bool),
            samples_per_prompt=self.samples_per_prompt,
        )
        texts = ["missing" if row in self.missing else str(row) for row in range(len(self.rows))]
        completions = [Completion(text=text, token_ids=row) for text, row in zip(texts, self.rows, strict=True)]
        return StepResponses([PROMPT] * len(self.rows), completions, rollouts)


class SampledResponses(GivenResponses):
    """Responses that the policy samples."""

    def __init__(self, count: int, num_tokens: int) -> None:
        super().__init__([(0,) * num_tokens] * count, 1)

    def draw(self, sampler: LocalSampler, step: int, *, rank: int = 0, world_size: int = 1) -> StepResponses:  # type: ignore[override]
        rollouts = sampler.sample(
            [PROMPT_IDS] * len(self.rows),
            num_samples=1,
            sampling=Sampling(max_new_tokens=self.settings.max_new_tokens, temperature=TEMPERATURE),
            seeds=[1_000 * step + row for row in range(len(self.rows))],
        )
        rows = [
            tuple(tokens[:length])
            for tokens, length in zip(rollouts.tokens_BT.tolist(), rollouts.mask_BT.sum(-1).tolist(), strict=True)
        ]
        completions = [Completion(text=str(row), token_ids=row) for row in rows]
        return StepResponses([PROMPT] * len(rows), completions, rollouts)


def tiny_model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.8,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def log_probabilities(model: LlamaForCausalLM, responses: Sequence[Response]) -> torch.Tensor:
    """log π of responses, each from a plain forward pass."""
    found = []
    for row in responses:
        logits = model(input_ids=torch.tensor([[*PROMPT_IDS, *row]])).logits[0, len(PROMPT_IDS) - 1 : -1] / TEMPERATURE
        found.append(logits.log_softmax(-1)[torch.arange(len(row)), list(row)].sum())
    return torch.stack(found)


def expected_objective(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, responses: Sequence[Response], beta: float
) -> torch.Tensor:
    """J = E[(1 - β) r - β KL] (arXiv 2309.00267, appendix A.3), summed over all responses."""
    log_p = log_probabilities(policy, responses)
    with torch.no_grad():
        log_ref = log_probabilities(reference, responses)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    rewards = torch.tensor([reward_of(row) for row in responses])
    return (log_p.exp() * ((1 - beta) * rewards - beta * (log_p - log_ref))).sum()


def make_module(
    policy: LlamaForCausalLM,
    reference: LlamaForCausalLM,
    responses: GivenResponses,
    objective: RolloutObjective,
    *,
    steps: int = 1,
    value: Literal["head", "model"] = "head",
    shift: float = 0.0,
    **options: object,
) -> PolicyModule:
    return PolicyModule(
        policy,
        reference=reference,
        sampler=LocalSampler(policy, eos_id=0, pad_id=0),
        responses=responses,  # type: ignore[arg-type]
        reward=TableReward(shift),
        objective=objective,
        steps=steps,
        value=value,
        **({"optimization": OptimizerSettings(optimizer=torch.optim.SGD, lr=0.1), "value_lr": 0.1} | options),  # type: ignore[arg-type]
    )


def with_random_values(module: PolicyModule) -> PolicyModule:
    """Give the baseline a value of its own in every state: it is then no longer at its first step."""
    assert module.value is not None
    module.value.observe(torch.tensor(0.7))
    for parameter in getattr(module.value, "head", torch.nn.Linear(1, 1)).parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(3))
    return module


def gradients(module: PolicyModule, *, of_each_prompt: bool = False) -> list[torch.Tensor]:
    """The gradient of one matrix of the policy, from each micro-batch of a step, or from each prompt alone."""
    assert isinstance(module.policy, LlamaForCausalLM)
    matrix = module.policy.model.layers[0].mlp.down_proj.weight
    module.trainer = TRAINER
    module.log_dict = lambda metrics: None  # type: ignore[assignment,misc]
    if of_each_prompt:
        module.micro_batches = lambda batch: [batch.rows([row]) for row in range(len(batch.row_tokens()))]  # type: ignore[assignment,misc,var-annotated]
    found: list[torch.Tensor] = []
    module.take_step = lambda parts, loss: found.extend(torch.autograd.grad(loss(part), matrix)[0] for part in parts)  # type: ignore[assignment,misc]
    for batch in module.batches(module.collect(1)):
        module.training_step(batch, 0)
    return found


@pytest.mark.parametrize(
    ("baseline", "value"), [("learned", "head"), ("learned", "model"), ("running_average", "head")]
)
def test_the_expected_gradient_of_reinforce_is_that_of_the_enumerated_objective(
    baseline: Literal["learned", "running_average"], value: Literal["head", "model"]
) -> None:
    """85 responses of one forward pass each, four of them without a reward: the others are weighted by π."""
    policy, reference = tiny_model(5, 0), tiny_model(5, 1)
    responses = every_response(5, 3)
    exact = torch.autograd.grad(
        expected_objective(policy, reference, responses, BETA), policy.model.layers[0].mlp.down_proj.weight
    )[0]
    probabilities = log_probabilities(policy, responses).exp().tolist()
    objective = Reinforce(beta=BETA, advantages="unscaled", baseline=baseline)
    rows = GivenResponses([*responses, *responses[:4]], 1, missing=range(len(responses), len(responses) + 4))
    module = with_random_values(make_module(policy, reference, rows, objective, value=value))
    found = gradients(module, of_each_prompt=True)
    # The mean over the responses with a reward is undone to weigh each by π.
    weights = [len(responses) * p for p in probabilities] + [1.0] * 4
    estimate = -sum(weight * gradient for weight, gradient in zip(weights, found, strict=True))
    torch.testing.assert_close(estimate, exact, rtol=1e-4, atol=1e-5)
    assert all(gradient.abs().max() == 0.0 for gradient in found[len(responses) :])


@pytest.mark.parametrize(("objective", "samples_per_prompt"), [("batch", 1), ("rloo", 2)])
def test_the_expected_gradient_with_other_responses_as_baseline(objective: str, samples_per_prompt: int) -> None:
    """Every ordered pair of responses over three tokens, weighted by its probability."""
    policy, reference = tiny_model(3, 0), tiny_model(3, 1)
    responses = every_response(3, 2)
    exact = torch.autograd.grad(
        expected_objective(policy, reference, responses, BETA), policy.model.layers[0].mlp.down_proj.weight
    )[0]
    log_p = dict(zip(responses, log_probabilities(policy, responses).tolist(), strict=True))
    chosen = (
        Reinforce(beta=BETA, advantages="unscaled", baseline="batch")
        if objective == "batch"
        else Rloo(beta=BETA, advantages="unscaled")
    )
    estimate = torch.zeros_like(exact)
    for pair in itertools.product(responses, repeat=2):
        (gradient,) = gradients(make_module(policy, reference, GivenResponses(pair, samples_per_prompt), chosen))
        estimate -= torch.tensor(log_p[pair[0]] + log_p[pair[1]]).exp() * gradient
    torch.testing.assert_close(estimate, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [Reinforce(), Rloo()])
def test_micro_batches_add_up_to_the_gradient_of_the_whole_step(objective: RolloutObjective) -> None:
    rows = every_response(5, 3)[:24]
    found = {}
    for num_tokens in (None, 60, 24, 1):
        responses = GivenResponses(rows, 2, missing=(1, 4, 5, 17))
        module = make_module(
            tiny_model(5, 0), tiny_model(5, 1), responses, objective, max_tokens_per_forward=num_tokens
        )
        parts = gradients(module)
        assert (len(parts) == 1) == (num_tokens is None)
        found[num_tokens] = torch.stack(parts).sum(0)
    for num_tokens in (60, 24, 1):
        torch.testing.assert_close(found[num_tokens], found[None], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", ["head", "model"])
def test_a_value_is_that_of_the_state_before_its_token_and_does_not_train_the_policy(
    value: Literal["head", "model"],
) -> None:
    policy = tiny_model(5, 0)
    rows = GivenResponses([(1, 2, 3), (1, 4, 3), (2, 2, 3)], 1)
    module = with_random_values(make_module(policy, tiny_model(5, 1), rows, Reinforce(), value=value))
    outputs, _ = module.outputs(rows.draw(None, 0).rollouts)
    values_BT = outputs.values_BT
    assert values_BT is not None
    first, second, third = values_BT
    torch.testing.assert_close(first[:2], second[:2])  # token 1 differs: V of the states before tokens 0 and 1 is equal
    assert abs((first[2] - second[2]).item()) > 1e-3
    torch.testing.assert_close(first[0], third[0])
    assert abs((first[1] - third[1]).item()) > 1e-3
    values_BT.sum().backward()
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("per", ["step", "sequence"])
def test_the_step_is_divided_by_what_the_objective_says(per: Literal["step", "sequence"], tmp_path: Path) -> None:
    """One SGD step on responses of 1 to 3 tokens, one of them without a reward, is that of a mean written by hand."""
    rows: list[Response] = [(0,), (1, 2, 0), (3, 0), (4, 1, 1), (2, 0), (1, 0)]
    objective = Grpo(beta=0.0, per=per, advantages="unscaled")
    policy, by_hand = tiny_model(5, 0), tiny_model(5, 0)
    train(tmp_path, make_module(policy, tiny_model(5, 1), GivenResponses(rows, 2, missing=(5,)), objective))
    rewards = [reward_of(row) for row in rows]
    advantages = [rewards[i] - (rewards[i - i % 2] + rewards[i - i % 2 + 1]) / 2 for i in range(4)]
    lengths = [1, 3, 2, 3]  # the fifth response is alone with a reward, the sixth has none
    shares = [1 / sum(lengths) if per == "step" else 1 / (4 * length) for length in lengths]
    found = log_probabilities(by_hand, rows[:4])
    loss = -sum(a * share * log_p for a, share, log_p in zip(advantages, shares, found, strict=True))
    loss.backward()  # type: ignore[union-attr]
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    for ours, theirs in zip(policy.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


class KeepRates(Callback):
    """The learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


class NormedSGD(torch.optim.SGD):
    """Keeps the norms of the gradients of policy and value that it uses."""

    norms: ClassVar[list[tuple[float, ...]]] = []

    def step(self, closure: Callable[[], object]) -> None:  # type: ignore[override]
        closure()  # clips
        by_rate: dict[float, list[torch.Tensor]] = {}
        for group in self.param_groups:
            by_rate.setdefault(group["lr"], []).extend(p.grad.flatten() for p in group["params"] if p.grad is not None)
        self.norms.append(tuple(torch.cat(parts).norm().item() for parts in by_rate.values()))
        super().step()


def train(directory: Path, module: PolicyModule, *callbacks: Callback) -> list[dict[str, float]]:
    """The rows of the curve."""
    trainer = build_trainer(
        partial(Trainer, accelerator="cpu", devices=1),
        directory=directory,
        max_steps=module.num_optimizer_steps,
        callbacks=[CurveWriter(directory / "curve.jsonl"), *callbacks],
    )
    fit(trainer, module, seed=0)
    return read_curve(directory / "curve.jsonl")


@pytest.mark.parametrize(
    ("baseline", "advantages"),
    [
        ("learned", "standardized"),
        ("learned", "root_mean_square"),
        ("running_average", "standardized"),
    ],
)
def test_a_constant_added_to_the_reward_changes_nothing(
    baseline: Literal["learned", "running_average", "batch"],
    advantages: Literal["standardized", "root_mean_square"],
    tmp_path: Path,
) -> None:
    responses, reached = every_response(5, 3), {}
    for shift in (0.0, 8.0):
        policy, reference = tiny_model(5, 0), tiny_model(5, 0)
        module = make_module(
            policy,
            reference,
            SampledResponses(24, 3),
            Reinforce(beta=0.01, baseline=baseline, advantages=advantages),
            steps=14,
            shift=shift,
            optimization=OptimizerSettings(optimizer=torch.optim.AdamW, lr=0.03, max_grad_norm=1.0),
            value_lr=0.03,
        )
        start = expected_objective(policy, reference, responses, 0.0).item()
        train(tmp_path / str(shift), module)
        reached[shift] = expected_objective(policy, reference, responses, 0.0).item()
    best = max(map(reward_of, responses))
    print(start, best, reached)
    assert reached[0.0] > start + 0.4 * (best - start)
    assert reached[8.0] == pytest.approx(reached[0.0], abs=0.02 * (best - start))


def test_a_reward_that_is_always_the_same_teaches_nothing(tmp_path: Path) -> None:
    for advantages in ("standardized", "root_mean_square", "unscaled"):
        policy = tiny_model(5, 0)
        before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        objective = Reinforce(beta=0.0, advantages=advantages)  # type: ignore[arg-type]
        module = make_module(policy, tiny_model(5, 0), GivenResponses([(1, 2, 0)] * 6, 1), objective, steps=3)
        module.value_lr = 0.01
        rows = train(tmp_path / advantages, module)
        assert [row["policy/advantage_max"] for row in rows] == pytest.approx([0.0] * 3, abs=1e-6)
        assert all(torch.allclose(before[name], tensor, atol=1e-6) for name, tensor in policy.state_dict().items())


def test_a_step_in_which_no_response_counts_has_no_figures_of_those_that_do(tmp_path: Path) -> None:
    objective = Grpo(beta=0.1, dynamic_sampling=True)
    equal, others = [(1, 2, 0)] * 4, [(1, 2, 0), (2, 0)] * 2
    of_equal, of_others = (
        train(tmp_path / name, make_module(tiny_model(5, 0), tiny_model(5, 1), GivenResponses(rows, 2), objective))[0]
        for name, rows in (("equal", equal), ("others", others))
    )
    absent = {"loss", "kl_loss", "ratio", "clip_fraction", "update_kl", "return_mean", "return_variance"}
    absent |= {"advantage_mean", "advantage_std", "advantage_max"}
    assert of_others.keys() - of_equal.keys() == {f"policy/{name}" for name in absent}
    assert of_equal["policy/left_out"] == 1.0 and of_equal["policy/kl"] != 0.0 and of_others["policy/ratio"] == 1.0


def test_policy_and_value_are_clipped_apart(tmp_path: Path) -> None:
    rows = every_response(5, 3)[:20]
    module = make_module(
        tiny_model(5, 0),
        tiny_model(5, 1),
        GivenResponses(rows, 1),
        Reinforce(advantages="unscaled"),
        steps=2,
        optimization=OptimizerSettings(optimizer=NormedSGD, lr=1e-6, max_grad_norm=0.5),
        value_lr=2e-6,
        max_tokens_per_forward=20,
    )
    NormedSGD.norms.clear()
    curve = train(tmp_path, module)
    assert min(curve[0]["policy/grad_norm"], curve[0]["policy/value_grad_norm"]) > 0.5
    assert NormedSGD.norms == [pytest.approx((0.5, 0.5), rel=1e-4)] * 2


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_every_step_has_the_learning_rate_of_the_librarys_schedule(
    schedule: Literal["constant", "linear", "cosine"], tmp_path: Path
) -> None:
    """The rates of all steps, the last one included, through the trainer."""
    module = make_module(
        tiny_model(3, 0),
        tiny_model(3, 1),
        GivenResponses([(1, 0), (2, 0)], 1),
        Reinforce(),
        steps=4,
        optimization=OptimizerSettings(optimizer=torch.optim.SGD, lr=0.5, schedule=schedule),
    )
    kept = KeepRates()
    train(tmp_path, module, kept)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = get_scheduler(schedule, optimizer, num_warmup_steps=0, num_training_steps=4)
    expected = []
    for _ in range(4):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert kept.rates == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("value", "own_passes"), [("head", 0), ("model", 1)])
def test_policy_and_value_head_share_one_forward_pass(value: Literal["head", "model"], own_passes: int) -> None:
    """A rollout is read once by the policy and once by the reference, an update once by the policy; the head reads the
    policy's states and does not train them."""
    policy, reference = tiny_model(4, 0), tiny_model(4, 1)
    objective = Reinforce(beta=BETA, baseline="learned")
    module = with_random_values(
        make_module(policy, reference, GivenResponses(every_response(4, 2), 1), objective, value=value)
    )
    for model in (policy, reference):
        head_change(model)  # tries the head with a pass of its own, once per model
    passes: list[torch.nn.Module] = []
    assert module.value is not None
    bodies = {"policy": policy.model, "reference": reference.model, "value": getattr(module.value, "body", None)}
    for body in bodies.values():
        if body is not None:
            body.register_forward_hook(lambda called, inputs, output: passes.append(called))
    module.trainer = TRAINER
    module.log_dict = lambda metrics: None  # type: ignore[assignment,misc]
    (batch,) = module.batches(module.collect(1))
    assert [passes.count(body) for body in bodies.values() if body is not None] == [1, 1, *[1] * own_passes]
    passes.clear()
    outputs, _ = module.outputs(batch.rollouts)
    assert passes.count(policy.model) == 1 and len(passes) == 1 + own_passes
    assert outputs.values_BT is not None
    matrix = policy.model.layers[0].mlp.down_proj.weight
    assert torch.autograd.grad(outputs.values_BT.sum(), matrix, allow_unused=True) == (None,)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_the_sampler_recorded_is_not_computed_again(
    precision: Literal["32-true", "bf16-mixed"], tmp_path: Path
) -> None:
    """In another number format than the sampler's, and for other weights than it sampled from, the policy is read."""
    policy, reference = tiny_model(4, 0), tiny_model(4, 1)
    module = make_module(policy, reference, SampledResponses(6, 3), Reinforce(beta=BETA, baseline="batch"))
    module.trainer = Trainer(
        accelerator="cpu", devices=1, precision=precision, logger=False, default_root_dir=tmp_path, barebones=True
    )
    passes: list[torch.nn.Module] = []
    read_model = module.read
    module.read = lambda model, *args, **options: passes.append(model) or read_model(model, *args, **options)  # type: ignore[assignment,func-returns-value,misc]
    credited = module.collect(1).credited
    assert passes.count(policy) == (0 if precision == "32-true" else 1)
    with module.trainer.precision_plugin.forward_context():
        read = read_model(policy, credited, with_entropy=True)
    assert credited.logprobs_BT is not None and read.entropy_BT is not None
    torch.testing.assert_close(credited.logprobs_BT, read.logprobs_BT, rtol=0, atol=1e-5)
    logprobs_BT, entropy_BT = module._described(replace(credited, policy_version=7))
    assert passes[-1] is policy
    torch.testing.assert_close(logprobs_BT, read.logprobs_BT, rtol=0, atol=1e-5)
    torch.testing.assert_close(entropy_BT, read.entropy_BT, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "num_parts"), [("prompts once", 1), ("recomputing", 2), ("value model", 2)])
def test_a_forward_pass_keeps_its_budget_however_prompts_are_read(kind: str, num_parts: int) -> None:
    """Eight responses of 3 tokens to each of two prompts: together 2 · (2 + 8 · 3) tokens, or 2 · 8 · (2 + 3)."""
    policy, budget = tiny_model(5, 0), 60
    if kind == "recomputing":
        recompute_layers(policy)
    objective = Reinforce() if kind == "value model" else Grpo()
    responses = GivenResponses([(1, 2, 0), (2, 1, 0)] * 8, 8)
    module = make_module(policy, tiny_model(5, 1), responses, objective, value="model", max_tokens_per_forward=budget)
    read: list[int] = []
    bodies = [policy.model, *([module.value.body] if isinstance(module.value, ValueModel) else [])]
    for body in bodies:
        body.register_forward_pre_hook(
            lambda _, args, given: read.append(given["input_ids"].numel() if given.get("input_ids") is not None else 0),
            with_kwargs=True,
        )
    assert len(gradients(module)) == num_parts
    assert max(read) <= budget
