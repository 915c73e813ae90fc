"""Ask a labeler about pairs to measure it: every answer is kept in the store's cache, and an outage is no result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rlaif.engines.spending import Ledger, Spending
from rlaif.evaluation.cost import LabelCost
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.labeling.run import missing_by_reason, too_many_missing
from rlaif.labeling.shards import failed_without_answer
from rlaif.labeling.wrapping import wrap_engines
from rlaif.stages.context import Context
from rlaif.stages.labels import answer_cache, prices_and_budget
from rlaif.types import Comparison, Preference

if TYPE_CHECKING:
    from rlaif.reporting.terminal import StageDisplay

_GO_ON = (
    "They failed without an answer, so nothing is measured: start again to ask for them, answers that came are kept "
    "where label.cache says."
)


def ask(
    context: Context, labeler: Labeler, plans: Sequence[Sequence[Comparison]], display: StageDisplay
) -> tuple[list[list[Preference]], LabelCost]:
    """Label plans one after the other, batch by batch, each as if there were no other.

    An answer that cannot be read is part of what is measured. A killed or stopped run finds its model's answers in the
    cache and goes on.

    Args:
        context: The run.
        labeler: Who is measured.
        plans: What is judged; a labeler that plans ahead sees one plan at a time.
        display: Shows how far it is.

    Returns:
        One label per pair of each plan, and what one took: of the questions to a model those that were asked and not
        found, of a labeler without a model the time by the clock.

    Raises:
        GateStopped: Of more than ``label.max_missing_rate`` of a plan the labels failed without an answer, so that
            nothing would be measured but an outage.
    """
    ledger = Ledger()
    labeler = wrap_engines(labeler, cache=answer_cache(context), ledger=ledger)
    num_pairs = sum(map(len, plans))
    progress = display.progress(num_pairs, unit="pairs")
    labels: list[list[Preference]] = []
    began = time.perf_counter()
    for plan in plans:
        num_before = sum(map(len, labels))
        labels.append([])
        for batch in _label(context, labeler, plan):
            labels[-1] += batch
            progress(num_before + len(labels[-1]), num_pairs)
    return labels, _asked(context, ledger.total(), num_pairs, time.perf_counter() - began)


def _label(context: Context, labeler: Labeler, plan: Sequence[Comparison]) -> Iterator[list[Preference]]:
    """The labels of one plan, in batches."""
    batch_size, limit = int(context.cfg.label.batch_size), float(context.cfg.label.max_missing_rate)
    if isinstance(labeler, PlansAhead):
        labeler = labeler.for_plan(plan)
    failed: Counter[str] = Counter()
    for start in range(0, len(plan), batch_size):
        batch = labeler.label(plan[start : start + batch_size])
        failed += Counter(missing_by_reason(filter(failed_without_answer, batch)))
        if failed.total() > limit * len(plan):
            raise too_many_missing(failed, start + len(batch), len(plan), limit, _GO_ON)
        yield batch


def _asked(context: Context, spent: Spending, num_pairs: int, clock_s: float) -> LabelCost:
    """Per label, as if nothing had been in the cache."""
    known, asked = spent.num_cached, spent.num_questions
    seconds: float | None = clock_s
    if known or asked:
        seconds = spent.seconds * (asked + known) / asked if asked else None
    prices, _ = prices_and_budget(context)
    usd = None
    if asked or (known and prices.usd_per_hour is None):  # an hour's price needs to know the time
        read = spent.num_prompt_tokens + spent.num_cached_prompt_tokens
        written = spent.num_reply_tokens + spent.num_cached_reply_tokens
        usd = prices.usd(Spending(num_prompt_tokens=read, num_reply_tokens=written, seconds=seconds or 0.0))
    each = 1.0 / max(num_pairs, 1)
    return LabelCost(
        seconds_per_label=None if seconds is None else seconds * each,
        usd_per_label=None if usd is None else usd * each,
        human_usd_per_label=prices.human_usd_per_label,
    )
