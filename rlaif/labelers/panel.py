"""Several labelers judge every pair; their labels are pooled and their disagreement is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy as shallow_copy
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.functional.pooling import linear_pool, log_odds_pool, log_odds_weights
from rlaif.labelers.base import Labeler, PlansAhead
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
        return " + ".join(dict.fromkeys(member.source for member in self.labelers.values()))

    @property
    def identity(self) -> str:
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
            ConfigError: People labeled none of them, or all members are missing everywhere.
        """
        labeled = [label for label in known if label.p_first is not None]
        votes = self._votes([label.comparison for label in labeled])
        p_MB = _probabilities(list(votes.values()))
        if not labeled or bool(p_MB.isnan().all()):
            raise ConfigError(
                "labeler.weights=learned: there are no pairs with both a label by people and a verdict of a member; "
                "take labeler.weights=equal"
            )
        chosen_B = torch.tensor([label.p_first for label in labeled], dtype=torch.float64)
        copy = shallow_copy(self)
        copy._fitted = dict(zip(votes, log_odds_weights(p_MB, chosen_B).tolist(), strict=True))
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
        pooled_B = self._pool(p_MB)
        num_verdicts_B = (~p_MB.isnan()).sum(0).tolist()
        author, source = f"{self.name}:{self.identity}", self.source
        return [
            self._label(comparison, {name: row[index] for name, row in votes.items()}, p, num, author, source)
            for index, (comparison, p, num) in enumerate(
                zip(comparisons, pooled_B.tolist(), num_verdicts_B, strict=True)
            )
        ]

    def _votes(self, comparisons: Sequence[Comparison]) -> dict[str, list[Preference]]:
        return {name: member.label(comparisons) for name, member in self.labelers.items()}

    def _pool(self, p_MB: torch.Tensor) -> torch.Tensor:
        if self._fitted is not None:
            return log_odds_pool(p_MB, torch.tensor([self._fitted[name] for name in self.labelers]).double())
        given = {} if isinstance(self.weights, str) else self.weights
        return linear_pool(p_MB, torch.tensor([float(given.get(name, 1.0)) for name in self.labelers]).double())

    def _label(
        self,
        comparison: Comparison,
        votes: Mapping[str, Preference],
        p_first: float,
        num_verdicts: int,
        author: str,
        source: str,
    ) -> Preference:
        missing = None
        if num_verdicts < self.min_verdicts:
            reasons = [f"{name}: {vote.missing}" for name, vote in votes.items() if vote.missing is not None]
            missing = f"{num_verdicts} of {len(votes)} members have a verdict ({'; '.join(reasons)})"
        return Preference(
            comparison=comparison,
            p_first=None if missing else p_first,
            missing=missing,
            judgments=tuple(judgment for name, vote in votes.items() for judgment in _evidence(name, vote)),
            labeler=author,
            source=source,
        )


def disagreement(preference: Preference) -> float | None:
    """How far a panel's members were apart: the largest difference of their P(first), in [0, 1].

    None with fewer than two verdicts.
    """
    names = dict.fromkeys(judgment.judge for judgment in preference.judgments if judgment.judge)
    verdicts = []
    for name in names:
        own = replace(preference, judgments=tuple(item for item in preference.judgments if item.judge == name))
        both = [p_first for p_first in own.p_first_by_order if p_first is not None]
        if both:
            verdicts.append(sum(both) / len(both))
    return max(verdicts) - min(verdicts) if len(verdicts) > 1 else None


def _evidence(name: str, vote: Preference) -> list[Judgment]:
    """A member's judgements under its name; its verdict as one more where they do not hold it."""
    kept = [replace(judgment, judge=name) for judgment in vote.judgments]
    if vote.p_first_by_order == (None, None):
        kept.append(Judgment(order="given", prompt="", p_slot1=vote.p_first, missing=vote.missing, judge=name))
    return kept


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
            f"labeler.weights.{name}={value}: must be above 0" for name, value in weights.items() if not value > 0
        ]
    if num_known < 1:
        problems.append(f"labeler.num_known={num_known}: must be at least 1")
    if not 1 <= min_verdicts <= max(len(names), 1):
        problems.append(f"labeler.min_verdicts={min_verdicts}: must be between 1 and {len(names)} members")
    if problems:
        raise ConfigError(problems)
