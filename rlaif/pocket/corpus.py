"""The text that pocket models are pretrained on: writing, and judging in every prompt format.

An example is a list of weighted pieces. Judgments come from a reader of that world: the answer is
the majority of three raters, rationales note what the reader saw, with slips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from rlaif.functional.seeds import derive_seed
from rlaif.pocket.annotators import preference_probability
from rlaif.pocket.lexicon import ACTION
from rlaif.pocket.quality import find, read
from rlaif.pocket.world import (
    TASK_NAMES,
    WORDS,
    Scene,
    draw_pair,
    draw_scene,
    mixed_draft,
    write_prompt,
    write_response,
)
from rlaif.prompts.judge import JudgePrompts
from rlaif.prompts.wording import Exemplar, TaskTemplates
from rlaif.tasks.base import Task, get_task
from rlaif.types import Comparison, Completion, Prompt, Segment

Kind = Literal["echo", "drill", "write", "direct", "chain", "rating", "binary", "ranking"]
SHARES: dict[Kind, float] = {
    "echo": 0.04,
    "drill": 0.12,
    "write": 0.24,
    "direct": 0.22,
    "chain": 0.26,
    "rating": 0.06,
    "binary": 0.03,
    "ranking": 0.03,
}
"""Share of each kind of text."""
NUM_WARM_UP, WARM_UP_DRILLS = 12_800, 0.7
"""Of the first examples most are drills: whether two facts are the same is what small models learn last, and
from dense text alone."""
DRILL_LENGTH = 12
DETAILED_SHARE = 0.2
FEW_SHOT_SHARE = 0.05
FEW_SHOT_COUNTS = (1, 1, 2, 2, 2, 8)
OURS_WEIGHT, CONTEXT_WEIGHT, CANDIDATE_WEIGHT, ANSWER_WEIGHT = 0.02, 0.1, 0.6, 4.0
"""Loss weight per token of our words, contexts, candidates and answers; rationales and responses weigh 1."""
SLIP, OVERALL_SLIP = 0.02, 0.1
"""Share of a rationale's verdicts that are drawn blindly, and of its overall scores that are off by one."""


FACTS = tuple({kind.name: kind for words in WORDS.values() for kind in words.slots}.values())
"""Every kind of fact, once."""


@dataclass(frozen=True)
class Piece:
    """Text that is tokenized on its own, and its loss weight per token."""

    text: str
    weight: float
    ends: bool = False
    """True when the end token follows."""


def overall(quality: float, slip: float = 0.0) -> int:
    """The latent quality as a score from 1 to 10."""
    return min(max(round(5.5 + 1.25 * (quality - 0.8) + slip), 1), 10)


def describe(prompt: Prompt, response: str, number: int, rng: Random) -> str:
    """A reader's notes on one candidate: what the prompt says, what the candidate says, a verdict for each fact.

    Such as ``Summary 1: aunt Elsa? aunt Greta, wrong; kept the bike? missing; chat no; overall 3.`` To quote both
    before the verdict is what lets a small model see a wrong fact.
    """
    reading = read(prompt, response)
    notes = [reading.stance] if reading.stance else []
    for kind, verdict in zip(WORDS[prompt.task].slots, reading.verdicts, strict=True):
        noted = rng.choice(("right", "wrong", "missing")) if rng.random() < SLIP else verdict
        said = kind.pattern.search(response)
        quoted = f"{said.group()}, " if said is not None else ""
        notes.append(f"{find(kind, prompt)}? {quoted}{noted}")
    notes.append("chat yes" if reading.chats else "chat no")
    slip = rng.choice((-1, 1)) if rng.random() < OVERALL_SLIP else 0
    notes.append(f"overall {overall(reading.quality, slip)}")
    return f"{get_task(prompt.task).response_noun} {number}: {'; '.join(notes)}."


def write_rationale(prompt: Prompt, first: str, second: str, rng: Random) -> str:
    """Notes on both candidates in slot order."""
    notes = [describe(prompt, response, number, rng) for number, response in ((1, first), (2, second))]
    if WORDS[prompt.task].request_forms:
        is_harmful = read(prompt, first).is_harmful_request
        notes.insert(0, f"To {find(ACTION, prompt)} is {'harmful' if is_harmful else 'safe'}.")
    return " ".join(notes)


def write_drill(rng: Random) -> str:
    """Facts side by side as in a rationale, half of them equal: ``aunt Elsa? aunt Greta, wrong; …``"""
    notes = []
    for _ in range(DRILL_LENGTH):
        kind = rng.choice(FACTS)
        fact = kind.draw(rng, held_out=False)
        is_right = rng.random() < 0.5
        said = fact if is_right else kind.draw_wrong(rng, fact, held_out=False)
        notes.append(f"{fact}? {said}, {'right' if is_right else 'wrong'}")
    return f"{'; '.join(notes)}."


def majority_prefers_first(prompt: Prompt, first: str, second: str, rng: Random) -> bool:
    """The choice of the majority of three raters."""
    comparison = Comparison(prompt=prompt, first=Completion(text=first), second=Completion(text=second))
    p_first = preference_probability(comparison)
    return sum(rng.random() < p_first for _ in range(3)) >= 2


