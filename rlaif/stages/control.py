"""The verdict of the control: AI feedback against imitation of the strong teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from rlaif.evaluation.control import answer_in_words, control_in_words, judge_control, rule_in_words
from rlaif.evaluation.files import read_figures
from rlaif.evaluation.records import Text
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import Bounds, OpenShare
from rlaif.roles import Reads

MinGain = Annotated[float, Bounds(0, 0.5, exclusive_highest=True)]
"""A gain over a win rate of 50 %, in [0, 0.5)."""


class ControlStage(Stage):
    """Says whether AI feedback gains more than imitation of a strong teacher, with the rule that the verdict follows.

    Args:
        confidence: Coverage of the intervals, in (0, 1).
        min_gain: Smallest gain over a win rate of 50 % that would count, in [0, 0.5).
    """

    stored = False
    shows = True

    def __init__(self, confidence: OpenShare = 0.95, min_gain: MinGain = 0.05) -> None:
        self.confidence = confidence
        self.min_gain = min_gain

    @property
    def needs_models(self) -> bool:
        """It reads figures."""
        return False

    def reads(self) -> Mapping[str, Reads]:
        """The figures of the evaluation."""
        return {"figures": Reads(kind="figures", by="evaluation")}

    def told(self, work: Work) -> Told:
        """The verdict, which becomes the report's, and the rule."""
        found = judge_control(read_figures(work.path("figures")), min_gain=self.min_gain)
        verdict, rule = control_in_words(found, self.confidence), rule_in_words(self.confidence, self.min_gain)
        return Told(
            line=answer_in_words(found, self.confidence),
            verdict=verdict,
            sections=(Text(title="Control", text=f"{verdict}\n\nThe rule: {rule}"),),
        )
