"""Engines for estimates: one counts questions without asking, one measures the questions it asks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from rlaif.engines.base import CountsTokens, Engine, ReadsRepeatedly
from rlaif.engines.delegating import DelegatingEngine
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling, StructuredPrompt, content_id

_FILLER, _FILLER_WORDS = " and", 64
_MARK = re.compile(" <reply [0-9a-f]{16}>")


class DryEngine(DelegatingEngine):
    """Counts tokens and answers with placeholders: no model is asked, nothing is spent.

    Args:
        engine: Whose tokens are counted.
        reply_tokens: Tokens of a written reply, cut at the labeler's limit; None means as long as that limit.
    """

    def __init__(self, engine: Engine, *, reply_tokens: int | None = None) -> None:
        super().__init__(engine)
        self.reply_tokens = reply_tokens
        self.num_requests = 0
        """Prompts that would have been read so far, each as often as the engine would read it."""
        self._tokens_per_word: float | None = None

    def num_tokens(self, text: str) -> int:
        """As the engine's, of all but the marks of placeholders."""
        return self.engine.num_tokens(_MARK.sub("", text))

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """Every option equally likely."""
        logprobs = (-math.log(len(options)),) * len(options)
        num_reads = self.engine.num_reads(options) if isinstance(self.engine, ReadsRepeatedly) else 1
        self.num_requests += num_reads * len(prompts)
        num_written = num_reads
        if isinstance(self.engine, CountsTokens):
            num_written = self.engine.num_written_tokens(options, self.reply_tokens)
        return [
            OptionScores(
                logprobs=logprobs,
                num_prompt_tokens=self._num_read(prompt, options, num_reads),
                num_counted_tokens=num_written,
            )
            for prompt in prompts
        ]

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """Filler of the expected length; a labeler that looks for a verdict in it finds none.

        A mark that is not counted makes the replies to different questions different, so that later questions about
        them differ too, as they do with real replies.
        """
        self.num_requests += len(prompts)
        limit = sampling.max_new_tokens
        length = limit if self.reply_tokens is None else min(self.reply_tokens, limit)
        # The longest reply is no shorter in the next question, where a token may begin with a space of its own.
        num_words = max(1, math.ceil(length / self._per_word())) + (self.reply_tokens is None)
        text = _FILLER * num_words
        token_ids = tuple(range(length))
        return [
            Generation(
                text=text + _mark(prompt, sampling),
                token_ids=token_ids,
                num_prompt_tokens=self._num_read(prompt),
            )
            for prompt in prompts
        ]

    def _num_read(self, prompt: StructuredPrompt, options: Sequence[str] | None = None, num_reads: int = 1) -> int:
        """Tokens of a prompt without the marks of placeholders, over all its reads."""
        if not isinstance(self.engine, CountsTokens):
            return num_reads * self.num_tokens(prompt.text)
        segments = tuple(replace(segment, text=_MARK.sub("", segment.text)) for segment in prompt.segments)
        return self.engine.num_read_tokens(replace(prompt, segments=segments), options)

    def _per_word(self) -> float:
        if self._tokens_per_word is None:
            self._tokens_per_word = max(1, self.num_tokens(_FILLER * _FILLER_WORDS)) / _FILLER_WORDS
        return self._tokens_per_word


def _mark(prompt: StructuredPrompt, sampling: Sampling) -> str:
    return f" <reply {content_id(prompt.text, repr(sampling))}>"


class MeasuringEngine(DelegatingEngine):
    """Asks an engine and remembers how long its replies are.

    Args:
        engine: The engine that is asked.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.reply_lengths: list[int] = []
        """Tokens of every reply that was written so far."""

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As the engine's."""
        generations = self.engine.generate(prompts, sampling)
        self.reply_lengths += [generation.num_reply_tokens for generation in generations if generation.missing is None]
        return generations
