"""Records of a file or data set as the data of a run, whatever they come from.

A row that cannot be used is left out and counted by reason; nothing is repaired or guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from rlaif.bounds import bounds_problems
from rlaif.data.base import PREFERRED, PairSource, SkippedRows, TaskData
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
from rlaif.data.large import Packed
from rlaif.data.repeated import PairKey, Repeats
from rlaif.data.sides import ReadRecord, SplitRecords, pair_of
from rlaif.data.transcripts import latest_turns
from rlaif.errors import ConfigError, DataError
from rlaif.ranges import OpenShare
from rlaif.tasks.base import Task
from rlaif.types import Comparison, Completion, Demonstration, Preference, Prompt, content_id, is_blank, trim

if TYPE_CHECKING:
    from rlaif.data.demonstrations import DemonstrationFile

NUM_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class PairOptions:
    """Options that ``data=files`` and ``data=hub`` have in common; named ``data.…`` on the command line."""

    pairs: PairSource = "dataset"
    """Source of the labeled pairs: the data's own (``dataset``), two samples of the SFT policy (``policy``), or one of
    it and one of the teacher (``policy_vs_teacher``) or of the SFT policy (``policy_vs_sft``)."""
    sft_share: OpenShare | None = None
    """Share of the demonstrations' prompts, the first ones, that SFT sees; the others are the prompts to label and of
    RL. None takes every prompt for both."""
    eval_confidences: Sequence[float] = ()
    """Held-out pairs count only with one of these confidences (TL;DR: from 1, sure of the first, to 9, sure of the
    second; arXiv 2309.00267 evaluates its labeler on 1, 2, 8 and 9). Empty takes all."""
    eval_fraction: float = 0.1
    """Share of the conversations that is held out, at most 1 (all of them: nothing is left for training); chosen by
    content, the same on every machine."""
    num_eval_prompts: int | None = 400
    """At most so many held-out prompts; None takes all."""
    num_tuning_prompts: int | None = 200
    """At most so many held-out prompts beyond those, of other conversations, for choices such as the temperature that
    is best for SFT; None takes all."""
    max_prompt_tokens: int = 768
    """A longer dialogue loses its oldest turns; a row that is still longer is left out."""
    max_response_tokens: int = 512
    """A row with a longer response is left out."""
    max_skipped: float = 0.2
    """Stop when a larger share of the rows had to be left out."""
    max_rows: int | None = None
    """Read only so many rows; None reads all."""
    demonstrations: Literal["preferred", "file", "none"] = "preferred"
    """What SFT imitates: the preferred responses of the pairs, and those that came alone (``preferred``); those of a
    file of its own (``file``); nothing (``none``)."""
    demonstrations_file: DemonstrationFile | None = None
    """The file of ``demonstrations=file``."""

    def __post_init__(self) -> None:
        check_choices(
            "data",
            pairs=(self.pairs, get_args(PairSource)),
            demonstrations=(self.demonstrations, ("preferred", "file", "none")),
        )
        problems = [f"data.{problem}" for problem in bounds_problems(self)]
        path = None if self.demonstrations_file is None else self.demonstrations_file.path
        if self.demonstrations == "file" and path is None:
            problems.append("data.demonstrations=file: give the file as data.demonstrations_file.path=…")
        if self.demonstrations != "file" and path is not None:
            problems.append(
                f"data.demonstrations_file.path={path}: is not read with data.demonstrations={self.demonstrations};"
                " type data.demonstrations=file"
            )
        if not 0.0 <= self.eval_fraction <= 1.0:
            problems.append(f"data.eval_fraction={self.eval_fraction}: must be between 0 and 1")
        if not 0.0 <= self.max_skipped <= 1.0:
            problems.append(f"data.max_skipped={self.max_skipped}: must be between 0 and 1")
        for name in ("num_eval_prompts", "num_tuning_prompts", "max_prompt_tokens", "max_response_tokens", "max_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"data.{name}={value}: must be at least 1")
        if problems:
            raise ConfigError(problems)

    @property
    def limits_identity(self) -> str:
        """Hash of the options that decide which rows are kept and how they are split."""
        others = ("pairs", "eval_confidences", "demonstrations", "demonstrations_file", "sft_share")
        names = [option.name for option in fields(PairOptions) if option.name not in others]
        confidences = str([float(confidence) for confidence in self.eval_confidences])
        share = () if self.sft_share is None else (f"sft_share={self.sft_share}",)
        return content_id(confidences, *(f"{name}={getattr(self, name)}" for name in names), *share)


class Demonstrations(NamedTuple):
    """What a file of demonstrations gave."""

    found: Sequence[Demonstration]
    num_held_out: int
    """Records that are held out of training."""
    skipped: SkippedRows


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
    num_cut: int = field(default=0, init=False)
    """Records whose dialogue lost its oldest turns."""
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
            counts=dict(self.reasons.most_common()),
            examples=tuple(self.shown),
            num_rows=self.num_rows,
            num_cut=self.num_cut,
        )
        self._check_share(skipped, name)
        if not records and not apart:
            counts = ", ".join(f"{reason}: {count}" for reason, count in skipped.counts.items())
            raise DataError(f"{name}: not one of {self.num_rows:,} rows can be used ({counts}): give other data")
        return self._split(records, apart, skipped)

    def demonstrations(
        self, rows: Iterable[ReadRow], *, name: str, held_out: Container[int], by_beginning: bool
    ) -> Demonstrations:
        """Demonstrations of a file of their own: the responses that came alone, and the preferred ones.

        Args:
            rows: What each row became.
            name: What the rows come from, for messages.
            held_out: Numbers of the prompts' texts that are held out.
            by_beginning: Whether those count as held out, too, whose conversation's beginning falls on that side.

        Raises:
            DataError: More rows than ``max_skipped`` were left out, or no demonstration is left.
        """
        read = SplitRecords(self._merged(self._usable(rows)))
        skipped = SkippedRows(counts=dict(self.reasons), examples=tuple(self.shown), num_rows=self.num_rows)
        self._check_share(skipped, name)
        beginning = read.held_out_texts if by_beginning else set()
        kept = [row for row in read.where(held_out, inside=False) if read.texts[row] not in beginning]
        found = read.demonstrations(kept)
        if not found:
            raise DataError(
                f"{name}: holds no demonstration for training (a response that came alone, or is preferred)"
            )
        return Demonstrations(found, num_held_out=len(read.records) - len(kept), skipped=skipped)

    def _usable(self, rows: Iterable[ReadRow]) -> Iterator[tuple[Record, ReadRecord]]:
        for row in rows:
            self.num_rows += 1
            try:
                if row.odd is not None:
                    raise row.odd
                kept = [self._checked(record) for record in row.records]
            except OddRowError as odd:
                self._leave_out(row.place, odd)
                continue
            yield from zip(row.records, kept, strict=True)

    def _leave_out(self, place: str, odd: OddRowError) -> None:
        self.reasons[odd.reason] += 1
        self.num_unusable += not isinstance(odd, OtherTaskError)
        if len(self.shown) < NUM_SHOWN:
            self.shown.append(f"{place}: {odd}")

    def _checked(self, record: Record) -> ReadRecord:
        responses = [record.first, record.second] if isinstance(record, LabeledPair) else []
        responses += [record.response] if isinstance(record, SingleResponse) else []
        if any(map(is_blank, responses)):
            raise OddRowError("empty response")
        longest = max((self._count(f" {trim(response)}") for response in responses), default=0)
        if longest > self.options.max_response_tokens:
            limit = self.options.max_response_tokens
            raise OddRowError("response too long", f"{longest} tokens, data.max_response_tokens={limit}")
        prompt = record.as_prompt(self.task.name, cue=self.task.policy_text(""))
        kept, start = self._cut(prompt), conversation_start(prompt.text)
        self.num_cut += kept.text != prompt.text
        return ReadRecord(
            prompt=kept,
            start=content_id(start),
            begins_held_out=is_held_out(start, self.options.eval_fraction, "evaluation"),
            pair=self._preference(record, kept) if isinstance(record, LabeledPair) else None,
            response=record.response if isinstance(record, SingleResponse) else None,
        )

    def _merged(self, records: Iterable[tuple[Record, ReadRecord]]) -> Packed[ReadRecord]:
        """Each pair once, with the mean of its labels; other records as they are."""
        kept: Packed[ReadRecord] = Packed()
        repeats = Repeats()
        for record, item in records:
            if not isinstance(record, LabeledPair) or item.pair is None:
                kept.append(item)
                continue
            key = PairKey.of(record.prompt, record.first, record.second)
            place = repeats.place(key, len(kept))
            if place == len(kept):
                kept.append(item)
            else:
                repeats.add(key, item.pair, place, pair_of(kept[place]))
        self.reasons += repeats.table.repeated
        for place in repeats:
            kept.replace(place, replace(kept[place], pair=repeats.merged(place, pair_of(kept[place]))))
        return kept

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

    def _split(self, records: Packed[ReadRecord], apart: Packed[ReadRecord] | None, skipped: SkippedRows) -> TaskData:
        read = SplitRecords(records)
        others = read if apart is None else SplitRecords(apart)
        held_out = read.held_out_texts if apart is None else set(others.texts)
        train, evaluation = read.where(held_out, inside=False), others.where(held_out, inside=True)
        if apart is not None and (num_shared := len(read.records) - len(train)):
            skipped = replace(skipped, counts={**skipped.counts, "prompt also in data.eval_path": num_shared})
        confidences = self.options.eval_confidences
        eval_prompts, tuning_prompts = self._held_out_prompts(others.prompts(evaluation), others.starts(evaluation))
        return TaskData(
            demonstrations=read.demonstrations(train),
            demonstrations_from=PREFERRED,
            label_prompts=read.prompts(train),
            policy_prompts=read.prompts(train),
            eval_prompts=eval_prompts,
            tuning_prompts=tuning_prompts,
            preferences=read.pairs(train),
            eval_preferences=[
                preference
                for preference in others.pairs(evaluation)
                if not confidences or preference.confidence in confidences
            ],
            skipped=skipped,
        )

    def _held_out_prompts(
        self, prompts: Sequence[Prompt], starts: Mapping[int, int]
    ) -> tuple[list[Prompt], list[Prompt]]:
        """Prompts of the evaluation, and those beyond them of conversations that the evaluation has no prompt of."""
        ordered = sorted(prompts, key=lambda prompt: content_id("order", prompt.id))
        evaluated = ordered[: self.options.num_eval_prompts]
        taken = {starts[int(prompt.id, 16)] for prompt in evaluated}
        others = (prompt for prompt in ordered[len(evaluated) :] if starts[int(prompt.id, 16)] not in taken)
        return evaluated, list(islice(others, self.options.num_tuning_prompts))

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
            weight=1.0 if pair.p_first is None else pair.weight,
        )
