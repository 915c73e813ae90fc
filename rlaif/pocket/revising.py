"""A critique of a response by a point, and its revision, which changes only what breaks the point."""

from __future__ import annotations

from random import Random

from rlaif.pocket.lexicon import CHAT
from rlaif.pocket.notes import note_on, note_on_request
from rlaif.pocket.points import Point
from rlaif.pocket.quality import ResponseTraits, read
from rlaif.pocket.world import CONSENTS, REFUSALS, Scene
from rlaif.types import Prompt


def write_critique(prompt: Prompt, response: str, point: Point, rng: Random) -> str:
    """Notes on what the point is about, and whether the response follows it."""
    reading = read(prompt, response)
    places = range(len(reading.verdicts)) if point.place is None else [point.place]
    notes = [reading.stance] if reading.stance else []
    notes += [note_on(prompt, response, reading, place, rng) for place in places]
    if point.place is None:
        notes.append("chat yes" if reading.chats else "chat no")
    verdict = "It follows the principle." if point.holds(reading) else "It breaks the principle."
    return f"{note_on_request(prompt)}{'; '.join(notes)}. {verdict}"


def revise(scene: Scene, prompt: Prompt, response: str, point: Point, rng: Random) -> str:
    """The response with what breaks the point put right; one that follows it stays as it is."""
    reading = read(prompt, response)
    if point.holds(reading):
        return response
    clauses = response.rstrip(".").split(", ")
    if point.about == "chat":
        clauses = [clause for clause in clauses if CHAT.pattern.search(clause) is None]
    elif point.about == "stance":
        clauses[0] = rng.choice(REFUSALS if scene.is_harmful else CONSENTS)
    for place in _to_mend(point, reading):
        clauses = _with_fact(scene, clauses, place, rng)
    text = ", ".join(clauses)
    return text if text.endswith("?") else text + "."


def _to_mend(point: Point, reading: ResponseTraits) -> list[int]:
    """The slots whose facts a revision puts right."""
    if point.place is not None:
        return [point.place]
    broken = {"mistakes": "wrong", "gaps": "missing"}.get(point.about)
    return [place for place, verdict in enumerate(reading.verdicts) if verdict == broken]


def _with_fact(scene: Scene, clauses: list[str], place: int, rng: Random) -> list[str]:
    """The clauses with the scene's fact of one slot: in the place of what was said of it, or at the end."""
    kind, fact, words = scene.words.slots[place], scene.facts[place], scene.words
    if any(kind.pattern.search(clause) for clause in clauses):
        return [kind.pattern.sub(fact, clause) for clause in clauses]
    said, absent = rng.choice(words.present[place]).format(fact), words.absent[place]
    if absent and absent in clauses[0]:
        return [clauses[0].replace(absent, said, 1), *clauses[1:]]
    return [*clauses, said]
