"""The policy: reinforcement learning from the reward."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate

from rlaif.data.preferences_io import read_samples
from rlaif.engines.answer_cache import open_cache
from rlaif.engines.spending import Ledger
from rlaif.labelers.base import Rater
from rlaif.labeling.cost import cost_figures
from rlaif.labeling.wrapping import wrap_engines
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.modules.curves import read_curve
from rlaif.modules.policy import PolicySettings
from rlaif.rewards.base import Reward, RewardResources
from rlaif.stages.context import Context, component_code, num_devices, num_machines, prompts_id, write_json
from rlaif.stages.labelers import build_labeler, labeler_options
from rlaif.stages.labels import COST, COUNTED, prices_and_budget
from rlaif.stages.samples import SAMPLES, draw_completions
from rlaif.stages.stage import Stage
from rlaif.stages.training import CURVE, save_model, train
from rlaif.types import Completion, Prompt

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

SCORES = "scores"
"""Answers of the labeler and what they took, while the policy trains."""
COST_OF_SCORES = ("num_questions", "num_prompt_tokens", "num_reply_tokens", "num_cached", "seconds", "usd")
NUM_STANDARD_PROMPTS = 512
"""Prompts whose SFT samples fix the reward's zero and unit."""


def _options(context: Context) -> dict[str, object]:
    options: dict[str, object] = {
        "policy": context.options_of("policy"),
        "reward": _own_reward_options(context),
        "dtype": context.model_spec.dtype,
        "precision": context.precision,
        "prompts": prompts_id(context.data.policy_prompts),
        "components": component_code(context.cfg.policy, context.cfg.reward),
    }
    if rewards_by_labeler(context):
        options["labeler"] = labeler_options(context)
    return options


def rewards_by_labeler(context: Context) -> bool:
    """True for direct RLAIF."""
    return "labeler" in context.cfg.reward


def build_reward(context: Context) -> Reward:
    """The reward as configured; its labeler may be this run's own SFT policy."""
    if not rewards_by_labeler(context):
        return cast(Reward, instantiate(context.cfg.reward))
    make = instantiate(_own_reward_options(context), _partial_=True)
    return cast(Reward, make(labeler=build_labeler(context, context.cfg.labeler)))


def _own_reward_options(context: Context) -> dict[str, object]:
    """Without those of the labeler, whose identity counts as it says itself."""
    return {name: value for name, value in context.options_of("reward").items() if name != "labeler"}


def composed_reward(context: Context) -> Reward:
    """The run's reward as composed, to look at: its labeler may name a model that is still to be trained."""
    return cast(Reward, instantiate(context.cfg.reward))


def load_reward(context: Context, directory: Path, display: StageDisplay) -> Reward:
    """What the policy is rewarded by.

    A labeler's answers are kept in the stage's directory, so that a killed run scores nothing again and ends as if it
    had not been killed; answers of other runs, made in batches of other responses, could differ in the last digit.
    """
    scores = directory / SCORES
    prices, budget = prices_and_budget(context)
    ledgers: list[Ledger] = []

    def asking(rater: Rater) -> Rater:
        place = context.cfg.label.cache
        counted = open_cache(place, scores / COUNTED)
        ledgers.append(Ledger(scores, rank=int(os.environ.get("RANK", "0")), counted=counted))
        return wrap_engines(rater, cache=open_cache(place, scores), ledger=ledgers[0])

    reward = build_reward(context)
    resources = RewardResources(
        task=context.task,
        inputs={role: context.result(reads.kind) for role, reads in reward.reads().items()},
        directory=directory,
        samples=lambda: _sft_samples(context, display),
        references=lambda: _references(context, display),
        asking=asking,
        before_asking=lambda: budget.check(ledgers[0], prices, directory),
    )
    return reward.prepare(resources)


def _references(context: Context, display: StageDisplay) -> dict[str, Completion]:
    """A response of the SFT policy to each prompt, which a labeler of pairs compares with."""
    prompts = context.data.policy_prompts
    drawn = draw_completions(
        context, context.result("sft"), prompts, display, num_samples=1, source="sft", purpose="reference"
    )
    return {prompt.id: item for prompt, (item,) in zip(prompts, drawn, strict=True)}


def _sft_samples(context: Context, display: StageDisplay) -> tuple[list[Prompt], list[Completion]]:
    """Responses that fix a reward's zero and unit."""
    if context.runs("samples"):
        samples = read_samples(context.result("samples") / SAMPLES)
    else:
        prompts = context.data.policy_prompts[:NUM_STANDARD_PROMPTS]
        drawn = draw_completions(
            context, context.result("sft"), prompts, display, num_samples=1, source="sft", purpose="standardize"
        )
        samples = list(zip(prompts, drawn, strict=True))
    pairs = [(prompt, completion) for prompt, completions in samples for completion in completions]
    return [prompt for prompt, _ in pairs], [completion for _, completion in pairs]


def _build(context: Context, directory: Path, display: StageDisplay) -> None:
    settings = cast(PolicySettings, instantiate(context.cfg.policy))
    spec = ModelSpec(str(context.result("sft")), dtype=context.model_spec.dtype)
    module = settings.module(
        load_causal_lm(spec),
        reference=load_causal_lm(spec),
        tokenizer=context.tokenizer,
        task=context.task,
        prompts=context.data.policy_prompts,
        reward=load_reward(context, directory, display),
        seed=context.seed,
    )
    world_size = num_devices(context.cfg) * num_machines(context.cfg)
    trainer = train(
        context,
        directory,
        display,
        module,
        max_steps=module.num_optimizer_steps,
        max_grad_norm=settings.max_grad_norm,
        accumulate_grad_batches=module.num_minibatches(world_size),
    )
    save_model(trainer, module.policy, context.tokenizer, directory)
    if trainer.is_global_zero and (directory / SCORES).exists():
        cost = cost_figures(Ledger(directory / SCORES), prices_and_budget(context)[0], 0)
        write_json(directory / COST, {name: cost[name] for name in COST_OF_SCORES})
        shutil.rmtree(directory / SCORES)


def _summary(context: Context, directory: Path) -> str:
    rows = read_curve(directory / CURVE)
    if not rows:
        return ""
    first, last = rows[0], rows[-1]
    return (
        f"{int(last['step'])} steps, reward {first['policy/reward']:+.2f} to {last['policy/reward']:+.2f},"
        f" KL {last['policy/kl']:.1f} nats"
    )


POLICY = Stage(
    name="policy",
    inputs=("sft", "samples", "reward_model"),
    options=_options,
    code=("rlaif.stages.policy",),
    build=_build,
    summary=_summary,
    trains=True,
)
