"""Requests and tokens of a question to a server, counted before it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.engines.openai.requests import RequestForm
from rlaif.engines.openai.scores import num_beginnings
from rlaif.types import StructuredPrompt


class CountedQuestions:
    """Counts of the ``openai`` engine, from its options."""

    asking: RequestForm
    scoring: str
    num_votes: int
    max_vote_tokens: int

    def num_reads(self, options: Sequence[str]) -> int:
        """As :meth:`rlaif.engines.base.ReadsRepeatedly.num_reads`: once per vote or echoed option; for the likeliest
        tokens of a chat once, else once per beginning of an option, see
        :func:`rlaif.engines.openai.scores.num_beginnings`."""
        if self.scoring == "votes":
            return self.num_votes
        if self.scoring == "echo":
            return len(options)
        return 1 if self.asking.api == "chat" else num_beginnings(self.asking.targets(options))

    def num_read_tokens(self, prompt: StructuredPrompt, options: Sequence[str] | None = None) -> int:
        """As :meth:`rlaif.engines.base.CountsTokens.num_read_tokens`; no fewer than the server reads, where a tokenizer
        counts them."""
        once = self.asking.num_prompt_tokens(prompt)
        if options is None or self.scoring == "votes":
            return once if options is None else self.num_votes * once
        longest = max(map(self.asking.num_target_tokens, self.asking.targets(options)))
        num_reads = self.num_reads(options)
        return num_reads * once + (num_reads if self.scoring == "echo" else num_reads - 1) * longest

    def num_written_tokens(self, options: Sequence[str], reply_tokens: int | None = None) -> int:
        """As :meth:`rlaif.engines.base.CountsTokens.num_written_tokens`; one per read, but for votes."""
        if self.scoring != "votes":
            return self.num_reads(options)
        return self.num_votes * min(self.max_vote_tokens, reply_tokens or self.max_vote_tokens)
