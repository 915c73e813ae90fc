"""Reads the YAML of a layout; every mistake in it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from string import Formatter
from typing import Any, get_args

from rlaif.data.formats.language import (
    LABEL_KINDS,
    PAIRINGS,
    Condition,
    Label,
    Layout,
    PromptText,
    Responses,
    Tree,
    condition,
)
from rlaif.data.formats.paths import PathError, ValuePath, path_of
from rlaif.data.formats.words import COMMON_GRADES, COMMON_WORDS, word_map
from rlaif.types import Role

_LABEL_KEYS = (
    *LABEL_KINDS,
    "at",
    "answer",
    "panels",
    "question",
    "statuses",
    "values",
    "p",
    "ties",
    "skip",
    "name",
    "rank",
    "names",
    "id",
)


class LayoutError(ValueError):
    """Mistakes in a layout's YAML: one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problems))


def layout_from(name: str, node: object) -> Layout:
    """Read a layout's YAML.

    Args:
        name: The layout's.
        node: Plain values of the file.

    Raises:
        LayoutError: Every mistake in it.
    """
    return _Reader(name).read(node)


class _Reader:
    """Reads one YAML and collects its mistakes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []

    def read(self, node: object) -> Layout:
        if not isinstance(node, Mapping):
            raise LayoutError(["expected keys such as prompt, responses and label"])
        known = set(Layout.__dataclass_fields__) - {"name", "labels"} | {"where_not", "label"}
        self.problems += [
            f"{key}: unknown key; there are {', '.join(sorted(known))}" for key in node if key not in known
        ]
        layout = Layout(
            name=self.name,
            about=str(node.get("about", "")),
            prompt=self._prompt(node.get("prompt")),
            system=tuple(self._paths(node.get("system"), "system")),
            history=self._path(node.get("history"), "history"),
            responses=self._responses(node.get("responses")),
            tree=self._tree(node.get("tree")),
            labels=tuple(self._labels(node.get("label"))),
            confidence=self._path(node.get("confidence"), "confidence"),
            weight=self._path(node.get("weight"), "weight"),
            where=(*self._where(node, "where", True), *self._where(node, "where_not", False)),
            apart=tuple(self._words(node.get("apart"), "apart")),
            roles=self._roles(node.get("roles")),
            json=tuple(self._words(node.get("json"), "json")),
            leading_space=self._choice(node.get("leading_space", False), "leading_space", (True, False)),
            absent=tuple(self._words(node.get("absent"), "absent")),
            present=tuple(self._words(node.get("present"), "present")),
            pairing=self._choice(node.get("pairing", "all"), "pairing", PAIRINGS),
            score_temperature=self._positive(node.get("score_temperature"), "score_temperature"),
        )
        if not self.problems:
            self.problems += list(_contradictions(layout))
        if self.problems:
            raise LayoutError(self.problems)
        return layout

    def _path(self, text: object, key: str) -> ValuePath | None:
        if text is None:
            return None
        try:
            return path_of(str(text))
        except PathError as error:
            self.problems.append(f"{key}: {error}")
            return None

    def _paths(self, value: object, key: str) -> Iterator[ValuePath]:
        for text in self._words(value, key):
            path = self._path(text, key)
            if path is not None:
                yield path

    def _words(self, value: object, key: str) -> list[str]:
        if value is None:
            return []
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
            self.problems.append(f"{key}: {value!r:.60}; expected one name or a list of them")
            return []
        return list(items)

    def _prompt(self, value: object) -> PromptText:
        if not isinstance(value, Mapping):
            return PromptText(paths=tuple(self._paths(value, "prompt")))
        self._only(value, "prompt", ("join", "with", "template"))
        if (template := value.get("template")) is not None:
            return PromptText(paths=tuple(self._in_template(str(template))), template=str(template))
        paths = tuple(self._paths(value.get("join"), "prompt.join"))
        return PromptText(paths=paths, separator=str(value.get("with", "\n")))

    def _in_template(self, template: str) -> Iterator[ValuePath]:
        try:
            names = [name for _, name, _, _ in Formatter().parse(template) if name]
        except ValueError as error:
            self.problems.append(f"prompt.template: {error}")
            names = []
        yield from self._paths(names, "prompt.template")

    def _responses(self, value: object) -> Responses:
        if value is None:
            return Responses()
        if not isinstance(value, Mapping):
            return Responses(paths=tuple(self._paths(value, "responses")))
        self._only(value, "responses", ("at", "each", "text", "source", "sources", "per_row"))
        return Responses(
            paths=tuple(self._paths(value.get("at"), "responses.at")),
            sources=tuple(self._paths(value.get("sources"), "responses.sources")),
            each=self._path(value.get("each"), "responses.each"),
            text=self._path(value.get("text"), "responses.text"),
            source=self._path(value.get("source"), "responses.source"),
            per_row=self._path(value.get("per_row"), "responses.per_row"),
        )

    def _tree(self, value: object) -> Tree | None:
        if not isinstance(value, Mapping):
            return None
        self._only(value, "tree", ("root", "replies", "rank", "id", "parent"))
        root = self._path(value.get("root"), "tree.root")
        names = {key: str(value[key]) for key in ("replies", "rank", "id", "parent") if key in value}
        if root is None and not {"id", "parent"} <= set(names):
            self.problems.append("tree: give root, or id and parent where a row is one message")
        return Tree(root=root, **names)

    def _labels(self, value: object) -> Iterator[Label]:
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            label = self._label(item)
            if label is not None:
                yield label

    def _label(self, value: object) -> Label | None:
        kinds = [kind for kind in LABEL_KINDS if isinstance(value, Mapping) and kind in value]
        if not isinstance(value, Mapping) or len(kinds) != 1:
            self.problems.append(f"label: {value!r:.60}; expected one of the keys {', '.join(LABEL_KINDS)}")
            return None
        self._only(value, "label", _LABEL_KEYS)
        kind, given = kinds[0], value[kinds[0]]
        label = Label(
            kind=kind,
            at=self._path(value.get("at"), "label.at"),
            words=self._word_map(value["values"], "label.values", COMMON_GRADES) if "values" in value else {},
            answer=self._path(value.get("answer"), "label.answer"),
            panels=self._path(value.get("panels"), "label.panels"),
            question=self._path(value.get("question"), "label.question"),
            statuses=self._path(value.get("statuses"), "label.statuses"),
            p=self._path(value.get("p"), "label.p"),
            ties=tuple(self._numbers(value.get("ties", ()), "label.ties")),
            skip=tuple(self._numbers(value.get("skip", ()), "label.skip")),
            name=str(value.get("name", "value")),
            rank=str(value.get("rank", "rank")),
            names=tuple(self._words(value.get("names"), "label.names")),
            id=self._path(value.get("id"), "label.id"),
        )
        return self._filled(label, given)

    def _filled(self, label: Label, given: object) -> Label:
        key = f"label.{label.kind}"
        match label.kind:
            case "words":
                return replace(label, words=self._word_map(given, key, COMMON_WORDS))
            case "scale":
                numbers = list(self._numbers(given, key))
                if len(numbers) != 2 or numbers[0] == numbers[1]:
                    self.problems.append(f"{key}: {given!r:.40}; expected two values, of the first and the second")
                    return label
                return replace(label, scale=(numbers[0], numbers[1]))
            case "one_hot" | "votes":
                return replace(label, paths=tuple(self._paths(given, key)))
            case "ranking" | "picked":
                return replace(label, at=self._path(given, key))
            case "scores" if isinstance(given, Sequence) and not isinstance(given, str):
                return replace(label, paths=tuple(self._paths(given, key)))
            case "scores" | "ranks":
                weights = given.items() if isinstance(given, Mapping) else [(given, 1.0)]
                pairs = [(self._path(path, key), self._number(weight, key)) for path, weight in weights]
                return replace(label, weights=tuple((path, weight) for path, weight in pairs if path is not None))
        return label

    def _word_map(self, given: object, key: str, common: Mapping[str, float | None]) -> dict[str, float | None]:
        """The words of a layout; ``common`` are those that people write most."""
        if given == "common":
            return dict(common)
        try:
            return word_map(given)
        except ValueError as error:
            self.problems.append(f"{key}: {error}")
            return {}

    def _where(self, node: Mapping[str, object], key: str, has: bool) -> Iterator[Condition]:
        conditions = node.get(key) or {}
        if not isinstance(conditions, Mapping):
            self.problems.append(f"{key}: {conditions!r:.40}; expected paths with their values")
            return
        for text, wanted in conditions.items():
            path = self._path(text, key)
            if path is not None:
                yield condition(path, wanted, has)

    def _roles(self, value: object) -> dict[str, Role]:
        roles: dict[str, Role] = {}
        for name, role in value.items() if isinstance(value, Mapping) else ():
            roles[str(name).casefold()] = self._choice(role, f"roles.{name}", get_args(Role))
        return roles

    def _choice(self, value: object, key: str, allowed: Sequence[object]) -> Any:
        if value not in allowed:
            self.problems.append(f"{key}: {value!r:.40}; allowed are {', '.join(map(str, allowed))}")
        return value

    def _positive(self, value: object, key: str) -> float | None:
        number = None if value is None else self._number(value, key)
        if number is not None and number <= 0.0:
            self.problems.append(f"{key}: {number:g}; must be above 0")
        return number

    def _number(self, value: object, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problems.append(f"{key}: {value!r:.40} is no number")
            return 1.0
        return float(value)

    def _numbers(self, value: object, key: str) -> Iterable[float]:
        items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return [self._number(item, key) for item in items]

    def _only(self, value: Mapping[str, object], key: str, allowed: Sequence[str]) -> None:
        self.problems += [
            f"{key}.{name}: unknown key; there are {', '.join(allowed)}" for name in value if name not in allowed
        ]


def _contradictions(layout: Layout) -> Iterator[str]:
    """Keys that do not fit together."""
    responses = layout.responses
    forms = [bool(responses.paths), responses.each is not None, responses.per_row is not None]
    if sum(forms) > 1:
        yield "responses: give one of at, each and per_row"
    if len(responses.paths) > 2:
        yield f"responses: {len(responses.paths)} paths; give two, or each: and text: for a list"
    if not any(forms) and not layout.prompt.paths:
        yield "prompt: missing, and there are no responses that hold it"
    for label in layout.labels:
        yield from _label_contradictions(label)


def _label_contradictions(label: Label) -> Iterator[str]:
    if label.kind in ("words", "scale") and label.at is None:
        yield f"label.at: missing; the path of the value that label.{label.kind} explains"
    if label.kind in ("one_hot", "votes") and len(label.paths) not in (2, 3):
        yield f"label.{label.kind}: give the columns of first, second and, if there is one, tie"
    if label.kind == "ranking" and len(label.names) < 2:
        yield "label.names: missing; the names of the responses in their order"
    if label.kind == "ranks" and not label.weights:
        yield "label.ranks: missing path"
