"""Option probabilities from sampled answers, for servers without log-probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def read_vote(text: str, options: Sequence[str]) -> str | None:
    """The option that a reply names: its first line that is not empty, less a closing full stop, and nothing else.

    Args:
        text: What the server wrote.
        options: The allowed answers.

    Returns:
        None when the reply cannot be read.

    >>> read_vote(" 1.\\n", ["1", "2"]), read_vote("Summary 1", ["1", "2"]), read_vote("10", ["1", "10"])
    ('1', None, '10')
    """
    line = (text.strip().splitlines() or [""])[0].strip()
    answer = line if line in options else line.removesuffix(".").strip()
    return answer if answer in options else None


def vote_logprobs(votes: Sequence[str | None], options: Sequence[str]) -> tuple[float, ...] | None:
    """Log of each option's share of the readable votes, with half a vote added to every option.

    The added half (Krichevsky-Trofimov) keeps every share off 0 and 1; unreadable votes are left out.

    Args:
        votes: The option that each sample named, None where it could not be read.
        options: The allowed answers.

    Returns:
        None when no vote could be read.

    >>> [round(math.exp(p), 3) for p in vote_logprobs(["1", "1", None, "1"], ["1", "2"])]
    [0.875, 0.125]
    """
    counts = Counter(vote for vote in votes if vote is not None)
    total = counts.total()
    if total == 0:
        return None
    return tuple(math.log((counts[option] + 0.5) / (total + 0.5 * len(options))) for option in options)
