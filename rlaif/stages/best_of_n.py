"""Rejection-sampling fine-tuning: a policy imitates the best of its own responses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rlaif.artifacts import atomic_write
from rlaif.artifacts.curve import CURVE, read_curve
from rlaif.data.batches.examples import TokenBatch, TokenExample, collate_tokens, pad_id
from rlaif.data.batches.modules import SplitDataModule
from rlaif.errors import ConfigError, TrainingError
from rlaif.evaluation.records import Curves
from rlaif.functional.seeds import derive_seed
from rlaif.inference.recomputing import recompute_layers
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.models.adapters import LoraSettings, lora_problems
from rlaif.models.load import load_causal_lm, load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.modules.best_of_n import BestOfNSettings
from rlaif.objectives.checks import check_rewards
from rlaif.pipeline.stage import Told, Work
from rlaif.ranges import PositiveShare
from rlaif.registry import described
from rlaif.rewards.base import Reward, RewardBatch
from rlaif.rewards.missing import NONE_GIVEN, one_step
from rlaif.roles import Reads
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.picks import Picks
from rlaif.rollouts.responses import DRAWN, PROMPTS_AT_ONCE, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.rollouts.step import as_rewarded
from rlaif.runtime import Runtime
from rlaif.stages.rewarded import RewardedStage
from rlaif.stages.supervised import batch_problems, examples_told, train_supervised
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

POLL_S = 0.5
"""Seconds between two looks of a process that waits."""
REWARDED = "rewarded"
"""Directory of the rewards so far, beside the responses that are drawn so far."""
LORA = "lora.policy"
"""Options of its adapter."""


class BestOfNStage(RewardedStage):
    """Draws several responses of the nearest earlier policy to each prompt, and fine-tunes it on the best of each.

    Args:
        task: Gives the text that a policy continues.
        settings: Config group ``policy``.
        reward: Says which response is the best.
        asking: Where answers of models are kept, what they cost, when to stop.
        dtype: Number format of the loaded weights.
        precision: Number format of the computation (``trainer.precision``).
        min_alignment: Alignment, in (0, 1], that a scorecard must find before a labeler rewards; None asks for none.
        lora: Adapter that is trained; None trains all weights.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(
        self,
        task: Task,
        settings: BestOfNSettings,
        reward: Reward,
        *,
        asking: Runtime[AskingSettings],
        dtype: str = "float32",
        precision: str = "32-true",
        min_alignment: Runtime[PositiveShare | None] = None,
        lora: LoraSettings | None = None,
        gradient_checkpointing: Runtime[bool] = False,
    ) -> None:
        if not isinstance(settings, BestOfNSettings):
            raise ConfigError(
                "pipeline.stages: the step best_of_n imitates the best of several responses; type policy=best_of_n"
            )
        self.task = task
        self.settings = settings
        self.reward = reward
        self.asking = asking
        self.dtype = dtype
        self.precision = precision
        self.min_alignment = min_alignment
        self.lora = lora
        self.gradient_checkpointing = gradient_checkpointing

    @property
    def own_sampling(self) -> SamplingSettings:
        """As the settings say."""
        return self.settings.sampling

    @property
    def strip_trailing(self) -> str:
        """As the settings say."""
        return self.settings.strip_trailing

    def reads(self) -> Mapping[str, Reads]:
        """The policy that responds and is trained, prompts, and what the reward reads."""
        return self.reward_roles()

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling, training on the samples, and their scores."""
        yield self.settings.sampling.use("policy")
        yield ModelUse(
            purpose="imitate",
            num_tokens=self.settings.max_length,
            option="policy.max_length",
            lora=self.lora,
            lora_option=LORA,
        )
        yield from self.reward_uses()

    def problems(self, work: Work) -> Iterator[str]:
        """As of every reward, and a batch that the devices cannot share or the prompts not fill."""
        yield from super().problems(work)
        yield from lora_problems(self.lora, LORA)
        count = len(work.data("prompts").policy_prompts)
        yield from batch_problems(
            "policy",
            self.settings.batching,
            count,
            "prompts (data.num_policy_prompts)",
            num_processes=work.num_processes,
        )

    def build(self, work: Work) -> None:
        """Sample, pick, train, and write a Hugging Face folder."""
        spec, settings = self.spec(work, "policy"), self.settings
        tokenizer, asking = load_tokenizer(spec), self.begin_asking(work)
        picks = self._picks(work, asking)
        if work.rank == 0:
            prompts = work.data("prompts").policy_prompts
            count_cut_prompts(work.directory, work.path("policy"), self.task, prompts, self.own_sampling, "policy")
        data: SplitDataModule[TokenExample, TokenBatch] = SplitDataModule(
            picks.examples(
                self.task, tokenizer, max_prompt_tokens=settings.max_prompt_tokens, max_length=settings.max_length
            ),
            partial(collate_tokens, pad_id=pad_id(tokenizer)),
            batching=settings.batching,
            name="policy",
            seed=work.seed,
        )
        model = load_causal_lm(spec)
        if self.gradient_checkpointing:
            recompute_layers(model)
        if self.lora is not None:
            model = self.lora.on(model, base=spec.place, seed=derive_seed(work.seed, "adapter"), option=LORA)
        train_supervised(work, settings.module(model), data, tokenizer, self.lora)
        if work.rank == 0:
            self.end_asking(work, asking)

    def _picks(self, work: Work, asking: Asking) -> Picks:
        """Those of the first process, which alone draws and asks for rewards; the others wait for them."""
        while (picks := Picks.read(work.directory)) is None:
            if work.rank == 0:
                self._picked(work, self.prepared(work, asking)).write(work.directory)
            else:
                time.sleep(POLL_S)
        return picks

    def _picked(self, work: Work, reward: Reward) -> Picks:
        """The best response to each prompt.

        Raises:
            TrainingError: The reward breaks its contract, or no response has a reward.
        """
        settings, prompts = self.settings, work.data("prompts").policy_prompts
        parts = work.directory / DRAWN / "best_of_n"
        drawn = draw_from_folder(
            work.path("policy"),
            self.task,
            prompts,
            num_samples=settings.samples_per_prompt,
            settings=settings.sampling,
            seed=work.seed,
            purpose="best_of_n",
            source="policy",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
            parts=parts,
        )
        values_B, scored_B = self._rewarded(work, reward, prompts, drawn, parts / REWARDED)
        picks = Picks.of(prompts, drawn, values_B, scored_B)
        if not picks.samples:
            raise TrainingError(
                f"reward {described(reward)} gave none of the {len(prompts)} prompts' responses a reward, so there is"
                " nothing to imitate; start again once its labeler or server answers"
            )
        return picks

    def _rewarded(
        self,
        work: Work,
        reward: Reward,
        prompts: Sequence[Prompt],
        drawn: Sequence[Sequence[Completion]],
        directory: Path,
    ) -> tuple[Tensor, Tensor]:
        """Rewards of all responses in portions, which are one step to ``reward.max_missing_rate``.

        Args:
            work: Of the step.
            reward: Scores the responses.
            prompts: What was answered.
            drawn: The responses to each.
            directory: Of the rewards so far.

        Returns:
            Values, and where there are any.
        """
        progress = work.progress(len(prompts), unit="prompts rewarded")
        starts = range(0, len(prompts), PROMPTS_AT_ONCE)
        paths = {start: directory / f"part-{start:06d}.json" for start in starts}
        found = {start: kept for start, path in paths.items() if (kept := _kept_rewards(path)) is not None}
        earlier = [
            None if is_scored else NONE_GIVEN for _, scored_B in found.values() for is_scored in scored_B.tolist()
        ]
        with one_step(earlier):
            for start, path in paths.items():
                end = min(start + PROMPTS_AT_ONCE, len(prompts))
                if start not in found:
                    batch = [
                        (prompt, as_rewarded(completion, self.strip_trailing))
                        for prompt, completions in zip(prompts[start:end], drawn[start:end], strict=True)
                        for completion in completions
                    ]
                    found[start] = _keep_rewards(path, self._rewards(reward, batch))
                progress(end, len(prompts))
        values, scored = zip(*(found[start] for start in paths), strict=True)
        return torch.cat(values), torch.cat(scored)

    def _rewards(self, reward: Reward, batch: Sequence[tuple[Prompt, Completion]]) -> RewardBatch:
        """The rewards of some prompts' responses.

        Raises:
            TrainingError: The reward breaks its contract.
        """
        num_samples = self.settings.samples_per_prompt
        prompts, completions = [prompt for prompt, _ in batch], [completion for _, completion in batch]
        found = reward(prompts, completions, samples_per_prompt=num_samples)
        check_rewards(found, len(batch), reward, samples_per_prompt=num_samples)
        return found

    def told(self, work: Work) -> Told:
        """Rewards of all responses and of the picks, what was left out, and the loss."""
        picks, rows = Picks.read(work.directory), read_curve(work.directory / CURVE)
        if picks is None or not rows:
            return Told(link=work.step)
        counts = picks.counts
        line = (
            f"best of {self.settings.samples_per_prompt} for {len(picks.samples):,} prompts, reward"
            f" {counts.mean_reward:+.2f} to {counts.mean_best_reward:+.2f}, loss {rows[-1]['train/loss']:.3f}"
        )
        cut = examples_told(work.directory, "policy", self.settings.max_length)
        return Told(
            line=line + cut,
            notes=(*_notes(picks), *cut_prompts_told(work.directory)),
            link=work.step,
            sections=(Curves.from_rows(rows),),
        )


def _kept_rewards(path: Path) -> tuple[Tensor, Tensor] | None:
    """Values and mask from a file; None where there is none."""
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return torch.tensor(kept["values"], dtype=torch.float32), torch.tensor(kept["scored"], dtype=torch.bool)


def _keep_rewards(path: Path, found: RewardBatch) -> tuple[Tensor, Tensor]:
    """Values and mask, which are also written to a file.

    A part without any reward, or with a judge that failed, is not written: asking again after a kill may help.
    """
    values_B, scored_B = found.values_B.cpu().float(), found.scored_mask_B.cpu()
    if scored_B.any() and "failed" not in found.causes:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps({"values": values_B.tolist(), "scored": scored_B.tolist()}))
    return values_B, scored_B


def _notes(picks: Picks) -> tuple[str, ...]:
    """What a person should know of the picks: one line each, none for what did not happen."""
    counts = picks.counts
    told = (
        (counts.num_ties, "prompts with several best responses; the first of them is imitated"),
        (counts.num_left_out, "prompts left out, none of their responses has a reward"),
        (counts.num_missing, "responses without a reward"),
        (counts.num_unfinished, "imitated responses that policy.max_new_tokens ended"),
    )
    return tuple(f"{number:,} {words}" for number, words in told if number)
