"""What a policy responded at each validation, and what was thought of it: files that people and the watch read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlaif.artifacts import atomic_write
from rlaif.types import trim

WATCHED = "watched"
"""Directory of the files in the step's directory."""
_NAME = re.compile(r"step=(\d{9})\.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedResponse:
    """A response of the policy to a validation prompt."""

    prompt: str
    response: str
    sft: str
    """The SFT policy's response to the same prompt."""
    win: float | None
    """Probability that the response is better than SFT's, as the watch's judge says; None without a verdict."""
    annotators: float | None
    """The same, exact, of simulated annotators; None where the data have none."""
    reward: float | None
    """None where it has none."""

    @property
    def is_identical(self) -> bool:
        """True where the SFT policy responds with the same text."""
        return trim(self.response) == trim(self.sft)


def write_watched(directory: Path, step: int, responses: Sequence[WatchedResponse]) -> None:
    """Write the responses of a validation as JSON lines, all of them or none.

    Args:
        directory: Made when missing.
        step: Optimizer steps.
        responses: One per validation prompt, in the same order at each step.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(response)) + "\n" for response in responses)
    atomic_write(directory / f"step={step:09d}.jsonl", "".join(lines))


def read_watched(directory: Path) -> dict[int, list[WatchedResponse]]:
    """The responses of all validations by step, in the order of the steps."""
    return {step: _read(path) for step, path in _files(directory)}


def cut_watched(directory: Path, last_step: int) -> None:
    """Remove what a killed run wrote after its last checkpoint."""
    for step, path in _files(directory):
        if step > last_step:
            path.unlink()


def _files(directory: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(path.name), path) for path in directory.glob("step=*.jsonl"))
    return sorted((int(match.group(1)), path) for match, path in found if match is not None)


def _read(path: Path) -> list[WatchedResponse]:
    with path.open(encoding="utf-8") as lines:
        return [WatchedResponse(**json.loads(line)) for line in lines]