def draw_exemplar(task_name: str, rng: Random, asks_for_worse: bool) -> Exemplar:
    """A solved example with fresh facts."""
    scene = draw_scene(task_name, rng, held_out=False)
    prompt = write_prompt(scene, rng)
    first, second = draw_pair(scene, rng)
    names_first = majority_prefers_first(prompt, first, second, rng) != asks_for_worse
    return Exemplar(
        context=prompt.text,
        first=first,
        second=second,
        rationale=write_rationale(prompt, first, second, rng),
        answer="1" if names_first else "2",
    )


class _RandomExemplars(JudgePrompts):
    """Prompts whose exemplars are drawn anew for each example."""

    def __init__(self, rng: Random, task_name: str) -> None:
        super().__init__(
            preamble="detailed" if rng.random() < DETAILED_SHARE else "base",
            num_exemplars=rng.choice(FEW_SHOT_COUNTS) if rng.random() < FEW_SHOT_SHARE else 0,
        )
        self.rng = rng
        self.task_name = task_name

    def exemplars(self, words: TaskTemplates) -> Sequence[Exemplar]:
        return [draw_exemplar(self.task_name, self.rng, words.asks_for_worse) for _ in range(self.num_exemplars)]

    def _without_pairs(self, words: TaskTemplates, request: str) -> str:
        """Ratings and rankings have the base preamble, whatever the draw for pairs is."""
        return request


def draw_example(seed: int, item: int) -> list[Piece]:
    """The pretraining example of one index; it depends on (seed, item) alone."""
    rng = Random(derive_seed(seed, "pocket corpus", item))
    task = get_task(TASK_NAMES[item % len(TASK_NAMES)])
    kind: Kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if item < NUM_WARM_UP and rng.random() < WARM_UP_DRILLS:
        kind = "drill"
    scene = draw_scene(task.name, rng, held_out=False)
    prompt = write_prompt(scene, rng)
    if kind == "write":
        response = write_response(scene, mixed_draft(rng), rng)
        return [Piece(task.policy_text(prompt.text), CONTEXT_WEIGHT), Piece(f" {response}", 1.0, ends=True)]
    if kind == "echo":
        heard = prompt.text.strip()
        return [Piece(f"Heard: {heard}\nRepeated:", CONTEXT_WEIGHT), Piece(f" {heard}", 1.0, ends=True)]
    if kind == "drill":
        return [Piece("Checklist:", CONTEXT_WEIGHT), Piece(f" {write_drill(rng)}", 1.0, ends=True)]
    prompts = _RandomExemplars(rng, task.name)
    if kind in ("direct", "chain"):
        return _comparison(kind, prompts, task, scene, prompt, rng)
    if kind == "ranking":
        return _ranking(prompts, task, scene, prompt, rng)
    response = write_response(scene, mixed_draft(rng), rng)
    quality = read(prompt, response).quality
    if kind == "rating":
        pieces = _pieces(prompts.rating(task, prompt.text, response).segments)
        return [*pieces, Piece(str(overall(quality, rng.gauss(0, 0.7))), ANSWER_WEIGHT), Piece("\n", 1.0, ends=True)]
    verdict = "good" if quality + rng.gauss(0, 1.0) > 0.8 else "bad"
    pieces = _pieces(prompts.binary(task, prompt.text, response).segments)
    return [*pieces, Piece(verdict, ANSWER_WEIGHT), Piece("\n", 1.0, ends=True)]


def _comparison(
    kind: Kind, prompts: JudgePrompts, task: Task, scene: Scene, prompt: Prompt, rng: Random
) -> list[Piece]:
    first, second = draw_pair(scene, rng)
    rationale = write_rationale(prompt, first, second, rng) if kind == "chain" else None
    judged = prompts.pairwise(task, prompt.text, first, second, rationale=rationale)
    names_first = majority_prefers_first(prompt, first, second, rng) != judged.asks_for_worse
    pieces = _pieces(judged.segments)
    if rationale is not None:
        pieces[-3:-1] = [Piece(f" {rationale}", 1.0), Piece("\n", 1.0)]
    return [*pieces, Piece("1" if names_first else "2", ANSWER_WEIGHT), Piece("\n", 0.1, ends=True)]


def _ranking(prompts: JudgePrompts, task: Task, scene: Scene, prompt: Prompt, rng: Random) -> list[Piece]:
    responses = [write_response(scene, mixed_draft(rng), rng) for _ in range(rng.choice((3, 4)))]
    scores = [read(prompt, response).quality + rng.gauss(0, 0.7) for response in responses]
    order = sorted(range(len(responses)), key=lambda i: -scores[i])
    pieces = _pieces(prompts.ranking(task, prompt.text, responses).segments)
    answer = " ".join(str(i + 1) for i in order)
    return [*pieces, Piece(answer, 1.0), Piece("\n", 1.0, ends=True)]


def _pieces(segments: Sequence[Segment]) -> list[Piece]:
    """Segments with their weights: the first data segment is the context, the others are candidates."""
    pieces, seen_context = [], False
    for segment in segments:
        weight = OURS_WEIGHT
        if segment.is_data:
            weight = CANDIDATE_WEIGHT if seen_context else CONTEXT_WEIGHT
            seen_context = True
        pieces.append(Piece(segment.text, weight))
    return pieces
