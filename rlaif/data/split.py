"""Records of a file or data set as the data of a run, whatever they come from.

A row that cannot be used is left out and counted by reason; nothing is repaired or guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from rlaif.data.base import SkippedRows, TaskData
from rlaif.data.formats.base import (
    UNLABELED,
    LabeledPair,
    OddRowError,
    OtherTaskError,
    ReadRow,
    Record,
    SingleResponse,
    check_choices,
)
from rlaif.data.held_out import conversation_start, is_held_out
from rlaif.data.repeated import PairKey, VoteTable
from rlaif.data.transcripts import latest_turns
from rlaif.errors import ConfigError, DataError
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt, content_id

NUM_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class PairOptions:
    """Options that ``data=files`` and ``data=hub`` have in common; named ``data.…`` on the command line."""

    pairs: Literal["dataset", "policy"] = "dataset"
    """Source of the labeled pairs: the data's own (``dataset``), or two samples of the SFT policy (``policy``)."""
    eval_confidences: Sequence[float] = ()
    """Held-out pairs count only with one of these confidences (TL;DR: from 1, sure of the first, to 9, sure of the
    second; arXiv 2309.00267 evaluates its labeler on 1, 2, 8 and 9). Empty takes all."""
    eval_fraction: float = 0.1
    """Share of the conversations that is held out, at most 1 (all of them: nothing is left for training); chosen by
    content, the same on every machine."""
    num_eval_prompts: int | None = 400
    """At most so many held-out prompts; None takes all."""
    num_validation_prompts: int | None = 256
    """At most so many further held-out prompts to watch RL on (``policy.validate_every``), of conversations that the
    evaluation does not read; None takes all that ``num_eval_prompts`` leaves."""
    max_prompt_tokens: int = 768
    """A longer dialogue loses its oldest turns; a row that is still longer is left out."""
    max_response_tokens: int = 512
    """A row with a longer response is left out."""
    max_skipped: float = 0.2
    """Stop when a larger share of the rows had to be left out."""
    max_rows: int | None = None
    """Read only so many rows; None reads all."""

    def __post_init__(self) -> None:
        check_choices("data", pairs=(self.pairs, ("dataset", "policy")))
        problems = []
        if not 0.0 <= self.eval_fraction <= 1.0:
            problems.append(f"data.eval_fraction={self.eval_fraction}: must be between 0 and 1")
        if not 0.0 <= self.max_skipped <= 1.0:
            problems.append(f"data.max_skipped={self.max_skipped}: must be between 0 and 1")
        for name in (
            "num_eval_prompts",
            "num_validation_prompts",
            "max_prompt_tokens",
            "max_response_tokens",
            "max_rows",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"data.{name}={value}: must be at least 1")
        if problems:
            raise ConfigError(problems)

    @property
    def limits_identity(self) -> str:
        """Hash of the options that decide which rows are kept and how they are split."""
        names = [option.name for option in fields(PairOptions) if option.name not in ("pairs", "eval_confidences")]
        confidences = str([float(confidence) for confidence in self.eval_confidences])
        return content_id(confidences, *(f"{name}={getattr(self, name)}" for name in names))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRecord:
    """A record with its prompt as the run has it."""

    record: Record
    prompt: Prompt
    start: str
    """How the conversation begins: what decides on which side of the split it is."""


