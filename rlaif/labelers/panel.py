"""Several labelers judge every pair; their labels are pooled and their disagreement is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy as shallow_copy
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError, GateStopped
from rlaif.functional.pooling import linear_pool, log_odds_pool, log_odds_weights
from rlaif.labelers.base import Labeler, PlansAhead
from rlaif.naming import LABELER, named_as
from rlaif.types import Comparison, Judgment, Preference, content_id

Weights = Literal["equal", "learned"]


class PanelLabeler:
    """Pools the labels of its members.

    With given weights P(first) is their weighted mean. With ``weights=learned`` it is σ(Σ w·logit P) with weights
    fitted to pairs that people labeled (:meth:`fit`): a member that is right more often, and surer when it is right,
    counts more. Neither has a constant term, so swapping the candidates inverts the label. A member without a verdict
    is left out of that pair. Every member's judgements stay in the label (``Judgment.judge`` names the member), and
    :func:`disagreement` reads how far they were apart.

    Args:
        labelers: The members by name; one that was composed with ``_partial_: true`` gets the panel's own prompt and
            engine.
        weights: ``equal``, ``learned``, or a weight above 0 for each member's name.
        num_known: Pairs of the plan that people label, for ``learned``.
        min_verdicts: Fewer members with a verdict make the label missing; at least 1.
        prompt: For members composed as partial.
        engine: Likewise.

    Raises:
        ConfigError: An option is out of range.
    """

    name = "panel"
    members = ("labelers",)

    def __init__(
        self,
        labelers: Mapping[str, Labeler | partial[Labeler]],
        *,
        weights: Weights | Mapping[str, float] = "equal",
        num_known: int = 200,
        min_verdicts: int = 1,
        prompt: Any = None,
        engine: Engine | None = None,
    ) -> None:
        self.prompt = prompt
        self.engine = engine
        self.labelers: dict[str, Labeler] = {
            name: member(prompt=prompt, engine=engine) if isinstance(member, partial) else member
            for name, member in labelers.items()
        }
        _check_options(list(self.labelers), weights, num_known, min_verdicts)
        self.weights = weights
        self.num_known = num_known
        self.min_verdicts = min_verdicts
        self._fitted: dict[str, float] | None = None

    @property
    def source(self) -> str:
        """The members' sources, joined."""
        return " + ".join(dict.fromkeys(member.source for member in self.labelers.values()))

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        members = (f"{name} {member.identity}" for name, member in self.labelers.items())
        weights = repr(self.weights if isinstance(self.weights, str) else sorted(self.weights.items()))
        options = (weights, str(self.num_known), str(self.min_verdicts), repr(self._fitted))
        return content_id("PanelLabeler", *members, *options)

    @property
    def learns(self) -> bool:
        """True while its weights are to be learned from people's labels."""
        return self.weights == "learned" and self._fitted is None

    def for_plan(self, comparisons: Sequence[Comparison]) -> PanelLabeler:
        """A copy whose members know all pairs of the plan."""
        copy = shallow_copy(self)
        copy.labelers = {
            name: member.for_plan(comparisons) if isinstance(member, PlansAhead) else member
            for name, member in self.labelers.items()
        }
        return copy

    def fit(self, known: Sequence[Preference]) -> PanelLabeler:
        """A copy whose weights are learned on pairs that people labeled.

        Raises:
            ConfigError: People labeled none of them.
            GateStopped: No member has a verdict on any of them.
        """
        labeled = [label for label in known if label.p_first is not None]
        if not labeled:
            raise ConfigError(
                f"labeler.weights=learned: people labeled none of the plan's first {len(known)} pairs, so there is "
                "nothing to learn from; take labeler.weights=equal, or a weight for each member"
            )
        votes = self._votes([label.comparison for label in labeled])
        p_MB = _probabilities(list(votes.values()))
        if bool(p_MB.isnan().all()):
            reasons = "; ".join(f"{name}: {labels[0].missing}" for name, labels in votes.items())
            raise GateStopped(
                f"labeler.weights=learned: no member has a verdict on any of the {len(labeled)} pairs that people "
                f"labeled ({reasons}). Mend the cause and start again: they are asked again"
            )
        chosen_B = torch.tensor([label.p_first for label in labeled], dtype=torch.float64)
        copy = shallow_copy(self)
        copy._fitted = dict(zip(votes, log_odds_weights(p_MB, chosen_B).tolist(), strict=True))
        return copy

    @property
    def learned(self) -> dict[str, float] | None:
        """Learned weights by member; None before :meth:`fit`."""
        return self._fitted

    def restore(self, learned: Mapping[str, float]) -> PanelLabeler:
        """A copy with weights that :meth:`fit` has learned before."""
        copy = shallow_copy(self)
        copy._fitted = dict(learned)
        return copy

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison, each with all members' judgements.

        Raises:
            ConfigError: Weights were to be learned and :meth:`fit` was not called.
        """
        if self.learns:
            raise ConfigError(
                "labeler.weights=learned: a run learns them that labels pairs of its own (pipeline=rlaif, label); "
                "others take labeler.weights=equal or a weight for each member (in Python: call fit(known) first)"
            )
        votes = self._votes(comparisons)
        p_MB = _probabilities(list(votes.values()))
        pooled_B, by_order = self._pool(p_MB).tolist(), self._orders(list(votes.values()))
        num_verdicts_B = (~p_MB.isnan()).sum(0).tolist()
        author, source = f"{self.name}:{self.identity}", self.source
        rows = zip(comparisons, zip(*votes.values(), strict=True), pooled_B, by_order, num_verdicts_B, strict=True)
        return [
            self._label(comparison, dict(zip(votes, own, strict=True)), p_first, orders, num, author, source)
            for comparison, own, p_first, orders, num in rows
        ]

    def _votes(self, comparisons: Sequence[Comparison]) -> dict[str, list[Preference]]:
        votes = {}
        for name, member in self.labelers.items():
            shares_engine = self.engine is not None and getattr(member, "engine", None) is self.engine
            with named_as(LABELER if shares_engine else f"{LABELER}.labelers.{name}"):
                votes[name] = member.label(comparisons)
        return votes

    def _pool(self, p_MB: torch.Tensor) -> torch.Tensor:
        if self._fitted is not None:
            return log_odds_pool(p_MB, torch.tensor([self._fitted[name] for name in self.labelers]).double())
        given = {} if isinstance(self.weights, str) else self.weights
        return linear_pool(p_MB, torch.tensor([float(given.get(name, 1.0)) for name in self.labelers]).double())

    def _orders(self, votes: Sequence[Sequence[Preference]]) -> list[tuple[Judgment, ...]]:
        """The panel's own judgement of each order, where a member has seen both; members without slots say the same."""
        by_order = [
            self._pool(
                torch.tensor([[_by_order(vote)[order] for vote in member] for member in votes]).double()
            ).tolist()
            for order in (0, 1)
        ]
        return [
            (
                Judgment(order="given", prompt="", p_slot1=given),
                Judgment(order="swapped", prompt="", p_slot1=1.0 - swapped),
            )
            if any(_has_orders(vote) for vote in of_pair)
            else ()
            for of_pair, given, swapped in zip(zip(*votes, strict=True), *by_order, strict=True)
        ]

    def _label(
        self,
        comparison: Comparison,
        votes: Mapping[str, Preference],
        p_first: float,
        own: tuple[Judgment, ...],
        num_verdicts: int,
        author: str,
        source: str,
    ) -> Preference:
        missing = None
        if num_verdicts < self.min_verdicts:
            reasons = [f"{name}: {vote.missing}" for name, vote in votes.items() if vote.missing is not None]
            missing = f"{num_verdicts} of {len(votes)} members have a verdict ({'; '.join(reasons)})"
        members = (judgment for name, vote in votes.items() for judgment in _evidence(name, vote))
        return Preference(
            comparison=comparison,
            p_first=None if missing else p_first,
            missing=missing,
            judgments=(*(() if missing else own), *members),
            labeler=author,
            source=source,
        )


