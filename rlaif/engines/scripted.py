"""An engine that answers by a function: for tests and for trying pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rlaif.errors import ConfigError
from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling, StructuredPrompt, content_id

Answer = str | Mapping[str, float]
"""A text, or the probability of each option; probabilities need not sum to 1."""


class ScriptedEngine:
    """Answers by a function of the prompt's text. Group ``rlaif.engines``, name ``scripted``.

    Args:
        respond: Function from the prompt's text to an answer, or a mapping from a piece of text to the answer for
            prompts that hold it (the first match in order counts). A text answer to ``score`` puts nearly all
            probability on the option of that name; probabilities asked of ``generate`` give the likeliest key.
            An exception raised by the function, or a prompt that no piece matches, is a missing answer.
        name: Goes into ``identity``; give another one when the function changes.

    Raises:
        ConfigError: An answer of the mapping is neither a text nor probabilities.

    >>> from rlaif.types import Segment
    >>> prompt = StructuredPrompt(segments=(Segment(text="Which is better?"),))
    >>> ScriptedEngine({"better": "1"}).generate([prompt], Sampling(max_new_tokens=1))[0].text
    '1'
    """

    def __init__(
        self, respond: Callable[[str], Answer] | Mapping[str, Answer] | None = None, *, name: str = "scripted"
    ) -> None:
        if isinstance(respond, Mapping) and not all(isinstance(answer, str | Mapping) for answer in respond.values()):
            raise ConfigError(
                'labeler.engine.respond: every answer must be a text in quotes ("1"), or {option: probability}'
            )
        self.respond = {"": "1"} if respond is None else respond
        self.name = name
        self.num_prompts = 0
        """Prompts answered so far, by either method."""

    @property
    def identity(self) -> str:
        """Hash of the name and, for a mapping, of its content."""
        content = repr(list(self.respond.items())) if isinstance(self.respond, Mapping) else ""
        return content_id("scripted", self.name, content)

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """As :meth:`rlaif.engines.base.Engine.score`; a text that is no option is missing."""
        return [self._score(prompt.text, options) for prompt in prompts]

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """As :meth:`rlaif.engines.base.Engine.generate`; the text is cut at a stop string, not at the limit."""
        return [self._generate(prompt.text, sampling) for prompt in prompts]

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """The prompt's text."""
        return prompt.text.encode("utf-8", "surrogatepass")

    def num_tokens(self, text: str) -> int:
        """Words are counted as tokens."""
        return len(text.split())

    def _score(self, text: str, options: Sequence[str]) -> OptionScores:
        num_prompt_tokens = len(text.split())
        answer, reason = self._answer(text)
        if answer is None:
            return OptionScores(logprobs=None, missing=reason, num_prompt_tokens=num_prompt_tokens)
        if isinstance(answer, str):
            if answer not in options:
                reason = f"scripted answer {answer!r} is none of the options"
                return OptionScores(logprobs=None, missing=reason, num_prompt_tokens=num_prompt_tokens)
            answer = {option: 0.998 if option == answer else 0.001 for option in options}
        probabilities = [answer.get(option, 0.0) for option in options]
        logprobs = tuple(math.log(p) if p > 0 else -math.inf for p in probabilities)
        return OptionScores(logprobs=logprobs, num_prompt_tokens=num_prompt_tokens)

    def _generate(self, text: str, sampling: Sampling) -> Generation:
        num_prompt_tokens = len(text.split())
        answer, reason = self._answer(text)
        if answer is None:
            return Generation(missing=reason, finished=False, num_prompt_tokens=num_prompt_tokens)
        reply = answer if isinstance(answer, str) else max(answer, key=lambda option: answer[option])
        for stop in sampling.stop:
            reply = reply.split(stop)[0]
        # Words are counted as tokens, so that counts are plausible.
        return Generation(text=reply, token_ids=tuple(range(len(reply.split()))), num_prompt_tokens=num_prompt_tokens)

    def _answer(self, text: str) -> tuple[Answer | None, str | None]:
        self.num_prompts += 1
        if isinstance(self.respond, Mapping):
            matches = [answer for piece, answer in self.respond.items() if piece in text]
            return (matches[0], None) if matches else (None, "no scripted answer matches this prompt")
        # Any exception of the script counts as a failed request.
        try:
            return self.respond(text), None
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
