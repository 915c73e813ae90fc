"""Other words in the place of the world's own: whether two facts are the same must be read, not remembered.

The world has a few hundred fillers, so a model could learn by heart which are equal, and then fail on held-out ones. In
a share of the pretraining text every word of a filler is renamed, the same one everywhere in an example.
"""

from __future__ import annotations

import re
from random import Random

from rlaif.pocket.lexicon import ACTION, CHAT, SlotKind, is_held_out
from rlaif.pocket.world import WORDS

KINDS: tuple[SlotKind, ...] = (*{kind.name: kind for words in WORDS.values() for kind in words.slots}.values(), CHAT)
"""Every kind of fact, and small talk."""
_OWN = tuple(dict.fromkeys(word for kind in KINDS for word in (*kind.heads, *kind.tails)))
_WORD = re.compile(rf"\b(?:{'|'.join(_OWN)})\b")
_STARTS, _VOWELS, _ENDS = (
    ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "kl", "st", "tr"],
    "aeiou",
    ("", "l", "n", "r", "s", "t"),
)
INVENTED_SHARE = 0.6
"""Share of renamed words that are made of syllables; the others are words of other facts."""


class Renaming:
    """Replaces the words of fillers by other words, each by one of its own, for the length of an example."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.names: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text in other words."""
        return _WORD.sub(lambda match: self._name(match.group()), text)

    def _name(self, word: str) -> str:
        while word not in self.names:
            new = self._invented() if self.rng.random() < INVENTED_SHARE else self.rng.choice(_OWN)
            new = new.capitalize() if word[0].isupper() else new.lower()
            if new not in self.names.values():
                self.names[word] = new
        return self.names[word]

    def _invented(self) -> str:
        rng = self.rng
        syllables = [rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2, 2)))]
        return "".join(syllables) + rng.choice(_STARTS)[0] + rng.choice(_VOWELS) + rng.choice(_ENDS)


def shows_held_out(text: str) -> bool:
    """True where a text names a held-out filler."""
    return any(is_held_out(filler) for kind in (*KINDS, ACTION) for filler in kind.pattern.findall(text))
