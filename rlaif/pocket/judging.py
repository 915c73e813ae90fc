"""Examples of judging, in every format that a labeler uses: the question, and the answer of a careful reader."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from rlaif.pocket.annotators import HARM_ERROR
from rlaif.pocket.examples import ANSWER_WEIGHT, Example, Judged, Piece, majority_prefers_first, verdict
from rlaif.pocket.notes import overall, write_note, write_rationale
from rlaif.pocket.points import POINTS
from rlaif.pocket.quality import read
from rlaif.pocket.world import draw_pair, draw_scene, write_prompt
from rlaif.prompts.criteria import CriteriaPrompts
from rlaif.prompts.harm import HarmPrompts
from rlaif.prompts.judge import JudgePrompts
from rlaif.prompts.wording import Exemplar, TaskTemplates

DETAILED_SHARE = 0.2
FEW_SHOT_SHARE = 0.05
FEW_SHOT_COUNTS = (1, 1, 2, 2, 2, 8)
SCORE_NOISE, GOOD_NOISE, RANK_NOISE = 0.7, 0.7, 0.5
"""Standard deviations of what raters add to a score (of 10), and to the quality before good/bad and before ranking."""
MOST_POINTS, POINT_ERROR = 6, 0.02
"""Criteria that are asked one after the other about one response, and the share of wrong answers to them."""


class RandomExemplars(JudgePrompts):
    """Prompts whose exemplars are drawn anew for each example; those of one response have the base preamble."""

    def __init__(self, rng: Random, task_name: str) -> None:
        super().__init__(
            preamble="detailed" if rng.random() < DETAILED_SHARE else "base",
            num_exemplars=rng.choice(FEW_SHOT_COUNTS) if rng.random() < FEW_SHOT_SHARE else 0,
        )
        self.rng = rng
        self.task_name = task_name

    def exemplars(self, words: TaskTemplates) -> Sequence[Exemplar]:
        """Fresh ones."""
        return [_draw_exemplar(self.task_name, self.rng, words.asks_for_worse) for _ in range(self.num_exemplars)]

    def _without_pairs(self, words: TaskTemplates, request: str) -> str:
        """The request of a single response or a ranking, whatever the number of exemplars is."""
        return request if self.preamble == "base" else f"{words.axes}\n{request}"


def _draw_exemplar(task_name: str, rng: Random, asks_for_worse: bool) -> Exemplar:
    """A solved example with fresh facts."""
    scene = draw_scene(task_name, rng, held_out=False)
    prompt = write_prompt(scene, rng)
    first, second = (Judged(text, read(prompt, text).quality) for text in draw_pair(scene, rng))
    names_first = majority_prefers_first(first, second, rng) != asks_for_worse
    return Exemplar(
        context=prompt.text,
        first=first.text,
        second=second.text,
        rationale=write_rationale(prompt, first.text, second.text, rng),
        answer="1" if names_first else "2",
    )


def direct(example: Example) -> list[Piece]:
    """Which of two responses is better, at once."""
    prompts, told = RandomExemplars(example.rng, example.task.name), example.told
    first, second = example.pair()
    asked = prompts.pairwise(example.task, example.prompt_text, told(first.text), told(second.text))
    names_first = majority_prefers_first(first, second, example.rng) != asked.asks_for_worse
    return example.asked(asked, *verdict("1" if names_first else "2"))


def chain(example: Example) -> list[Piece]:
    """Which of two responses is better, after a rationale; a chat has one of the two steps."""
    prompts, rng = RandomExemplars(example.rng, example.task.name), example.rng
    first, second = example.pair()
    tricks = (first.is_trick, second.is_trick)
    rationale = example.told(write_rationale(example.prompt, first.text, second.text, rng, tricks=tricks))
    shown = (example.task, example.prompt_text, example.told(first.text), example.told(second.text))
    request = prompts.rationale_request(*shown)
    if example.in_chat and rng.random() < 0.5:
        return example.asked(request, Piece(rationale, 1.0, ends=True))
    judged = prompts.pairwise(*shown, rationale=rationale)
    answer = verdict("1" if majority_prefers_first(first, second, rng) != judged.asks_for_worse else "2")
    return _after(example, example.asked(judged, *answer), rationale)


def rated_chain(example: Example) -> list[Piece]:
    """A score of one response, after a rationale about it."""
    prompts, rng = RandomExemplars(example.rng, example.task.name), example.rng
    response = example.judged()
    rationale = example.told(write_note(example.prompt, response.text, rng, is_trick=response.is_trick))
    shown = (example.task, example.prompt_text, example.told(response.text))
    if example.in_chat and rng.random() < 0.5:
        return example.asked(prompts.rating_rationale_request(*shown), Piece(rationale, 1.0, ends=True))
    score = rationale.rpartition("overall ")[2].removesuffix(".")
    return _after(example, example.asked(prompts.rating(*shown, rationale=rationale), *verdict(score)), rationale)


def _after(example: Example, pieces: list[Piece], rationale: str) -> list[Piece]:
    """In plain text both steps are one: the rationale and its line break are learned as an answer is."""
    if example.in_chat:
        return pieces
    place = max(number for number, piece in enumerate(pieces) if piece.text == f" {rationale}")
    learned = [Piece(f" {rationale}", 1.0), Piece("\n", 1.0)]
    after = Piece(pieces[place + 1].text.removeprefix("\n"), pieces[place + 1].weight)
    return [*pieces[:place], *learned, *([after] if after.text else []), *pieces[place + 2 :]]


def rating(example: Example) -> list[Piece]:
    """A score from 1 to 10."""
    response = example.judged()
    prompts = RandomExemplars(example.rng, example.task.name)
    asked = prompts.rating(example.task, example.prompt_text, example.told(response.text))
    return example.asked(asked, *verdict(str(overall(response.quality, example.rng.gauss(0, SCORE_NOISE)))))


def binary(example: Example) -> list[Piece]:
    """Good or bad."""
    response = example.judged()
    prompts = RandomExemplars(example.rng, example.task.name)
    is_good = response.quality + example.rng.gauss(0, GOOD_NOISE) > 0.8
    asked = prompts.binary(example.task, example.prompt_text, example.told(response.text))
    return example.asked(asked, *verdict("good" if is_good else "bad"))


def ranking(example: Example) -> list[Piece]:
    """The order of two to four responses."""
    rng = example.rng
    responses = [example.judged() for _ in range(rng.choice((2, 2, 2, 3, 4)))]
    scores = [response.quality + rng.gauss(0, RANK_NOISE) for response in responses]
    order = sorted(range(len(responses)), key=lambda place: -scores[place])
    prompts = RandomExemplars(rng, example.task.name)
    texts = [example.told(response.text) for response in responses]
    asked = prompts.ranking(example.task, example.prompt_text, texts)
    return example.asked(asked, *verdict(" ".join(str(place + 1) for place in order)))


def criteria(example: Example) -> list[Piece]:
    """Yes or no to a criterion; plain text asks further ones about the same response, in the form of the first."""
    rng, prompts, response = example.rng, CriteriaPrompts(), example.judged()
    points = rng.sample(POINTS[example.task.name], 1 if example.in_chat else rng.randint(1, MOST_POINTS))
    shown = (example.task, example.prompt_text, example.told(response.text))
    pieces: list[Piece] = []
    for number, point in enumerate(points):
        wrong = rng.random() < POINT_ERROR
        answer = "yes" if point.holds(read(example.prompt, response.text)) != wrong else "no"
        asks = point.asks[0] if rng.random() < 0.5 else rng.choice(point.asks)
        asked = example.asked(prompts.criterion(*shown, asks), Piece(answer, ANSWER_WEIGHT))
        if number:  # from the point on: the line before it, the point, and what follows
            asked = [Piece("\n\nPoint:", asked[0].weight), *asked[-3:]]
        pieces += asked
    return [*pieces, Piece("\n", 0.3, ends=True)]


def harm(example: Example) -> list[Piece]:
    """Whether one response is harmful, with a rater's errors."""
    response = example.judged()
    does_harm = read(example.prompt, response.text).does_harm != (example.rng.random() < HARM_ERROR)
    asked = HarmPrompts().harm(example.task, example.prompt_text, example.told(response.text))
    return example.asked(asked, *verdict("yes" if does_harm else "no"))
