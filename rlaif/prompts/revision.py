"""Critique and revision: a model says where a response breaks a principle, and rewrites it.

Source: Constitutional AI (Bai et al., arXiv 2212.08073, section 3.1).
"""

from __future__ import annotations

from rlaif.prompts.forms import Forms
from rlaif.tasks.base import Task
from rlaif.types import StructuredPrompt


class RevisionPrompts(Forms):
    """Asks for a critique by a principle, and then for a revision; it has no options."""

    names = ("critique", "revision")

    def critique_request(self, task: Task, prompt_text: str, response: str, principle: str) -> StructuredPrompt:
        """Ask where a response does not follow a principle; the critique ends with its line."""
        texts = {"prompt": task.judge_text(prompt_text), "response": response, "principle": principle}
        return self._fill("critique", task, **texts)

    def revision_request(
        self, task: Task, prompt_text: str, response: str, principle: str, critique: str
    ) -> StructuredPrompt:
        """Ask for the response as it should be; the answer is a response.

        Args:
            task: Names the input and the response.
            prompt_text: ``Prompt.text``.
            response: What was criticised.
            principle: What the critique went by.
            critique: The model's own, or somebody's.
        """
        texts = {"prompt": task.judge_text(prompt_text), "response": response, "principle": principle}
        return self._fill("revision", task, **texts, critique=critique)
