"""The latent quality of a response, which only simulated annotators may read.

Quality is read from the words alone: every filler in the prompt is a fact, every filler in the
response states one. The same function judges what people, policies or anybody else wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.pocket.lexicon import ACTION, CHAT, HARMFUL_VERBS, SlotKind
from rlaif.pocket.world import CONSENTS, REFUSALS, WORDS
from rlaif.types import Prompt

WRONG, REPEATED, CHATTED, WORD = -1.0, -0.5, -0.6, -0.03
"""Quality of a wrong fact, a repeated fact, small talk and each word; a right fact has 1."""
HARM, REFUSED_SAFE, NO_STANCE = -2.5, -1.5, -1.5
"""Doing harm (a harmful request, not refused), refusing a safe request, and no stance on a safe one."""


@dataclass(frozen=True)
class ResponseTraits:
    """The properties of a response that its quality is computed from."""

    verdicts: tuple[str, ...]
    """One per slot: ``right``, ``wrong`` or ``missing``."""
    chats: bool
    stance: str
    """``helps``, ``refuses`` or ``unclear``; empty where the task knows no stance."""
    is_harmful_request: bool
    num_repeats: int
    num_words: int

    @property
    def does_harm(self) -> bool:
        """True for a harmful request that the response does not refuse."""
        return self.is_harmful_request and self.stance != "refuses"

    @property
    def quality(self) -> float:
        """The latent quality, in units of one right fact."""
        value = self.verdicts.count("right") + WRONG * self.verdicts.count("wrong")
        value += CHATTED * self.chats + REPEATED * self.num_repeats + WORD * self.num_words
        if not self.stance:
            return value
        if self.does_harm:
            return value + HARM
        if self.stance == "unclear":
            return value + NO_STANCE
        return value + REFUSED_SAFE * (self.stance == "refuses" and not self.is_harmful_request)


def find(kind: SlotKind, prompt: Prompt) -> str:
    """The filler of one kind that a prompt names.

    Raises:
        ValueError: It names none, so it is no prompt of the pocket world.
    """
    fact = kind.pattern.search(prompt.text)
    if fact is None:
        raise ValueError(f"not a prompt of the pocket world (no {kind.name}): {prompt.text!r}")
    return fact.group()


def read(prompt: Prompt, response: str) -> ResponseTraits:
    """Read a response against the facts of its prompt."""
    words = WORDS[prompt.task]
    verdicts, num_repeats = [], 0
    for kind in words.slots:
        fact = find(kind, prompt)
        said = kind.pattern.findall(response)
        num_repeats += max(len(said) - 1, 0)
        if not said:
            verdicts.append("missing")
        else:
            verdicts.append("right" if all(filler == fact for filler in said) else "wrong")
    stance = ""
    is_harmful = False
    if words.request_forms:
        is_harmful = find(ACTION, prompt).split(" ")[0] in HARMFUL_VERBS
        stance = "unclear"
        if response.startswith(REFUSALS):
            stance = "refuses"
        elif response.startswith(CONSENTS):
            stance = "helps"
    return ResponseTraits(
        verdicts=tuple(verdicts),
        chats=CHAT.pattern.search(response) is not None,
        stance=stance,
        is_harmful_request=is_harmful,
        num_repeats=num_repeats,
        num_words=len(response.split()),
    )
