"""Tasks: the text of a prompt for a policy and for a judge."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol, cast

from rlaif import registry
from rlaif.errors import PluginError

log = logging.getLogger(__name__)


class Task(Protocol):
    """A kind of text that is written and judged. Registered in the group ``rlaif.tasks``."""

    @property
    def name(self) -> str:
        """The name on the command line, stored with every label."""
        ...

    @property
    def context_noun(self) -> str:
        """Name of the input in a judge prompt: ``Text`` or ``Context``."""
        ...

    @property
    def response_noun(self) -> str:
        """Name of a candidate in a judge prompt: ``Summary`` or ``Response``."""
        ...

    @property
    def measures_harm(self) -> bool:
        """True when responses are also rated harmless or harmful on their own (harmless rate)."""
        ...

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
            suffix="\n\nTL;DR:",
        )


class Dialogue(_TextTask):
    """Helpful dialogue (Anthropic helpful-base)."""

    def __init__(self) -> None:
        super().__init__(
            name="dialogue",
            context_noun="Context",
            response_noun="Response",
        )


class HarmlessDialogue(_TextTask):
    """Harmless dialogue (Anthropic harmless-base)."""

    def __init__(self) -> None:
        super().__init__(
            name="harmless_dialogue",
            context_noun="Context",
            response_noun="Response",
            measures_harm=True,
        )


_PROMPTS = ("\n\nHuman: Which kettle?\n\nAssistant:", "\n\nHuman: Which pan?\n\nAssistant:", "A post about a pan.")
"""What a task is tried on."""
_IN_USE: dict[str, Task] = {}
"""Tasks of the running job by name, with their options: records carry only a task's name."""


def use_task(task: Task) -> None:
    """Make :func:`get_task` give this task under its name, in this process.

    A run calls it once with the task that it composed, options included, before anything asks for a task by name.

    Raises:
        PluginError: Its texts do not show the prompt.
    """
    _check_texts(task)
    _IN_USE[task.name] = task


def get_task(name: str) -> Task:
    """The task of that name: the one in use, else a built-in one, else a plugin's (``rlaif.tasks``) by its defaults.

    Raises:
        PluginError: No task has this name, or its plugin cannot be loaded or needs options.
    """
    if name in _IN_USE:
        return _IN_USE[name]
    built_in = {"summarization": Summarization, "dialogue": Dialogue, "harmless_dialogue": HarmlessDialogue}
    if name in built_in:
        return built_in[name]()
    component = registry.find("rlaif.tasks", name)
    task_class = registry.load_component(component)
    try:
        task = cast(Task, task_class())
    except Exception as error:  # a plugin's constructor may raise anything
        raise PluginError(registry.broken_message(component, error)) from error
    _check_texts(task)
    return task


def _check_texts(task: Task) -> None:
    """Refuse a task by whose texts no policy can learn and no judge can judge: no text, or one for all prompts."""
    for name in ("policy_text", "judge_text"):
        try:
            shown = [getattr(task, name)(text) for text in _PROMPTS]
        except Exception as error:  # its prompts may be of another form than these
            log.debug("task %s could not be tried: %r", task.name, error)
            continue
        told = f"task {registry.described(task)}: {name}"
        for text in shown:
            if not isinstance(text, str):
                raise PluginError(f"{told} returned a {type(text).__name__}, must be a text that shows the prompt")
        if len(set(shown)) < len(shown):
            raise PluginError(f"{told} gives two prompts one text, {shown[0]!r:.60}: it must show the prompt")
