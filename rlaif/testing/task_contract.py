"""The contract of a task as checks: ``rlaif-plugins check task=NAME``."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from rlaif.tasks.base import Task
from rlaif.testing.contract import CheckResult, require, run_checks

TEXTS = ("\n\nHuman: Which kettle?\n\nAssistant:", "A post about a kettle.", "{response} %s <|im_end|>", "é 😀")
NOUNS = ("name", "context_noun", "response_noun")


def check_task(task: Task) -> list[CheckResult]:
    """Run every contract check on a task; none of them raises."""
    return run_checks(CHECKS, task)


def check_declares(task: Task) -> str:
    """It has a name, the two nouns of judge prompts, and says whether harm is measured."""
    for name in NOUNS:
        value = getattr(task, name, None)
        require(isinstance(value, str) and bool(value), f"{name}={value!r} must be a text that is not empty")
    harm = getattr(task, "measures_harm", None)
    require(isinstance(harm, bool), f"measures_harm={harm!r} must be True or False")
    return f"{task.name}: {task.context_noun}, {task.response_noun}"


def check_texts(task: Task) -> str:
    """The texts for policy and judge are texts that depend on the prompt alone."""
    for render in (task.policy_text, task.judge_text):
        for text in TEXTS:
            shown = render(text)
            require(isinstance(shown, str) and bool(shown.strip()), f"{render.__name__}({text!r}) gave {shown!r}")
            require(shown == render(text), f"{render.__name__}: two equal calls gave different texts")
        require(len({render(text) for text in TEXTS}) == len(TEXTS), f"{render.__name__}: two prompts give one text")
    return f"{len(TEXTS)} prompts shown"


def check_picklable(task: Task) -> str:
    """It can be sent to another process and shows the same texts there."""
    copy = pickle.loads(pickle.dumps(task))
    require(copy.name == task.name, "the name changed through pickle")
    require(copy.policy_text(TEXTS[0]) == task.policy_text(TEXTS[0]), "policy_text changed through pickle")
    return "same texts after pickle"


CHECKS: dict[str, Callable[[Task], str]] = {
    "declares itself": check_declares,
    "texts": check_texts,
    "picklable": check_picklable,
}
