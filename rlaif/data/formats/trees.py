"""Trees of messages with ranked replies (OASST), nested or flat: one row per message whose replies can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlaif.data.files.rows import Row
from rlaif.data.formats.base import OddRowError, OtherTaskError
from rlaif.data.formats.language import Tree
from rlaif.data.formats.messages import ROLES
from rlaif.data.formats.paths import ABSENT, as_list

PROMPT, REPLIES = "tree_prompt", "tree_replies"
"""Columns of the rows that a tree becomes."""


def tree_rows(tree: Tree, values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One row per message of a person with at least two ranked answers of an assistant.

    Raises:
        OddRowError: There is no message at the root, or no message has two ranked answers.
    """
    assert tree.root is not None
    root = tree.root.value(values)
    if root is ABSENT or not isinstance(root, Mapping):
        raise OddRowError("no tree", f"{tree.root.text} holds no message")
    found = False
    for row in _walk(tree, root, []):
        found = True
        yield row
    if not found:
        raise OddRowError("fewer than two ranked answers")


def flat_rows(tree: Tree, rows: Iterable[Row]) -> Iterator[tuple[Row, OddRowError | None]]:
    """Rows of a file of single messages that name the message they answer.

    Yields:
        One row per message of a person with at least two ranked answers of an assistant, with its answers; a message
        with one ranked answer and why there is no pair.
    """
    messages: dict[str, Row] = {}
    answers: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        messages[str(row.values.get(tree.id))] = row
        if _is_answer(row.values) and row.values.get(tree.rank) is not None:
            answers.setdefault(str(row.values.get(tree.parent)), []).append(row.values)
    for asked, replies in answers.items():
        place = messages[str(replies[0].get(tree.id))].place
        path = _path_to(tree, asked, messages)
        if path is None:
            yield Row(place, replies[0]), OddRowError("a message before it is not in the file", asked)
        elif len(replies) < 2:
            yield messages[asked], OtherTaskError("only one ranked answer")
        else:
            said = {PROMPT: [_message(message) for message in path], REPLIES: replies}
            yield Row(messages[asked].place, {**messages[asked].values, **said}), None


def _path_to(tree: Tree, name: str, messages: Mapping[str, Row]) -> list[Mapping[str, Any]] | None:
    """The messages from the first one to this one; None where one of them is absent, or answers itself."""
    path: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    while name not in ("", "None", "nan"):
        if name in seen or name not in messages:
            return None
        seen.add(name)
        path.insert(0, messages[name].values)
        name = str(messages[name].values.get(tree.parent))
    return path


def _walk(tree: Tree, message: Mapping[str, Any], before: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    path = [*before, message]
    replies = [reply for reply in as_list(message.get(tree.replies)) or [] if isinstance(reply, Mapping)]
    answers = [reply for reply in replies if _is_answer(reply) and reply.get(tree.rank) is not None]
    if len(answers) > 1:
        yield {PROMPT: [_message(item) for item in path], REPLIES: answers}
    for reply in replies:
        yield from _walk(tree, reply, path)


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("role", "text", "content") if key in item}


def _is_answer(reply: Mapping[str, Any]) -> bool:
    """True for an answer of an assistant that was neither deleted nor rejected by its reviewers."""
    if reply.get("deleted") is True or reply.get("review_result") is False:
        return False
    return ROLES.get(str(reply.get("role")).casefold()) == "assistant"
