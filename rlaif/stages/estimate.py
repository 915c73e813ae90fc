"""What labeling would take, told before anything is spent (``estimate=true``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from rlaif.engines.answer_cache import AnswerCache, MemoryAnswerCache
from rlaif.engines.base import Engine, LimitsRequests
from rlaif.engines.cached import CachedEngine
from rlaif.engines.dry import DryEngine, MeasuringEngine
from rlaif.engines.spending import Ledger, Spending
from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError
from rlaif.evaluation.formats import format_seconds
from rlaif.labelers.base import Labeler
from rlaif.labeling.cost import Prices
from rlaif.labeling.plan import Plan
from rlaif.labeling.wrapping import replace_engines
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.context import Context, num_devices
from rlaif.stages.labelers import asks_own_model, build_labeler, prepare, with_own_model
from rlaif.stages.labels import LABEL, answer_cache, comparisons_to_label, prices_and_budget
from rlaif.stages.samples import SAMPLE
from rlaif.types import Comparison, Completion

MAX_COUNTED, MAX_MEASURED = 200, 8
"""Pairs whose tokens are counted, and pairs that a local model judges to measure its speed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What labeling a plan takes."""

    num_pairs: int
    expected: Spending
    """With replies of the expected length; ``seconds``, of all processes together, is 0 where the time is not known."""
    at_most: Spending
    """With replies as long as the labeler allows."""
    num_processes: int = 1
    """Processes that label at once."""
    notes: tuple[str, ...] = ()
    """What the figures rest on, a sentence each."""


def show_estimate(context: Context, display: RunDisplay) -> None:
    """Count and print what this run's labels would take; nobody is asked but, on a few pairs, a local model.

    Raises:
        ConfigError: This run has no labels that could be estimated.
    """
    if not context.runs("labels"):
        raise ConfigError("estimate=true: this pipeline labels no plan of pairs; take pipeline=label or pipeline=rlaif")
    prices, _ = prices_and_budget(context)
    _print(estimate_labels(context), prices, display)


def estimate_labels(context: Context) -> Estimate:
    """Run the labeler over the plan, or a sample of it, with engines that ask nobody.

    Raises:
        ConfigError: There are no pairs.
    """
    reply_tokens = context.cfg.estimate_reply_tokens
    if reply_tokens is not None and reply_tokens < 1:
        raise ConfigError(f"estimate_reply_tokens={reply_tokens}: must be at least 1, or null")
    pairs, notes = _pairs(context)
    labeler, more = _labeler(context)
    engines = _Engines(labeler)
    if not engines.wrapped:
        free = f"labeler {labeler.name} asks no language model: its labels cost nothing"
        return Estimate(num_pairs=len(pairs), expected=Spending(), at_most=Spending(), notes=(*notes, free))
    engines.ask_nobody(None)
    with TemporaryDirectory() as nothing_to_keep:
        labeler = prepare(context, labeler, pairs, Path(nothing_to_keep))  # what it learns from is a part of the plan
    counted = _spread(pairs, MAX_COUNTED)
    notes += more
    if len(counted) < len(pairs):
        notes.append(f"tokens are counted on {len(counted)} of the pairs and scaled up")
    seconds_per_question = None
    if engines.are_local:
        measured = _spread(counted, MAX_MEASURED)
        seconds_per_question, measured_tokens = engines.measure(labeler, measured)
        reply_tokens = reply_tokens or measured_tokens
        notes.append(f"time and length of replies are measured on {len(measured)} pairs on this machine")
    elif reply_tokens is None:
        notes.append("estimate_reply_tokens is not set: replies are taken as long as the labeler allows")
    cache, batch_size, scale = answer_cache(context), context.cfg.label.batch_size, len(pairs) / len(counted)
    expected, at_most = (
        _scaled(engines.count(labeler, counted, batch_size, length, cache, seconds_per_question), scale)
        for length in (reply_tokens, None)
    )
    if expected.num_cached:
        notes.append(f"{expected.num_cached:,} answers are in the label cache and cost nothing")
    num_processes = num_devices(context.cfg)
    if num_processes > 1 and expected.seconds:
        notes.append(f"the time is that of {num_processes} processes at once")
    return Estimate(
        num_pairs=len(pairs), expected=expected, at_most=at_most, num_processes=num_processes, notes=tuple(notes)
    )


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
    def are_local(self) -> bool:
        return all(isinstance(engine, TransformersEngine) for engine in self.originals)

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
        """What these pairs take; the time of servers by their limits, 0 where one has none."""
        ledger, dry = Ledger(), self.ask_nobody(reply_tokens)
        above = None if cache is None else _Above(cache)
        for wrapped in self.wrapped:
            wrapped.ledger, wrapped.cache = ledger, above
        plan = Plan(pairs, batch_size)
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
    """Placeholders stand above a cache, not in it: they are no answers, and still a question is asked once."""

    def __init__(self, cache: AnswerCache) -> None:
        super().__init__()
        self.cache = cache

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return self.cache.get(keys) | super().get(keys)


def _pairs(context: Context) -> tuple[list[Comparison], list[str]]:
    """The plan, or stand-ins of its size where the SFT policy has not sampled yet."""
    known = context.cfg.data.pairs == "dataset" or (
        context.store.complete("samples", context.fingerprint(SAMPLE)) is not None
    )
    if known:
        pairs, notes = comparisons_to_label(context), []
        if context.store.complete("labels", context.fingerprint(LABEL)) is not None:
            notes.append("these labels are finished in the store: this run would ask nothing")
    else:
        responses = [Completion(text=item.response) for item in context.data.demonstrations]
        num_samples = context.cfg.label.samples_per_prompt
        pairs = [
            Comparison(prompt=prompt, first=first, second=second)
            for number, prompt in enumerate(context.data.label_prompts)
            for first, second in combinations(_stand_ins(responses, number, num_samples), 2)
        ]
        notes = ["the SFT policy has not sampled yet: pairs of demonstrations' responses stand in for its samples"]
    if not pairs:
        raise ConfigError("estimate=true: there is no pair to label, and no demonstration to stand in for one")
    return pairs, notes


def _stand_ins(responses: Sequence[Completion], number: int, count: int) -> list[Completion]:
    """The next so many responses for a prompt, round and round; none where there are none."""
    return [responses[(count * number + index) % len(responses)] for index in range(count) if responses]


def _labeler(context: Context) -> tuple[Labeler, list[str]]:
    """The run's labeler; a model that is still to be trained is stood in for by what it starts from."""
    node, notes = context.cfg.labeler, []
    trained = context.store.complete("sft", context.fingerprint(context.stages["sft"])) is not None
    if asks_own_model(node) and not trained:
        node = with_own_model(node, context.model_spec.name)
        notes.append(f"stage:sft is not trained yet: {context.model_spec.name} stands in for it")
    return build_labeler(context, node), notes


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


