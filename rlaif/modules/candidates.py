"""Weights of the validated policies that a training may end with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Keep = Literal["last", "best_reward", "judged"]
"""Weights that a training leaves: of its last step, of the validation with the highest reward, or, of the validations
with the highest rewards, the one that a judge prefers to SFT most often (arXiv 2309.00267, appendix E)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A validated policy whose weights are kept."""

    step: int
    """Optimizer steps that it had made."""
    score: float
    """What it is ranked by: the mean reward of its responses to the validation prompts, or their win rate."""


class Candidates:
    """Keeps the weights with the highest scores, of equal ones the earliest.

    Weights are written before their score: a candidate exists where both are there. A resumed training drops those
    after its checkpoint and offers them again, so it ends with the same candidates.

    Args:
        directory: Theirs alone; made when missing.
        num: Candidates that are kept.
        takes_start: True where the policy that the training started from may be one.
    """

    def __init__(self, directory: Path, num: int, *, takes_start: bool = False) -> None:
        self.directory = directory
        self.num = num
        self.takes_start = takes_start

    def found(self) -> list[Candidate]:
        """The candidates, the best first."""
        files = sorted(self.directory.glob("step=*.json"))
        found = [Candidate(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
        return sorted(found, key=lambda candidate: (-candidate.score, candidate.step))

    def cut(self, last_step: int) -> None:
        """Drop the candidates after a step."""
        for candidate in self.found():
            if candidate.step > last_step:
                self._drop(candidate.step)

    def offer(self, step: int, score: float, weights: Mapping[str, Tensor]) -> None:
        """Keep weights where their score is among the highest.

        Args:
            step: Optimizer steps; at 0 the policy is the one that it started from.
            score: Of the validation.
            weights: ``state_dict`` of the policy.
        """
        if step == 0 and not self.takes_start:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        ahead = [other for other in self.found() if other.step != step and other.score >= score]
        if len(ahead) >= self.num:
            return
        torch.save(dict(weights), self._whole(self._weights(step)))
        os.replace(self._whole(self._weights(step)), self._weights(step))
        record = self._whole(self._record(step))
        record.write_text(json.dumps({"step": step, "score": score}) + "\n", encoding="utf-8")
        os.replace(record, self._record(step))
        for candidate in self.found()[self.num :]:
            self._drop(candidate.step)

    def load(self, step: int) -> dict[str, Any]:
        """The weights of a candidate."""
        weights: dict[str, Any] = torch.load(self._weights(step), map_location="cpu", weights_only=True)
        return weights

    def _drop(self, step: int) -> None:
        self._record(step).unlink(missing_ok=True)
        self._weights(step).unlink(missing_ok=True)

    def _weights(self, step: int) -> Path:
        return self.directory / f"step={step:09d}.pt"

    def _record(self, step: int) -> Path:
        return self.directory / f"step={step:09d}.json"

    @staticmethod
    def _whole(path: Path) -> Path:
        """Where a file is written before it is renamed."""
        return path.with_name(f".{path.name}.partial")


def choose(found: list[Candidate], keep: Keep, judged: Mapping[int, float]) -> Candidate | None:
    """The candidate that a training leaves.

    Args:
        found: The best first.
        keep: How it is chosen.
        judged: Step to the share of the responses that a judge prefers to SFT's; a candidate without one is behind all
            others.

    Returns:
        None for the last weights: where ``keep`` says so, or there is no candidate.
    """
    if keep == "last" or not found:
        return None
    if keep == "best_reward":
        return found[0]
    return max(found, key=lambda candidate: judged.get(candidate.step, -1.0))
