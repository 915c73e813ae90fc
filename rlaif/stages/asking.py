"""Ask a labeler about pairs to measure it: every answer is kept in the store's cache, and nothing stops the asking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlaif.engines.spending import Ledger, Spending
from rlaif.evaluation.scorecard import Asked
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.labelers.wrapping import wrap_engines
from rlaif.stages.context import Context
from rlaif.stages.labels import answer_cache, prices_and_budget
from rlaif.types import Comparison, Preference

if TYPE_CHECKING:
    from rlaif.evaluation.terminal import StageDisplay


def ask(
    context: Context, labeler: Labeler, pairs: Sequence[Comparison], display: StageDisplay
) -> tuple[list[Preference], Asked]:
    """Label pairs batch by batch; missing labels are part of what is measured.

    A killed run finds its model's answers in the cache and goes on.

    Returns:
        One label per pair, and what one took: of the questions to a model those that were asked and not found, of a
        labeler without a model the time by the clock.
    """
    ledger, batch_size = Ledger(), int(context.cfg.label.batch_size)
    if isinstance(labeler, PlansAhead):
        labeler = labeler.for_plan(pairs)
    labeler = wrap_engines(labeler, cache=answer_cache(context), ledger=ledger)
    progress = display.progress(len(pairs), unit="pairs")
    labels: list[Preference] = []
    began = time.perf_counter()
    for start in range(0, len(pairs), batch_size):
        labels += labeler.label(pairs[start : start + batch_size])
        progress(len(labels), len(pairs))
    return labels, _asked(context, ledger.total(), len(pairs), time.perf_counter() - began)


def _asked(context: Context, spent: Spending, num_pairs: int, clock_s: float) -> Asked:
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
    return Asked(
        seconds_per_label=None if seconds is None else seconds * each,
        usd_per_label=None if usd is None else usd * each,
        human_usd_per_label=prices.human_usd_per_label,
    )
