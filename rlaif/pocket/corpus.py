"""The text that pocket models are pretrained on: writing, and judging in every format that labelers use.

An example is a list of weighted pieces. Judgments come from a reader of that world: the answer is
the majority of three raters, rationales note what the reader saw, with slips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from random import Random

from rlaif.functional.seeds import derive_seed
from rlaif.pocket import judging, writing
from rlaif.pocket.examples import Example, Piece
from rlaif.pocket.renaming import Renaming, shows_held_out
from rlaif.pocket.world import TASK_NAMES, draw_scene, write_prompt

FORMATS: Mapping[str, tuple[float, Callable[[Example], list[Piece]]]] = {
    "echo": (0.03, writing.echo),
    "drill": (0.12, writing.drill),
    "write": (0.20, writing.write),
    "teacher": (0.025, writing.teacher),
    "critique": (0.03, writing.critique),
    "criteria_writing": (0.01, writing.criteria_writing),
    "direct": (0.14, judging.direct),
    "chain": (0.215, judging.chain),
    "rating": (0.035, judging.rating),
    "rated_chain": (0.06, judging.rated_chain),
    "binary": (0.03, judging.binary),
    "ranking": (0.045, judging.ranking),
    "criteria": (0.05, judging.criteria),
    "harm": (0.01, judging.harm),
}
"""Share of each format, and what makes an example of it."""
NUM_WARM_UP, WARM_UP_DRILLS = 12_800, 0.7
"""Of the first examples most are drills: whether two facts are the same is what small models learn last, and
from dense text alone."""
CHAT_SHARE, RENAMED_SHARE = 0.15, 0.35
"""Share of examples that are turns of a chat, and whose facts have other words than the world's."""
PLAIN_ONLY = ("echo", "drill")
"""Formats that no labeler or policy uses, so they have no chat form."""


def draw_format(item: int, rng: Random) -> str:
    """The format of one index."""
    if item < NUM_WARM_UP and rng.random() < WARM_UP_DRILLS:
        return "drill"
    return rng.choices(list(FORMATS), [share for share, _ in FORMATS.values()])[0]


def draw_example(seed: int, item: int, *, renamed_share: float = RENAMED_SHARE) -> list[Piece]:
    """The pretraining example of one index; it depends on (seed, item) and on the share of renamed ones alone."""
    for attempt in count():
        rng = Random(derive_seed(seed, "pocket corpus", item, attempt))
        name = draw_format(item, rng)
        task_name = "harmless_dialogue" if name == "harm" else TASK_NAMES[item % len(TASK_NAMES)]
        scene = draw_scene(task_name, rng, held_out=False)
        example = Example(
            rng=rng,
            scene=scene,
            prompt=write_prompt(scene, rng),
            renaming=Renaming(rng) if rng.random() < renamed_share else None,
            in_chat=name not in PLAIN_ONLY and rng.random() < CHAT_SHARE,
        )
        pieces = FORMATS[name][1](example)
        if example.renaming is None or not shows_held_out("".join(piece.text for piece in pieces)):
            return pieces
    raise AssertionError("count never ends")
