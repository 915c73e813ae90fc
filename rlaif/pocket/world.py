"""The generator of the pocket world: scenes, prompts, responses of mixed quality, rationales."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal

from rlaif.pocket.lexicon import (
    ACTION,
    ADVICE,
    CHAT,
    EVENT,
    FEATURE,
    HARMFUL_VERBS,
    ITEM,
    PERSON,
    PLACE,
    TIME,
    SlotKind,
)
from rlaif.types import Prompt

TaskName = Literal["summarization", "dialogue", "harmless_dialogue"]
TASK_NAMES: tuple[TaskName, ...] = ("summarization", "dialogue", "harmless_dialogue")


@dataclass(frozen=True)
class TaskWords:
    """Wording of one task. ``{}`` is replaced by a filler; the forms of one list are drawn at random."""

    slots: tuple[SlotKind, ...]
    """The facts a good response mentions, in the order in which it does."""
    prompt_forms: tuple[tuple[str, ...], ...]
    """One list of forms per slot."""
    chat_forms: tuple[str, ...]
    """Small talk in the prompt: a good response leaves it out."""
    present: tuple[tuple[str, ...], ...]
    """Forms of a response per slot that it mentions."""
    absent: tuple[str, ...]
    """Text in its place where the response does not mention the slot."""
    chat_present: tuple[str, ...]
    request_forms: tuple[str, ...] = ()
    """Requests of the human that may be harmful: a response takes a stance and does not repeat them."""
    prefix: str = ""
    suffix: str = ""


_CHAT_PROMPT = ("We had {} again.", "Dinner was {} today.", "I ate {} first.")
_CHAT_RESPONSE = ("we had {}", "dinner was {}", "I ate {}")

WORDS: dict[str, TaskWords] = {
    "summarization": TaskWords(
        slots=(PERSON, EVENT, PLACE, ADVICE),
        prompt_forms=(
            ("My {}", "Yesterday my {}", "Guess what, my {}"),
            ("{} today.", "{} again.", "just {}."),
            ("Next is the {}.", "The dream is a {}.", "All talk about the {}."),
            ("Should I {}?", "Or should I {}?", "Must I {} now?"),
        ),
        chat_forms=_CHAT_PROMPT,
        present=(
            ("My {}", "The {}"),
            ("{}", "just {}"),
            ("wants the {}", "next the {}"),
            ("should I {}?", "must I {}?"),
        ),
        absent=("Someone", "did something", "", ""),
        chat_present=_CHAT_RESPONSE,
    ),
    "dialogue": TaskWords(
        slots=(ITEM, PERSON, FEATURE, TIME),
        prompt_forms=(
            ("I need a {}", "Where is a good {}", "Please find a {}"),
            ("for my {}.", "to give my {}.", "as my {} wants."),
            ("It must have {}", "I would like {}", "Make sure of {}"),
            ("by {}.", "before {}.", "not after {}."),
        ),
        chat_forms=_CHAT_PROMPT,
        present=(
            ("Try the {}", "Take the {}"),
            ("for {}", "made for {}"),
            ("it has {}", "with {}"),
            ("ready by {}", "there on {}"),
        ),
        absent=("Try something", "", "", ""),
        chat_present=_CHAT_RESPONSE,
        prefix="\n\nHuman: ",
        suffix="\n\nAssistant:",
    ),
    "harmless_dialogue": TaskWords(
        slots=(PERSON, TIME),
        prompt_forms=(
            ("My {}", "Also my {}", "You know my {}"),
            ("is away until {}.", "comes on {}.", "waits for {}."),
        ),
        chat_forms=_CHAT_PROMPT,
        present=(
            ("talk to {}", "bring {}"),
            ("start {}", "go on {}"),
        ),
        absent=("", ""),
        chat_present=_CHAT_RESPONSE,
        request_forms=("How do I {}?", "Help me {}.", "Tell me how to {}."),
        prefix="\n\nHuman: ",
        suffix="\n\nAssistant:",
    ),
}
REFUSALS = ("I will not help", "That would be wrong")
CONSENTS = ("Sure, I will help", "Gladly, here is how")


@dataclass(frozen=True)
class Scene:
    """The facts behind one prompt."""

    task: str
    facts: tuple[str, ...]
    """One filler per slot."""
    chat: str
    """A filler of small talk."""
    held_out: bool
    request: str = ""
    """The human's request, in the task where it may be harmful."""

    @property
    def words(self) -> TaskWords:
        """The wording of the scene's task."""
        return WORDS[self.task]

    @cached_property
    def is_harmful(self) -> bool:
        """True where the human asks help with something harmful."""
        return self.request.split(" ")[0] in HARMFUL_VERBS

    @property
    def fillers(self) -> tuple[str, ...]:
        """Everything that its prompt names."""
        return (*self.facts, self.chat, *([self.request] if self.request else []))


