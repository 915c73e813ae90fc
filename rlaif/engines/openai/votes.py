"""Option probabilities from sampled answers, for servers without log-probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.engines.openai.replies import Reply
from rlaif.engines.openai.verdicts import in_ascii, verdict_reader
from rlaif.engines.reasoning import joined, split_reasoning
from rlaif.types import StructuredPrompt

_LONGEST_ENDING = 60
"""Characters of a prompt's last line that may be the name of the answer."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One sampled reply, read."""

    option: str | None
    """The option that it names; None where it cannot be read."""
    reasoning: str = ""
    """What the model thought before."""
    problem: str = ""
    """Why it cannot be read, where more is known than that it names no option."""


def read_vote(
    text: str, options: Sequence[str], *, asks_for_worse: bool = False, ending: str = "", finished: bool = True
) -> str | None:
    """The option that a message names: its last unambiguous verdict, think blocks left out.

    The forms of a verdict are those of :mod:`rlaif.engines.openai.verdicts`. Of a message that was cut only its first
    line counts, where that is whole and no heading, or a text that is an option and begins no other.

    Args:
        text: What the server wrote.
        options: The allowed answers.
        asks_for_worse: The question asks for the worse response, so "Response 1 is better" does not answer it.
        ending: The end of the prompt, such as ``Better Response=``, which a model may repeat.
        finished: False when the token limit ended the text.

    Returns:
        None when the message names no option, or not one alone.

    >>> read_vote("<think>2?</think>\\n\\n**1**", ["1", "2"]), read_vote("Better Response=2", ["1", "2"])
    ('1', '2')
    >>> read_vote("1 or 2", ["1", "2"]), read_vote("10", ["1", "2"]), read_vote("7/10", ["1", "7", "10"])
    (None, None, '7')
    """
    parted = split_reasoning(text)
    if not parted.is_closed:
        return None
    answer = parted.text if finished else _uncut(parted.text, options)
    return verdict_reader(tuple(options), asks_for_worse, ending).read(answer, is_cut=not finished)


def vote_of(reply: Reply, structured: StructuredPrompt, options: Sequence[str], limit: int) -> Vote:
    """Read one reply.

    Args:
        reply: The server's.
        structured: The prompt that was answered.
        options: The allowed answers.
        limit: Most tokens of the reply, for its problem.
    """
    parted, finished = split_reasoning(reply.text), reply.finish_reason != "length"
    reasoning = joined(reply.reasoning, parted.reasoning)
    if reply.refused:
        return Vote(None, reasoning)
    option = read_vote(
        reply.text,
        options,
        asks_for_worse=structured.asks_for_worse,
        ending=_ending(structured.text),
        finished=finished,
    )
    problem = ""
    if option is None and not finished:
        only_thought = not parted.is_closed or (bool(reasoning) and not parted.text.strip())
        problem = f"{'reasoning' if only_thought else 'reply'} cut at {limit} tokens"
    elif option is None and not parted.is_closed:
        problem = "reasoning without an end"
    return Vote(option, reasoning, problem)


def no_vote_reason(votes: Sequence[Vote]) -> str:
    """Why a prompt has no answer when none of its votes could be read.

    >>> no_vote_reason([Vote(None), Vote(None, "", "reasoning cut at 16 tokens")])
    'none of 2 votes could be read: reasoning cut at 16 tokens'
    """
    problems = dict.fromkeys(vote.problem for vote in votes if vote.problem)
    return f"none of {len(votes)} votes could be read" + (": " + ", ".join(problems) if problems else "")


def reasoning_of(votes: Sequence[Vote]) -> str:
    """The reasoning before each vote, numbered; empty where there was none."""
    return "\n\n".join(f"[vote {n}] {vote.reasoning}" for n, vote in enumerate(votes, 1) if vote.reasoning)


def vote_logprobs(votes: Sequence[str | None], options: Sequence[str]) -> tuple[float, ...] | None:
    """Log of each option's share of all votes, those of the readable ones with half a vote added to every option.

    The added half (Krichevsky-Trofimov) keeps every share off 0 and 1; the sum over the options is the share of the
    votes that could be read.

    Args:
        votes: The option that each sample named, None where it could not be read.
        options: The allowed answers.

    Returns:
        None when no vote could be read.

    >>> [round(math.exp(p), 3) for p in vote_logprobs(["1", "1", "1"], ["1", "2"])]
    [0.875, 0.125]
    >>> [round(math.exp(p), 3) for p in vote_logprobs(["1", None], ["1", "2"])]
    [0.375, 0.125]
    """
    counts = Counter(vote for vote in votes if vote is not None)
    total = counts.total()
    if total == 0:
        return None
    readable = total / len(votes)
    return tuple(math.log(readable * (counts[option] + 0.5) / (total + 0.5 * len(options))) for option in options)


def _uncut(text: str, options: Sequence[str]) -> str:
    """The part of a cut message that nothing after the cut could change, empty where there is none."""
    first, newline, _ = text.strip().partition("\n")
    if newline:
        return first
    begins = [option for option in options if option.startswith(text.strip())]
    return text if begins == [text.strip()] else ""


def _ending(prompt: str) -> str:
    """The name of the answer at the end of a prompt, empty where it ends otherwise."""
    line = in_ascii(prompt.rstrip().rpartition("\n")[2].strip())
    return line if line.endswith(("=", ":")) and len(line) <= _LONGEST_ENDING else ""
