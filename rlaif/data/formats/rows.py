"""Reads the rows of a file by a layout: each row becomes pairs, a demonstration or a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import Any

from rlaif.data.files.rows import Row
from rlaif.data.formats.base import (
    BarePrompt,
    LabeledPair,
    OddRowError,
    OtherTaskError,
    ReadRow,
    Record,
    SingleResponse,
    check_pair,
    check_unicode,
    chosen_and_rejected,
    label_of,
    record_of,
)
from rlaif.data.formats.dialogues import (
    Dialogue,
    one_dialogue,
    prompt_in,
    response_in,
    whole_in,
    with_history,
    with_system,
)
from rlaif.data.formats.labels import PairLabels, number_at, pairs_of
from rlaif.data.formats.language import ROW, Layout, PromptText
from rlaif.data.formats.messages import content_text, messages_in, text_of
from rlaif.data.formats.paths import ABSENT, ValuePath, as_list, path_of
from rlaif.data.formats.trees import flat_rows, tree_rows
from rlaif.data.formats.words import folded
from rlaif.types import is_blank

DRAWN_ORDER = ("order", "ranks")
"""Labels whose rows list the better response first: the order of the pair is drawn instead."""
NO_INPUT = ("", "<noinput>", "<no input>", "<nooutput>")
"""Texts of a joined prompt that stand for none, as Alpaca-like files write them."""
NUM_FIRST = 100
"""Rows that are looked at before the first is read."""
UNKNOWN_WRITER = "dataset"


@dataclass(frozen=True)
class Candidate:
    """One response of a row, and what the row says of it."""

    side: Dialogue
    item: object
    source: str


@dataclass
class LayoutReader:
    """Reads rows by a layout.

    Args (fields):
        layout: Where prompt, responses and label are.
    """

    layout: Layout
    in_json: bool | None = None
    """Whether a response that is JSON text of messages means these messages (a table writes them so); None: where the
    responses of most of the first rows are that, or it is code."""
    _groups: dict[str, list[tuple[Row, Dialogue, Candidate]]] = field(default_factory=dict, init=False)

    def read(self, rows: Iterable[Row]) -> Iterator[ReadRow]:
        """What every row became; rows that make pairs with each other are one, after the last row of the file."""
        rows = iter(rows)
        first = list(islice(rows, NUM_FIRST))
        self.look_at(first)
        for row, odd in self._whole(chain(first, rows)):
            try:
                if odd is not None:
                    raise odd
                values = self._usable(row.values)
                for part in self._parts(values):
                    records = self._records(Row(row.place, part))
                    if records is not None:
                        yield ReadRow(row.place, tuple(records), values=row.values)
            except OddRowError as why:
                odd = OtherTaskError(why.reason) if why.reason in self.layout.apart else why
                yield ReadRow(row.place, (), odd, row.values)
        for group in self._groups.values():
            yield self._grouped(group)

    def _whole(self, rows: Iterable[Row]) -> Iterable[tuple[Row, OddRowError | None]]:
        """The rows, single messages of trees put together."""
        tree = self.layout.tree
        return flat_rows(tree, rows) if tree is not None and tree.is_flat else ((row, None) for row in rows)

    def _parts(self, values: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        """The rows that one row becomes: of a tree several."""
        tree = self.layout.tree
        return [values] if tree is None or tree.is_flat else tree_rows(tree, values)

    def look_at(self, rows: Sequence[Row]) -> None:
        """Decide :attr:`in_json` by rows, unless it is decided."""
        if self.in_json is None and rows:
            texts = [[text for text in self._texts(row.values) if isinstance(text, str)] for row in rows]
            num_json = sum(bool(row) and all(messages_in(text) for text in row) for row in texts)
            self.in_json = num_json > 0.5 * sum(map(bool, texts))

    def _texts(self, values: Mapping[str, Any]) -> Iterator[object]:
        """What a row has in the places of its responses."""
        responses = self.layout.responses
        for path in (*responses.paths, *([responses.per_row] if responses.per_row else [])):
            yield from path.values(values)
        for item in (as_list(responses.each.value(values)) or []) if responses.each else []:
            yield item if responses.text is None else responses.text.value(item)

    def _response(self, value: object, name: str) -> Dialogue:
        return response_in(
            None if value is ABSENT else value, name, self.layout.roles, in_json=self.in_json is not False
        )

    def prompt(self, values: Mapping[str, Any]) -> Dialogue | None:
        """The prompt of a row, system text and earlier exchanges included; None where the row has none of its own."""
        spec, roles = self.layout.prompt, self.layout.roles
        if len(spec.paths) == 1 and not spec.template:
            value = spec.paths[0].value(values)
            texts = as_list(value)
            if texts and spec.paths[0].has_many and not messages_in(value):
                raise OddRowError("several prompts", spec.paths[0].text)
            prompt = None if value is ABSENT else prompt_in(value, spec.paths[0].text, roles)
        else:
            text = _text_of_prompt(spec, values)
            prompt = prompt_in(text, "prompt", roles) if spec.paths else None
        history = ABSENT if self.layout.history is None else self.layout.history.value(values)
        if history is not ABSENT and history is not None and history != "":
            earlier = as_list(_json(history, "history") if isinstance(history, str) else history)
            if earlier is None:
                raise OddRowError("odd history", f"{history!r:.60} is no list of exchanges")
            prompt = with_history(prompt, [as_list(exchange) or [] for exchange in earlier])
        return with_system(prompt, self.system(values))

    def system(self, values: Mapping[str, Any]) -> str:
        """The system text of a row; empty where there is none."""
        for path in self.layout.system:
            value = path.value(values)
            if value is not ABSENT and value is not None:
                return content_text(value, path.text)
        return ""

    def _usable(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with its JSON texts read.

        Raises:
            OtherTaskError: ``where`` leaves it out.
        """
        texts = {name: value for name in self.layout.json if isinstance(value := values.get(name), str)}
        decoded = {name: _json(text, name) for name, text in texts.items() if text.lstrip().startswith(("[", "{"))}
        values = {**values, **decoded}
        for path, wanted, has in self.layout.where:
            value = path.value(values)
            if (value is not ABSENT and any(fnmatchcase(folded(value), pattern) for pattern in wanted)) != has:
                reason = f"{path.text} is there" if wanted == ("*",) else f"other {path.text}"
                raise OtherTaskError(reason, "nothing" if value is ABSENT else f"{value!r:.40}")
        return values

    def _records(self, row: Row) -> list[Record] | None:
        """Records of a row; None where it waits for others of its prompt."""
        prompt = self.prompt(row.values)
        left, right = self._candidates(row.values)
        if not left:
            if prompt is None:
                raise OddRowError("no prompt")
            record = BarePrompt(**_fields(prompt))
            check_unicode(record.prompt)
            return [record]
        system = "" if prompt is not None else self.system(row.values)
        left, right = ([self._whole_side(prompt, system, each) for each in side] for side in (left, right))
        if self.layout.pairs_rows:
            dialogue, _ = one_dialogue(prompt, [left[0].side])
            key = json.dumps([(turn.role, turn.text.strip()) for turn in dialogue.turns])
            self._groups.setdefault(key, []).append((row, dialogue, left[0]))
            return None
        if len(left) + len(right) == 1:
            return [self._demonstration(prompt, left[0])]
        return self._pairs(row.values, prompt, left, right)

    def _whole_side(self, prompt: Dialogue | None, system: str, each: Candidate) -> Candidate:
        """A response with what it says itself of the turns before it, and a conversation with the row's system text."""
        side = whole_in(prompt, each.side)
        return replace(each, side=side if side.is_response_alone else with_system(side, system) or side)

    def _grouped(self, group: list[tuple[Row, Dialogue, Candidate]]) -> ReadRow:
        (row, prompt, _), *_ = group
        try:
            if len(group) < 2:
                raise OtherTaskError("only one response to its prompt")
            candidates = [candidate for _, _, candidate in group]
            return ReadRow(row.place, tuple(self._pairs(row.values, prompt, candidates, [])), values=row.values)
        except OddRowError as odd:
            return ReadRow(row.place, (), odd, row.values)

    def _candidates(self, values: Mapping[str, Any]) -> tuple[list[Candidate], list[Candidate]]:
        """Responses of one side and of the other; of a list all on the one side."""
        responses = self.layout.responses
        if responses.per_row is not None:
            return [
                self._candidate(values, responses.per_row, values, _source(responses.source, values, values, 0))
            ], []
        if responses.each is not None:
            return self._listed(values), []
        sides = [self._named(values, number) for number in range(len(responses.paths))]
        if sides and not any(sides):
            raise OddRowError("no response", f"{responses.paths[0].text} has none")
        if not all(sides):
            sides = [side or self._alone(values, number) for number, side in enumerate(sides)]
        return (sides[0] if sides else []), (sides[1] if len(sides) > 1 else [])

    def _named(self, values: Mapping[str, Any], number: int) -> list[Candidate]:
        path = self.layout.responses.paths[number]
        sources = self.layout.responses.sources
        source = _named_source(sources[number] if number < len(sources) else None, values)
        if path.has_many:
            found = list(path.values(values))
            if messages_in(found):
                raise OddRowError("a conversation where several responses are expected", path.text)
            return [Candidate(self._response(text, path.text), values, source) for text in found]
        return [self._candidate(values, path, values, source)]

    def _alone(self, values: Mapping[str, Any], number: int) -> list[Candidate]:
        """The one response where the other side has a list."""
        path = self.layout.responses.paths[number]
        text = path_of(path.text.removesuffix("[*]")).value(values)
        if not isinstance(text, str) or is_blank(text):
            raise OddRowError("no response", f"{path.text} has none")
        sources = self.layout.responses.sources
        source = _named_source(sources[number] if number < len(sources) else None, values)
        return [Candidate(self._response(text, path.text), values, source)]

    def _listed(self, values: Mapping[str, Any]) -> list[Candidate]:
        responses = self.layout.responses
        assert responses.each is not None
        items = as_list(responses.each.value(values))
        if items is None:
            raise OddRowError("no list of responses", responses.each.text)
        if len(items) < 2:
            raise OddRowError("fewer than two responses", responses.each.text)
        found = []
        for index, item in enumerate(items):
            text = item if responses.text is None else responses.text.value(item)
            name = (
                responses.each.text
                if responses.text is None
                else f"{responses.each.text}[{index}].{responses.text.text}"
            )
            found.append(Candidate(self._response(text, name), item, _source(responses.source, values, item, index)))
        return found

    def _candidate(self, values: Mapping[str, Any], path: ValuePath, item: object, source: str) -> Candidate:
        return Candidate(self._response(path.value(values), path.text), item, source)

    def _demonstration(self, prompt: Dialogue | None, candidate: Candidate) -> SingleResponse:
        dialogue, (response,) = one_dialogue(prompt, [candidate.side])
        if is_blank(response):
            raise OddRowError("empty response")
        record = SingleResponse(**_fields(dialogue), response=response)
        check_unicode(record.prompt, response)
        return record

    def _pairs(
        self, values: Mapping[str, Any], prompt: Dialogue | None, left: Sequence[Candidate], right: Sequence[Candidate]
    ) -> list[Record]:
        candidates = [*left, *right]
        dialogue, texts = one_dialogue(prompt, [candidate.side for candidate in candidates])
        texts = [text.removeprefix(" ") for text in texts] if self.layout.leading_space else texts
        labels = PairLabels(self.layout, values, [candidate.item for candidate in candidates])
        with label_of(str(_fields(dialogue)["prompt"]), texts[0], texts[-1]):
            chosen = self._chosen(labels, texts, len(left))
            weight = self._weight(values) / len(chosen)
            confidence = number_at(self.layout.confidence, values)
        pairs = [self._pair(dialogue, labels, indices, texts, candidates) for indices in chosen]
        for pair in pairs:
            check_pair(pair)
        return [replace(pair, weight=weight, confidence=confidence) for pair in pairs]

    def _chosen(self, labels: PairLabels, texts: Sequence[str], num_left: int) -> list[tuple[int, int]]:
        """The pairs that are compared, those of equal texts only where there are no others."""
        if num_left < len(texts):
            chosen = [(first, second) for first in range(num_left) for second in range(num_left, len(texts))]
        else:
            worth = [labels.worth(index) for index in range(num_left)]
            chosen = pairs_of(num_left, self.layout.pairing, worth)
            if labels.has_two_grades:  # two good responses were not compared
                chosen = [(i, j) for i, j in chosen if worth[i] is None or worth[j] is None or worth[i] != worth[j]]
                if not chosen:
                    raise OtherTaskError("only good or only bad responses to its prompt")
        if not chosen:
            raise OddRowError("fewer than two responses with a score")
        return [(i, j) for i, j in chosen if texts[i].strip() != texts[j].strip()] or chosen[:1]

    def _pair(
        self,
        dialogue: Dialogue,
        labels: PairLabels,
        indices: tuple[int, int],
        texts: Sequence[str],
        candidates: Sequence[Candidate],
    ) -> LabeledPair:
        i, j = indices
        fields = _fields(dialogue)
        prompt = str(fields["prompt"])
        if labels.label is not None and labels.label.kind in DRAWN_ORDER:
            *_, better_is_first = chosen_and_rejected(prompt, texts[i], texts[j])
            i, j = (i, j) if better_is_first else (j, i)
        with label_of(prompt, texts[i], texts[j]):
            p_first = labels.p_first(i, j)
        return LabeledPair(
            **fields,
            first=texts[i],
            second=texts[j],
            p_first=p_first,
            first_source=candidates[i].source,
            second_source=candidates[j].source,
        )

    def _weight(self, values: Mapping[str, Any]) -> float:
        weight = number_at(self.layout.weight, values)
        if weight is not None and weight < 0.0:
            name = self.layout.weight.text if self.layout.weight else ""
            raise OddRowError("no weight", f"{name}={weight:g}")
        return 1.0 if weight is None else weight


