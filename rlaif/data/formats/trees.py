"""Trees of messages with ranked replies (OASST), as rows: one per message whose replies can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlaif.data.formats.base import OddRowError
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
    root = tree.root.value(values)
    if root is ABSENT or not isinstance(root, Mapping):
        raise OddRowError("no tree", f"{tree.root.text} holds no message")
    found = False
    for row in _walk(tree, root, []):
        found = True
        yield row
    if not found:
        raise OddRowError("fewer than two ranked answers")


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
