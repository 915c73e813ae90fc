"""The reading language: what a layout's YAML says about the rows of a file.

A layout says where the prompt, the system text and the responses are, and what the label is. Values are named by paths
(:mod:`rlaif.data.formats.paths`). docs/pages/reference/layouts.md describes every key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from rlaif.data.formats.paths import ValuePath, path_of
from rlaif.data.formats.words import folded
from rlaif.types import Role

Pairing = Literal["all", "best_worst", "adjacent"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
LabelKind = Literal["order", "words", "scale", "scores", "ranks", "one_hot", "votes", "ranking", "picked"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
Condition = tuple[ValuePath, tuple[str, ...], bool]
ROW = "row."
"""Begins a path of a response that starts at the row, not at the response."""


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """The prompt of a row."""

    paths: tuple[ValuePath, ...] = ()
    """One, or several whose texts are joined; those that are absent or empty are left out."""
    separator: str = "\n"
    template: str = ""
    """Text with ``{path}`` in it; ``paths`` are then those."""


@dataclass(frozen=True, kw_only=True)
class Responses:
    """The responses of a row."""

    paths: tuple[ValuePath, ...] = ()
    """Of named responses: one for a demonstration, two for a pair. A path with ``[*]`` gives several, and every one of
    the first path makes a pair with every one of the second."""
    sources: tuple[ValuePath, ...] = ()
    """Of the writers of named responses."""
    each: ValuePath | None = None
    """A list with one item per response."""
    text: ValuePath | None = None
    """From an item to the text; None where the item is the text."""
    source: ValuePath | None = None
    """From an item, or after ``row.`` from the row to a list as long as ``each``."""
    per_row: ValuePath | None = None
    """The only response of a row; rows of one prompt make pairs."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What says which response is better."""

    kind: LabelKind
    at: ValuePath | None = None
    """Of words and a scale; of ``picked`` the ids of the responses that were. Several values, or several rankings:
    raters, whose mean counts."""
    answer: ValuePath | None = None
    """From a rater's item to the answer; None where the item is the answer."""
    panels: ValuePath | None = None
    """From a rater's item to the names of what stood on the left and on the right: left is the first response only
    where they say so."""
    question: ValuePath | None = None
    """From a rater's item to the name of the question that it answers: all must answer the same one."""
    words: Mapping[str, float | None] = field(default_factory=dict)
    """Small letters; None is no label. Of scores the numbers that words stand for."""
    scale: tuple[float, float] = (0.0, 1.0)
    """The values that mean the first and the second response; values between are soft."""
    ties: tuple[float, ...] = ()
    """Values of a scale that mean a tie."""
    skip: tuple[float, ...] = ()
    """Values of a scale that are no label."""
    statuses: ValuePath | None = None
    """To a list as long as the raters: those whose answer is discarded, a draft or pending do not count."""
    paths: tuple[ValuePath, ...] = ()
    """Scores of two named responses; of a one-hot winner or of counted votes: first, second, and the tie if there is
    one."""
    weights: tuple[tuple[ValuePath, float], ...] = ()
    """From a response to its scores, with their weights; of ranks the one path."""
    p: ValuePath | None = None
    """P(first) of ``order``, where a row says it."""
    name: str = "value"
    """Of ``ranking``: key of the response's name."""
    rank: str = "rank"
    names: tuple[str, ...] = ()
    """Of ``ranking``: names of the responses in their order."""
    id: ValuePath | None = None
    """Of ``picked``: from a response to its id; None where its number, from 0, is its id."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Messages with replies: those of one message are compared by rank, 0 the best.

    A row is a whole tree (``root``), or one message that names itself (``id``) and the one that it answers
    (``parent``).
    """

    root: ValuePath | None = None
    replies: str = "replies"
    rank: str = "rank"
    id: str = ""
    parent: str = ""

    @property
    def is_flat(self) -> bool:
        """True when a row is one message."""
        return self.root is None

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """Columns that rows have."""
        return ((self.id,), (self.parent,), (self.rank,)) if self.root is None else (self.root.roots,)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layout."""

    name: str
    about: str = ""
    prompt: PromptText = field(default_factory=PromptText)
    system: tuple[ValuePath, ...] = ()
    """The first of these that is there."""
    history: ValuePath | None = None
    """A list of earlier exchanges, each a list of the user's text and the assistant's."""
    responses: Responses = field(default_factory=Responses)
    tree: Tree | None = None
    labels: tuple[Label, ...] = ()
    """The first whose columns a row has counts."""
    confidence: ValuePath | None = None
    weight: ValuePath | None = None
    where: tuple[Condition, ...] = ()
    """Path, values in small letters, and whether a row must have one of them (True) or none of them."""
    apart: tuple[str, ...] = ()
    """Reasons for which a row cannot be used that are no defects of such data."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    json: tuple[str, ...] = ()
    """Columns whose texts are JSON."""
    leading_space: bool = False
    """True when responses begin with the one space that separates them from the prompt."""
    absent: tuple[str, ...] = ()
    """Columns that rows of this layout do not have, or have empty."""
    present: tuple[str, ...] = ()
    """Columns that rows have besides those that are read: what tells this layout from others."""
    pairing: Pairing = "all"
    score_temperature: float | None = None
    """Scores give the soft label sigmoid(difference / temperature); None: the higher one wins."""

    @cached_property
    def required(self) -> tuple[tuple[str, ...], ...]:
        """Columns without which a row cannot be read: of each group a row needs one."""
        present = [(name,) for name in self.present]
        if self.tree is not None:
            return tuple(dict.fromkeys([*self.tree.columns, *present]))
        groups = [path.roots for path in self._row_paths if not path.optional]
        labels = [[path.roots for path in self._label_paths(label) if not path.optional] for label in self.labels]
        if len(labels) == 1:
            groups += labels[0]
        elif labels:
            groups.append(tuple(dict.fromkeys(name for label in labels for roots in label for name in roots)))
        return tuple(dict.fromkeys([*groups, *present]))

    @cached_property
    def columns(self) -> frozenset[str]:
        """All columns that are read where a row has them, or that tell the layout from others."""
        return frozenset(self.present).union(*(path.roots for path in self._all_paths), *self._tree_columns)

    def read_in(self, values: Mapping[str, object]) -> frozenset[str]:
        """Columns of a row that are read: of alternatives the first that it has."""
        found = {path.column_in(values) for path in self._all_paths}
        return frozenset({*self.present, *found}.union(*self._tree_columns))

    @property
    def _all_paths(self) -> list[ValuePath]:
        """All paths that begin in the row."""
        further = [path for label in self.labels for path in (label.p, label.statuses) if path is not None]
        return [*self._row_paths, *(path for label in self.labels for path in self._label_paths(label)), *further]

    @property
    def _tree_columns(self) -> tuple[tuple[str, ...], ...]:
        return self.tree.columns if self.tree else ()

    def label_for(self, values: Mapping[str, object]) -> Label | None:
        """The label of a row: the first whose columns it has; None where the layout has none."""
        for label, groups in self._label_columns:
            if all(any(values.get(name) is not None for name in names) for names in groups):
                return label
        return self.labels[-1] if self.labels else None

    @cached_property
    def _label_columns(self) -> list[tuple[Label, list[tuple[str, ...]]]]:
        return [(label, [path.roots for path in self._label_paths(label)]) for label in self.labels]

    @property
    def _row_paths(self) -> list[ValuePath]:
        """All paths that begin in the row, besides those of the label."""
        responses = self.responses
        found: list[ValuePath | None] = [*self.prompt.paths, *self.system, self.history, *responses.paths]
        found += [*responses.sources, responses.each, responses.per_row, self.confidence, self.weight]
        found += [path for path, _, _ in self.where]
        if responses.source is not None and responses.source.text.startswith(ROW):
            found.append(_from_row(responses.source))
        return [path for path in found if path is not None]

    def _label_paths(self, label: Label) -> list[ValuePath]:
        """Paths of a label that begin in the row."""
        paths = [*([label.at] if label.at else []), *label.paths]
        paths += [path for path, _ in label.weights if self.pairs_rows]
        return paths + [_from_row(path) for path, _ in label.weights if path.text.startswith(ROW)]

    @property
    def has_confidence(self) -> bool:
        """True when rows have a confidence of the person."""
        return self.confidence is not None

    @property
    def pairs_rows(self) -> bool:
        """True when several rows of one prompt make pairs."""
        return self.responses.per_row is not None

    @property
    def richness(self) -> int:
        """What rows become: 3 labeled pairs, 2 pairs without a label, 1 demonstrations, 0 prompts."""
        responses = self.responses
        makes_pairs = len(responses.paths) > 1 or responses.each or responses.per_row or self.tree
        return (3 if self.labels else 2) if makes_pairs else int(bool(responses.paths))

    def with_options(
        self, *, where: Mapping[str, object] | None, pairing: Pairing | None, score_temperature: float | None
    ) -> Layout:
        """The layout with what a user adds: conditions, pairs of k responses, soft labels from scores."""
        conditions = tuple(condition(path_of(path), wanted, True) for path, wanted in (where or {}).items())
        return replace(
            self,
            where=self.where + conditions,
            pairing=pairing or self.pairing,
            score_temperature=self.score_temperature if score_temperature is None else score_temperature,
        )


def _from_row(path: ValuePath) -> ValuePath:
    return replace(path_of(path.text.removeprefix(ROW)), optional=path.optional)


def condition(path: ValuePath, wanted: object, has: bool) -> Condition:
    """A condition of ``where``: one value or a list of them."""
    items = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    return path, tuple(_pattern(item) for item in items), has


def _pattern(value: object) -> str:
    """A value of a condition, in which a star alone stands for other characters.

    >>> _pattern("[[A]]*"), _pattern(1.0)
    ('[[][[]a]]*', '1')
    """
    return re.sub(r"[\[?]", r"[\g<0>]", folded(value))