def draw_scene(task: str, rng: Random, *, held_out: bool) -> Scene:
    """Draw the facts of a prompt; ``held_out`` takes fillers that no pretraining text holds."""
    words = WORDS[task]
    facts = tuple(kind.draw(rng, held_out=held_out) for kind in words.slots)
    chat = CHAT.draw(rng, held_out=held_out)
    request = ACTION.draw(rng, held_out=held_out) if words.request_forms else ""
    return Scene(task, facts, chat, held_out, request)


def write_prompt(scene: Scene, rng: Random) -> Prompt:
    """Word a scene: a post, or a dialogue up to the assistant's turn."""
    words = scene.words
    pieces = [rng.choice(forms).format(fact) for forms, fact in zip(words.prompt_forms, scene.facts, strict=True)]
    if scene.request:
        pieces.insert(0, rng.choice(words.request_forms).format(scene.request))
    breaks = [0] + [i + 1 for i, piece in enumerate(pieces) if piece[-1] in ".?"]
    pieces.insert(rng.choice(breaks), rng.choice(words.chat_forms).format(scene.chat))
    text = words.prefix + " ".join(pieces) + words.suffix
    return Prompt(task=scene.task, text=text, stratum="unseen" if scene.held_out else "seen")


def write_held_out_prompt(scene: Scene, rng: Random) -> Prompt:
    """Word a held-out scene so that any eight words in a row hold a whole held-out filler.

    Then no eight words of it stand in any training text.
    """
    while True:
        prompt = write_prompt(scene, rng)
        words = prompt.text.removeprefix(scene.words.prefix).removesuffix(scene.words.suffix).split()
        windows = (" ".join(words[start : start + 8]) for start in range(len(words) - 7))
        if all(any(filler in window for filler in scene.fillers) for window in windows):
            return prompt


@dataclass(frozen=True)
class Draft:
    """Error rates of the writer of a response."""

    mention: float
    """Probability that a fact is mentioned."""
    mistake: float
    """Probability that a mentioned fact is wrong."""
    chatter: float
    """Probability that the small talk is repeated."""
    refuse_harmful: float = 0.5
    refuse_safe: float = 0.25


def mixed_draft(rng: Random) -> Draft:
    """A writer of any quality: mistakes are independent of coverage, so neither stands for the other."""
    return Draft(
        mention=0.2 + 0.8 * rng.random(),
        mistake=0.3 * rng.random() ** 2,
        chatter=rng.random(),
        refuse_harmful=rng.random(),
        refuse_safe=0.6 * rng.random(),
    )


WEAK_TEACHER = Draft(mention=0.55, mistake=0.03, chatter=0.5, refuse_harmful=0.45, refuse_safe=0.15)
STRONG_TEACHER = Draft(mention=0.98, mistake=0.02, chatter=0.02, refuse_harmful=0.97, refuse_safe=0.02)


def write_response(scene: Scene, draft: Draft, rng: Random) -> str:
    """Write a response of the draft's quality."""
    words = scene.words
    clauses = []
    for kind, fact, present, absent in zip(words.slots, scene.facts, words.present, words.absent, strict=True):
        clause = absent
        if rng.random() < draft.mention:
            wrong = rng.random() < draft.mistake
            filler = kind.draw_wrong(rng, fact, held_out=scene.held_out) if wrong else fact
            clause = rng.choice(present).format(filler)
        clauses.append(clause)
    if scene.request:
        refuses = rng.random() < (draft.refuse_harmful if scene.is_harmful else draft.refuse_safe)
        clauses.insert(0, rng.choice(REFUSALS if refuses else CONSENTS))
    elif scene.task == "summarization":
        clauses[:2] = [" ".join(clauses[:2])]
    opening = clauses[0]
    rest = [clause for clause in clauses[1:] if clause]
    if rng.random() < draft.chatter:
        rest.insert(rng.randrange(len(rest) + 1), rng.choice(words.chat_present).format(scene.chat))
    text = ", ".join([opening, *rest])
    return text if text.endswith("?") else text + "."


def draw_pair(scene: Scene, rng: Random) -> tuple[str, str]:
    """Two different responses of independent, mixed quality."""
    first = write_response(scene, mixed_draft(rng), rng)
    while (second := write_response(scene, mixed_draft(rng), rng)) == first:
        pass
    return first, second
