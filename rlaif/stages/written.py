"""Demonstrations that a model writes: asked in batches, and stored as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rlaif.engines.base import Engine
from rlaif.engines.reasoning import split_reasoning
from rlaif.errors import GateStopped
from rlaif.labeling.asking import Asking
from rlaif.labeling.missing import most_frequent_first, reasons_in_words
from rlaif.labeling.results import COST
from rlaif.outcome import Generation
from rlaif.pipeline.stage import Work
from rlaif.stages.demonstrations import write_demonstrations
from rlaif.types import Demonstration, Prompt, Sampling, StructuredPrompt

COUNTS, ASKED = "counts.json", "asked"


class Written(NamedTuple):
    """A text that a model wrote, or the reason why there is none."""

    text: str
    missing: str | None = None

    @classmethod
    def of(cls, reply: Generation) -> Written:
        """Read a reply: what the model thought before is no part of it, and half a reply is none."""
        parted = split_reasoning(reply.text)
        if reply.missing is not None:
            return cls("", reply.missing)
        if not reply.finished:
            return cls("", "cut at the token limit")
        if not parted.is_closed:
            return cls("", "reasoning without an end")
        return cls(parted.text.strip()) if parted.text.strip() else cls("", "empty")


@dataclass
class Writer:
    """Asks a model to write, within a budget; answers that came are kept where ``label.cache`` says.

    Args:
        engine: The model.
        batch_size: Requests per call.
    """

    engine: Engine
    batch_size: int

    def begin(self, asking: Asking) -> None:
        """Ask through the cache and the ledger from now on."""
        asking.through(self)
        self.asking = asking

    def write(self, requests: Sequence[StructuredPrompt], sampling: Sampling, work: Work, unit: str) -> list[Written]:
        """One text per request, in order.

        Raises:
            GateStopped: The budget is spent.
        """
        progress = work.progress(len(requests), unit=unit)
        written: list[Written] = []
        for start in range(0, len(requests), self.batch_size):
            self.asking.check_budget()
            replies = self.engine.generate(requests[start : start + self.batch_size], sampling)
            written += map(Written.of, replies)
            progress(len(written), len(requests))
        return written


def store(work: Work, prompts: Sequence[Prompt], written: Sequence[Written], asking: Asking) -> None:
    """Write the demonstrations, and what was left out and why; the step's ledger is removed.

    Args:
        work: The step.
        prompts: What was answered.
        written: The text for each prompt.
        asking: Of the step.

    Raises:
        GateStopped: More is missing than ``label.max_missing_rate`` allows, or everything.
    """
    reasons = Counter(item.missing for item in written if item.missing is not None)
    if not asking.limit.allows(reasons.total(), len(written)) or reasons.total() == len(written):
        raise GateStopped(
            f"{asking.limit.option}={asking.limit.max_rate:g}: {reasons.total()} of {len(written)} texts of step "
            f"{work.step} are missing ({reasons_in_words(reasons)}); mend the cause and start again: texts that came "
            "are kept where label.cache says"
        )
    rows = [
        Demonstration(prompt=prompt, response=item.text)
        for prompt, item in zip(prompts, written, strict=True)
        if item.missing is None
    ]
    write_demonstrations(work.directory, rows)
    counts = {"written": len(rows), "left_out": most_frequent_first(reasons)}
    _write_json(work.directory / COUNTS, counts)
    _write_json(work.directory / COST, asking.cost_figures(len(rows)))
    asking.close(remove=True)


def counts_in_words(directory: Path) -> str:
    """How many demonstrations a step has written, and what was left out."""
    counts = json.loads((directory / COUNTS).read_text("utf-8"))
    left_out = f", left out: {reasons_in_words(counts['left_out'])}" if counts["left_out"] else ""
    return f"{counts['written']:,} demonstrations{left_out}"


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
