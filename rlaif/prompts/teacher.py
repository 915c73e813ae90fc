"""The request to write a good response, by which a model is a teacher."""

from __future__ import annotations

from rlaif.prompts.forms import Forms
from rlaif.tasks.base import Task
from rlaif.types import StructuredPrompt


class TeacherPrompts(Forms):
    """Asks for a careful response to a prompt, which may become a demonstration; it has no options."""

    names = ("teacher",)

    def answer_request(self, task: Task, prompt_text: str) -> StructuredPrompt:
        """Ask for a response; the answer is the response itself."""
        return self._fill("teacher", task, prompt=task.judge_text(prompt_text))
