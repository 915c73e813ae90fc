"""Responses of a policy at several temperatures, from which an evaluation chooses the best temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rlaif.data.preferences_io import read_samples, write_samples
from rlaif.errors import ConfigError
from rlaif.models.load import load_tokenizer
from rlaif.models.uses import ModelUse
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne
from rlaif.roles import Reads
from rlaif.rollouts.responses import draw_completions
from rlaif.rollouts.sampler import LocalSampler
from rlaif.rollouts.settings import SamplingSettings, temperature_problems
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

TUNING, HELD_OUT = "tuning", "held_out"
OPTION = "evaluation.sft_temperatures"


class RespondGridStage(Stage):
    """Draws one response of a policy to each tuning prompt and each held-out prompt, at each temperature.

    Nothing is judged here: the evaluation chooses on tuning prompts, and takes the responses to held-out prompts at the
    temperature that it chose. These are the same as those of a ``respond`` step at that temperature. Data without
    tuning prompts leave nothing to choose on, and nothing is drawn.

    Args:
        task: Gives the text that a policy continues.
        sampling: Lengths; its temperature is tried, too.
        temperatures: Further temperatures; 0 decodes greedily.
        num_prompts: Held-out prompts that are answered, at most all.
        dtype: Number format of the loaded weights.

    Raises:
        ConfigError: A temperature is no finite number from 0, or there is only one.
    """

    def __init__(
        self,
        task: Task,
        sampling: SamplingSettings,
        temperatures: Sequence[float],
        num_prompts: AtLeastOne = 400,
        dtype: str = "float32",
    ) -> None:
        if problems := list(temperature_problems(OPTION, temperatures)):
            raise ConfigError(problems)
        self.task = task
        self.sampling = sampling
        self.temperatures = sorted({*map(float, temperatures), float(sampling.temperature)})
        if len(self.temperatures) < 2:
            raise ConfigError(
                f"{OPTION}=[{','.join(map(str, temperatures))}]: evaluation.sft_temperature=best chooses among several,"
                f" and there is only that of the sampling, {sampling.temperature:g}; name others, or type"
                f" evaluation.sft_temperature={sampling.temperature:g}"
            )
        self.num_prompts = num_prompts
        self.dtype = dtype

    def reads(self) -> Mapping[str, Reads]:
        """The policy that responds, tuning prompts and held-out prompts."""
        return {
            "policy": Reads(kind="policy"),
            "tuning": Reads(kind="tuning_prompts"),
            "prompts": Reads(kind="held_out_prompts"),
        }

    def leaves(self) -> frozenset[str]:
        """Responses by temperature."""
        return frozenset({"response_grid"})

    def model_uses(self) -> Iterator[ModelUse]:
        """Sampling."""
        yield self.sampling.use("evaluation.sampling")

    def build(self, work: Work) -> None:
        """Draw and write the responses."""
        tuning, held_out = work.data("tuning").tuning_prompts, work.data("prompts").eval_prompts[: self.num_prompts]
        if not tuning:
            return
        name, folder = work.input("policy").stage or "policy", work.path("policy")
        tokenizer = load_tokenizer(str(folder))
        sampler = LocalSampler.of_folder(folder, tokenizer, dtype=self.dtype)
        done, total = 0, (len(tuning) + len(held_out)) * len(self.temperatures)
        progress = work.progress(total, unit="responses")
        for temperature in self.temperatures:
            for part, prompts, purpose in ((TUNING, tuning, "tune"), (HELD_OUT, held_out, "evaluate")):
                drawn = draw_completions(
                    sampler,
                    tokenizer,
                    self.task,
                    prompts,
                    num_samples=1,
                    settings=replace(self.sampling, temperature=temperature),
                    seed=work.seed,
                    purpose=f"{purpose} {name}",
                    source=name,
                    progress=partial(_show, progress, done, total),
                )
                write_samples(work.directory / _file(part, temperature), list(zip(prompts, drawn, strict=True)))
                done += len(prompts)

    def told(self, work: Work) -> Told:
        """Number of responses, and whose."""
        temperatures = sorted(_files(work.directory, TUNING))
        words = ", ".join(f"{temperature:g}" for temperature in temperatures)
        line = f"{work.input('policy').step} at temperatures {words}" if temperatures else "no tuning prompts"
        return Told(line=line)


def read_grid(directory: Path, part: str) -> dict[float, list[tuple[Prompt, Completion]]]:
    """Read one response per prompt by temperature, lowest first; empty where nothing was drawn.

    Args:
        directory: Result of the stage.
        part: ``TUNING`` or ``HELD_OUT``.
    """
    found = _files(directory, part)
    return {
        temperature: [(prompt, completions[0]) for prompt, completions in read_samples(found[temperature])]
        for temperature in sorted(found)
    }


def _files(directory: Path, part: str) -> dict[float, Path]:
    return {float(path.stem.removeprefix(f"{part}-")): path for path in directory.glob(f"{part}-*.parquet")}


def _file(part: str, temperature: float) -> str:
    return f"{part}-{temperature!r}.parquet"


def _show(progress: Callable[[int, int], None], before: int, total: int, count: int, _: int) -> None:
    progress(before + count, total)
