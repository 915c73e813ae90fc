"""Calls of models in fixed batches, through the answer cache, counted in a ledger, within a budget."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rlaif.engines.answer_cache import AnswerPlace
from rlaif.engines.spending import Ledger, Spending
from rlaif.labelers.base import Labeler, PlansAhead, Rater
from rlaif.labeling.asked import AskedLabeler, AskedRater, ShowsProgress
from rlaif.labeling.cost import Budget, LabelCost, Prices, cost_figures
from rlaif.labeling.label_run import check_options, label_batch
from rlaif.labeling.missing import MissingLimit, missing_by_reason
from rlaif.labeling.shards import failed_without_answer
from rlaif.labeling.wrapping import wrap_engines
from rlaif.naming import LABELER, named_as
from rlaif.ranges import Share
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating

L = TypeVar("L")

_of_run: ContextVar[list[Ledger] | None] = ContextVar("of_run", default=None)
"""Ledgers of the steps of a run so far."""


@contextmanager
def one_budget() -> Iterator[None]:
    """What all steps inside spend counts against each one's budget."""
    token = _of_run.set([])
    try:
        yield
    finally:
        _of_run.reset(token)


COUNTED = "counted"
_GO_ON = (
    "They failed without an answer, so nothing is measured: start again to ask for them, answers that came are kept "
    "where label.cache says."
)


