"""Language models behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from rlaif.outcome import Generation, OptionScores
from rlaif.types import Sampling, StructuredPrompt


class Engine(Protocol):
    """A language model that scores answer options and writes text. Group ``rlaif.engines``."""

    @property
    def identity(self) -> str:
        """Content hash of what answers: weights and tokenizer, or server and model name."""
        ...

    def score(self, prompts: Sequence[StructuredPrompt], options: Sequence[str]) -> list[OptionScores]:
        """Log-probability of each whole option string after each prompt.

        Exact by teacher forcing where the model is local. When one option's tokens are a prefix
        of another's ("1" and "10"), every option is scored with a closing newline.
        One failed prompt is missing with its reason; it never fails the others.
        """
        ...

    def generate(self, prompts: Sequence[StructuredPrompt], sampling: Sampling) -> list[Generation]:
        """Write one continuation per prompt, drawn from (``sampling.seed``, the prompt) alone.

        So the continuation does not depend on the other prompts of the call, and equal prompts get equal ones.
        """
        ...

    def rendered(self, prompt: StructuredPrompt) -> bytes:
        """The exact input of the model for this prompt: token ids of a local model, the request of a server.

        With ``identity`` and the options or the sampling it determines the answer: it is the label cache's key.
        """
        ...

    def num_tokens(self, text: str) -> int:
        """Tokens of a text, to estimate cost; a server without a tokenizer of its own may approximate."""
        ...


Answer = OptionScores | Generation


class TrialFailure(NamedTuple):
    """Why a server does not answer a request of this form."""

    problem: str
    """The option, what came, and what to type."""
    may_pass: bool
    """True where asking again may help (a busy server)."""


@runtime_checkable
class AnswersOneByOne(Protocol):
    """An engine that hands over every answer of a call as soon as it has it (a server's), so that a run that is
    killed in the middle of a call has paid for no more than what is on its way."""

    on_answer: Callable[[int, Answer], None] | None
    """Called during ``score`` and ``generate``, from any thread, with the prompt's position in the call and its answer;
    failures may be left out. An exception in it ends the call. None reports nothing. Set by
    :class:`rlaif.engines.cached.CachedEngine`."""


@runtime_checkable
class LimitsRequests(Protocol):
    """An engine with a rate limit, from which the time of a call can be computed before it is made."""

    requests_per_minute: float | None
    """None where no limit is set."""


@runtime_checkable
class ReadsRepeatedly(Protocol):
    """An engine that may read, and pay for, a prompt several times to score it once (votes)."""

    def num_reads(self, options: Sequence[str]) -> int:
        """Number of reads of a prompt in one call of ``score`` on it, at least 1."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """An engine whose questions and answers can be counted before they are asked, so that an estimate is true."""

    def num_read_tokens(self, prompt: StructuredPrompt, options: Sequence[str] | None = None) -> int:
        """Tokens read for one prompt: over all reads of one call of ``score``, or, without options, of ``generate``."""
        ...

    def num_written_tokens(self, options: Sequence[str], reply_tokens: int | None = None) -> int:
        """Tokens written in one call of ``score`` on one prompt: as many as the options allow.

        Args:
            options: The answers that are scored.
            reply_tokens: Expected tokens of a reply, cut at what the options allow; None takes the longest.
        """
        ...


@runtime_checkable
class AsksOnTrial(Protocol):
    """An engine whose server can refuse the form of a request, which one request shows before a run."""

    def trial(self, prompt: StructuredPrompt, asked: Sequence[str] | Sampling) -> tuple[Answer, TrialFailure | None]:
        """Ask one request of the form that will be asked.

        Args:
            prompt: A short prompt.
            asked: Options to score, or the sampling of a continuation.

        Returns:
            The answer, whose tokens were paid for, and why the server would answer no other prompt either.
        """
        ...


@runtime_checkable
class AnswersInMessages(Protocol):
    """An engine that may answer as a chat does, with one whole message, instead of continuing the prompt's text."""

    @property
    def is_chat(self) -> bool:
        """True where an answer is a message: it ends where the model ends it, and newlines are part of it."""
        ...


def is_chat(engine: Engine) -> bool:
    """True for an engine that says that it answers in messages; any other continues text."""
    return isinstance(engine, AnswersInMessages) and engine.is_chat


@runtime_checkable
class RunsHere(Protocol):
    """An engine whose model runs in this process: asking it costs time alone, so that its speed can be measured."""

    runs_here: Literal[True]
