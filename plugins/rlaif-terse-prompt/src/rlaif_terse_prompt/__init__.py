"""A prompt strategy without a preamble: the input, the candidates, a stub."""

from __future__ import annotations

from rlaif.tasks.base import Task
from rlaif.types import Segment, StructuredPrompt, content_id

VERSION = "1"
"""Raise it when the wording changes, so that labels of the old wording are not reused."""


class TersePrompts:
    """Asks in as few words as possible. Group ``rlaif.prompts``, name ``terse``.

    Text by others is in data segments: an engine tokenizes them without special tokens, so a
    response cannot pass for a part of the prompt.

    Args:
        ask: The word before the answer, as in ``Better: 1``.
    """

    def __init__(self, *, ask: str = "Better") -> None:
        self.ask = ask

    @property
    def identity(self) -> str:
        """Content hash of the wording."""
        return content_id("terse", VERSION, self.ask)

    def pairwise(
        self, task: Task, prompt_text: str, first: str, second: str, *, rationale: str | None = None
    ) -> StructuredPrompt:
        """Ask which candidate is better; the answer is "1" or "2".

        Args:
            task: Names the input and the candidates.
            prompt_text: ``Prompt.text``.
            first: Candidate in slot 1.
            second: Candidate in slot 2.
            rationale: The thoughts to judge by; None asks directly.
        """
        segments = self._sample(task, prompt_text, first, second)
        if rationale is not None:
            segments += [Segment(text="Why:"), _data(rationale), Segment(text="\n")]
        return self._finish([*segments, Segment(text=f"{self.ask}:")])

    def rationale_request(self, task: Task, prompt_text: str, first: str, second: str) -> StructuredPrompt:
        """First step of chain of thought: the model goes on with one line of reasons."""
        return self._finish([*self._sample(task, prompt_text, first, second), Segment(text="Why:")])

    def rating(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """Ask for a score from 1 to 10."""
        return self._finish([*self._single(task, prompt_text, response), Segment(text="Score from 1 to 10:")])

    def binary(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """Ask for good or bad."""
        return self._finish([*self._single(task, prompt_text, response), Segment(text="good or bad:")])

    def _sample(self, task: Task, prompt_text: str, first: str, second: str) -> list[Segment]:
        segments = [Segment(text=f"{task.context_noun}:"), _data(task.judge_text(prompt_text))]
        for number, response in enumerate((first, second), start=1):
            segments += [Segment(text=f"\n{number}:"), _data(response)]
        return [*segments, Segment(text="\n")]

    def _single(self, task: Task, prompt_text: str, response: str) -> list[Segment]:
        context = [Segment(text=f"{task.context_noun}:"), _data(task.judge_text(prompt_text))]
        return [*context, Segment(text=f"\n{task.response_noun}:"), _data(response), Segment(text="\n")]

    def _finish(self, segments: list[Segment]) -> StructuredPrompt:
        return StructuredPrompt(segments=tuple(segments), template_id=self.identity)


def _data(text: str) -> Segment:
    return Segment(text=f" {text.strip()}", is_data=True)
