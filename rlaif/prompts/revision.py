"""Critique and revision: a model says where a response breaks a principle, and rewrites it.

Source: Constitutional AI (Bai et al., arXiv 2212.08073, section 3.1).
"""

from __future__ import annotations

from pathlib import Path

from rlaif.errors import ConfigError
from rlaif.prompts.forms import Forms, form
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


def read_principles(path: str | None, option: str) -> tuple[str, ...]:
    """The principles of a text file, one a line; empty lines and lines that begin with ``#`` are passed over.

    Args:
        path: The file; None takes our own.
        option: The option that names it, for messages.

    Raises:
        ConfigError: The file cannot be read, holds none, or holds one twice.
    """
    try:
        text = form("principles") if path is None else Path(path).expanduser().read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}={path}: must be a text file with one principle a line ({error})") from error
    lines = [line.strip() for line in text.split("\n")]  # read_text has made every end of a line one
    principles = tuple(line for line in lines if line and not line.startswith("#"))
    twice = [line for line in dict.fromkeys(principles) if principles.count(line) > 1]
    problems = [] if principles else [f"{option}={path}: holds no principle; write one a line"]
    problems += [f"{option}={path}: holds twice: {line}" for line in twice]
    if problems:
        raise ConfigError(problems)
    return principles
