"""Samples on disk, and the pairs that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

from rlaif.data.preferences_io import read_samples
from rlaif.functional.seeds import derive_seed
from rlaif.types import Comparison, Completion, Prompt

SAMPLES = "samples.parquet"
"""Name of the table in the directory of a step that samples."""
OPPONENTS = "opponents.parquet"
"""Responses of another writer to the same prompts, which each sample is set against; not there where samples are
paired with each other."""
TEACHER: Final = "policy_vs_teacher"
"""Value of ``data.pairs``: each sample against the teacher's response."""
SFT: Final = "policy_vs_sft"
"""Value of ``data.pairs``: each sample against one of the SFT policy."""


def sampled_pairs(directory: Path) -> list[Comparison]:
    """All pairs of a prompt's samples, or of each sample and the response that it is set against.

    Two responses with the same text are left out, as no label could prefer one. Which writer comes first is drawn from
    the prompt and the number of the sample, so that it says nothing about the response.

    Args:
        directory: Of a step that left ``pairs`` or ``samples``.
    """
    rows = read_samples(directory / SAMPLES)
    made: Iterator[tuple[Prompt, Iterable[tuple[Completion, Completion]]]]
    if (directory / OPPONENTS).is_file():
        opponents = {prompt.id: responses for prompt, responses in read_samples(directory / OPPONENTS)}
        made = ((prompt, _against(prompt, samples, opponents[prompt.id])) for prompt, samples in rows)
    else:
        made = ((prompt, combinations(samples, 2)) for prompt, samples in rows)
    return [
        Comparison(prompt=prompt, first=first, second=second)
        for prompt, pairs in made
        for first, second in pairs
        if first.trimmed != second.trimmed
    ]


def _against(
    prompt: Prompt, samples: Sequence[Completion], others: Sequence[Completion]
) -> Iterator[tuple[Completion, Completion]]:
    for number, sample in enumerate(samples):
        for other in others:
            swaps = derive_seed("who comes first", prompt.id, number) % 2
            yield (other, sample) if swaps else (sample, other)
