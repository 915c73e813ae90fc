"""The first step of a chain of thought: a rationale after each prompt, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlaif.engines.base import Engine, is_chat
from rlaif.engines.reasoning import Parted, joined, split_reasoning
from rlaif.errors import ConfigError
from rlaif.outcome import Generation
from rlaif.types import Judgment, Sampling, StructuredPrompt, View

RATIONALE_STOP = ("\n",)
"""Where a model continues text, a rationale is one paragraph; a chat's is the whole message."""


def rationale_form(engine: Engine) -> tuple[str, ...]:
    """What a labeler's identity says of its engine's rationales: nothing where they are one paragraph."""
    return ("rationale=message",) if is_chat(engine) else ()


@dataclass(frozen=True, slots=True)
class Rationales:
    """Draws rationales (arXiv 2309.00267, section 2.1.2: greedily, at most 512 tokens).

    A model that continues text writes one paragraph; of a chat the whole message is the rationale, newlines included.
    What the model thought before (think blocks, a server's reasoning field) is evidence and no part of it.

    A rationale that meets the token limit is *missing* ("rationale cut at N tokens"), as is an empty one, and one
    whose think block has no end ("reasoning cut at N tokens"): half a chain of thought is another prompt than the one
    that was asked for.

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
        if not 0 <= self.temperature < math.inf:
            problems.append(
                f"labeler.temperature={self.temperature}: must be a finite number of at least 0 (0 decodes greedily)"
            )
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
            stop=() if is_chat(engine) else RATIONALE_STOP,
            seed=self.seed,
        )
        written = engine.generate(prompts, sampling) if prompts else []
        return [self._read(*each) for each in zip(views, prompts, written, strict=True)]

    def _read(self, view: View, prompt: StructuredPrompt, generation: Generation) -> Judgment:
        parted = split_reasoning(generation.text)
        reply, reasoning = parted.text.strip(), joined(generation.reasoning, parted.reasoning)
        missing = generation.missing
        if missing is None:
            missing = self._why_missing(generation, parted, bool(reasoning))
        return Judgment(
            order=view,
            prompt=prompt.text,
            reply=reply,
            missing=missing,
            unreadable=missing is not None and not generation.failed,
            num_prompt_tokens=generation.num_prompt_tokens,
            num_reply_tokens=generation.num_reply_tokens,
            reasoning=reasoning,
        )

    def _why_missing(self, generation: Generation, parted: Parted, reasoned: bool) -> str | None:
        """Why a text that came is no rationale; None for one that is."""
        wrote = bool(parted.text.strip())
        if not generation.finished:
            inside = not parted.is_closed or (reasoned and not wrote)
            return f"{'reasoning' if inside else 'rationale'} cut at {self.max_rationale_tokens} tokens"
        if not parted.is_closed:
            return "reasoning without an end"
        if not wrote:
            return "no rationale after the reasoning" if reasoned else "empty rationale"
        return None


def after(rationale: Judgment, scored: Judgment) -> Judgment:
    """The verdict of the second step with the rationale, the reasoning and the tokens of the first."""
    return replace(
        scored,
        reply=rationale.reply,
        num_prompt_tokens=rationale.num_prompt_tokens + scored.num_prompt_tokens,
        num_reply_tokens=rationale.num_reply_tokens + scored.num_reply_tokens,
        reasoning=joined(rationale.reasoning, scored.reasoning),
    )
