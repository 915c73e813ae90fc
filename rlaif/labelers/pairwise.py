"""An LLM compares two candidates in both orders and gives one soft label.

Source: RLAIF, arXiv 2309.00267, sections 2.1 (preamble to ending), 2.1.1 and appendix B
(position bias: both orders, averaged per candidate), 2.1.2 (two-step chain of thought).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy as shallow_copy
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple, Protocol, get_args

import torch

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.labels import DEBIAS_METHODS, Debias, debias, invert, option_distribution
from rlaif.labelers.answer_mass import check_minimum, reasons_of
from rlaif.labelers.evidence import judged
from rlaif.labelers.rationale import Rationales, after, rationale_form
from rlaif.outcome import OptionScores
from rlaif.ranges import Share
from rlaif.tasks.base import Task, get_task
from rlaif.types import Comparison, Completion, Judgment, Order, Preference, StructuredPrompt, content_id

RationaleFrom = Literal["own", "empty", "other"]

OPTIONS = ("1", "2")
"""The whole verdicts that are scored: slot 1, slot 2."""


class PairwisePrompt(Protocol):
    """A prompt strategy (group ``rlaif.prompts``) with the question of pairwise labelers."""

    @property
    def identity(self) -> str:
        """Content hash of templates, exemplars and options."""
        ...

    def pairwise(
        self, task: Task, prompt_text: str, first: str, second: str, *, rationale: str | None = None
    ) -> StructuredPrompt:
        """The prompt after which one of ``OPTIONS`` is scored; with a rationale, the second step."""
        ...

    def rationale_request(self, task: Task, prompt_text: str, first: str, second: str) -> StructuredPrompt:
        """The prompt of the first step, which a model continues with a rationale."""
        ...


class Case(NamedTuple):
    """One comparison in one order of its candidates."""

    comparison: Comparison
    order: Order

    @property
    def slots(self) -> tuple[Completion, Completion]:
        """The candidates in slot 1 and slot 2."""
        first, second = self.comparison.first, self.comparison.second
        return (first, second) if self.order == "given" else (second, first)

    @property
    def arguments(self) -> tuple[Task, str, str, str]:
        """Arguments for a prompt strategy: task, prompt text, slot 1, slot 2."""
        slot1, slot2 = self.slots
        prompt = self.comparison.prompt
        return get_task(prompt.task), prompt.text, slot1.text, slot2.text


def both_orders(comparisons: Sequence[Comparison]) -> list[Case]:
    """Two cases per comparison, side by side so that an engine reads their common context once."""
    orders: tuple[Order, ...] = get_args(Order)
    return [Case(comparison, order) for comparison in comparisons for order in orders]


class PairwiseLabeler:
    """Scores "1" against "2" after the prompt, in both orders.

    Args:
        prompt: Builds the judge prompts.
        engine: The language model that judges.
        debias: How the two orders become one label. ``probability`` averages P(first) (the paper's);
            ``logit`` averages the log-odds, which recovers P exactly under an additive slot bias;
            ``none`` takes the given order alone and keeps the other as evidence (to show the bias): it asks as much.
            One order missing makes the label missing, whichever is chosen.
        min_answer_mass: Least probability, in [0, 1], that "1" and "2" have together in a judgement; below it the
            judgement is missing. 0 takes every judgement.

    Raises:
        ConfigError: An option is out of range.
    """

    name = "pairwise"
    source = "ai"

    def __init__(
        self,
        prompt: PairwisePrompt,
        engine: Engine,
        *,
        debias: Debias = "probability",
        min_answer_mass: Share = 1e-6,
    ) -> None:
        _check_choice("debias", debias, DEBIAS_METHODS)
        check_minimum(min_answer_mass)
        self.prompt = prompt
        self.engine = engine
        self.debias: Debias = debias
        self.min_answer_mass = float(min_answer_mass)

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        return content_id(type(self).__qualname__, self.prompt.identity, self.engine.identity, *self._options())

    def _options(self) -> tuple[str, ...]:
        return f"debias={self.debias}", f"min_answer_mass={self.min_answer_mass!r}"

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Judge every comparison in both orders.

        Args:
            comparisons: Any number of pairs; an engine reads them as one batch.

        Returns:
            One label per comparison, in order, with both judgments as evidence. It is missing, with
            its reason, when one of the orders is.
        """
        judgments = iter(self._judge(both_orders(comparisons)))
        author = f"{self.name}:{self.identity}"
        per_label = 2 * self.judgments_per_order
        return [
            combine_orders(comparison, tuple(islice(judgments, per_label)), self.debias, author, self.source)
            for comparison in comparisons
        ]

    @property
    def judgments_per_order(self) -> int:
        """Number of judgements in each order."""
        return 1

    def _judge(self, cases: Sequence[Case]) -> list[Judgment]:
        return self._score(cases, [self.prompt.pairwise(*case.arguments) for case in cases])

    def _score(self, cases: Sequence[Case], prompts: Sequence[StructuredPrompt]) -> list[Judgment]:
        scores = self.engine.score(prompts, OPTIONS) if prompts else []
        return [_read(*answered, self.min_answer_mass) for answered in zip(cases, prompts, scores, strict=True)]


class ChainOfThoughtLabeler(PairwiseLabeler):
    """Writes a rationale for each order, greedily, and scores the verdict after it.

    A rationale that meets the token limit is *missing*, as is an empty one (:class:`Rationales`). The paper
    says nothing about its 512-token limit; raise ``max_rationale_tokens`` where many are cut.

    Args:
        prompt: Builds the prompts of both steps.
        engine: The language model that reasons and judges.
        debias: As in :class:`PairwiseLabeler`.
        min_answer_mass: Likewise.
        max_rationale_tokens: Limit of the first step, in tokens of the engine (the paper's is 512).
        rationale: ``own``, or for an ablation of what the rationale contributes: ``empty`` scores
            the second step with no rationale, ``other`` with one written for another pair
            (see :meth:`for_plan`).

    Raises:
        ConfigError: An option is out of range.
    """

    name = "cot_pairwise"

    def __init__(
        self,
        prompt: PairwisePrompt,
        engine: Engine,
        *,
        debias: Debias = "probability",
        min_answer_mass: Share = 1e-6,
        max_rationale_tokens: int = 512,
        rationale: RationaleFrom = "own",
    ) -> None:
        super().__init__(prompt, engine, debias=debias, min_answer_mass=min_answer_mass)
        _check_choice("rationale", rationale, get_args(RationaleFrom))
        self.rationales = Rationales(max_rationale_tokens)
        self.max_rationale_tokens = max_rationale_tokens
        self.rationale: RationaleFrom = rationale
        self._partners: Mapping[str, Comparison] = {}
        self._plan_id = content_id()

    def for_plan(self, comparisons: Sequence[Comparison]) -> ChainOfThoughtLabeler:
        """With ``rationale=other``, a copy that takes rationales written for these pairs; else itself.

        A pair's partner is the next one in the order of ids that has another prompt of the same task, so it
        depends on these pairs and never on the batch in which a pair is judged.
        """
        if self.rationale != "other":
            return self
        copy = shallow_copy(self)
        plan = {comparison.id: comparison for comparison in comparisons}
        copy._partners = _partners(plan)
        copy._plan_id = content_id(*sorted(plan))
        return copy

    def _options(self) -> tuple[str, ...]:
        limit = f"max_rationale_tokens={self.max_rationale_tokens}"
        form = rationale_form(self.engine)
        return (*super()._options(), limit, f"rationale={self.rationale}", self._plan_id, *form)

    def _judge(self, cases: Sequence[Case]) -> list[Judgment]:
        rationales = self._rationales(cases)
        judged = [pair for pair in zip(cases, rationales, strict=True) if pair[1].missing is None]
        prompts = [self.prompt.pairwise(*case.arguments, rationale=rationale.reply) for case, rationale in judged]
        scored = iter(self._score([case for case, _ in judged], prompts))
        return [rationale if rationale.missing else after(rationale, next(scored)) for rationale in rationales]

    def _rationales(self, cases: Sequence[Case]) -> list[Judgment]:
        """The first step as judgments that have a reply and no verdict yet."""
        if self.rationale == "empty":
            return [Judgment(order=case.order, prompt="") for case in cases]
        about = [self._partner(case) for case in cases] if self.rationale == "other" else list(cases)
        prompts = [self.prompt.rationale_request(*case.arguments) for case in about]
        return self.rationales.write(self.engine, prompts, [case.order for case in cases])

    def _partner(self, case: Case) -> Case:
        partner = self._partners.get(case.comparison.id)
        if partner is None:
            raise ConfigError(
                "labeler.rationale=other: takes rationales of other pairs of the same task and knows none; "
                "give it the pairs with for_plan(comparisons)"
            )
        return Case(partner, case.order)


def _partners(plan: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """By id, the next pair in the cyclic order of ids that has another prompt of the same task, where there is one."""
    tasks: defaultdict[str, list[str]] = defaultdict(list)
    for key in sorted(plan):
        tasks[plan[key].prompt.task].append(key)
    partners: dict[str, Comparison] = {}
    for keys in tasks.values():
        following = partner = plan[keys[-1]]
        # Backwards and twice round, so that the last pairs find theirs at the beginning.
        for key in reversed(2 * keys):
            if plan[key].prompt.id != following.prompt.id:
                partner = following
            if plan[key].prompt.id != partner.prompt.id:
                partners[key] = partner
            following = plan[key]
    return partners


def _read(case: Case, prompt: StructuredPrompt, scores: OptionScores, min_mass: float) -> Judgment:
    """One scored prompt as evidence; the probability is that of slot 1 being *better*."""
    p_slot1 = partial(_probability_of_slot1, prompt.asks_for_worse)
    return judged(case.order, prompt, scores, OPTIONS, min_answer_mass=min_mass, p_slot1=p_slot1)


def _probability_of_slot1(asks_for_worse: bool, logprobs: tuple[float, ...]) -> float:
    """One row at a time, so that no bit depends on the batch."""
    named = option_distribution(torch.tensor(logprobs, dtype=torch.float64))[0]
    return float(invert(named) if asks_for_worse else named)


def combine_orders(
    comparison: Comparison, judgments: tuple[Judgment, ...], method: Debias, author: str, source: str
) -> Preference:
    """The label of both orders; missing when an order has no verdict at all.

    Args:
        comparison: The pair.
        judgments: Of both orders, at least one of each.
        method: How the two orders become one label.
        author: ``labeler`` of the label.
        source: Who judged.
    """
    label = Preference(comparison=comparison, p_first=None, missing="not combined yet", judgments=judgments)
    given, swapped = label.p_first_by_order
    if given is None or swapped is None:
        return replace(label, missing=reasons_of(judgments), labeler=author, source=source)
    given_B, swapped_B = (torch.tensor(p_first, dtype=torch.float64) for p_first in (given, swapped))
    p_first = float(debias(given_B, swapped_B, method))
    return replace(label, p_first=p_first, missing=None, labeler=author, source=source)


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"labeler.{option}={value}: must be one of {', '.join(allowed)}")