class Asking:
    """Asks the models of labelers and raters for one step of a run.

    Answers are kept where ``answers`` says, so that no question is paid for twice. What was asked is counted in a
    ledger in ``directory``, which a killed run finds again: what was spent stays counted. The budget is checked before
    each batch; inside :func:`one_budget` what the run's other steps have spent since its start counts as well.

    Args:
        directory: Where the ledger is kept; None counts in memory.
        answers: Where answers are kept.
        prices: What questions cost.
        budget: When to stop.
        batch_size: Comparisons per call of a labeler, at least 1.
        max_missing_rate: Share of a plan, in [0, 1], that may be missing.
        rank: Which process this is of those that share the ledger, from 0.
        option: The option of the labeler, for messages (``evaluation.judge``).
        ask_refused_again: Ask for prompts that a server refused, or found too long, before.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        answers: AnswerPlace,
        prices: Prices | None = None,
        budget: Budget | None = None,
        batch_size: int = 64,
        max_missing_rate: float = 0.2,
        rank: int = 0,
        option: str = LABELER,
        ask_refused_again: bool = False,
    ) -> None:
        check_options(batch_size, max_missing_rate)
        self.prices = prices or Prices()
        self.budget = budget or Budget()
        self.budget.check_prices(self.prices)
        self.directory = directory
        self.answers = answers
        self.batch_size = batch_size
        self.limit = MissingLimit(max_missing_rate)
        self.option = option
        self.ask_refused_again = ask_refused_again
        self.cache = answers.open()
        counted = None if directory is None else answers.at(directory / COUNTED).open()
        self.ledger = Ledger(directory, rank=rank, counted=counted)
        of_run = _of_run.get()
        self._others = [] if of_run is None else of_run
        self._others.append(self.ledger)
        self._num_labels = 0
        self._clock_s = 0.0

    def through(self, labeler: L) -> L:
        """The same labeler, or rater, asking its models through the cache and the ledger.

        Raises:
            PluginError: It keeps a model that it does not declare.
        """
        return wrap_engines(labeler, cache=self.cache, ledger=self.ledger, ask_refused_again=self.ask_refused_again)

    def check_budget(self) -> None:
        """Stop where the budget is spent.

        Raises:
            GateStopped: A limit is reached.
        """
        place = self.directory or Path(self.answers.root)
        self.budget.check(self.ledger, self.prices, place, [each for each in self._others if each is not self.ledger])

    def label(
        self, labeler: Labeler, plans: Sequence[Sequence[Comparison]], display: ShowsProgress
    ) -> list[list[Preference]]:
        """Label plans one after the other, in fixed batches, each as if there were no other.

        An answer that cannot be read is part of what is measured; an outage is not. A killed or stopped run finds its
        model's answers in the cache.

        Args:
            labeler: The labeler that is asked.
            plans: What is judged; a labeler that plans ahead sees one plan at a time.
            display: Shows how far it is.

        Returns:
            One label per pair of each plan.

        Raises:
            GateStopped: More than ``max_missing_rate`` of a plan failed without an answer, or the budget is spent.
            PluginError: The labeler breaks its contract.
        """
        asked = self.through(labeler)
        num_pairs, num_done = sum(map(len, plans)), 0
        progress = display.progress(num_pairs, unit="pairs")
        labels: list[list[Preference]] = []
        for plan in plans:
            labels.append([])
            for batch in self.batches(asked.for_plan(plan) if isinstance(asked, PlansAhead) else asked, plan):
                labels[-1] += batch
                num_done += len(batch)
                progress(num_done, num_pairs)
        return labels

    def batches(self, labeler: Labeler, plan: Sequence[Comparison]) -> Iterator[list[Preference]]:
        """The labels of one plan in fixed batches.

        Args:
            labeler: The labeler that is asked, through :meth:`through`.
            plan: What is judged.

        Raises:
            GateStopped: As :meth:`label`.
        """
        failed: Counter[str] = Counter()
        for start in range(0, len(plan), self.batch_size):
            with named_as(self.option):
                self.check_budget()
                began = time.perf_counter()
                batch = label_batch(labeler, plan[start : start + self.batch_size])
                self._clock_s += time.perf_counter() - began
                self._num_labels += len(batch)
                failed += Counter(missing_by_reason(filter(failed_without_answer, batch)))
                if not self.limit.allows(failed.total(), len(plan)):
                    raise self.limit.error(failed, start + len(batch), len(plan), _GO_ON)
            yield batch

    def rate(self, rater: Rater, rows: Sequence[tuple[Prompt, Completion]], display: ShowsProgress) -> Iterator[Rating]:
        """Rate responses in fixed batches.

        Args:
            rater: The rater that is asked.
            rows: Prompts with a response each.
            display: Shows how far it is.

        Raises:
            GateStopped: As :meth:`label`.
        """
        asked, failed = self.rater(rater), Counter[str]()
        progress = display.progress(len(rows), unit="responses")
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            with named_as(self.option):
                ratings = asked.rate([prompt for prompt, _ in batch], [response for _, response in batch])
                self._num_labels += len(ratings)
                failed += Counter(missing_by_reason(filter(failed_without_answer, ratings)))
                if not self.limit.allows(failed.total(), len(rows)):
                    raise self.limit.error(failed, start + len(batch), len(rows), _GO_ON, what="rated responses")
            progress(start + len(batch), len(rows))
            yield from ratings

    def judge(self, labeler: Labeler, display: ShowsProgress, plan: Sequence[Comparison] | None = None) -> AskedLabeler:
        """A labeler whose every call is labeled here in batches, for functions that take a labeler.

        Args:
            labeler: The labeler that is asked.
            display: Shows how far each call is.
            plan: What a labeler that plans ahead sees; None lets it judge without a plan.
        """
        asked = self.through(labeler)
        return AskedLabeler(self, asked.for_plan(plan) if plan and isinstance(asked, PlansAhead) else asked, display)

    def rater(self, rater: Rater) -> AskedRater:
        """A rater that asks its models through the cache and the ledger, and stops where the budget is spent."""
        return AskedRater(self, self.through(rater))

    @property
    def cost(self) -> LabelCost:
        """The mean cost of a label of this step, as if nothing had been in the cache."""
        return LabelCost.of(self.ledger.total(), self._num_labels, self._clock_s, self.prices)

    def cost_figures(self, num_labels: int | None = None) -> dict[str, float | int | None]:
        """Questions, tokens and cost of this step, see :func:`~rlaif.labeling.cost.cost_figures`.

        Args:
            num_labels: Labels that were obtained; None counts those that were labeled here.
        """
        return cost_figures(self.ledger, self.prices, self._num_labels if num_labels is None else num_labels)

    def close(self, *, remove: bool = False) -> None:
        """Let go of the files.

        Args:
            remove: Delete the ledger and the files of its directory: the step is finished.
        """
        self.ledger.close()
        if self.cache is not None:
            self.cache.close()
        if remove and self.directory is not None and self.directory.exists():
            shutil.rmtree(self.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingSettings:
    """How the models of a run are asked, the same for every step that asks any.

    Raises:
        ConfigError: A budget in money has no prices to count with.
    """

    answers: AnswerPlace
    """Where answers are kept."""
    prices: Prices
    """What questions cost."""
    budget: Budget
    """When to stop."""
    max_missing_rate: Share = 0.2
    """Share of a plan's labels that may be missing, in [0, 1]."""
    ask_refused_again: bool = False
    """Ask for prompts that a server refused, or found too long, before."""

    def __post_init__(self) -> None:
        self.budget.check_prices(self.prices)

    def begin(
        self,
        directory: Path | None,
        *,
        batch_size: int = 64,
        rank: int = 0,
        option: str = LABELER,
        keeps_answers_apart: bool = False,
        before: Spending | None = None,
    ) -> Asking:
        """Ask for one step.

        Args:
            directory: Where the ledger is kept; None counts in memory.
            batch_size: Comparisons per call of a labeler, at least 1.
            rank: Number of this process among those that share the ledger, from 0.
            option: The option that composes the labeler, for messages.
            keeps_answers_apart: Keep answers in ``directory`` and read none from elsewhere.
            before: What was spent for this step before it began (:class:`rlaif.labeling.first_request.FirstRequests`).
        """
        answers = self.answers.at(directory) if keeps_answers_apart and directory is not None else self.answers
        asking = Asking(
            directory,
            answers=answers,
            prices=self.prices,
            budget=self.budget,
            batch_size=batch_size,
            max_missing_rate=self.max_missing_rate,
            rank=rank,
            option=option,
            ask_refused_again=self.ask_refused_again,
        )
        if before is not None and before.num_questions:
            asking.ledger.add(before)
        return asking