def disagreement(preference: Preference) -> float | None:
    """The disagreement of a panel's members: the largest difference of their P(first), in [0, 1].

    None with fewer than two verdicts.
    """
    members = [item for item in preference.judgments if item.order == "verdict" and "/" not in item.judge]
    verdicts = [judgment.p_first for judgment in members if judgment.p_first is not None]
    return max(verdicts) - min(verdicts) if len(verdicts) > 1 else None


def _evidence(name: str, vote: Preference) -> list[Judgment]:
    """A member's verdict and its judgements, under its name."""
    # The judgements say whether asking again can help.
    verdict = Judgment(
        order="verdict", prompt="", p_slot1=vote.p_first, missing=vote.missing, unreadable=vote.missing is not None
    )
    return [
        replace(judgment, judge=f"{name}/{judgment.judge}" if judgment.judge else name)
        for judgment in (verdict, *vote.judgments)
    ]


def _has_orders(vote: Preference) -> bool:
    return vote.p_first is not None and None not in vote.p_first_by_order


def _by_order(vote: Preference) -> tuple[float, float]:
    """P(first) in the given and in the swapped order, NaN where the vote is missing."""
    given, swapped = vote.p_first_by_order
    if vote.p_first is None or given is None or swapped is None:
        only = math.nan if vote.p_first is None else vote.p_first
        return only, only
    return given, swapped


def _probabilities(votes: Sequence[Sequence[Preference]]) -> torch.Tensor:
    """P(first) [members, pairs], NaN where missing."""
    rows = [[float("nan") if vote.p_first is None else vote.p_first for vote in row] for row in votes]
    return torch.tensor(rows, dtype=torch.float64).view(len(votes), -1)


def _check_options(
    names: Sequence[str], weights: Weights | Mapping[str, float], num_known: int, min_verdicts: int
) -> None:
    problems = [] if names else ["labeler.labelers: a panel needs at least one member"]
    if isinstance(weights, str):
        if weights not in get_args(Weights):
            problems.append(f"labeler.weights={weights}: must be equal, learned, or a weight for each member's name")
    else:
        problems += [
            f"labeler.weights.{name}: no such member; there are {', '.join(names)}"
            for name in weights
            if name not in names
        ]
        problems += [
            f"labeler.weights.{name}={value}: must be a finite number above 0"
            for name, value in weights.items()
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf
        ]
    if num_known < 1:
        problems.append(f"labeler.num_known={num_known}: must be at least 1")
    if not 1 <= min_verdicts <= max(len(names), 1):
        problems.append(f"labeler.min_verdicts={min_verdicts}: must be between 1 and {len(names)} members")
    if problems:
        raise ConfigError(problems)
