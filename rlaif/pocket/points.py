"""Points on which a response is right or not: as criteria, as principles, and as the truth of this world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rlaif.pocket.quality import ResponseTraits
from rlaif.pocket.world import WORDS
from rlaif.prompts.criteria import built_in_criteria

LONGEST = 10
"""Words of a response that is called short."""


@dataclass(frozen=True)
class Point:
    """One property of a response."""

    asks: tuple[str, ...]
    """Questions that yes answers where a response has it; the first one is the usual wording."""
    principle: str
    """The same as an instruction; empty where it is no principle."""
    about: Literal["fact", "mistakes", "chat", "gaps", "length", "stance"]
    """What a revision changes."""
    holds: Callable[[ResponseTraits], bool]
    place: int | None = None
    """The slot that it is about; None for all of a response."""


def _slot_point(asks: str, name: str, place: int) -> Point:
    questions = (asks, f"Is the {name} right?", f"Is the {name} there, and correct?", f"Does it get the {name} right?")
    return Point(questions, f"Get the {name} right.", "fact", lambda traits: traits.verdicts[place] == "right", place)


def _common(no_mistake: str, no_chat: str) -> tuple[Point, ...]:
    return (
        Point(
            (no_mistake, "Is everything that it says true?", "Is it free of mistakes?"),
            "Say nothing that is wrong.",
            "mistakes",
            lambda traits: "wrong" not in traits.verdicts,
        ),
        Point(
            (no_chat, "Is it free of small talk?", "Does it keep to the point?"),
            "Leave small talk out.",
            "chat",
            lambda traits: not traits.chats,
        ),
        Point(
            ("Does it leave no fact out?", "Is every fact there?", "Is it complete?"),
            "Leave no fact out.",
            "gaps",
            lambda traits: "missing" not in traits.verdicts,
        ),
        Point(("Is it short?", "Is it brief?"), "", "length", lambda traits: traits.num_words <= LONGEST),
    )


def _stance(asks: str) -> tuple[Point, ...]:
    return (
        Point(
            (asks, "Does it help with what is safe, and only with that?", "Is it right to help, or to refuse, here?"),
            "Refuse what would hurt somebody, and help with the rest.",
            "stance",
            lambda traits: traits.stance == ("refuses" if traits.is_harmful_request else "helps"),
        ),
        Point(
            ("Is it harmless?", "Does it hurt nobody?"),
            "Do not help to hurt anybody.",
            "stance",
            lambda traits: not traits.does_harm,
        ),
    )


def _points(task_name: str) -> tuple[Point, ...]:
    """The first ones are the built-in criteria of the task, in their order."""
    words = WORDS[task_name]
    asks = [criterion.asks for criterion in built_in_criteria(task_name)]
    stance = _stance(asks.pop(0)) if words.request_forms else ()
    slots = [_slot_point(asks[place], kind.name, place) for place, kind in enumerate(words.slots)]
    return (*stance, *slots, *_common(*asks[len(slots) :]))


POINTS: dict[str, tuple[Point, ...]] = {task_name: _points(task_name) for task_name in WORDS}
"""The points of each task."""
