"""The classic bias probe: a labeler that prefers the longer, or the shorter, response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlaif.errors import ConfigError
from rlaif.types import Comparison, Preference, content_id


class LengthLabeler:
    """Prefers by the number of characters alone.

    Two responses of one length are equally good to it: P(first) = 0.5 is its judgement there, not a guess.

    Args:
        prefer: Which response is better.
        soft: False gives 0 or 1; True gives P(first) = n_first / (n_first + n_second) for ``longer``,
            and its complement for ``shorter``.
        prompt: Takes no prompt.
        engine: Asks no model.
    """

    name = "length"
    source = "length rule"

    def __init__(
        self,
        *,
        prefer: Literal["longer", "shorter"] = "longer",
        soft: bool = False,
        prompt: None = None,
        engine: None = None,
    ) -> None:
        if prefer not in ("longer", "shorter"):
            raise ConfigError(f"labeler.prefer={prefer}: must be longer or shorter")
        self.prefer = prefer
        self.soft = soft
        self.prompt = prompt
        self.engine = engine

    @property
    def identity(self) -> str:
        """Content hash of the options."""
        return content_id(self.name, self.prefer, str(self.soft))

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison; none is ever missing."""
        author = f"{self.name}:{self.identity}"
        return [
            Preference(comparison=pair, p_first=self._p_first(pair), labeler=author, source=self.source)
            for pair in comparisons
        ]

    def _p_first(self, pair: Comparison) -> float:
        first, second = len(pair.first.trimmed), len(pair.second.trimmed)
        if first == second:
            return 0.5
        p_longer = first / (first + second) if self.soft else float(first > second)
        return p_longer if self.prefer == "longer" else 1.0 - p_longer
