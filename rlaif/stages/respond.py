"""Responses of a policy to the held-out prompts: what evaluations compare."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.errors import ConfigError
from rlaif.models.uses import ModelUse
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne
from rlaif.roles import Reads
from rlaif.rollouts.cut_prompts import count_cut_prompts, cut_prompts_told
from rlaif.rollouts.pairs import SAMPLES
from rlaif.rollouts.responses import DRAWN, draw_from_folder
from rlaif.rollouts.settings import SamplingSettings
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

SAMPLING = "sampling.json"
"""How the responses beside it were drawn."""


class RespondStage(Stage):
    """Draws one response of a policy to each held-out prompt.

    The same policy, prompts and seed give the same responses in every run, so that runs can be compared pair by pair.

    Args:
        task: Gives the text that a policy continues.
        sampling: Temperature and lengths.
        num_prompts: Held-out prompts that are answered, at most all.
        dtype: Number format of the loaded weights.
    """

    def __init__(
        self, task: Task, sampling: SamplingSettings, num_prompts: AtLeastOne = 400, dtype: str = "float32"
    ) -> None:
        self.task = task
        self.sampling = sampling
        self.num_prompts = num_prompts
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The policy that responds, and the held-out prompts."""
        return {"policy": Reads(kind="policy"), "prompts": Reads(kind="held_out_prompts")}

    def leaves(self) -> frozenset[str]:
        """Responses."""
        return frozenset({"responses"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling."""
        yield self.sampling.use("evaluation.sampling")

    def build(self, work: Work) -> None:
        """Draw and write the responses."""
        folder, prompts = work.path("policy"), work.data("prompts").eval_prompts[: self.num_prompts]
        stage = work.input("policy").stage
        name = stage or "policy"
        drawn = draw_from_folder(
            folder,
            self.task,
            prompts,
            num_samples=1,
            settings=self.sampling,
            seed=work.seed,
            purpose=f"evaluate {stage or 'another policy'}",  # no random number is shared with the policy of the run
            source=name,
            dtype=self.dtype,
            progress=work.progress(len(prompts), unit="prompts"),
            parts=work.directory / DRAWN,
        )
        write_samples(work.directory / SAMPLES, list(zip(prompts, drawn, strict=True)))
        shutil.rmtree(work.directory / DRAWN, ignore_errors=True)
        write_sampling(work.directory, self.sampling)
        count_cut_prompts(work.directory, folder, self.task, prompts, self.sampling, "evaluation.sampling")

    def told(self, work: Work) -> Told:
        """Number of prompts, and whose responses."""
        num_prompts = min(self.num_prompts, len(work.data("prompts").eval_prompts))
        how = "greedy" if self.sampling.temperature == 0 else f"at temperature {self.sampling.temperature:g}"
        return Told(
            link=work.step,
            line=f"{num_prompts:,} responses of {work.input('policy').step}, {how}",
            notes=cut_prompts_told(work.directory),
        )


def write_sampling(directory: Path, sampling: SamplingSettings) -> None:
    """Write beside responses how they were drawn."""
    (directory / SAMPLING).write_text(json.dumps(asdict(sampling), indent=1, sort_keys=True) + "\n")


def read_responses(directory: Path, temperature: float, option: str) -> list[tuple[Prompt, Completion]]:
    """Read one response per prompt.

    Args:
        directory: Result of a ``respond`` step.
        temperature: That they must have been drawn at.
        option: The option of that temperature as typed.

    Raises:
        ConfigError: They were drawn at another one.
    """
    drawn_at = (
        json.loads((directory / SAMPLING).read_text())["temperature"] if (directory / SAMPLING).is_file() else None
    )
    if drawn_at is not None and drawn_at != temperature:
        raise ConfigError(
            f"{option}={temperature:g}: the responses in {directory} were drawn at temperature {drawn_at:g}; name a"
            f" respond step with: {{evaluation.sampling.temperature: {temperature:g}}}, or leave its name out of from"
        )
    return [(prompt, completions[0]) for prompt, completions in read_samples(directory / SAMPLES)]
