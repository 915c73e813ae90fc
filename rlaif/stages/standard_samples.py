"""Samples of the SFT policy that give a reward its zero and unit, where no step draws samples to be labeled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

from rlaif.data.preferences_io import write_samples
from rlaif.models.uses import ModelUse
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne
from rlaif.rewards.standardized import STANDARD_SAMPLES
from rlaif.roles import Reads
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task


class StandardSampleStage(Stage):
    """Draws one response to each of the first prompts of the training; the pipeline adds the step where it is needed.

    As a step of its own it is drawn once for all policies, whatever their reward and objective.

    Args:
        task: Gives the text that a policy continues.
        sampling: Temperature and lengths.
        num_prompts: Prompts that are answered, at most all.
        dtype: Number format of the loaded weights.
    """

    def __init__(
        self, task: Task, sampling: SamplingSettings, num_prompts: AtLeastOne = 512, dtype: str = "float32"
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.num_prompts = num_prompts
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The SFT policy, and the prompts of the training."""
        return {"policy": Reads(kind="policy"), "prompts": Reads(kind="policy_prompts")}

    def leaves(self) -> frozenset[str]:
        """Samples."""
        return frozenset({STANDARD_SAMPLES})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling."""
        yield self.sampling.use("sampling")

    def build(self, work: Work) -> None:
        """Draw and write the samples."""
        folder, prompts = work.path("policy"), work.data("prompts").policy_prompts[: self.num_prompts]
        drawn = draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=1,
            settings=self.sampling,
            seed=work.seed,
            purpose="standardize",
            source=work.input("policy").stage or "policy",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
            parts=work.directory / DRAWN,
        )
        write_samples(work.directory / SAMPLES, list(zip(prompts, drawn, strict=True)))
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)
        count_cut_prompts(work.directory, folder, self.task, prompts, self.sampling, "sampling")

    def told(self, work: Work) -> Told:
        """Number of samples."""
        count = min(self.num_prompts, len(work.data("prompts").policy_prompts))
        return Told(
            line=f"{count:,} samples of {work.input('policy').step} for the reward's zero and unit",
            notes=cut_prompts_told(work.directory),
        )
