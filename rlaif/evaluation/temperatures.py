"""Choice of the temperature that is best for a policy, on prompts that no figure is taken on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlaif.data.base import ExactAnnotators
from rlaif.evaluation.estimates import column, prompt_numbers
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.formats import Unit, format_interval, format_value
from rlaif.evaluation.judges import AnnotatorJudge
from rlaif.evaluation.records import Table
from rlaif.evaluation.votes import pair
from rlaif.functional.statistics import Estimate
from rlaif.metrics.clustered import Mean
from rlaif.types import Comparison, Completion, Figure, Prompt

BEST_TEMPERATURE = "sft/best_temperature"
FIGURES = (
    FigureSpec(
        name=BEST_TEMPERATURE,
        label="best temperature",
        unit="number",
        explanation="Of those tried, the one whose responses are best on tuning prompts.",
        order=5,
    ),
)
FILE = "temperatures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A temperature with the mean score of its responses."""

    temperature: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A temperature, and what it was chosen from."""

    temperature: float
    by: str
    """Who chose, in words."""
    score: str
    """The score of a temperature in words; empty where an option named it."""
    tried: tuple[Tried, ...] = ()
    """Every temperature of the grid; empty where an option named it."""
    num_prompts: int = 0
    """Tuning prompts."""

    def figure(self) -> Figure:
        """``sft/best_temperature`` with who chose it from what."""
        grid = ", ".join(f"{item.temperature:g}" for item in self.tried)
        note = f"{self.by}; best of {grid} on {self.num_prompts:,} tuning prompts" if self.tried else self.by
        return Figure(name=BEST_TEMPERATURE, value=self.temperature, n=self.num_prompts or None, note=note)

    def table(self) -> Table:
        """The scores of all temperatures, for a page."""
        unit: Unit = "rate" if "probability" in self.score else "number"
        rows = []
        for item in self.tried:
            shown = Figure(name=BEST_TEMPERATURE, value=item.value, low=item.low, high=item.high)
            mark = " (best)" if item.temperature == self.temperature else ""
            rows.append(
                (f"{item.temperature:g}{mark}", format_value(item.value, unit), format_interval(shown, unit) or "–")
            )
        return Table(
            title="Temperature of the SFT policy",
            columns=("temperature", self.score, "interval"),
            rows=tuple(rows),
            hint="SFT at its best temperature is what the policy must beat. Chosen by "
            f"{self.by} on {self.num_prompts:,} tuning prompts, which no figure of the evaluation is taken on.",
        )


def write_choice(directory: Path, choice: Choice | None) -> None:
    """Write ``temperatures.json``: null where nothing was chosen."""
    record = None if choice is None else asdict(choice)
    (directory / FILE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def read_choice(directory: Path) -> Choice | None:
    """Read ``temperatures.json``."""
    record = json.loads((directory / FILE).read_text())
    if record is None:
        return None
    return Choice(**{**record, "tried": tuple(Tried(**item) for item in record["tried"])})


def choose_by_annotators(
    prompts: Sequence[Prompt],
    drawn: Mapping[float, Sequence[Completion]],
    judge: AnnotatorJudge,
    *,
    confidence: float = 0.95,
) -> Choice:
    """The temperature whose responses are preferred to those at the other temperatures, averaged over these.

    Args:
        prompts: Tuning prompts, one per row.
        drawn: Responses by temperature, at least two temperatures.
        judge: Annotators that know their exact probabilities give these, others their verdicts.
        confidence: Coverage of the intervals of the scores, which are clustered by prompt.
    """
    prefer = _probabilities(judge)
    against = {
        one: [prefer(pair(prompts, drawn[one], drawn[other])) for other in drawn if other != one] for one in drawn
    }
    scores = {one: [sum(row) / len(row) for row in zip(*rows, strict=True)] for one, rows in against.items()}
    score = "probability of preference over the other temperatures"
    return _choice(prompts, scores, by=judge.name, score=score, confidence=confidence)


def choose_by_reward(
    prompts: Sequence[Prompt],
    drawn: Mapping[float, Sequence[Completion]],
    rewards: Callable[[Sequence[Prompt], Sequence[Completion]], Sequence[float]],
    *,
    confidence: float = 0.95,
) -> Choice:
    """The temperature whose responses have the highest mean reward.

    Args:
        prompts: Tuning prompts, one per row.
        drawn: Responses by temperature.
        rewards: From prompts and responses to one finite reward each.
        confidence: As in :func:`choose_by_annotators`.
    """
    scores = {one: list(rewards(prompts, responses)) for one, responses in drawn.items()}
    return _choice(prompts, scores, by="the reward model", score="mean reward", confidence=confidence)


def _choice(
    prompts: Sequence[Prompt], scores: Mapping[float, Sequence[float]], *, by: str, score: str, confidence: float
) -> Choice:
    """The highest mean score; of equal ones the lowest temperature."""
    tried = tuple(_tried(one, prompts, scores[one], confidence) for one in sorted(scores))
    best = max(tried, key=lambda item: (item.value, -item.temperature))
    num_prompts = len({prompt.id for prompt in prompts})
    return Choice(temperature=best.temperature, by=by, score=score, tried=tried, num_prompts=num_prompts)


def _tried(temperature: float, prompts: Sequence[Prompt], scores: Sequence[float], confidence: float) -> Tried:
    metric = Mean(confidence=confidence, sync_on_compute=False)
    metric.update(column(scores), prompt_numbers(prompts))
    found: Estimate = metric.compute()
    assert found.value is not None, "a grid is drawn on at least one prompt"
    return Tried(temperature=temperature, value=found.value, low=found.low, high=found.high)


def _probabilities(judge: AnnotatorJudge) -> Callable[[Sequence[Comparison]], Sequence[float]]:
    """P(first) per comparison: exact where the annotators know it, else the mean of their verdicts."""
    annotators = judge.annotators
    if isinstance(annotators, ExactAnnotators):
        return annotators.p_first
    return lambda comparisons: [sum(row) / len(row) for row in judge.votes(comparisons)]
