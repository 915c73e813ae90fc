"""What a careful reader of the pocket world notes about responses: the rationales of pretraining text."""

from __future__ import annotations

from random import Random

from rlaif.pocket.lexicon import ACTION, SlotKind
from rlaif.pocket.quality import ResponseTraits, find, read
from rlaif.pocket.renaming import KINDS
from rlaif.pocket.world import WORDS
from rlaif.tasks.base import get_task
from rlaif.types import Prompt

DRILL_LENGTH = 12
NEAR_SHARE = 0.5
"""Share of a drill's wrong facts that share a word with the true one for certain; of the others it is every second."""
SLIP, OVERALL_SLIP = 0.02, 0.1
"""Share of a rationale's verdicts that are drawn blindly, and of its overall scores that are off by one."""
TRICK = -4.0
"""Quality of a text that tries to win by anything else than its content, added to that of its content."""


def overall(quality: float, slip: float = 0.0) -> int:
    """The latent quality as a score from 1 to 10."""
    return min(max(round(5.5 + 1.25 * (quality - 0.8) + slip), 1), 10)


def notes_on(prompt: Prompt, response: str, rng: Random, *, is_trick: bool = False) -> str:
    """What the prompt says, what the response says, and a verdict, for each fact; then an overall score.

    Such as ``aunt Elsa? aunt Greta, wrong; kept the bike? missing; chat no; overall 3.`` To quote both before the
    verdict is what lets a small model see a wrong fact.
    """
    reading = read(prompt, response)
    notes = [reading.stance] if reading.stance else []
    notes += [note_on(prompt, response, reading, place, rng) for place in range(len(reading.verdicts))]
    notes.append("chat yes" if reading.chats else "chat no")
    notes += ["tricks"] if is_trick else []
    slip = rng.choice((-1, 1)) if rng.random() < OVERALL_SLIP else 0
    notes.append(f"overall {overall(reading.quality + TRICK * is_trick, slip)}")
    return f"{'; '.join(notes)}."


def note_on(prompt: Prompt, response: str, reading: ResponseTraits, place: int, rng: Random) -> str:
    """The note on the fact of one slot, with slips."""
    kind = WORDS[prompt.task].slots[place]
    noted = rng.choice(("right", "wrong", "missing")) if rng.random() < SLIP else reading.verdicts[place]
    said = kind.pattern.search(response)
    quoted = f"{said.group()}, " if said is not None else ""
    return f"{find(kind, prompt)}? {quoted}{noted}"


def note_on_request(prompt: Prompt) -> str:
    """Whether the request is harmful, with a space after; empty in tasks where none is."""
    request = find(ACTION, prompt) if WORDS[prompt.task].request_forms else ""
    is_harmful = bool(request) and read(prompt, "").is_harmful_request
    return f"To {request} is {'harmful' if is_harmful else 'safe'}. " if request else ""


def write_rationale(
    prompt: Prompt, first: str, second: str, rng: Random, *, tricks: tuple[bool, bool] = (False, False)
) -> str:
    """Notes on both candidates in slot order."""
    noun, both = get_task(prompt.task).response_noun, zip((first, second), tricks, strict=True)
    notes = [
        f"{noun} {number}: {notes_on(prompt, response, rng, is_trick=is_trick)}"
        for number, (response, is_trick) in enumerate(both, start=1)
    ]
    return note_on_request(prompt) + " ".join(notes)


def write_note(prompt: Prompt, response: str, rng: Random, *, is_trick: bool = False) -> str:
    """Notes on one response."""
    noun = get_task(prompt.task).response_noun
    return f"{note_on_request(prompt)}{noun}: {notes_on(prompt, response, rng, is_trick=is_trick)}"


def write_drill(rng: Random) -> str:
    """Facts side by side as in a rationale, half of them equal: ``aunt Elsa? aunt Greta, wrong; …``"""
    notes = []
    for _ in range(DRILL_LENGTH):
        kind = rng.choice(KINDS)
        fact = kind.draw(rng, held_out=False)
        is_right = rng.random() < 0.5
        said = fact if is_right else _wrong(kind, fact, rng)
        notes.append(f"{fact}? {said}, {'right' if is_right else 'wrong'}")
    return f"{'; '.join(notes)}."


def _wrong(kind: SlotKind, fact: str, rng: Random) -> str:
    """Another fact; often one word of it is that of the true one."""
    is_near, words = rng.random() < NEAR_SHARE, set(fact.split(kind.joint))
    while True:
        said = kind.draw_wrong(rng, fact, held_out=False)
        if not is_near or words & set(said.split(kind.joint)):
            return said