@dataclass(kw_only=True)
class RecordReader:
    """Turns what was read of a file into :class:`~rlaif.data.base.TaskData`.

    Args (fields):
        task: What the texts are.
        options: Limits and split.
        count_tokens: The policy's tokenizer; None counts words.
        source: Who gave the labels.
    """

    task: Task
    options: PairOptions
    count_tokens: Callable[[str], int] | None = None
    source: str = "human"
    reasons: Counter[str] = field(default_factory=Counter, init=False)
    num_rows: int = field(default=0, init=False)
    num_unusable: int = field(default=0, init=False)
    """Rows of this task that were left out; repeated pairs are merged and not among them."""
    shown: list[str] = field(default_factory=list, init=False)

    def read(self, rows: Iterable[ReadRow], *, name: str, held_out: Iterable[ReadRow] | None = None) -> TaskData:
        """Check all records, merge those of one pair (in either order) and split them by conversation.

        Args:
            rows: What each row became.
            name: What the rows come from, for messages.
            held_out: Rows of a file of their own that are all held out; ``rows`` are then all for training, but for
                conversations that are held out too.

        Returns:
            Demonstrations are the preferred responses and those that came alone; every prompt is on one side of the
            split only.

        Raises:
            DataError: More rows than ``max_skipped`` were left out, or none can be used.
        """
        records = self._merged(self._usable(rows))
        apart = None if held_out is None else self._merged(self._usable(held_out))
        skipped = SkippedRows(
            counts=dict(self.reasons.most_common()), examples=tuple(self.shown), num_rows=self.num_rows
        )
        self._check_share(skipped, name)
        if not records and not apart:
            raise DataError(f"{name}: not one of {self.num_rows:,} rows can be used: give more data")
        return self._split(records, apart, skipped)

    def _usable(self, rows: Iterable[ReadRow]) -> Iterator[ReadRecord]:
        for row in rows:
            self.num_rows += 1
            try:
                if row.odd is not None:
                    raise row.odd
                kept = [self._checked(record) for record in row.records]
            except OddRowError as odd:
                self._leave_out(row.place, odd)
                continue
            yield from kept

    def _leave_out(self, place: str, odd: OddRowError) -> None:
        self.reasons[odd.reason] += 1
        self.num_unusable += not isinstance(odd, OtherTaskError)
        if len(self.shown) < NUM_SHOWN:
            self.shown.append(f"{place}: {odd}")

    def _checked(self, record: Record) -> ReadRecord:
        responses = [record.first, record.second] if isinstance(record, LabeledPair) else []
        responses += [record.response] if isinstance(record, SingleResponse) else []
        if not all(response.strip() for response in responses):
            raise OddRowError("empty response")
        longest = max((self._count(f" {response.strip()}") for response in responses), default=0)
        if longest > self.options.max_response_tokens:
            limit = self.options.max_response_tokens
            raise OddRowError("response too long", f"{longest} tokens, data.max_response_tokens={limit}")
        prompt = record.as_prompt(self.task.name, continues_dialogue=not self.task.policy_text(""))
        return ReadRecord(record=record, prompt=self._cut(prompt), start=conversation_start(prompt.text))

    def _merged(self, records: Iterable[ReadRecord]) -> list[ReadRecord]:
        """Each pair once, with the mean of its labels; other records as they are."""
        kept, table = [], VoteTable()
        for item in records:
            if not isinstance(item.record, LabeledPair) or table.add(item.record):
                kept.append(item)
        self.reasons += table.repeated
        return [replace(item, record=_with_votes(item.record, table)) for item in kept]

    def _cut(self, prompt: Prompt) -> Prompt:
        """The latest turns that fit, beginning with a human one; a prompt without turns is not cut."""
        limit = self.options.max_prompt_tokens
        for shorter in latest_turns(prompt):
            num_tokens = self._count(self.task.policy_text(shorter.text))
            if num_tokens <= limit:
                return shorter
        raise OddRowError("prompt too long", f"{num_tokens} tokens in its last turn, data.max_prompt_tokens={limit}")

    def _count(self, text: str) -> int:
        return len(text.split()) if self.count_tokens is None else self.count_tokens(text)

    def _check_share(self, skipped: SkippedRows, name: str) -> None:
        if self.num_unusable <= self.options.max_skipped * skipped.num_rows:
            return
        counts = ", ".join(f"{reason}: {count}" for reason, count in skipped.counts.items())
        raise DataError(
            f"{name}: {self.num_unusable} of {skipped.num_rows} rows cannot be used, more than"
            f" data.max_skipped={self.options.max_skipped} allows ({counts}). The first: {'; '.join(skipped.examples)}."
            " Give other data, or raise data.max_prompt_tokens, data.max_response_tokens or data.max_skipped"
        )

    def _split(self, records: list[ReadRecord], apart: list[ReadRecord] | None, skipped: SkippedRows) -> TaskData:
        if apart is None:
            fraction = self.options.eval_fraction
            held_out = {item.prompt.id for item in records if is_held_out(item.start, fraction, "evaluation")}
            evaluation = [item for item in records if item.prompt.id in held_out]
        else:
            held_out, evaluation = {item.prompt.id for item in apart}, apart
        train = [item for item in records if item.prompt.id not in held_out]
        confidences = self.options.eval_confidences
        eval_prompts = sorted(_distinct(evaluation), key=lambda prompt: content_id("order", prompt.id))
        return TaskData(
            demonstrations=[d for item in train for d in _demonstration(item)],
            label_prompts=_distinct(train),
            policy_prompts=_distinct(train),
            eval_prompts=eval_prompts[: self.options.num_eval_prompts],
            validation_prompts=self._validation_prompts(eval_prompts, evaluation),
            preferences=list(self._preferences(train)),
            eval_preferences=[
                preference
                for preference in self._preferences(evaluation)
                if not confidences or preference.confidence in confidences
            ],
            skipped=skipped,
        )

    def _validation_prompts(self, held_out: list[Prompt], records: list[ReadRecord]) -> list[Prompt]:
        """What the evaluation leaves of the held-out prompts, without those of a conversation that it reads."""
        num_evaluated = self.options.num_eval_prompts
        if num_evaluated is None:
            return []
        starts = {item.prompt.id: item.start for item in records}
        read = {starts[prompt.id] for prompt in held_out[:num_evaluated]}
        left = [prompt for prompt in held_out[num_evaluated:] if starts[prompt.id] not in read]
        return left[: self.options.num_validation_prompts]

    def _preferences(self, records: Iterable[ReadRecord]) -> Iterator[Preference]:
        for item in records:
            if isinstance(item.record, LabeledPair):
                yield self._preference(item.record, item.prompt)

    def _preference(self, pair: LabeledPair, prompt: Prompt) -> Preference:
        first = Completion(text=pair.first, source=pair.first_source)
        second = Completion(text=pair.second, source=pair.second_source)
        return Preference(
            comparison=Comparison(prompt=prompt, first=first, second=second),
            p_first=pair.p_first,
            missing=UNLABELED if pair.p_first is None else None,
            labeler="dataset",
            source=self.source,
            confidence=pair.confidence,
            weight=pair.weight,
        )


def _with_votes(record: Record, table: VoteTable) -> Record:
    if not isinstance(record, LabeledPair):
        return record
    key = PairKey.of(record.prompt, record.first, record.second)
    votes = table.votes[key.id]
    return replace(record, p_first=votes.p_first(key.turned), weight=votes.weight)


def _distinct(records: Iterable[ReadRecord]) -> list[Prompt]:
    return list({item.prompt.id: item.prompt for item in records}.values())


def _demonstration(item: ReadRecord) -> list[Demonstration]:
    """The response that came alone, or the preferred one; none where neither is preferred."""
    record = item.record
    if isinstance(record, SingleResponse):
        return [Demonstration(prompt=item.prompt, response=record.response)]
    if not isinstance(record, LabeledPair) or record.p_first is None or record.p_first == 0.5:
        return []
    return [Demonstration(prompt=item.prompt, response=record.first if record.p_first > 0.5 else record.second)]
