"""Samples of a policy: two responses to one prompt make a pair to label."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Literal

from rlaif.data.preferences_io import write_samples
from rlaif.models.uses import ModelUse
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastTwo
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SAMPLES, sampled_pairs
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task


class SampleStage(Stage):
    """Draws several responses to each prompt; all pairs of different responses to one prompt can be labeled.

    Args:
        task: Gives the text that a policy continues.
        sampling: Temperature and lengths.
        samples_per_prompt: Responses per prompt, at least 2.
        pairs: ``policy`` labels these samples; with ``dataset`` the data's own pairs are labeled instead.
        dtype: Number format of the loaded weights.
    """

    def __init__(
        self,
        task: Task,
        sampling: SamplingSettings,
        samples_per_prompt: AtLeastTwo = 2,
        pairs: Literal["policy", "dataset"] = "policy",
        dtype: str = "float32",
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.samples_per_prompt = samples_per_prompt
        self.pairs = pairs
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The policy that responds, and the prompts."""
        return {"policy": Reads(kind="policy"), "prompts": Reads(kind="label_prompts")}

    def leaves(self) -> frozenset[str]:
        """Samples, and pairs where it is these that are labeled."""
        return frozenset({"samples", "pairs"} if self.pairs == "policy" else {"samples"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling."""
        yield self.sampling.use("sampling")

    def build(self, work: Work) -> None:
        """Draw and write the samples."""
        folder, prompts = work.path("policy"), work.data("prompts").label_prompts
        drawn = draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=self.samples_per_prompt,
            settings=self.sampling,
            seed=work.seed,
            purpose="samples",
            source=work.input("policy").stage or "policy",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
            parts=work.directory / DRAWN,
        )
        write_samples(work.directory / SAMPLES, list(zip(prompts, drawn, strict=True)))
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)

    def told(self, work: Work) -> Told:
        """Number of pairs and prompts."""
        num_pairs, num_prompts = len(sampled_pairs(work.directory)), len(work.data("prompts").label_prompts)
        return Told(line=f"{num_pairs:,} pairs of different samples from {num_prompts:,} prompts")
