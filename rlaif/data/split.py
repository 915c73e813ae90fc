"""Pairs of human-labeled responses as records, whatever file or data set they come from.

A row that cannot be used is left out and counted by reason; nothing is repaired or guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from rlaif.data.base import SkippedRows, TaskData
from rlaif.data.files.rows import Row
from rlaif.data.formats.base import UNLABELED, LabeledPair, OddRowError, OtherTaskError, check_choices, check_pair
from rlaif.data.held_out import conversation_start, is_held_out
from rlaif.data.repeated import PairKey, VoteTable
from rlaif.errors import ConfigError, DataError
from rlaif.tasks.base import Task
from rlaif.types import HUMAN_TURN, Comparison, Completion, Demonstration, Preference, Prompt, content_id

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
    """Share of the conversations that is held out; chosen by content, the same on every machine."""
    num_eval_prompts: int | None = 400
    """At most so many held-out prompts; None takes all."""
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
        if not 0.0 <= self.eval_fraction < 1.0:
            problems.append(f"data.eval_fraction={self.eval_fraction}: must be at least 0 and below 1")
        if not 0.0 <= self.max_skipped <= 1.0:
            problems.append(f"data.max_skipped={self.max_skipped}: must be between 0 and 1")
        for name in ("num_eval_prompts", "max_prompt_tokens", "max_response_tokens", "max_rows"):
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


@dataclass(kw_only=True)
class PairReader:
    """Turns raw rows into :class:`~rlaif.data.base.TaskData`.

    Args (fields):
        parse: Reads one row; raises :class:`OddRowError`.
        task: What the texts are.
        options: Limits and split.
        count_tokens: The policy's tokenizer; None counts words.
        source: Who gave the labels.
    """

    parse: Callable[[Mapping[str, object]], LabeledPair]
    task: Task
    options: PairOptions
    count_tokens: Callable[[str], int] | None = None
    source: str = "human"
    reasons: Counter[str] = field(default_factory=Counter, init=False)
    num_unusable: int = field(default=0, init=False)
    """Rows of this task that were left out; repeated pairs are merged and not among them."""
    shown: list[str] = field(default_factory=list, init=False)

    def read(self, rows: Iterable[Row], *, name: str) -> TaskData:
        """Parse all rows, merge those of one pair (in either order) and split the pairs by conversation.

        Args:
            rows: Raw rows.
            name: What the rows come from, for messages.

        Returns:
            Demonstrations are the preferred responses; every prompt is on one side of the split only.

        Raises:
            DataError: More rows than ``max_skipped`` were left out, or nothing is left for training.
        """
        pairs: list[tuple[LabeledPair, Prompt, str]] = []
        table, num_rows, adds_turns = VoteTable(), 0, not self.task.policy_text("")
        for num_rows, row in enumerate(rows, 1):  # noqa: B007
            try:
                pair = self.parse(row.values)
                pair = replace(pair, prompt=pair.prompt_for(continues_dialogue=adds_turns))
                self._check(pair)
                prompt = Prompt(task=self.task.name, text=self._cut(pair.prompt))
            except OddRowError as odd:
                self.reasons[odd.reason] += 1
                self.num_unusable += not isinstance(odd, OtherTaskError)
                if len(self.shown) < NUM_SHOWN:
                    self.shown.append(f"{row.place}: {odd}")
                continue
            except DataError as error:
                raise DataError(f"{name}, {row.place}: {error}; correct or delete this row") from error
            if table.add(pair):
                pairs.append((pair, prompt, conversation_start(pair.prompt)))
        self.reasons += table.repeated
        pairs = [(_merged(pair, table), prompt, start) for pair, prompt, start in pairs]
        skipped = SkippedRows(counts=dict(self.reasons.most_common()), examples=tuple(self.shown), num_rows=num_rows)
        self._check_share(skipped, name)
        return self._split(pairs, skipped, name)

    def _check(self, pair: LabeledPair) -> None:
        if not pair.first.strip() or not pair.second.strip():
            raise OddRowError("empty response")
        check_pair(pair)
        longest = max(self._count(f" {response.strip()}") for response in (pair.first, pair.second))
        if longest > self.options.max_response_tokens:
            limit = self.options.max_response_tokens
            raise OddRowError("response too long", f"{longest} tokens, data.max_response_tokens={limit}")

    def _cut(self, prompt: str) -> str:
        """The latest turns that fit, beginning with a human one; a prompt without turns is not cut."""
        limit = self.options.max_prompt_tokens
        starts = [0, *(match.start() for match in re.finditer(HUMAN_TURN, prompt) if match.start() > 0)]
        for start in starts:
            num_tokens = self._count(self.task.policy_text(prompt[start:]))
            if num_tokens <= limit:
                return prompt[start:]
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

    def _split(self, pairs: list[tuple[LabeledPair, Prompt, str]], skipped: SkippedRows, name: str) -> TaskData:
        held_out = {
            prompt.id for _, prompt, start in pairs if is_held_out(start, self.options.eval_fraction, "evaluation")
        }
        train = [(pair, prompt) for pair, prompt, _ in pairs if prompt.id not in held_out]
        evaluation = [(pair, prompt) for pair, prompt, _ in pairs if prompt.id in held_out]
        if not train:
            raise DataError(f"{name}: no row is left for training ({skipped.num_rows} rows were read): give more data")
        prompts = _distinct([prompt for _, prompt in train])
        confidences = self.options.eval_confidences
        eval_prompts = sorted(_distinct([prompt for _, prompt in evaluation]), key=lambda p: content_id("order", p.id))
        return TaskData(
            demonstrations=[d for pair, prompt in train for d in _demonstration(pair, prompt)],
            label_prompts=prompts,
            policy_prompts=prompts,
            eval_prompts=eval_prompts[: self.options.num_eval_prompts],
            preferences=[self._preference(pair, prompt) for pair, prompt in train],
            eval_preferences=[
                self._preference(pair, prompt)
                for pair, prompt in evaluation
                if not confidences or pair.confidence in confidences
            ],
            skipped=skipped,
        )

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


def _merged(pair: LabeledPair, table: VoteTable) -> LabeledPair:
    key = PairKey.of(pair.prompt, pair.first, pair.second)
    votes = table.votes[key.id]
    return replace(pair, p_first=votes.p_first(key.turned), weight=votes.weight)


def _distinct(prompts: list[Prompt]) -> list[Prompt]:
    return list({prompt.id: prompt for prompt in prompts}.values())


def _demonstration(pair: LabeledPair, prompt: Prompt) -> list[Demonstration]:
    """The preferred response; none where neither is preferred."""
    if pair.p_first is None or pair.p_first == 0.5:
        return []
    return [Demonstration(prompt=prompt, response=pair.first if pair.p_first > 0.5 else pair.second)]
