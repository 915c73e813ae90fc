"""Examples of writing: responses, a teacher's and revised ones, critiques, criteria; copies and drills."""

from __future__ import annotations

from rlaif.pocket.examples import CONTEXT_WEIGHT, Example, Piece, judged_draft
from rlaif.pocket.notes import write_drill
from rlaif.pocket.points import POINTS
from rlaif.pocket.quality import read
from rlaif.pocket.revising import revise, write_critique
from rlaif.pocket.world import STRONG_TEACHER, mixed_draft, write_response
from rlaif.prompts.criteria import CriteriaPrompts, LabeledPair
from rlaif.prompts.revision import RevisionPrompts
from rlaif.prompts.teacher import TeacherPrompts
from rlaif.types import Segment, StructuredPrompt

MOST_WRITTEN = 4
"""Criteria that are written at once."""


def write(example: Example) -> list[Piece]:
    """A response of any quality."""
    response = Piece(example.told(write_response(example.scene, mixed_draft(example.rng), example.rng)), 1.0, ends=True)
    text = example.task.policy_text(example.prompt_text)
    return example.asked(StructuredPrompt(segments=(Segment(text=text, is_data=True),)), response, is_text=True)


def teacher(example: Example) -> list[Piece]:
    """A careful response."""
    response = write_response(example.scene, STRONG_TEACHER, example.rng)
    asked = TeacherPrompts().answer_request(example.task, example.prompt_text)
    return example.asked(asked, Piece(example.told(response), 1.0, ends=True), is_text=True)


def critique(example: Example) -> list[Piece]:
    """Where a response breaks a principle, or the response as it is without that."""
    rng, prompts, told = example.rng, RevisionPrompts(), example.told
    response = write_response(example.scene, judged_draft(rng), rng)
    point = rng.choice([point for point in POINTS[example.task.name] if point.principle])
    thoughts = told(write_critique(example.prompt, response, point, rng))
    shown = (example.task, example.prompt_text, told(response), point.principle)
    if rng.random() < 0.4:
        pieces = example.asked(prompts.critique_request(*shown), Piece(thoughts, 1.0), is_text=True)
        return [*pieces, Piece("\n", 1.0, ends=True)]
    revised = Piece(told(revise(example.scene, example.prompt, response, point, rng)), 1.0, ends=True)
    return example.asked(prompts.revision_request(*shown, thoughts), revised, is_text=True)


def criteria_writing(example: Example) -> list[Piece]:
    """The points in which the better responses of some pairs surpass the worse ones, a line each."""
    rng, told = example.rng, example.told
    pairs, gains = [], dict.fromkeys(range(len(POINTS[example.task.name])), 0)
    for scene, prompt in [(example.scene, example.prompt), *(example.another() for _ in range(rng.choice((1, 2, 3))))]:
        worse, better = sorted(
            (write_response(scene, judged_draft(rng), rng) for _ in range(2)),
            key=lambda text: read(prompt, text).quality,
        )
        pairs.append(LabeledPair(told(prompt.text), told(better), told(worse)))
        for place, point in enumerate(POINTS[example.task.name]):
            gains[place] += point.holds(read(prompt, better)) - point.holds(read(prompt, worse))
    best = sorted(gains, key=lambda place: -gains[place])[:MOST_WRITTEN]
    points = [POINTS[example.task.name][place] for place in sorted(best) if gains[place] > 0 or place == best[0]]
    asked = CriteriaPrompts().criteria_request(example.task, pairs)
    # A newline opens the first point, so that every point is a line of its own.
    lines = "".join(f"\n{point.asks[0]}" for point in points)
    return example.asked(asked, Piece(lines, 1.0, ends=True))


def echo(example: Example) -> list[Piece]:
    """A text, and the same text again."""
    heard = example.prompt_text.strip()
    return [Piece(f"Heard: {heard}\nRepeated:", CONTEXT_WEIGHT), Piece(f" {heard}", 1.0, ends=True)]


def drill(example: Example) -> list[Piece]:
    """Pairs of facts, and whether they are the same."""
    return [Piece("Checklist:", CONTEXT_WEIGHT), Piece(f" {example.told(write_drill(example.rng))}", 1.0, ends=True)]
