"""The first step of a chain of thought: a rationale after each prompt, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlaif.engines.base import Engine
from rlaif.errors import ConfigError
from rlaif.types import Generation, Judgment, Sampling, StructuredPrompt, View

RATIONALE_STOP = ("\n",)
"""A rationale is one paragraph."""


@dataclass(frozen=True, slots=True)
class Rationales:
    """Draws rationales (arXiv 2309.00267, section 2.1.2: greedily, at most 512 tokens).

    A rationale that meets the token limit is *missing* ("rationale cut at N tokens"), as is an empty one: half a
    chain of thought is another prompt than the one that was asked for.

    Raises:
        ConfigError: An option is out of range.
    """

    max_rationale_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.max_rationale_tokens < 1:
            problems.append(f"labeler.max_rationale_tokens={self.max_rationale_tokens}: must be at least 1")
        if self.temperature < 0:
            problems.append(f"labeler.temperature={self.temperature}: must be 0 (greedy) or above")
        if self.top_k < 0:
            problems.append(f"labeler.top_k={self.top_k}: must be 0 (all tokens) or above")
        if problems:
            raise ConfigError(problems)

    def write(self, engine: Engine, prompts: Sequence[StructuredPrompt], views: Sequence[View]) -> list[Judgment]:
        """Judgments that have a reply and no verdict yet, one per prompt.

        Args:
            engine: The model that reasons.
            prompts: Requests for a rationale.
            views: What each prompt shows, stored with its judgment.
        """
        sampling = Sampling(
            max_new_tokens=self.max_rationale_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            stop=RATIONALE_STOP,
            seed=self.seed,
        )
        written = engine.generate(prompts, sampling) if prompts else []
        return [self._read(*each) for each in zip(views, prompts, written, strict=True)]

    def _read(self, view: View, prompt: StructuredPrompt, generation: Generation) -> Judgment:
        reply = generation.text.strip()
        missing = generation.missing
        if missing is None and not generation.finished:
            missing = f"rationale cut at {self.max_rationale_tokens} tokens"
        elif missing is None and not reply:
            missing = "empty rationale"
        return Judgment(
            order=view,
            prompt=prompt.text,
            reply=reply,
            missing=missing,
            unreadable=missing is not None and not generation.failed,
            num_prompt_tokens=generation.num_prompt_tokens,
            num_reply_tokens=generation.num_reply_tokens,
        )


def after(rationale: Judgment, scored: Judgment) -> Judgment:
    """The verdict of the second step with the rationale and the tokens of the first."""
    return replace(
        scored,
        reply=rationale.reply,
        num_prompt_tokens=rationale.num_prompt_tokens + scored.num_prompt_tokens,
        num_reply_tokens=rationale.num_reply_tokens + scored.num_reply_tokens,
    )
