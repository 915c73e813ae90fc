"""A labeler to copy and change: it prefers the response that repeats more words of the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.types import Comparison, Preference, content_id

VERSION = "1"
"""Raise it when the rule changes, so that labels of the old rule are not reused."""


class MyLabeler:
    """Prefers the response that shares more words with the prompt.

    Args:
        min_word_length: Shorter words do not count, in characters.
        prompt: Takes no prompt.
        engine: Asks no model.
    """

    name = "my_labeler"
    source = "word overlap"

    def __init__(self, *, min_word_length: int = 4, prompt: None = None, engine: None = None) -> None:
        self.min_word_length = min_word_length
        self.prompt = prompt
        self.engine = engine

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the comparison."""
        return content_id(self.name, VERSION, str(self.min_word_length))

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison, in order; one that cannot be judged is missing with its reason."""
        return [self._preference(comparison) for comparison in comparisons]

    def _preference(self, comparison: Comparison) -> Preference:
        p_first = self._p_first(comparison)
        return Preference(
            comparison=comparison,
            p_first=p_first,
            missing="neither response has a word that counts" if p_first is None else None,
            labeler=f"{self.name}:{self.identity}",
            source=self.source,
        )

    def _p_first(self, comparison: Comparison) -> float | None:
        """Probability that the first response is better, or None."""
        asked = self._words(comparison.prompt.text)
        first, second = self._words(comparison.first.text), self._words(comparison.second.text)
        if not first and not second:
            return None
        shared_first, shared_second = len(asked & first), len(asked & second)
        return (1 + shared_first) / (2 + shared_first + shared_second)

    def _words(self, text: str) -> set[str]:
        return {word for word in text.lower().split() if len(word) >= self.min_word_length}
