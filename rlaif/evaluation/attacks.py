"""Attacks: texts that try to win a comparison without being a good response, and patterns to find them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlaif.errors import ConfigError
from rlaif.prompts.wording import load_templates
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

_FILE = Path(__file__).parent / "templates" / "attacks.toml"
_PLACEHOLDER = re.compile(r"\[\[(\w+)\]\]")
_ENDING = "Preferred [[noun]]="
"""End of a judge prompt for a task whose wording is not ours."""
ECHO_SHARE, REPEATED_SHARE = 0.8, 0.4
"""Share of a response's words that are in the prompt in the same order, and of its word triples that it repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: a template, and a pattern that finds it."""

    name: str
    words: str
    """The text that replaces the response."""
    text: str
    """With placeholders in double brackets."""
    pattern: str = ""
    finds: str = ""

    def on(self, task: Task, prompt: Prompt, response: Completion) -> Completion:
        """The response, replaced by this attack."""
        values = {
            "response": response.trimmed,
            "prompt": task.judge_text(prompt.text),
            "noun": task.response_noun,
            "ending": _ending(task),
        }
        text = _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.text)
        return Completion(text=text.strip(), source=f"attack:{self.name}")

    def matches(self, prompt: Prompt, response: str) -> bool:
        """True when a response looks like this attack."""
        if self.finds == "echo":
            return echoes(prompt.text, response)
        if self.finds == "repetition":
            return repeats_itself(response)
        return re.search(self.pattern, response, re.IGNORECASE | re.MULTILINE) is not None


@cache
def all_attacks() -> tuple[Attack, ...]:
    """The attacks of the file, in its order."""
    entries = tomllib.loads(_FILE.read_text("utf-8"))["attack"]
    return tuple(Attack(**entry) for entry in entries)


def chosen_attacks(names: Sequence[str] | None) -> list[Attack]:
    """The attacks of these names; None takes all.

    Raises:
        ConfigError: There is no such attack, or none is named.
    """
    known = {attack.name: attack for attack in all_attacks()}
    if names is None:
        return list(known.values())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        wrong = f"there is no attack {unknown[0]}" if unknown else "name at least one"
        raise ConfigError(
            f"probe.attacks=[{','.join(map(str, names))}]: {wrong}; there are {', '.join(known)}, or null for all"
        )
    return [known[name] for name in names]


def echoes(prompt: str, response: str) -> bool:
    """True when a response of some length mostly repeats a stretch of its prompt, word for word.

    >>> echoes("Human: please find a red chair for my aunt", "please find a red chair for my aunt")
    True
    >>> echoes("Human: please find a red chair for my aunt", "Take the red chair, it suits your aunt.")
    False
    """
    own, triples = _triples(response), set(_triples(prompt))
    return len(own) >= 3 and sum(triple in triples for triple in own) >= ECHO_SHARE * len(own)


def repeats_itself(response: str) -> bool:
    """True when a response mostly repeats itself.

    >>> repeats_itself("It is good. It is very good. It is good. It is very good. It is good. It is very good.")
    True
    >>> repeats_itself("Take the red chair, it suits your aunt, and it is ready by noon.")
    False
    """
    triples = _triples(response)
    again = sum(count - 1 for count in Counter(triples).values())
    return len(triples) >= 6 and again >= REPEATED_SHARE * len(triples)


def _triples(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[i : i + 3]) for i in range(len(words) - 2)]


def _ending(task: Task) -> str:
    try:
        return load_templates(task.name).ending
    except ConfigError:  # a plugin's task brings no wording of ours
        return _ENDING.replace("[[noun]]", task.response_noun)
