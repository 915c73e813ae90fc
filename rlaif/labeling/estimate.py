"""Estimates of labeling a plan: tokens, time and money, before anything is spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from rlaif.engines.answer_cache import AnswerCache, AnswerPlace, MemoryAnswerCache
from rlaif.engines.base import Engine, LimitsRequests, RunsHere
from rlaif.engines.cached import CachedEngine
from rlaif.engines.dry import DryEngine, MeasuringEngine
from rlaif.engines.spending import Ledger, Spending
from rlaif.errors import ConfigError
from rlaif.labelers.base import Labeler
from rlaif.labelers.models import replace_engines
from rlaif.labelers.people import People
from rlaif.labeling.learning import prepare
from rlaif.labeling.plan import LabelPlan
from rlaif.types import Comparison, Completion, Prompt

MAX_COUNTED, MAX_MEASURED = 200, 8
"""Pairs whose tokens are counted, and pairs that a local model judges to measure its speed."""


@dataclass(frozen=True, kw_only=True)
class LabelEstimate:
    """The estimate of labeling a plan."""

    num_pairs: int
    expected: Spending
    """With replies of the expected length; ``seconds``, of all processes together, is 0 where the time is not known."""
    at_most: Spending
    """With replies as long as the labeler allows."""
    num_processes: int = 1
    """Processes that label at once."""
    notes: tuple[str, ...] = ()
    """Assumptions of the figures, a sentence each."""


def estimate_labels(
    labeler: Labeler,
    pairs: Sequence[Comparison],
    people: People,
    answers: AnswerPlace,
    *,
    batch_size: int = 64,
    reply_tokens: int | None = None,
    num_processes: int = 1,
    notes: Sequence[str] = (),
) -> LabelEstimate:
    """Run a labeler over a plan, or a sample of it, with engines that count questions; a local model is measured.

    Args:
        labeler: Would label; its engines are exchanged, so make another one for labeling.
        pairs: The whole plan.
        people: Label the pairs that it learns from.
        answers: Where answers are kept: what is known there costs nothing.
        batch_size: Comparisons per call of the labeler.
        reply_tokens: Expected tokens of a written reply; None measures a local model, and takes replies of a server as
            long as the labeler allows.
        num_processes: Processes that would label at once.
        notes: What the plan rests on, a sentence each.

    Raises:
        ConfigError: There are no pairs, or an option is out of range.
    """
    if reply_tokens is not None and reply_tokens < 1:
        raise ConfigError(f"estimate_reply_tokens={reply_tokens}: must be at least 1, or null")
    if not pairs:
        raise ConfigError("estimate=true: there is no pair to label, and no demonstration to count in place of one")
    engines = _Engines(labeler)
    if not engines.wrapped:
        free = f"labeler {labeler.name} asks no language model: its labels cost nothing"
        return LabelEstimate(num_pairs=len(pairs), expected=Spending(), at_most=Spending(), notes=(*notes, free))
    engines.ask_nobody(None)
    with TemporaryDirectory() as nothing_to_keep:
        labeler = prepare(labeler, pairs, people, Path(nothing_to_keep))  # what it learns from is a part of the plan
    counted, told = _spread(pairs, MAX_COUNTED), [*notes]
    if len(counted) < len(pairs):
        told.append(f"tokens are counted on {len(counted)} of the pairs and scaled up")
    seconds_per_question = None
    if engines.run_here:
        measured = _spread(counted, MAX_MEASURED)
        seconds_per_question, measured_tokens = engines.measure(labeler, measured)
        reply_tokens = reply_tokens or measured_tokens
        told.append(f"time and length of replies are measured on {len(measured)} pairs on this machine")
    elif reply_tokens is None:
        told.append("estimate_reply_tokens is not set: replies are taken as long as the labeler allows")
    cache, scale = answers.open(), len(pairs) / len(counted)
    expected, at_most = (
        _scaled(engines.count(labeler, counted, batch_size, length, cache, seconds_per_question), scale)
        for length in (reply_tokens, None)
    )
    return LabelEstimate(
        num_pairs=len(pairs),
        expected=expected,
        at_most=at_most,
        num_processes=num_processes,
        notes=(*told, *_notes_on(expected, num_processes)),
    )


def _notes_on(expected: Spending, num_processes: int) -> list[str]:
    notes = []
    if expected.num_cached:
        notes.append(f"{expected.num_cached:,} answers are in the label cache and cost nothing")
    if num_processes > 1 and expected.seconds:
        notes.append(f"the time is that of {num_processes} processes at once")
    return notes


def stand_in_pairs(
    prompts: Sequence[Prompt], responses: Sequence[Completion], samples_per_prompt: int, *, has_opponent: bool = False
) -> list[Comparison]:
    """Pairs of a plan whose samples are still to be drawn, for an estimate.

    Args:
        prompts: What will be answered.
        responses: Used in place of samples, in turn; without any there are no pairs.
        samples_per_prompt: Samples that will be drawn for each prompt; all their pairs are labeled.
        has_opponent: Whether each sample is set against one response of another writer instead.
    """
    if not responses:
        return []
    pairs: list[Comparison] = []
    for number, prompt in enumerate(prompts):
        start, count = samples_per_prompt * number, samples_per_prompt + has_opponent
        drawn = [responses[(start + index) % len(responses)] for index in range(count)]
        made: Iterable[tuple[Completion, Completion]] = combinations(drawn, 2)
        if has_opponent:
            made = [(sample, drawn[-1]) for sample in drawn[:-1]]
        pairs += [Comparison(prompt=prompt, first=first, second=second) for first, second in made]
    return pairs


class _Engines:
    """The models that a labeler asks, each behind a wrapper whose inside is exchanged."""

    def __init__(self, labeler: Labeler) -> None:
        self.wrapped: list[CachedEngine] = []
        self.originals: list[Engine] = []
        replace_engines(labeler, self._wrap)

    def _wrap(self, engine: Engine) -> Engine:
        self.originals.append(engine)
        self.wrapped.append(CachedEngine(engine))
        return self.wrapped[-1]

    @property
    def run_here(self) -> bool:
        return all(isinstance(engine, RunsHere) for engine in self.originals)

    def ask_nobody(self, reply_tokens: int | None) -> list[DryEngine]:
        """Put an engine that counts in the place of each."""
        dry = [DryEngine(engine, reply_tokens=reply_tokens) for engine in self.originals]
        for wrapped, engine in zip(self.wrapped, dry, strict=True):
            wrapped.engine = engine
        return dry

    def measure(self, labeler: Labeler, pairs: Sequence[Comparison]) -> tuple[float, int | None]:
        """Seconds per question, and mean tokens of a written reply (None where none is written)."""
        ledger, meters = Ledger(), [MeasuringEngine(engine) for engine in self.originals]
        for wrapped, meter in zip(self.wrapped, meters, strict=True):
            wrapped.engine, wrapped.cache, wrapped.ledger = meter, None, ledger
            meter.num_tokens("")  # loads the model, which is no part of the time
        labeler.label(pairs)
        lengths = [length for meter in meters for length in meter.reply_lengths]
        spent = ledger.total()
        return spent.seconds / max(1, spent.num_questions), round(sum(lengths) / len(lengths)) if lengths else None

    def count(
        self,
        labeler: Labeler,
        pairs: Sequence[Comparison],
        batch_size: int,
        reply_tokens: int | None,
        cache: AnswerCache | None,
        seconds_per_question: float | None,
    ) -> Spending:
        """Spending on these pairs; the time of servers by their rate limits, 0 where one has none."""
        ledger, dry = Ledger(), self.ask_nobody(reply_tokens)
        above = None if cache is None else _Above(cache)
        for wrapped in self.wrapped:
            wrapped.ledger, wrapped.cache = ledger, above
        plan = LabelPlan(pairs, batch_size)
        for number in range(plan.num_batches):
            labeler.label(plan.batch(number))
        total = ledger.total()
        if seconds_per_question is not None:
            return replace(total, seconds=seconds_per_question * total.num_questions)
        limits = [
            engine.requests_per_minute if isinstance(engine, LimitsRequests) else None for engine in self.originals
        ]
        times = [
            60.0 * asked.num_requests / limit for asked, limit in zip(dry, limits, strict=True) if limit is not None
        ]
        return replace(total, seconds=sum(times) if None not in limits else 0.0)


class _Above(MemoryAnswerCache):
    """A cache in memory above another: placeholders are kept apart from answers, and a question counts once."""

    def __init__(self, cache: AnswerCache) -> None:
        super().__init__()
        self.cache = cache

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return self.cache.get(keys) | super().get(keys)


def _spread(pairs: Sequence[Comparison], count: int) -> list[Comparison]:
    """About so many of the pairs, evenly from the whole plan; all of a prompt's, which may share questions."""
    by_prompt: defaultdict[str, list[Comparison]] = defaultdict(list)
    for pair in pairs:
        by_prompt[pair.prompt.id].append(pair)
    groups = list(by_prompt.values())
    num_groups = max(1, min(len(groups), count * len(groups) // len(pairs)))
    return [pair for number in range(num_groups) for pair in groups[number * len(groups) // num_groups]]


def _scaled(spending: Spending, factor: float) -> Spending:
    counts = {name: round(value * factor) for name, value in asdict(spending).items() if name != "seconds"}
    return Spending(**counts, seconds=spending.seconds * factor)
