"""The scorecard of a labeler on held-out pairs that people judged, and the gate ``label.min_alignment``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from rlaif.data.base import TaskData
from rlaif.data.preferences_io import read_preferences, write_preferences
from rlaif.errors import GateStopped
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.cost import cost_figures
from rlaif.evaluation.evaluators import ScorecardEvaluator
from rlaif.evaluation.files import read_diagrams, read_figures, write_diagrams, write_figures
from rlaif.evaluation.formats import format_interval, format_value
from rlaif.evaluation.judges import AnnotatorJudge, HarmJudge, Judge, PeopleJudge
from rlaif.evaluation.records import LabelSamples, PFirstHistogram, ReliabilityDiagram
from rlaif.evaluation.scorecard import alignment_in_words, confident_mistakes, held_out_pairs, scorecard_verdict
from rlaif.labelers.base import Labeler, Recorded, Reseeded
from rlaif.labelers.models import declared, parts_of
from rlaif.labelers.people import labeler_in_words, num_raters_used
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import LabelCost
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.learning import depends_on_people
from rlaif.labeling.results import LABELS
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import AtLeastOne, OpenShare, PositiveShare
from rlaif.roles import Reads
from rlaif.runtime import Runtime
from rlaif.stages.people import bound_people
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Preference

MeasuredOn = Literal["held_out", "all", "recorded"]
NUM_SHOWN = 8
"""Labels with their raw replies on the page."""
COST_OF_LABEL = "asked.json"
"""Time and money of a label: apart from the figures, which are the same in every equal run."""


class ScorecardStage(Stage):
    """Asks a labeler about pairs that people judged and no training reads.

    Args:
        task: Which task's pairs.
        labeler: The labeler that is measured.
        num_pairs: Pairs that it is asked about; None takes all.
        num_raters: Simulated annotators per comparison.
        confidence: Coverage of every interval, in (0, 1).
        batch_size: Comparisons per batch.
        measured_on: Which pairs that people judged: ``held_out`` from training; ``all``, for a labeler that learned
            from none; or those of all that the labeler's file holds, ``recorded``: its judge was asked about no others.
        min_alignment: The run stops below this alignment, in (0, 1]; None stops never.
        limits: Where figures fail their checks, by name of a :class:`CheckLimits` field; None takes the defaults.
        asking: Where answers of models are kept, what they cost, when to stop.
    """

    shows = True

    def __init__(
        self,
        task: Task,
        labeler: Labeler,
        num_pairs: AtLeastOne | None,
        num_raters: AtLeastOne,
        confidence: OpenShare,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
        measured_on: MeasuredOn = "held_out",
        limits: Runtime[Mapping[str, float] | None] = None,
        min_alignment: Runtime[PositiveShare | None] = None,
    ) -> None:
        self.task = task
        self.labeler = labeler
        self.num_pairs = num_pairs
        self.num_raters = num_raters
        self.confidence = confidence
        self.batch_size = batch_size
        self.measured_on: MeasuredOn = measured_on
        self.min_alignment = min_alignment
        self.asking = asking
        own = {} if min_alignment is None else {"min_alignment": min_alignment}
        self.limits = CheckLimits(**{**(limits or {}), **own})

    def reads(self) -> Mapping[str, Reads]:
        """Held-out pairs; the other pairs where they are measured too, or where the labeler asks people."""
        roles = {"held_out": Reads(kind="held_out_pairs")}
        reads_people = depends_on_people(self.labeler) or self.measured_on != "held_out"
        return {**roles, "people": Reads(kind="people")} if reads_people else roles

    @property
    def needs_models(self) -> bool:
        """False where every label is read from a file."""
        return any(not isinstance(part, Recorded) for part in parts_of(self.labeler) if not declared(part, "members"))

    def leaves(self) -> frozenset[str]:
        """The scorecard, and with ``label.min_alignment`` the gate that labeling waits for."""
        return frozenset({"scorecard"} if self.min_alignment is None else {"scorecard", "gate"})

    def problems(self, work: Work) -> Iterator[str]:
        """No pair that people judged, people measured against themselves, a labeler that cannot work."""
        data = work.data("held_out")
        if all(label.p_first is None for label in self._judged(data)):
            yield (
                "data: holds no held-out pair that people judged, so no labeler can be measured; raise "
                "data.eval_fraction or data.num_eval_preferences, or take other data"
            )
        yield from self._problems_of_choice()
        if self._measures_people(data) and self.min_alignment is None:
            yield "labeler=human: here people's labels are what others are measured against; choose another labeler"
        yield from trial_problems(self.labeler, example_pairs(data))

    def _problems_of_choice(self) -> Iterator[str]:
        option = f"label.scorecard_on={self.measured_on}"
        if self.measured_on == "recorded" and not isinstance(self.labeler, Recorded):
            yield f"{option}: only for labeler=file; a labeler that is asked has no records: held_out, or all"
        if self.measured_on != "held_out" and depends_on_people(self.labeler):
            yield f"{option}: this labeler learns from people's labels, so only held_out pairs can measure it"

    def _judged(self, data: TaskData) -> list[Preference]:
        """Pairs that people judged, of those that the labeler is measured on."""
        if self.measured_on == "held_out":
            return list(data.eval_preferences)
        labels = [*data.preferences, *data.eval_preferences]
        if self.measured_on == "all" or not isinstance(self.labeler, Recorded):
            return labels
        return [label for label in labels if self.labeler.holds(label.comparison)]

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The labeler, on the held-out pairs."""
        data = work.data("held_out")
        pairs = [label.comparison for label in held_out_pairs(self._judged(data), self.num_pairs)]
        yield WillAsk(labeler=self.labeler, examples=example_pairs(data), answers=self.asking.answers, pairs=pairs)

    def _measures_people(self, data: TaskData) -> bool:
        """True where people label: there is no other source to compare them with."""
        return data.annotators is None and num_raters_used(self.labeler) > 0

    def build(self, work: Work) -> None:
        """Ask the labeler, and compute all figures."""
        data = work.data("held_out")
        judged = self._judged(data)
        pairs = [label.comparison for label in held_out_pairs(judged, self.num_pairs)]
        bound_people(self.labeler, work)
        asking = self.asking.begin(None, batch_size=self.batch_size, before=work.tried)
        (labels,) = asking.label(self.labeler, [pairs], work)
        cost = asking.cost
        judge = self._judge(data, judged)
        harm = judge if self.task.measures_harm and isinstance(judge, HarmJudge) else None
        findings = ScorecardEvaluator(confidence=self.confidence).evaluate(
            labels, judge.votes(pairs), judge.name, self._again(pairs, work), harm
        )
        write_preferences(work.directory / LABELS, labels)
        write_figures(work.directory, findings.figures)
        write_diagrams(work.directory, [item for item in findings.sections if isinstance(item, ReliabilityDiagram)])
        (work.directory / COST_OF_LABEL).write_text(json.dumps(asdict(cost), indent=1, sort_keys=True) + "\n")

    def _again(self, pairs: Sequence[Comparison], work: Work) -> list[Preference] | None:
        """The same pairs under the next seed, for a labeler that draws."""
        if not isinstance(self.labeler, Reseeded):
            return None
        asking = self.asking.begin(None, batch_size=self.batch_size)
        (labels,) = asking.label(self.labeler.with_seed(self.labeler.seed + 1), [pairs], work)
        return labels

    def _judge(self, data: TaskData, judged: Sequence[Preference]) -> Judge:
        """Several simulated annotators, none of them the labeler, where there are any; else the data's own labels."""
        if data.annotators is None:
            return PeopleJudge(judged)
        return AnnotatorJudge(data.annotators, self.num_raters, first_rater=num_raters_used(self.labeler))

    def accept(self, work: Work) -> None:
        """Stop below ``label.min_alignment``; the estimate itself is compared."""
        if self.min_alignment is None or self._measures_people(work.data("held_out")):
            return
        name = _labeler_name(read_preferences(work.directory / LABELS))
        aligned = next((item for item in read_figures(work.directory) if item.name == "labeler/alignment"), None)
        if aligned is None:
            raise GateStopped(
                f"label.min_alignment={self.min_alignment:g}: every label of {name} is missing, so its alignment is "
                "unknown; see scorecard.html in the run directory"
            )
        if aligned.value >= self.min_alignment:
            return
        who, rate = aligned.note.partition(";")[0], format_value(aligned.value, "rate")
        raise GateStopped(
            f"label.min_alignment={self.min_alignment:g}: {name} agrees with {who} on {rate} of their verdicts "
            f"({format_interval(aligned, 'rate')}, {aligned.n:,} held-out prompts); the estimate itself is compared. "
            "Nothing was labeled. Take a better labeler, model or prompt (rlaif-run -m pipeline=scorecard labeler=… "
            "compares several), or lower label.min_alignment. The scorecard is scorecard.html in the run directory"
        )

    def told(self, work: Work) -> Told:
        """The page ``scorecard``: all figures, and the most confident labels that contradict people."""
        labels = read_preferences(work.directory / LABELS)
        cost = LabelCost(**json.loads((work.directory / COST_OF_LABEL).read_text()))
        figures = (*read_figures(work.directory), *cost_figures(labels, cost))
        data = work.data("held_out")
        judge, name = self._judge(data, [*data.preferences, *data.eval_preferences]), _labeler_name(labels)
        mistakes = confident_mistakes(labels, judge.votes([label.comparison for label in labels]), NUM_SHOWN)
        hint = f"The most confident labels that most {judge.name} contradict, with everything the labeler wrote."
        return Told(
            line=alignment_in_words(figures),
            link=work.step,
            title=name,
            figures=figures,
            checks=tuple(run_checks(figures, self.limits)),
            sections=(
                PFirstHistogram.of(labels),
                LabelSamples(labels=tuple(mistakes), hint=hint),
                *read_diagrams(work.directory),
            ),
            page="scorecard",
            verdict=scorecard_verdict(figures, name, self.task.name),
            objective=next((item.value for item in figures if item.name == "labeler/alignment"), None),
        )


def _labeler_name(labels: Sequence[Preference]) -> str:
    return labeler_in_words(labels[0]).split(":")[0]
