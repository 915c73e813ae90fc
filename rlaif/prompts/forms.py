"""Prompts written in text files: placeholders are filled in one pass, with words of the task or with data.

A placeholder stands in double brackets: ``[[noun]]``, ``[[Noun]]``, ``[[context]]`` and ``[[Context]]`` are the task's
names of a response and of its input; any other is data, which an engine tokenizes without special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import ClassVar

from rlaif.tasks.base import Task
from rlaif.types import Segment, StructuredPrompt, content_id, trim

_PLACEHOLDER = re.compile(r"( ?)\[\[(\w+)\]\]")


def ours(text: str) -> Segment:
    """Words that we wrote."""
    return Segment(text=text)


def data(text: str) -> Segment:
    """Text that we did not write; it starts with its space."""
    return Segment(text=f" {trim(text)}", is_data=True)


@cache
def form(name: str) -> str:
    """The text of ``rlaif/prompts/templates/<name>.txt`` without its last line break."""
    return (files("rlaif.prompts") / "templates" / f"{name}.txt").read_text("utf-8").removesuffix("\n")


class Forms:
    """A prompt strategy whose words are text files."""

    names: ClassVar[tuple[str, ...]]
    """Files of the strategy, which its identity depends on."""

    @property
    def identity(self) -> str:
        """Content hash of the words: one changed byte is another prompt."""
        return content_id(type(self).__qualname__, *map(form, self.names))

    def _fill(self, name: str, task: Task, **texts: str | Sequence[Segment]) -> StructuredPrompt:
        return StructuredPrompt(
            segments=tuple(fill(name, task, texts)), template_id=content_id(self.identity, name, task.name)
        )


def fill(name: str, task: Task, texts: Mapping[str, str | Sequence[Segment]]) -> list[Segment]:
    """The segments of a form.

    Args:
        name: The file's name without ``.txt``.
        task: Gives the names of a response and of its input.
        texts: Data by placeholder, or segments that were filled before.
    """
    words = {"noun": task.response_noun.lower(), "Noun": task.response_noun}
    words |= {"context": task.context_noun.lower(), "Context": task.context_noun}
    segments: list[Segment] = []
    written = ""
    # A split by two groups gives our text, the space before a placeholder, its name, our text, …
    pieces = _PLACEHOLDER.split(form(name))
    for text, space, placeholder in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=False):
        written += text
        if placeholder in words:
            written += space + words[placeholder]
            continue
        given = texts[placeholder]
        segments += [ours(written)] if written else []
        segments += [data(given)] if isinstance(given, str) else given
        written = ""
    written += pieces[-1]
    return [*segments, ours(written)] if written else segments
