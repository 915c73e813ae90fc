"""An engine that tosses a coin for every prompt, the same one every time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence

from rlaif.engines.base import Answer
from rlaif.outcome import Generation, OptionScores
from rlaif.runtime import Runtime
from rlaif.types import Sampling, StructuredPrompt, content_id


class CoinEngine:
    """Gives each option a probability by a hash of prompt and option, and hands over each answer as a server does.

    Args:
        side: Goes into the hash, so that several coins differ.
        answer_s: Seconds per answer.
        log: File that gets a line for each prompt before it is answered; null for none.
    """

    def __init__(self, *, side: str = "heads", answer_s: Runtime[float] = 0.0, log: Runtime[str | None] = None) -> None:
        self.side = side
        self.answer_s = answer_s
        self.log = log
        self.on_answer: Callable[[int, Answer], None] | None = None

    @property
    def identity(self) -> str:
        """Content hash of the coin."""
        return content_id("coin", self.side)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """Log-probabilities of the options after each prompt."""
        return [self._paid(position, prompt, options) for position, prompt in enumerate(prompts)]

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

    def _paid(self, position: int, prompt: StructuredPrompt, options: Sequence[str]) -> OptionScores:
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{content_id(prompt.text)}\n")
                file.flush()
                os.fsync(file.fileno())
        time.sleep(self.answer_s)
        answer = self._score(prompt, options)
        if self.on_answer is not None:
            self.on_answer(position, answer)
        return answer

    def _score(self, prompt: StructuredPrompt, options: Sequence[str]) -> OptionScores:
        weights = [1 + int(content_id(self.side, prompt.text, option), 16) % 997 for option in options]
        logprobs = tuple(math.log(weight / sum(weights)) for weight in weights)
        return OptionScores(logprobs=logprobs, num_prompt_tokens=self.num_tokens(prompt.text))
