"""Samples of a policy, and the responses of another that they are paired with: the pairs to label."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlaif.data.base import PairSource
from rlaif.data.preferences_io import write_samples
from rlaif.data.shares import reference_of
from rlaif.errors import ConfigError
from rlaif.models.uses import ModelUse
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne
from rlaif.rewards.standardized import STANDARD_SAMPLES
from rlaif.roles import Reads
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.pairs import OPPONENTS, SAMPLES, SFT, TEACHER, sampled_pairs
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.runtime import Runtime
from rlaif.stages.demonstrations import references_of
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt


class SampleStage(Stage):
    """Draws responses to each prompt; pairs of different responses to one prompt can be labeled.

    Args:
        task: Gives the text that a policy continues.
        sampling: Temperature and lengths.
        samples_per_prompt: Responses per prompt, at least 1, and at least 2 where these alone make the pairs.
        pairs: ``policy`` makes all pairs of these samples; ``policy_vs_teacher`` and ``policy_vs_sft`` set each sample
            against a response of the teacher, or a sample of the SFT policy; with ``dataset`` the data's own pairs are
            labeled instead.
        sampled_by: Another policy that draws the samples: a step, ``run:DIR/step``, or a directory; None takes the
            policy that the pipeline has.
        dtype: Number format of the loaded weights.

    Raises:
        ConfigError: The samples make no pairs, or nobody reads them.
    """

    def __init__(
        self,
        task: Task,
        sampling: SamplingSettings,
        samples_per_prompt: AtLeastOne = 2,
        pairs: PairSource = "policy",
        sampled_by: Runtime[str | None] = None,
        dtype: str = "float32",
    ) -> None:
        if pairs == "policy" and (problems := list(_pair_problems(sampling, samples_per_prompt))):
            raise ConfigError(problems)
        self.task = task
        self.sampling = sampling
        self.samples_per_prompt = samples_per_prompt
        self.pairs: PairSource = pairs
        self.sampled_by = sampled_by
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The policy that responds, the prompts, and who else responds."""
        sampler = Reads(kind="policy")
        if self.sampled_by is not None:
            sampler = Reads(kind="policy", at=self.sampled_by, option="label.sampled_by")
        roles = {"policy": sampler, "prompts": Reads(kind="label_prompts")}
        if self.pairs == TEACHER:
            roles["teacher"] = Reads(kind="references")
        elif self.pairs == SFT:
            roles["sft"] = Reads(kind="policy", by="sft", differs_from="policy")
        return roles

    def leaves(self) -> frozenset[str]:
        """Pairs where it is these that are labeled, and samples where they are those of the policy that will learn."""
        made = set() if self.pairs == "dataset" else {"pairs"}
        if self.sampled_by is not None or self.pairs == SFT:
            return frozenset(made)
        return frozenset({*made, "samples", *({STANDARD_SAMPLES} if made else ())})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling."""
        yield self.sampling.use("sampling")

    def problems(self, work: Work) -> Iterator[str]:
        """A teacher that has answered none of the prompts, as far as that is known."""
        if self.pairs != TEACHER or work.input("teacher").data is None:
            return
        answered = reference_of(references_of(work))
        if not any(prompt.id in answered for prompt in work.data("prompts").label_prompts):
            yield (
                f"data.pairs={TEACHER}: the data have no teacher's response to any prompt to label; type"
                " data.sft_share=0.1 to keep demonstrations for that, or add a step teacher with"
                " teacher.prompts=label_prompts"
            )

    def build(self, work: Work) -> None:
        """Draw and write the samples, and the responses that they are set against."""
        prompts = self._prompts(work)
        drawn = self._draw(work, "policy", prompts, self.samples_per_prompt, "samples")
        write_samples(work.directory / SAMPLES, list(zip(prompts, drawn, strict=True)))
        if others := self._others(work, prompts):
            write_samples(work.directory / OPPONENTS, list(zip(prompts, others, strict=True)))
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)
        count_cut_prompts(work.directory, work.path("policy"), self.task, prompts, self.sampling, "sampling")

    def _prompts(self, work: Work) -> list[Prompt]:
        """The prompts to label, without those that a teacher has not answered."""
        prompts = list(work.data("prompts").label_prompts)
        if self.pairs != TEACHER:
            return prompts
        answered = reference_of(references_of(work))
        return [prompt for prompt in prompts if prompt.id in answered]

    def _others(self, work: Work, prompts: list[Prompt]) -> list[tuple[Completion, ...]]:
        """One response per prompt that the samples are set against; empty where they make the pairs alone."""
        if self.pairs == TEACHER:
            answered = reference_of(references_of(work))
            return [(Completion(text=answered[prompt.id].response, source="teacher"),) for prompt in prompts]
        return self._draw(work, "sft", prompts, 1, "opponents") if self.pairs == SFT else []

    def _draw(
        self, work: Work, role: str, prompts: list[Prompt], num_samples: int, purpose: str
    ) -> list[tuple[Completion, ...]]:
        folder: Path = work.path(role)
        return draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=num_samples,
            settings=self.sampling,
            seed=work.seed,
            purpose=purpose,
            source=work.input(role).stage or "policy",
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
            parts=work.directory / DRAWN / purpose,
        )

    def told(self, work: Work) -> Told:
        """Number of pairs and prompts, and what they are pairs of."""
        num_pairs, num_prompts = len(sampled_pairs(work.directory)), len(work.data("prompts").label_prompts)
        what = {TEACHER: "a sample and the teacher's response", SFT: "a sample and one of the SFT policy"}
        return Told(
            line=f"{num_pairs:,} pairs of {what.get(self.pairs, 'different samples')} from {num_prompts:,} prompts",
            notes=cut_prompts_told(work.directory),
        )


def _pair_problems(sampling: SamplingSettings, samples_per_prompt: int) -> Iterator[str]:
    """Samples of one policy that make no pairs of different responses."""
    instead = f"type data.pairs={TEACHER}, which sets each against the teacher's response"
    if samples_per_prompt < 2:
        few = f"label.samples_per_prompt={samples_per_prompt}"
        yield f"{few}: must be at least 2, as two samples make a pair; or {instead}"
    if sampling.temperature == 0:
        yield (
            f"sampling.temperature={sampling.temperature}: two greedy samples are equal, and equal responses make no"
            f" pair; type sampling.temperature=0.9, or {instead}"
        )
