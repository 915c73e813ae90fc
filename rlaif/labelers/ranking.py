"""An LLM orders several candidates at once; the rankings become pairwise preferences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy as shallow_copy
from itertools import permutations
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.labels import option_distribution, pairs_from_rankings
from rlaif.labelers.answer_mass import check_minimum, reasons_of
from rlaif.labelers.evidence import judged
from rlaif.outcome import OptionScores
from rlaif.ranges import Share
from rlaif.tasks.base import Task, get_task
from rlaif.types import Comparison, Judgment, Preference, Prompt, StructuredPrompt, content_id

Orders = Literal["reversed", "all"]
MOST_CANDIDATES = 5
"""All k! rankings are scored: 120 for five candidates."""


class RankingPrompt(Protocol):
    """A prompt strategy (group ``rlaif.prompts``) with the question of the ranking labeler."""

    @property
    def identity(self) -> str:
        """Content hash of templates and options."""
        ...

    def ranking(self, task: Task, prompt_text: str, responses: Sequence[str]) -> StructuredPrompt:
        """The prompt after which an order such as "2 3 1", best first, is scored."""
        ...


class Slate(NamedTuple):
    """Candidates that are ranked together, in a canonical order that no caller chose."""

    prompt: Prompt
    responses: tuple[str, ...]


class Shown(NamedTuple):
    """A slate in one order of its candidates."""

    slate: Slate
    places: tuple[int, ...]
    """Index of the candidate in each slot."""


class RankingLabeler:
    """Scores every ranking of a prompt's candidates and reads P(first above second) off their distribution.

    The candidates are shown in several orders whose distributions are averaged per candidate: each pair stands
    equally often in either order, so swapping a pair's candidates inverts its label exactly. Which candidates are
    ranked together follows from the plan (:meth:`for_plan`: the candidates of one prompt, in batches of
    ``max_candidates``), never from the call; without a plan each pair is ranked alone.

    Args:
        prompt: Builds the judge prompts.
        engine: The language model that judges.
        max_candidates: Most responses that are ranked at once, 2 to 5.
        orders: ``reversed`` shows one order and its reverse; ``all`` shows each candidate in each slot, and all that
            reversed (2k prompts for k candidates).
        min_answer_mass: Least probability, in [0, 1], that all rankings have together in a judgement; below it the
            judgement is missing. 0 takes every judgement. A ranking takes several tokens, so the default is low.

    Raises:
        ConfigError: An option is out of range.
    """

    name = "ranking"
    source = "ai"

    def __init__(
        self,
        prompt: RankingPrompt,
        engine: Engine,
        *,
        max_candidates: int = 4,
        orders: Orders = "reversed",
        min_answer_mass: Share = 1e-12,
    ) -> None:
        problems = []
        if not 2 <= max_candidates <= MOST_CANDIDATES:
            problems.append(f"labeler.max_candidates={max_candidates}: must be between 2 and {MOST_CANDIDATES}")
        if orders not in get_args(Orders):
            problems.append(f"labeler.orders={orders}: must be one of {', '.join(get_args(Orders))}")
        if problems:
            raise ConfigError(problems)
        check_minimum(min_answer_mass)
        self.prompt = prompt
        self.engine = engine
        self.max_candidates = max_candidates
        self.orders: Orders = orders
        self.min_answer_mass = float(min_answer_mass)
        self._slates: Mapping[str, Slate] = {}
        self._plan_id = content_id()

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        options = (str(self.max_candidates), self.orders, repr(self.min_answer_mass), self._plan_id)
        return content_id("RankingLabeler", self.prompt.identity, self.engine.identity, *options)

    def for_plan(self, comparisons: Sequence[Comparison]) -> RankingLabeler:
        """A copy that ranks the candidates of one prompt together, wherever in the plan their pairs are.

        A pair whose candidates fall into two slates is ranked alone.
        """
        copy = shallow_copy(self)
        responses: defaultdict[str, set[str]] = defaultdict(set)
        prompts: dict[str, Prompt] = {}
        for pair in comparisons:
            responses[pair.prompt.id] |= {pair.first.trimmed, pair.second.trimmed}
            prompts[pair.prompt.id] = pair.prompt
        slates = [
            Slate(prompts[prompt_id], tuple(ordered[start : start + self.max_candidates]))
            for prompt_id, texts in responses.items()
            for ordered in [sorted(texts)]
            for start in range(0, len(ordered), self.max_candidates)
        ]
        slate_of = {(slate.prompt.id, text): slate for slate in slates for text in slate.responses}
        copy._slates = {
            pair.id: slate
            for pair in comparisons
            for slate in [slate_of[pair.prompt.id, pair.first.trimmed]]
            if pair.second.trimmed in slate.responses and not pair.is_identical
        }
        copy._plan_id = content_id(*(f"{key} {slate.responses}" for key, slate in sorted(copy._slates.items())))
        return copy

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison; each slate is ranked once per call, whatever number of its pairs is asked for."""
        slates = [self._slates.get(pair.id, _alone(pair)) for pair in comparisons]
        shown = [item for slate in dict.fromkeys(slates) for item in self._shown(slate)]
        judged = self._judge(shown)
        author = f"{self.name}:{self.identity}"
        return [
            self._label(pair, slate, [judged[item] for item in self._shown(slate)], author)
            for pair, slate in zip(comparisons, slates, strict=True)
        ]

    def _shown(self, slate: Slate) -> list[Shown]:
        return [Shown(slate, places) for places in self._orders(slate)]

    def _orders(self, slate: Slate) -> list[tuple[int, ...]]:
        places = tuple(range(len(slate.responses)))
        turned = [places] if self.orders == "reversed" else [places[turn:] + places[:turn] for turn in places]
        return [order for one in turned for order in (one, one[::-1])]

    def _judge(self, shown: Sequence[Shown]) -> dict[Shown, tuple[StructuredPrompt, OptionScores]]:
        """Slates of one size share their options and go to the engine in one call."""
        by_size: defaultdict[int, list[Shown]] = defaultdict(list)
        for item in shown:
            by_size[len(item.places)].append(item)
        judged: dict[Shown, tuple[StructuredPrompt, OptionScores]] = {}
        for size, items in by_size.items():
            prompts = [
                self.prompt.ranking(
                    get_task(slate.prompt.task), slate.prompt.text, [slate.responses[place] for place in places]
                )
                for slate, places in items
            ]
            judged |= dict(
                zip(items, zip(prompts, self.engine.score(prompts, answers(size)), strict=True), strict=True)
            )
        return judged

    def _label(
        self,
        pair: Comparison,
        slate: Slate,
        judged: Sequence[tuple[StructuredPrompt, OptionScores]],
        author: str,
    ) -> Preference:
        first, second = slate.responses.index(pair.first.trimmed), slate.responses.index(pair.second.trimmed)
        judgments = tuple(
            self._read(prompt, scores, answers(len(places)), places.index(first), places.index(second))
            for places, (prompt, scores) in zip(self._orders(slate), judged, strict=True)
        )
        missing = reasons_of(judgments)
        p_first = [judgment.p_first for judgment in judgments if judgment.p_first is not None]
        return Preference(
            comparison=pair,
            p_first=None if missing else sum(p_first) / len(p_first),
            missing=missing,
            judgments=judgments,
            labeler=author,
            source=self.source,
        )

    def _read(
        self,
        prompt: StructuredPrompt,
        scores: OptionScores,
        options: tuple[str, ...],
        first_slot: int,
        second_slot: int,
    ) -> Judgment:
        """The judgement of one shown order on a pair; ``p_slot1`` is that of the candidate that is shown earlier."""
        stands_earlier = first_slot <= second_slot

        def p_slot1(logprobs: tuple[float, ...]) -> float:
            distribution_1R = option_distribution(torch.tensor([logprobs], dtype=torch.float64))
            p_first = _above(distribution_1R, first_slot, second_slot)
            return p_first if stands_earlier else 1.0 - p_first

        return judged(
            "given" if stands_earlier else "swapped",
            prompt,
            scores,
            options,
            min_answer_mass=self.min_answer_mass,
            p_slot1=p_slot1,
            nothing="no probability on any ranking",
        )


def answers(num_candidates: int) -> tuple[str, ...]:
    """Every ranking as the model would write it, best first.

    >>> answers(2)
    ('1 2', '2 1')
    """
    return tuple(" ".join(str(slot + 1) for slot in ranking) for ranking in permutations(range(num_candidates)))


def _alone(pair: Comparison) -> Slate:
    return Slate(pair.prompt, tuple(sorted((pair.first.trimmed, pair.second.trimmed))))


def _above(distribution_1R: Tensor, first_slot: int, second_slot: int) -> float:
    num_candidates = next(k for k in range(2, MOST_CANDIDATES + 1) if len(answers(k)) == distribution_1R.shape[1])
    rankings = list(permutations(range(num_candidates)))
    return float(pairs_from_rankings(distribution_1R, rankings)[0, first_slot, second_slot].clamp(0.0, 1.0))
