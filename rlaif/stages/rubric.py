"""A rubric: a model writes criteria from labeled pairs, and those that tell the better response of others are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from rlaif.data.preferences_io import iterate_preferences
from rlaif.engines.base import Engine, is_chat
from rlaif.errors import ConfigError, GateStopped
from rlaif.evaluation.rubric import (
    Discrimination,
    Ordered,
    criteria_table,
    criterion_record,
    discrimination,
    distinct_criteria,
    held_out,
    ordered_pairs,
    shown_pairs,
)
from rlaif.labelers.criteria import CriteriaLabeler, p_yes
from rlaif.labeling.asking import Asking, AskingSettings
from rlaif.labeling.first_request import WillAsk
from rlaif.labeling.results import LABELS, read_labels
from rlaif.labeling.trial import example_pairs
from rlaif.outcome import Generation
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.prompts.criteria import CRITERIA_FILE, CriteriaPrompts, Criterion, written_criteria
from rlaif.ranges import AtLeastOne, NonNegative, OpenShare
from rlaif.rewards.rubric import CRITERIA
from rlaif.roles import Reads
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import Sampling

TESTED, CARD, ASKED = "criteria.json", "README.md", "asked"
NUM_SHOWN = 3
"""Replies without a question that an error shows."""


class RubricStage(Stage):
    """Writes criteria with a language model, and tests each on pairs that it did not see.

    Args:
        task: Whose pairs.
        engine: Writes the criteria and judges by them.
        num_requests: Requests to write criteria, each about other pairs.
        pairs_per_request: Labeled pairs in a request.
        held_out: Share of the prompts, in (0, 1), whose pairs criteria are tested on.
        max_criteria: Most criteria that are kept, the most telling first.
        max_new_tokens: Of a reply.
        temperature: Of the replies; 0 decodes greedily.
        confidence: Coverage of every interval, in (0, 1).
        batch_size: Responses per batch.
        asking: Where answers of models are kept, what they cost, when to stop.
    """

    shows = True

    def __init__(
        self,
        task: Task,
        engine: Engine | None,
        num_requests: AtLeastOne,
        pairs_per_request: AtLeastOne,
        held_out: OpenShare,
        max_criteria: AtLeastOne,
        max_new_tokens: AtLeastOne,
        temperature: NonNegative,
        confidence: OpenShare,
        batch_size: AtLeastOne,
        *,
        asking: Runtime[AskingSettings],
    ) -> None:
        if engine is None:
            raise ConfigError("labeler.engine=null: a model writes the criteria; take a labeler that has one")
        self.task = task
        self.num_requests = num_requests
        self.pairs_per_request = pairs_per_request
        self.held_out = held_out
        self.max_criteria = max_criteria
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.confidence = confidence
        self.batch_size = batch_size
        self.asking = asking
        self.labeler = CriteriaLabeler(CriteriaPrompts(), engine)

    def reads(self) -> Mapping[str, Reads]:
        """Labels; prompts of the data, for a first request to a server."""
        return {
            "labels": Reads(kind="labels"),
            "prompts": Reads(kind="label_prompts", optional=True, hashed=False),
        }

    def leaves(self) -> frozenset[str]:
        """Criteria."""
        return frozenset({CRITERIA})

    def asks(self, work: Work) -> Iterator[WillAsk]:
        """The model, about criteria that are still to be written."""
        if work.has("prompts"):
            examples = example_pairs(work.data("prompts"))
            yield WillAsk(labeler=self.labeler, examples=examples, answers=self.asking.answers)

    def build(self, work: Work) -> None:
        """Write the criteria, test them, and store those that are kept with a card.

        Raises:
            ConfigError: The labels hold no two prompts with a better response.
            GateStopped: No criterion was written, or none tells the better response.
        """
        shown, tested_on = held_out(ordered_pairs(read_labels(work.path("labels"))), self.held_out, work.seed)
        if not shown or not tested_on:
            raise ConfigError(
                "labels: a rubric needs labeled pairs of two prompts at least, one of them to be held out; raise "
                "data.num_label_prompts, or give more labels"
            )
        asking = self.asking.begin(work.directory / ASKED, before=work.tried)
        asking.through(self.labeler)
        replies = self._replies(asking, shown, work.seed)
        candidates = distinct_criteria(replies)
        if not candidates:
            raise GateStopped(f"rubric: no reply holds a question in a line of its own{_examples(replies)}")
        tested = self._tested(asking, candidates, tested_on, work)
        self._write(work, tested, len(shown), len(tested_on))
        asking.close(remove=True)

    def _replies(self, asking: Asking, shown: Sequence[Ordered], seed: int) -> list[Generation]:
        groups = shown_pairs(shown, self.num_requests, self.pairs_per_request, seed)
        prompts = CriteriaPrompts()
        requests = [prompts.criteria_request(self.task, [pair.shown for pair in group]) for group in groups]
        asking.check_budget()
        engine = self.labeler.engine
        stop = () if is_chat(engine) else ("\n\n",)
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, stop=stop, seed=seed % 2**31
        )
        return engine.generate(requests, sampling)

    def _tested(
        self, asking: Asking, candidates: Sequence[str], pairs: Sequence[Ordered], work: Work
    ) -> list[Discrimination]:
        """Every candidate, the most telling first."""
        self.labeler.take([Criterion(asks) for asks in candidates])
        prompts = [pair.prompt for pair in pairs for _ in range(2)]
        responses = [response for pair in pairs for response in (pair.better, pair.worse)]
        progress = work.progress(len(responses), unit="responses")
        judged: list[list[float | None]] = []
        for start in range(0, len(responses), self.batch_size):
            asking.check_budget()
            batch = slice(start, start + self.batch_size)
            ratings = self.labeler.rate(prompts[batch], responses[batch])
            judged += [[p_yes(judgment) for judgment in rating.judgments] for rating in ratings]
            progress(len(judged), len(responses))
        columns = [[row[place] for row in judged] for place in range(len(candidates))]
        found = [
            discrimination(asks, pairs, column[::2], column[1::2], self.confidence)
            for asks, column in zip(candidates, columns, strict=True)
        ]
        return sorted(found, key=lambda item: (-(item.rate.low or 0.0), item.asks))

    def _write(self, work: Work, tested: Sequence[Discrimination], num_shown: int, num_held_out: int) -> None:
        kept = [item for item in tested if item.is_kept][: self.max_criteria]
        if not kept:
            best = tested[0]
            raise GateStopped(
                f"rubric: none of {len(tested)} criteria tells the better response of {num_held_out} held-out pairs "
                f"(the best: {best.asks!r} {_rate(best)}); take another model (labeler.engine.model), or more labels"
            )
        records = [criterion_record(item, item in kept) for item in tested]
        labels = next(iterate_preferences(work.path("labels") / LABELS))
        comment = f"Criteria of {self.task.name}, written by a model from labels of {labels.labeler.split(':')[0]}."
        text = written_criteria([Criterion(item.asks) for item in kept], comment)
        (work.directory / CRITERIA_FILE).write_text(text, "utf-8")
        (work.directory / TESTED).write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", "utf-8")
        table = criteria_table(records, self.confidence)
        facts = {
            "task": self.task.name,
            "written and judged by": str(self._options(work).get("model", self.labeler.engine.identity)),
            "labels": f"{labels.labeler.split(':')[0]} ({labels.source})",
            "pairs shown": f"{num_shown}, {self.pairs_per_request} in each of {self.num_requests} requests",
            "held-out pairs": str(num_held_out),
        }
        lines = [f"# Criteria: {self.task.name}", "", *(f"- {name}: {value}" for name, value in facts.items())]
        lines += ["", table.hint, "", f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table.rows]
        (work.directory / CARD).write_text("\n".join(lines) + "\n", "utf-8")

    def _options(self, work: Work) -> Mapping[str, object]:
        options = work.options.get("engine")
        return options if isinstance(options, Mapping) else {}

    def told(self, work: Work) -> Told:
        """How many criteria are kept, and a table of all."""
        records = json.loads((work.directory / TESTED).read_text("utf-8"))
        table = criteria_table(records, self.confidence)
        kept = sum(record["kept"] for record in records)
        line = f"{kept} of {len(records)} criteria kept"
        return Told(line=line, link=work.step, sections=(table,), tables=(table,))


def _rate(tested: Discrimination) -> str:
    value, low = tested.rate.value, tested.rate.low
    return "not judged" if value is None or low is None else f"{100 * value:.0f} %, interval from {100 * low:.0f} %"


def _examples(replies: Sequence[Generation]) -> str:
    shown = [repr((reply.missing or reply.text).strip()[:80]) for reply in replies[:NUM_SHOWN]]
    return f" (e.g. {', '.join(shown)}); take another model (labeler.engine.model)"
