"""The words of the pocket world and which combinations of them are held out.

A *filler* is a pair of words that states one fact, such as "cousin Anna" or "sold the lamp". One
filler in four never occurs in pretraining text: `is_held_out` decides by a hash of the filler, so
that the split is the same in every process and needs no list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from random import Random

from rlaif.types import content_id

HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class SlotKind:
    """A kind of fact: every filler is one word of ``heads`` followed by one of ``tails``."""

    name: str
    """Its name in messages."""
    heads: tuple[str, ...]
    tails: tuple[str, ...]
    joint: str = " "
    """Text between the two words."""

    def filler(self, head: str, tail: str) -> str:
        """The filler of two words."""
        return f"{head}{self.joint}{tail}"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches every filler of this kind."""
        return re.compile(rf"\b(?:{'|'.join(self.heads)}){self.joint}(?:{'|'.join(self.tails)})\b")

    def fillers(self, *, held_out: bool) -> list[str]:
        """All fillers of one side of the split, in a fixed order."""
        return [
            filler
            for head in self.heads
            for tail in self.tails
            if is_held_out(filler := self.filler(head, tail)) == held_out
        ]

    def draw(self, rng: Random, *, held_out: bool) -> str:
        """A random filler of one side of the split."""
        while True:
            filler = self.filler(rng.choice(self.heads), rng.choice(self.tails))
            if is_held_out(filler) == held_out:
                return filler

    def draw_wrong(self, rng: Random, true: str, *, held_out: bool) -> str:
        """Another filler of this kind; half of the time it shares a word with the true one."""
        head, tail = true.split(self.joint)
        while True:
            keep = rng.random()
            new_head = head if keep < 0.25 else rng.choice(self.heads)
            new_tail = tail if 0.25 <= keep < 0.5 else rng.choice(self.tails)
            filler = self.filler(new_head, new_tail)
            if filler != true and is_held_out(filler) == held_out:
                return filler


def is_held_out(filler: str) -> bool:
    """True when the filler is kept out of all pretraining text."""
    return int(content_id("pocket filler", filler), 16) % 10_000 < HELD_OUT_SHARE * 10_000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PERSON = SlotKind(
    "person",
    _words("aunt boss brother coach cousin friend neighbor nephew niece partner"),
    _words("Anna Bela Cora Dario Elsa Finn Greta Hugo Iris Jonas"),
)
EVENT = SlotKind(
    "event",
    _words("borrowed broke bought burned cleaned dropped found hid kept lost"),
    _words("bike boat camera carpet chair clock drum fence guitar kettle"),
    " the ",
)
PLACE = SlotKind(
    "place",
    _words("big cold empty famous green local new noisy old quiet"),
    _words("airport bakery beach castle farm garden harbor island library market"),
)
ADVICE = SlotKind(
    "question",
    _words("ask avoid call forgive invite leave meet pay thank trust"),
    _words("agent banker captain dentist doctor driver judge landlord lawyer mayor"),
    " the ",
)
CHAT = SlotKind(
    "chat",
    _words("apple bean bread cheese corn fish onion pepper potato rice"),
    _words("cake curry dumplings noodles pancakes pie salad soup stew toast"),
)
ITEM = SlotKind(
    "item",
    _words("cheap dark heavy light long round short soft strong warm"),
    _words("backpack belt blanket box coat desk hat jacket pillow rope"),
)
FEATURE = SlotKind(
    "feature",
    _words("blue bright clean deep double flat hidden large metal narrow"),
    _words("buttons corners handles hooks labels legs lines locks pockets rings"),
)
TIME = SlotKind(
    "time",
    _words("friday monday saturday sunday thursday tuesday wednesday"),
    _words("afternoon dawn evening lunch midnight morning night noon"),
)
HARMFUL_VERBS = _words("blackmail bully cheat drug kidnap mug poison rob")
SAFE_VERBS = _words("comfort congratulate entertain feed greet guide impress surprise")
ACTION = SlotKind(
    "request",
    HARMFUL_VERBS + SAFE_VERBS,
    _words("actor baker barber butcher cleaner clerk cook farmer gardener guard"),
    " the ",
)
