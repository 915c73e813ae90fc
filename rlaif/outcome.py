"""Answers of engines: a text or log-probabilities, or the reason why there is none, and what was billed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """What a server bills for an answer besides its own tokens; no part of the answer, and not kept with it."""

    num_reused_prompt_tokens: int = 0
    """Of the answer's own tokens read, those that the server had read before and bills at a lower price."""
    num_wasted_prompt_tokens: int = 0
    """Tokens read for replies that were of no use and asked again."""
    num_wasted_reply_tokens: int = 0
    """Tokens written in them."""
    num_retries: int = 0
    """Attempts that failed and were made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The base of answers: an answer, or the reason why there is none."""

    reasoning: str = ""
    """What a model thought before its answer; evidence only. Think blocks may stand in a generation's text."""
    missing: str | None = None
    """Reason why nothing was obtained; None when the answer counts."""
    is_final: bool = False
    """With ``missing``: True where this prompt was refused, is too long or got an answer of no use: asking again would
    give the same. False where the server failed."""
    billing: Billing = field(default_factory=Billing, compare=False)
    """What was billed besides this answer's own tokens."""

    @property
    def failed(self) -> bool:
        """True where nothing was obtained and asking again may help."""
        return self.missing is not None and not self.is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(Outcome):
    """Text that an engine wrote after one prompt."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    finished: bool = True
    """False when the token limit ended it."""
    num_prompt_tokens: int = 0
    num_counted_tokens: int = 0
    """Tokens written, by the count of a server that does not return their ids."""

    @property
    def num_reply_tokens(self) -> int:
        """Tokens written: those in ``token_ids``, else as the server counts them."""
        return len(self.token_ids) or self.num_counted_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionScores(Outcome):
    """Log-probabilities of the answer options after one prompt."""

    logprobs: tuple[float, ...] | None
    """Natural-log probability of each whole option string, in the order asked; None when missing."""
    bounded: tuple[int, ...] = ()
    """Options whose probability lies in an interval of which ``logprobs`` holds the middle."""
    shares: bool = False
    """True where ``logprobs`` are of shares of sampled answers: they add up to 1 whatever else the model would say."""
    num_prompt_tokens: int = 0
    num_counted_tokens: int = 0
    """Tokens written, as a server counts them over all requests (votes)."""

    @property
    def num_reply_tokens(self) -> int:
        """Tokens written: as a server counts them, else one for a verdict."""
        return self.num_counted_tokens or int(self.logprobs is not None)
