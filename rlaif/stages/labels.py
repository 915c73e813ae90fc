"""Labeling: comparisons in, soft preferences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any

from rlaif.data.base import PairSource
from rlaif.data.large import Selected
from rlaif.data.preferences_io import iterate_preferences
from rlaif.errors import ConfigError
from rlaif.evaluation.records import LabelSamples, PFirstHistogram
from rlaif.labelers.base import Labeler
from rlaif.labelers.people import labeler_in_words
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.cost import Prices
from rlaif.labeling.estimate import LabelEstimate, estimate_labels, stand_in_pairs
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.learning import depends_on_people
from rlaif.labeling.results import LABELS, LabelSetWriter, check_missing, labels_in_words, write_labels
from rlaif.labeling.sharded import ShardedLabeling, team_of_processes
from rlaif.labeling.team import Team
from rlaif.labeling.trial import example_pairs, trial_problems
from rlaif.pipeline.stage import Parts, Stage, Told, Work
from rlaif.ranges import AtLeastOne, PositiveShare
from rlaif.roles import Reads
from rlaif.rollouts.pairs import SFT, TEACHER, sampled_pairs
from rlaif.runtime import Runtime
from rlaif.stages.people import bound_people
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Preference

BATCHES = "batches"
"""Directory of the finished batches while the stage is built."""
NUM_SHOWN = 8
"""Labels with their raw replies on the page."""


class LabelStage(Stage):
    """Has a labeler judge every pair, batch by batch, so that no finished batch is paid for twice.

    Args:
        task: How the texts look to a judge.
        labeler: Who labels.
        batch_size: Comparisons per batch.
        asking: Where answers of models are kept, what they cost, when to stop.
        writer: Makes a data set of the label table.
        min_alignment: Alignment, in (0, 1], that a scorecard must find first; None asks for no scorecard.
        estimate_reply_tokens: For ``estimate=true``, tokens of a written reply; None measures or takes the longest.
        samples_per_prompt: For ``estimate=true``, samples that will be drawn for each prompt.
        pairs_from: For ``estimate=true``, what each sample will be paired with.
    """

    def __init__(
        self,
        task: Task,
        labeler: Labeler,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
        writer: Runtime[LabelSetWriter],
        min_alignment: Runtime[PositiveShare | None] = None,
        estimate_reply_tokens: Runtime[AtLeastOne | None] = None,
        samples_per_prompt: Runtime[AtLeastOne] = 2,
        pairs_from: Runtime[PairSource] = "policy",
    ) -> None:
        self.task = task
        self.labeler = labeler
        self.batch_size = batch_size
        self.asking = asking
        self.writer = writer
        self.min_alignment = min_alignment
        self.estimate_reply_tokens = estimate_reply_tokens
        self.samples_per_prompt = samples_per_prompt
        self.pairs_from: PairSource = pairs_from

    def reads(self) -> Mapping[str, Reads]:
        """The pairs; people where the labeler asks them; the scorecard where it must pass first."""
        roles = {
            "pairs": Reads(kind="pairs"),
            "held_out": Reads(kind="held_out_prompts", optional=True, hashed=False),
        }
        if depends_on_people(self.labeler):
            roles["people"] = Reads(kind="people")
        if self.min_alignment is not None:
            roles["gate"] = Reads(kind="gate", hashed=False)
        return roles

    def leaves(self) -> frozenset[str]:
        """Labels, which a later step may filter, and raw labels, which evaluations measure."""
        return frozenset({"labels", "raw_labels"})

    def problems(self, work: Work) -> Iterator[str]:
        """Problems of the labeler."""
        if work.has("held_out"):
            yield from trial_problems(self.labeler, example_pairs(work.data("held_out")))

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The labeler, on the pairs where they are known already."""
        pairs = pairs_of(work) if work.ready("pairs") else None
        examples = example_pairs(work.data("held_out")) if work.has("held_out") else (pairs or [])[:2]
        yield WillAsk(labeler=self.labeler, examples=examples, answers=self.asking.answers, pairs=pairs)

    @property
    def parts(self) -> Parts:
        """Processes label every n-th batch each, where models are asked."""
        return Parts(
            wanted=lambda work: self.labeler.source == "ai",
            begin=lambda directory: Team(directory / BATCHES).begin(),
            gather=lambda work: self._write(work, self._labeling(work)),
        )

    def build(self, work: Work) -> None:
        """Label all pairs; as one of several processes, this process's batches."""
        labeling = self._labeling(work)
        labeling.label(work)
        if labeling.team.size == 1:
            self._write(work, labeling)

    def _labeling(self, work: Work) -> ShardedLabeling:
        comparisons = pairs_of(work)
        if not comparisons:
            raise ConfigError(
                "label: there is no pair to label: either no prompt is left for training (what the data step left out,"
                " it has told), or every prompt's two samples are identical"
            )
        people = bound_people(self.labeler, work)
        team = team_of_processes(work.directory / BATCHES)
        asking = self.asking.begin(team.directory, batch_size=self.batch_size, rank=team.rank, before=work.tried)
        return ShardedLabeling(self.labeler, comparisons, asking, people, team)

    def _write(self, work: Work, labeling: ShardedLabeling) -> None:
        write_labels(labeling, work.directory, self.writer, self._provenance(work))

    def _provenance(self, work: Work) -> dict[str, Any]:
        """The labeler's composed options, which hold no keys of servers, and what its prompts are made of."""
        options = work.options["labeler"]
        prompt, engine = getattr(self.labeler, "prompt", None), options.get("engine")
        return {
            "task": self.task.name,
            "labeler": options,
            "prompt_identity": None if prompt is None else prompt.identity,
            "model": None if engine is None else engine.get("model"),
        }

    @property
    def prices(self) -> Prices:
        """What labels cost."""
        return self.asking.prices

    def estimate(self, work: Work) -> LabelEstimate:
        """Estimate labeling; only a local model is run, on a few pairs."""
        pairs, notes = self._planned(work)
        notes += [
            f"stage:{name} is not trained yet: {model} is measured in its place"
            for name, model in work.stand_ins.items()
        ]
        return estimate_labels(
            self.labeler,
            pairs,
            bound_people(self.labeler, work),
            self.asking.answers,
            batch_size=self.batch_size,
            reply_tokens=self.estimate_reply_tokens,
            num_processes=work.num_processes,
            notes=notes,
        )

    def _planned(self, work: Work) -> tuple[Sequence[Comparison], list[str]]:
        """The plan, or pairs of its size where the policy has not sampled yet."""
        if work.ready("pairs"):
            finished = (
                ["these labels are finished in the store: this run would ask nothing"] if work.is_finished else []
            )
            return pairs_of(work), finished
        data = work.data("held_out")
        responses = [Completion(text=item.response) for item in data.demonstrations]
        has_opponent = self.pairs_from in (TEACHER, SFT)
        return stand_in_pairs(data.label_prompts, responses, self.samples_per_prompt, has_opponent=has_opponent), [
            "the SFT policy has not sampled yet: pairs of demonstrations' responses are counted in place of its samples"
        ]

    def accept(self, work: Work) -> None:
        """Hold the labels against this run's ``label.max_missing_rate``."""
        check_missing(work.directory, self.asking.max_missing_rate)

    def told(self, work: Work) -> Told:
        """Number of pairs, who labeled, and missing labels."""
        labels = iterate_preferences(work.directory / LABELS)
        shown = tuple(islice(labels, NUM_SHOWN))
        return Told(
            line=labels_in_words(work.directory),
            link=work.step,
            title=labeler_in_words(shown[0]).split(":")[0],
            sections=(PFirstHistogram.of(chain(shown, labels)), LabelSamples(labels=shown)),
        )


def pairs_of(work: Work) -> Sequence[Comparison]:
    """The pairs that a step reads: the data's own, or all pairs of samples."""
    source = work.input("pairs")
    if source.data is not None:
        labels: Sequence[Preference] = source.data.preferences
        return Selected(labels, range(len(labels)), attrgetter("comparison"))
    return sampled_pairs(work.path("pairs"))
