"""An engine that tosses a coin for every prompt, the same one every time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.types import Generation, OptionScores, Sampling, StructuredPrompt, content_id


class CoinEngine:
    """Gives the options equal probability but for a hash of prompt and option.

    Args:
        side: Goes into the hash, so that several coins differ.
    """

    def __init__(self, *, side: str = "heads") -> None:
        self.side = side

    @property
    def identity(self) -> str:
        """Content hash of the coin."""
        return content_id("coin", self.side)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """Log-probabilities of the options after each prompt."""
        return [self._score(prompt, options) for prompt in prompts]

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """One word per prompt."""
        return [
            Generation(text=self.side, token_ids=(0,), num_prompt_tokens=self.num_tokens(prompt.text))
            for prompt in prompts
        ]

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """The prompt's text."""
        return prompt.text.encode("utf-8", "surrogatepass")

    def num_tokens(self, text: str) -> int:
        """Words stand for tokens."""
        return len(text.split())

    def _score(self, prompt: StructuredPrompt, options: Sequence[str]) -> OptionScores:
        weights = [1 + int(content_id(self.side, prompt.text, option), 16) % 997 for option in options]
        logprobs = tuple(math.log(weight / sum(weights)) for weight in weights)
        return OptionScores(logprobs=logprobs, num_prompt_tokens=self.num_tokens(prompt.text))