def _fields(dialogue: Dialogue) -> dict[str, Any]:
    """The prompt's fields of a record: a transcript as it is written, else the turns.

    Raises:
        OddRowError: The last message is the user's and says nothing.
    """
    if dialogue.transcript is not None:
        return {"prompt": dialogue.transcript}
    last = dialogue.turns[-1]
    if last.role == "user" and not last.text.strip():
        raise OddRowError("empty prompt")
    return dict(record_of(dialogue.turns))


def _text_of_prompt(spec: PromptText, values: Mapping[str, Any]) -> str:
    texts = {}
    for path in spec.paths:
        value = path.value(values)
        texts[path.text] = "" if value is ABSENT or value is None else text_of(value, path.text)
    if not spec.template:
        return spec.separator.join(text for text in texts.values() if text.strip().casefold() not in NO_INPUT)
    needed = [path.text for path in spec.paths if not path.optional and not texts[path.text].strip()]
    if needed:
        raise OddRowError("empty prompt", f"{', '.join(needed)} is empty")
    names = {f"({path.text})" if path.optional else path.text: texts[path.text] for path in spec.paths}
    # In one pass: a text may hold what looks like another path's place.
    places = re.compile("|".join(re.escape(f"{{{name}}}") for name in names))
    return places.sub(lambda place: names[place[0][1:-1]], spec.template)


def _source(path: ValuePath | None, row: Mapping[str, Any], item: object, index: int) -> str:
    """The writer of one response of a list."""
    if path is None:
        return UNKNOWN_WRITER
    if not path.text.startswith(ROW):
        return _named_source(path, item)
    names = as_list(path_of(path.text.removeprefix(ROW)).value(row)) or []
    return str(names[index]) if index < len(names) else UNKNOWN_WRITER


def _named_source(path: ValuePath | None, values: object) -> str:
    value = ABSENT if path is None else path.value(values)
    return UNKNOWN_WRITER if value is ABSENT or value is None or value == "" else str(value)


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise OddRowError("no JSON", f"{name}: {text[:40]!r}") from None
