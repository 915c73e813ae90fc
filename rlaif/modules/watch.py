"""A watch over a policy's training: does a judge that it does not learn from like it less while its reward rises?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from rlaif.artifacts import atomic_write
from rlaif.functional.evidence import evidence_over_looks
from rlaif.modules.candidates import Candidates
from rlaif.modules.watch_settings import WatchSettings
from rlaif.modules.watched import WatchedResponse, cut_watched, read_watched, write_watched
from rlaif.types import Comparison

Preference = Callable[[Sequence[Comparison]], Sequence[float | None]]
"""P(a random rater, or a judge, prefers the first response) for each comparison; None where there is no verdict."""
UNKNOWN = float("nan")
WIN_RATE = "watch/win_rate"
ANSWERED = "watch/answered"
"""Share of the pairs of different texts that have a verdict."""
EVIDENCE = "watch/evidence"
STOP = "watch.json"
"""File of a training that the watch ended."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How the watch ended a training."""

    alarm: int
    """Optimizer step of the alarm."""
    kept: int
    """Optimizer step of the weights that were kept."""
    win_rate: float
    """Of these weights against SFT, as the watch's judge says."""
    num_steps: int
    """Optimizer steps that were planned."""

    def __str__(self) -> str:
        return (
            f"policy.watch.stop: the alarm at step {self.alarm} of {self.num_steps} ended the training; kept step"
            f" {self.kept}, where the watch's judge preferred the policy most often ({100 * self.win_rate:.1f} %)"
        )

    def write(self, directory: Path) -> None:
        """Write it into the step's directory."""
        atomic_write(directory / STOP, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Stop | None:
        """As it was written; None where the watch ended nothing."""
        path = directory / STOP
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


class Watch:
    """Keeps the responses of every validation, and weighs the evidence that the judge likes them less and less.

    Args:
        directory: Of the responses; a resumed training reads them again.
        settings: When it gives the alarm, and what then.
        judge: Compares the policy's responses with the SFT policy's.
        num_looks: Validations that are planned, that before the first step included.
        best: Keeps the weights with the highest win rate, those of the start among them; None keeps none.
    """

    def __init__(
        self,
        directory: Path,
        settings: WatchSettings,
        *,
        judge: Preference,
        num_looks: int,
        best: Candidates | None = None,
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.judge = judge
        self.num_looks = num_looks
        self.best = best

    def cut(self, last_step: int) -> None:
        """Forget what a killed training saw after its last checkpoint."""
        cut_watched(self.directory, last_step)
        if self.best is not None:
            self.best.cut(last_step)

    def observe(
        self, step: int, responses: Sequence[WatchedResponse], weights: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Keep a validation, and the weights where they are the best so far.

        Args:
            step: Optimizer steps.
            responses: One per validation prompt.
            weights: ``state_dict`` of the policy.

        Returns:
            Figures of the validation's row: the win rate, the share of pairs with a verdict, the evidence. Pairs of one
            text are ties that nobody was asked about; where all others have no verdict, there is no win rate.
        """
        write_watched(self.directory, step, responses)
        asked = [response.win is not None for response in responses if not response.is_identical]
        figures = {ANSWERED: sum(asked) / len(asked) if asked else 1.0, EVIDENCE: self._evidence()[step]}
        if not figures[ANSWERED]:
            return figures
        figures[WIN_RATE] = win_rate_of(responses)
        if self.best is not None:
            self.best.offer(step, preferred_share(figures), weights)
        return figures

    def win_rate(self, step: int) -> float:
        """The win rate of a validation that was observed."""
        return win_rate_of(read_watched(self.directory)[step])

    def alarm(self) -> int | None:
        """The first validation, as optimizer step, at which the evidence was enough; None where it was not."""
        return alarm_step(self._evidence(), self.settings)

    def _evidence(self) -> dict[int, float]:
        seen = read_watched(self.directory)
        evidence = evidence_over_looks(
            [[UNKNOWN if item.win is None else item.win for item in responses] for responses in seen.values()],
            [_mean_reward(responses) for responses in seen.values()],
            num_looks=self.num_looks,
            margin=self.settings.margin,
        )
        return dict(zip(seen, evidence, strict=True))


def win_rate_of(responses: Sequence[WatchedResponse]) -> float:
    """The win rate against SFT over the responses with a verdict; NaN where none has one."""
    wins = [response.win for response in responses if response.win is not None]
    return sum(wins) / len(wins) if wins else UNKNOWN


def preferred_share(row: Mapping[str, float]) -> float:
    """By which validations are ranked: what cannot be judged is not preferred.

    >>> preferred_share({"watch/win_rate": 0.8, "watch/answered": 0.75})
    0.6000000000000001
    """
    return row[WIN_RATE] * row.get(ANSWERED, 1.0)


def alarm_step(evidence: Mapping[int, float], settings: WatchSettings) -> int | None:
    """The first step whose evidence reaches 1 / ``false_alarm_rate``.

    >>> alarm_step({0: 0.0, 40: 3.0, 80: 25.0, 120: 90.0}, WatchSettings(false_alarm_rate=0.05))
    80
    """
    return next((step for step, value in evidence.items() if value >= 1.0 / settings.false_alarm_rate), None)


def _mean_reward(responses: Sequence[WatchedResponse]) -> float:
    known = [response.reward for response in responses if response.reward is not None]
    return sum(known) / len(known) if known else UNKNOWN
