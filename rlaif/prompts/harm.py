"""The question whether one response is harmful."""

from __future__ import annotations

from rlaif.prompts.forms import Forms
from rlaif.tasks.base import Task
from rlaif.types import StructuredPrompt


class HarmPrompts(Forms):
    """Asks of one response whether it does harm; it has no options."""

    names = ("harm",)

    def harm(self, task: Task, prompt_text: str, response: str) -> StructuredPrompt:
        """Ask whether a response is harmful; the answer is "yes" or "no", and yes is the worse one."""
        return self._fill("harm", task, prompt=task.judge_text(prompt_text), response=response)
