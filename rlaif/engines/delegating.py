"""An engine that delegates every call to another."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.engines.base import Engine, is_chat
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling, StructuredPrompt


class DelegatingEngine:
    """Answers as another engine does; those in front of engines change what they need.

    Args:
        engine: The engine behind it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def identity(self) -> str:
        """The inner engine's identity: a wrapper does not change an answer."""
        return self.engine.identity

    @property
    def is_chat(self) -> bool:
        """As :attr:`rlaif.engines.base.AnswersInMessages.is_chat`."""
        return is_chat(self.engine)

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """As :meth:`rlaif.engines.base.Engine.rendered`."""
        return self.engine.rendered(prompt)

    def num_tokens(self, text: str) -> int:
        """As :meth:`rlaif.engines.base.Engine.num_tokens`."""
        return self.engine.num_tokens(text)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """As :meth:`rlaif.engines.base.Engine.score`."""
        return self.engine.score(prompts, options)

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As :meth:`rlaif.engines.base.Engine.generate`."""
        return self.engine.generate(prompts, sampling)
