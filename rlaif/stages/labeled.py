"""Shared by the stages that learn from labeled pairs: the reward model, DPO and IPO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rlaif.data.base import PairSource
from rlaif.data.label_sets.mixing import MixSettings
from rlaif.functional.labels import Targets
from rlaif.labeling.results import read_labels
from rlaif.labeling.targets import learned_labels
from rlaif.modules.settings import SupervisedSettings, room_problems
from rlaif.pipeline.stage import Stage, Work
from rlaif.roles import Reads
from rlaif.rollouts.settings import SamplingSettings
from rlaif.stages.supervised import batch_problems
from rlaif.tasks.base import Task
from rlaif.types import Preference, Prompt

SOURCES = "sources.json"
"""Counts of mixed labels by source; only with ``label.mix`` or ``label.weight``."""


class LabeledStage(Stage):
    """A stage whose constructor stores what stands below."""

    trains = True

    task: Task
    settings: SupervisedSettings
    mix: MixSettings
    targets: Targets
    samples_per_prompt: int
    pairs: PairSource
    sampling: SamplingSettings | None

    def label_roles(self) -> dict[str, Reads]:
        """Labels, and held-out prompts where files are mixed in."""
        roles = {"labels": Reads(kind="labels"), "prompts": Reads(kind="label_prompts", optional=True, hashed=False)}
        if self.mix.files:
            roles["held_out"] = Reads(kind="held_out_prompts")
            roles["tuning"] = Reads(kind="tuning_prompts")
            roles["held_out_pairs"] = Reads(kind="held_out_pairs")
        return roles

    def problems(self, work: Work) -> Iterator[str]:
        """Files that cannot be mixed in, a batch that the devices cannot share or the pairs not fill (files have
        more), and sampled responses that leave no room for a prompt."""
        yield from self.mix.problems()
        is_known = work.has("prompts") and not self.mix.files
        yield from batch_problems(
            self.settings.group,
            self.settings.batching,
            work.data("prompts").most_pairs(self.samples_per_prompt) if is_known else None,
            "pairs to label",
            num_processes=work.num_processes,
        )
        if self.sampling is not None and self.pairs != "dataset":
            limit = self.sampling.max_new_tokens
            found = room_problems(self.settings.max_length, "sampling.max_new_tokens", limit)
            yield from (f"{self.settings.group}.{problem}" for problem in found)

    def labels(self, work: Work) -> list[Preference]:
        """What is learned: this run's labels and those of the files, without held-out prompts."""
        labels = read_labels(work.path("labels"))
        if not self.mix.changes_nothing:
            held_out: list[Prompt] = []
            if work.has("held_out"):
                held_out += [*work.data("held_out").eval_prompts, *work.data("tuning").tuning_prompts]
                held_out += [label.comparison.prompt for label in work.data("held_out_pairs").eval_preferences]
            mixed = self.mix.mixed(labels, self.task, held_out)
            (work.directory / SOURCES).write_text(json.dumps(mixed.account(), indent=1, sort_keys=True) + "\n")
            labels = mixed.labels
        return learned_labels(labels, self.targets)


def sources_told(directory: Path) -> str:
    """How many labels each source gave, in words; empty where none were mixed.

    Args:
        directory: Result of the step.
    """
    file = directory / SOURCES
    if not file.is_file():
        return ""
    counts = json.loads(file.read_text(encoding="utf-8"))["labels"]
    return ", labels: " + ", ".join(f"{count:,} {source}" for source, count in counts.items())
