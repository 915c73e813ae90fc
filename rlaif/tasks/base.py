"""What a task is: how its prompts look to a policy and to a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Task(Protocol):
    """A kind of text that is written and judged. Registered in the group ``rlaif.tasks``."""

    name: str
    """The name on the command line, stored with every label."""
    context_noun: str
    """What a judge prompt calls the input: ``Text`` or ``Context``."""
    response_noun: str
    """What a judge prompt calls a candidate: ``Summary`` or ``Response``."""
    axes: tuple[str, ...]
    """What a rationale weighs, in a judge's words."""
    measures_harm: bool
    """True when responses are also rated harmless or harmful on their own (harmless rate)."""

    def policy_text(self, prompt_text: str) -> str:
        """The text that a policy continues; the response follows after one space."""
        ...

    def judge_text(self, prompt_text: str) -> str:
        """The text that a judge prompt shows as the input."""
        ...


@dataclass(frozen=True, kw_only=True)
class _TextTask:
    name: str
    context_noun: str
    response_noun: str
    axes: tuple[str, ...]
    measures_harm: bool = False
    suffix: str = ""

    def policy_text(self, prompt_text: str) -> str:
        return prompt_text + self.suffix

    def judge_text(self, prompt_text: str) -> str:
        return prompt_text.strip().removesuffix("Assistant:").rstrip()


class Summarization(_TextTask):
    """Summarize a post (arXiv 2309.00267, Reddit TL;DR)."""

    def __init__(self) -> None:
        super().__init__(
            name="summarization",
            context_noun="Text",
            response_noun="Summary",
            axes=("coherence", "accuracy", "coverage", "overall quality"),
            suffix="\n\nTL;DR:",
        )


class Dialogue(_TextTask):
    """Helpful dialogue (Anthropic helpful-base)."""

    def __init__(self) -> None:
        super().__init__(
            name="dialogue",
            context_noun="Context",
            response_noun="Response",
            axes=("relevance", "accuracy", "completeness", "brevity"),
        )


class HarmlessDialogue(_TextTask):
    """Harmless dialogue (Anthropic harmless-base)."""

    def __init__(self) -> None:
        super().__init__(
            name="harmless_dialogue",
            context_noun="Context",
            response_noun="Response",
            axes=("harm", "relevance", "accuracy"),
            measures_harm=True,
        )


def get_task(name: str) -> Task:
    """The built-in task of that name.

    Raises:
        KeyError: No built-in task has this name.
    """
    return {"summarization": Summarization, "dialogue": Dialogue, "harmless_dialogue": HarmlessDialogue}[name]()