def _print(estimate: Estimate, prices: Prices, display: RunDisplay) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for title in ("expected", "at most"):
        table.add_column(title, justify="right", no_wrap=True)
    both = (estimate.expected, estimate.at_most)
    table.add_row("pairs", f"{estimate.num_pairs:,}", "")
    table.add_row("questions", *(f"{spending.num_questions:,}" for spending in both))
    table.add_row("tokens read", *(f"{spending.num_prompt_tokens:,}" for spending in both))
    table.add_row("tokens written", *(f"{spending.num_reply_tokens:,}" for spending in both))
    table.add_row("time", *_times(estimate))
    table.add_row("money", *(_usd(_money(spending, prices)) for spending in both))
    table.add_row("people would cost", _usd(prices.human_usd_per_label * estimate.num_pairs), "")
    display.console.print(table)
    display.console.print()
    for note in estimate.notes:
        display.console.print(f"{note[0].upper()}{note[1:]}.", soft_wrap=True, style="dim")
    display.console.print("Nothing was labeled; leave estimate=true out to begin.", soft_wrap=True)


def _times(estimate: Estimate) -> tuple[str, str]:
    """The longest replies are not timed: how a model's speed changes with them is not measured."""
    if not estimate.expected.num_questions:
        return format_seconds(0.0), ""
    seconds = estimate.expected.seconds / estimate.num_processes
    return (format_seconds(seconds) if seconds else "not estimated"), ""


def _money(spending: Spending, prices: Prices) -> float | None:
    if prices.usd_per_hour is not None and spending.num_questions and not spending.seconds:
        return None
    return prices.usd(spending)


def _usd(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.2f} USD"
