"""The responses that an evaluation compares: the roles that bring them, and the matches made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rlaif.artifacts.run_policies import trained_policy
from rlaif.errors import RlaifError
from rlaif.evaluation.matches import AtBest, Match, matches_with_opponent, matches_with_sft
from rlaif.evaluation.temperatures import Choice
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.pipeline.stage import Work
from rlaif.roles import Reads
from rlaif.rollouts.settings import plain_temperature, temperature_problems
from rlaif.stages.respond import read_responses
from rlaif.stages.respond_grid import HELD_OUT, TUNING, read_grid
from rlaif.types import Completion, Prompt

BEST: Final = "best"
GRID = "baseline_response_grid"
AT_OPTION = "best_baseline_responses"
TEMPERATURE = "evaluation.sampling.temperature"
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "merges.txt")
TAKEN = ("sft", "best_sft")
"""Names in figures that an opponent cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What an evaluation compares, as its options say."""

    temperature: float
    """Of the sampling."""
    further_temperatures: Sequence[float]
    """Policies are also compared at these."""
    sft_temperature: Literal["best"] | float | None
    """Of the SFT policy that the sampled policy must beat; None compares with none."""
    against: Mapping[str, str]
    """Opponents by name."""

    @property
    def temperatures(self) -> list[float]:
        """Those that every policy responds at, that of the sampling first."""
        return [self.temperature, *(each for each in self.further_temperatures if each != self.temperature)]

    def option_problems(self) -> Iterator[str]:
        """Options that are out of range, and names of opponents that figures have already."""
        yield from temperature_problems("evaluation.further_temperatures", self.further_temperatures)
        for name, place in self.against.items():
            if not isinstance(place, str):
                yield (
                    f"evaluation.against.{name}={place}: must be the directory of a run, run:DIR/step, or a model's"
                    " folder"
                )
            if "/" in name:
                yield f"evaluation.against.{name}: a name stands in names of figures, so it takes no /; write another"
            if name in TAKEN or any(name.startswith(f"{taken}_") for taken in TAKEN):
                yield f"evaluation.against.{name}: a figure against the SFT policy has this name; take another"

    def reads(self) -> dict[str, Reads]:
        """The roles of all responses."""
        roles = {**self._responses("policy", "policy"), **self._responses("baseline", "baseline")}
        if self.sft_temperature == BEST:
            roles[GRID] = Reads(kind="response_grid", of="baseline", by="respond_grid")
        elif self.sft_temperature is not None:
            roles[AT_OPTION] = self._drawn_at("baseline", float(self.sft_temperature))
        for name, place in self.against.items():
            option = f"evaluation.against.{name}"
            roles[option] = Reads(kind="policy", at=_policy_of(place), option=option)
            roles |= self._responses(option, option, joint=".")
        return roles

    def _responses(self, role: str, of: str, *, joint: str = "_") -> dict[str, Reads]:
        return {self._role(role, each, joint): self._drawn_at(of, each) for each in self.temperatures}

    def _drawn_at(self, of: str, temperature: float) -> Reads:
        """Responses of a policy; 0 and 0.0 are one option, so that they name one step."""
        changes = {} if temperature == self.temperature else {TEMPERATURE: plain_temperature(temperature)}
        return Reads(kind="responses", of=of, by="respond", changes=changes)

    def _role(self, role: str, temperature: float, joint: str = "_") -> str:
        suffix = "" if temperature == self.temperature else f"_at_{plain_temperature(temperature)}"
        return f"{role}{joint}responses{suffix}"

    def opponent_problems(self, work: Work) -> Iterator[str]:
        """Opponents that are no model with a tokenizer of its own."""
        for name, place in self.against.items():
            item = work.input(f"evaluation.against.{name}") if work.has(f"evaluation.against.{name}") else None
            if item is None or item.stage or item.path is None:
                continue
            if (problem := model_problem(item.path)) is not None:
                yield f"evaluation.against.{name}={place}: {problem}"

    def is_ready(self, work: Work) -> bool:
        """True when all responses are drawn."""
        return all(
            work.ready(name) for name, reads in self.reads().items() if reads.kind in ("responses", "response_grid")
        )

    def drawn(self, work: Work, role: str) -> tuple[list[Prompt], dict[float, list[Completion]]]:
        """Prompts, and the responses of a policy by temperature.

        Args:
            work: Of the evaluation.
            role: ``policy``, ``baseline`` or ``evaluation.against.NAME``.
        """
        joint = "." if role not in ("policy", "baseline") else "_"
        rows = {
            each: read_responses(work.path(self._role(role, each, joint)), each, TEMPERATURE)
            for each in self.temperatures
        }
        prompts = [prompt for prompt, _ in rows[self.temperature]]
        return prompts, {each: [answer for _, answer in row] for each, row in rows.items()}

    def tuning(self, work: Work) -> tuple[list[Prompt], dict[float, list[Completion]]]:
        """Tuning prompts, and the responses of the SFT policy to them by temperature; empty where there are none."""
        grid = read_grid(work.path(GRID), TUNING) if work.has(GRID) else {}
        prompts = [prompt for prompt, _ in next(iter(grid.values()), [])]
        return prompts, {each: [answer for _, answer in rows] for each, rows in grid.items()}

    def matches(self, work: Work, choice: Choice | None) -> list[Match]:
        """All matches of the policy, headline matches first.

        Args:
            work: Of the evaluation.
            choice: Of the SFT policy's temperature; None leaves the match with SFT at its best temperature out.
        """
        prompts, policy = self.drawn(work, "policy")
        _, sft = self.drawn(work, "baseline")
        best = None if choice is None else AtBest(temperature=choice.temperature, responses=self._at(work, choice))
        matches = matches_with_sft(prompts, policy, sft, temperature=self.temperature, best=best)
        for name in self.against:
            _, opponent = self.drawn(work, f"evaluation.against.{name}")
            matches += matches_with_opponent(name, prompts, policy, opponent, temperature=self.temperature)
        return matches

    def _at(self, work: Work, choice: Choice) -> list[Completion]:
        if work.has(GRID):
            return [answer for _, answer in read_grid(work.path(GRID), HELD_OUT)[choice.temperature]]
        rows = read_responses(work.path(AT_OPTION), choice.temperature, "evaluation.sft_temperature")
        return [answer for _, answer in rows]


def model_problem(folder: Path) -> str | None:
    """Why a folder is no policy that can respond with a tokenizer of its own; None where it is one."""
    config = folder / "config.json"
    if not config.is_file():
        return "holds no policy; give a finished run's directory or a model's"
    options = json.loads(config.read_text("utf-8"))
    if any("ForSequenceClassification" in name for name in options.get("architectures") or ()):
        return "is a classifier such as a reward model, which writes no responses; give a policy's directory"
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        return "holds no tokenizer; save the model's own tokenizer in that directory"
    try:
        size = len(load_tokenizer(ModelSpec(str(folder))))
    except RlaifError as error:
        return f"its texts cannot be read or written: {error}; save the model's own tokenizer in that directory"
    if size > options.get("vocab_size", size):
        return (
            f"its tokenizer has {size:,} tokens and its model {options['vocab_size']:,}, so it is another model's;"
            " save the model's own tokenizer in that directory"
        )
    return None


def _policy_of(place: str) -> str:
    """The policy of a run's directory, or the place itself."""
    folder = Path(place).expanduser()
    inside = None if (folder / "config.json").is_file() else trained_policy(folder)
    return place if inside is None else str(inside)
