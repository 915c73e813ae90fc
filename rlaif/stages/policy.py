"""The policy: reinforcement learning from the reward."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.data.preferences_io import read_samples
from rlaif.labelers.base import Rater
from rlaif.labelers.convert import AgainstReference
from rlaif.labeling.results import COST
from rlaif.models.load import ModelSpec, load_causal_lm
from rlaif.modules.curves import read_curve
from rlaif.modules.settings import PolicySettings
from rlaif.rewards.base import Reward
from rlaif.rewards.labeler import LabelerReward
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.stages.context import Context, component_code, num_devices, num_machines, prompts_id, write_json
from rlaif.stages.labelers import build_labeler, labeler_options
from rlaif.stages.labels import answers_of, asking
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
        "reward": context.options_of("reward"),
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
    return OmegaConf.select(context.cfg.reward, "_target_") == f"{LabelerReward.__module__}.{LabelerReward.__name__}"


def load_reward(context: Context, directory: Path, display: StageDisplay) -> Reward:
    """What the policy is rewarded by, in units of the SFT policy's own samples where it is ``standardized``.

    A labeler's answers are kept in the stage's directory, so that a killed run scores nothing again and ends as if it
    had not been killed; answers of other runs, made in batches of other responses, could differ in the last digit.
    """
    reward = cast(Reward, instantiate(context.cfg.reward))
    if isinstance(reward, RewardModelReward):
        reward.load(context.result("reward_model"), task=context.task)
        return reward.standardize(*_sft_samples(context, display))
    if isinstance(reward, LabelerReward):
        scores, rank = directory / SCORES, int(os.environ.get("RANK", "0"))
        asked = asking(context, scores, answers=answers_of(context).at(scores), rank=rank)
        reward.use(asked.rater(_rater(context, display)))
        return reward.standardize(*_sft_samples(context, display)) if reward.standardized else reward
    return reward


def _rater(context: Context, display: StageDisplay) -> Rater:
    """This run's labeler; one that compares pairs holds each response against one of the SFT policy's."""
    labeler = build_labeler(context, context.cfg.labeler)
    if isinstance(labeler, Rater):
        return labeler
    prompts = context.data.policy_prompts
    drawn = draw_completions(
        context, context.result("sft"), prompts, display, num_samples=1, source="sft", purpose="reference"
    )
    return AgainstReference(labeler, {prompt.id: item for prompt, (item,) in zip(prompts, drawn, strict=True)})


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
        max_steps=settings.steps,
        max_grad_norm=settings.max_grad_norm,
        accumulate_grad_batches=module.num_minibatches(world_size),
    )
    save_model(trainer, module.policy, context.tokenizer, directory)
    if trainer.is_global_zero and (directory / SCORES).exists():
        cost = asking(context, directory / SCORES).cost_figures(num_labels=0)
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
