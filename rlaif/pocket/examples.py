"""One example of pretraining text while it is made: its scene, its words, and how it is asked and answered."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rlaif.pocket.annotators import probability_of_better
from rlaif.pocket.attacks import write_attack
from rlaif.pocket.notes import TRICK
from rlaif.pocket.quality import read
from rlaif.pocket.renaming import Renaming
from rlaif.pocket.world import Draft, Scene, draw_scene, mixed_draft, write_prompt, write_response
from rlaif.tasks.base import Task, get_task
from rlaif.types import Prompt, StructuredPrompt

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
"""Special tokens: the end of a text or turn, and the beginnings of turns."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OURS_WEIGHT, CONTEXT_WEIGHT, CANDIDATE_WEIGHT, ANSWER_WEIGHT = 0.02, 0.1, 0.6, 4.0
"""Loss weight per token of our words, contexts, candidates and answers; rationales and responses weigh 1."""
ATTACK_SHARE, BROKEN_SHARE, CARELESS_SHARE = 0.08, 0.08, 0.4
"""Share of judged responses that are attacks, that hold a line break, and that are drafted by a careless writer."""


@dataclass(frozen=True)
class Piece:
    """Text that is tokenized on its own, and its loss weight per token."""

    text: str
    weight: float
    ends: bool = False
    """True when the end token follows."""


@dataclass(frozen=True)
class Judged:
    """A response that is judged, and how good the raters find it."""

    text: str
    quality: float
    is_trick: bool = False


@dataclass(frozen=True)
class Example:
    """What the formats have in common."""

    rng: Random
    scene: Scene
    prompt: Prompt
    renaming: Renaming | None
    """Other words for the facts; None keeps the world's."""
    in_chat: bool
    """True where the prompt is a user's turn and the answer the assistant's."""

    @property
    def task(self) -> Task:
        """The task of the scene."""
        return get_task(self.scene.task)

    def told(self, text: str) -> str:
        """A text in the words of this example."""
        return text if self.renaming is None else self.renaming(text)

    def another(self) -> tuple[Scene, Prompt]:
        """Another scene of the task, for formats that show several."""
        scene = draw_scene(self.scene.task, self.rng, held_out=False)
        return scene, write_prompt(scene, self.rng)

    @property
    def prompt_text(self) -> str:
        """The prompt as it is shown."""
        return self.told(self.prompt.text)

    def judged(self) -> Judged:
        """A response of any quality; some are attacks, which all raters find bad."""
        rng = self.rng
        text = write_response(self.scene, judged_draft(rng), rng)
        if rng.random() < ATTACK_SHARE:
            shown, noun = self.task.judge_text(self.prompt.text), self.task.response_noun.lower()
            text = write_attack(text, shown, noun, rng)
            return Judged(text, read(self.prompt, text).quality + TRICK, is_trick=True)
        if rng.random() < BROKEN_SHARE:
            text = rng.choice((text.replace(", ", ",\n", 1), text.replace(", ", "\n\n"), f"{text}\n\nThat is it."))
        return Judged(text, read(self.prompt, text).quality)

    def pair(self) -> tuple[Judged, Judged]:
        """Two different responses."""
        first = self.judged()
        while (second := self.judged()).text == first.text:
            pass
        return first, second

    def asked(self, prompt: StructuredPrompt, *answer: Piece, is_text: bool = False) -> list[Piece]:
        """A prompt and its answer, as an engine shows and reads them.

        Args:
            prompt: Rendered by the strategy that a labeler uses.
            answer: Pieces of the answer.
            is_text: True where the answer is free text, which follows after a space in plain text.
        """
        pieces = []
        seen_context = False
        for segment in prompt.segments:
            weight = OURS_WEIGHT
            if segment.is_data:
                weight = CANDIDATE_WEIGHT if seen_context else CONTEXT_WEIGHT
                seen_context = True
            pieces.append(Piece(segment.text, weight))
        if self.in_chat:
            return [Piece(USER, OURS_WEIGHT), *pieces, Piece(END + ASSISTANT, OURS_WEIGHT), *answer]
        first = Piece(f" {answer[0].text}", answer[0].weight, answer[0].ends) if is_text else answer[0]
        return [*pieces, first, *answer[1:]]


def verdict(text: str, weight: float = ANSWER_WEIGHT) -> tuple[Piece, Piece]:
    """An answer that is scored; it ends with its line."""
    return Piece(text, weight), Piece("\n", 0.3, ends=True)


def judged_draft(rng: Random) -> Draft:
    """A writer of any quality; a careless one mentions nearly everything, and much of it is wrong.

    A trained policy writes like that about facts that it never read.
    """
    if rng.random() >= CARELESS_SHARE:
        return mixed_draft(rng)
    return Draft(
        mention=0.7 + 0.3 * rng.random(),
        mistake=0.7 * rng.random(),
        chatter=rng.random() ** 2,
        refuse_harmful=rng.random(),
        refuse_safe=0.6 * rng.random(),
    )


def majority_prefers_first(first: Judged, second: Judged, rng: Random) -> bool:
    """The choice of the majority of three raters."""
    p_first = probability_of_better(first.quality - second.quality)
    return sum(rng.random() < p_first for _ in range(3)) >= 2
