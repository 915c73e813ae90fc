"""One row of each known format as a pair of responses with a human label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlaif.errors import DataError
from rlaif.types import content_id

HUMAN_TURN = "\n\nHuman:"
ASSISTANT_TURN = "\n\nAssistant:"


class OddRowError(Exception):
    """A row that is well-formed but cannot be used.

    Args:
        reason: A few words under which such rows are counted.
        detail: What is odd about this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason} ({detail})" if detail else reason)


@dataclass(frozen=True, kw_only=True)
class LabeledPair:
    """One row, parsed."""

    prompt: str
    first: str
    second: str
    p_first: float | None
    confidence: float | None = None


def chosen_and_rejected(prompt: str, chosen: str, rejected: str, confidence: float | None = None) -> LabeledPair:
    """A hard label as a pair whose order does not tell which one was chosen.

    The order is drawn from the texts, so that it is the same in every run and when a file is turned around.

    >>> pair, turned = chosen_and_rejected("p", "a", "b"), chosen_and_rejected("p", "b", "a")
    >>> (pair.first, pair.p_first) == (turned.first, 1 - turned.p_first)
    True
    """
    first, second = sorted((chosen, rejected))
    if int(content_id("candidate order", prompt, first, second), 16) % 2:
        first, second = second, first
    p_first = 1.0 if first == chosen else 0.0
    return LabeledPair(prompt=prompt, first=first, second=second, p_first=p_first, confidence=confidence)


def parse_hh(values: Mapping[str, object]) -> LabeledPair:
    """Two transcripts that differ in their last assistant turn (Anthropic HH, arXiv 2204.05862).

    The context ends with the last ``\\n\\nAssistant:``; in rows where the two contexts differ under that
    split, the transcripts part earlier than in their last turn.
    """
    chosen, rejected = text_of(values, "chosen"), text_of(values, "rejected")
    contexts, responses = [], []
    for transcript in (chosen, rejected):
        context, turn, response = transcript.rpartition(ASSISTANT_TURN)
        if not turn or not context.startswith(HUMAN_TURN):
            raise OddRowError("not a dialogue", "a transcript starts with a human turn and ends with an assistant's")
        contexts.append(context + turn)
        responses.append(response.strip())
    if contexts[0] != contexts[1]:
        raise OddRowError("split context", "chosen and rejected part before the last assistant turn")
    return chosen_and_rejected(contexts[0], responses[0], responses[1])


def parse_row(values: Mapping[str, object]) -> LabeledPair:
    """A prompt with ``chosen`` and ``rejected``, or with ``first``, ``second`` and ``p_first``."""
    prompt = text_of(values, "prompt")
    if not prompt.strip():
        raise OddRowError("empty prompt")
    if "chosen" in values and "rejected" in values:
        return chosen_and_rejected(prompt, text_of(values, "chosen").strip(), text_of(values, "rejected").strip())
    p_first = values["p_first"]
    if p_first is not None:
        if isinstance(p_first, bool) or not isinstance(p_first, int | float):
            raise DataError(f"p_first is {p_first!r}; expected a number from 0 to 1, or null")
        if not 0.0 <= p_first <= 1.0:
            raise OddRowError("p_first is no probability", str(p_first))
        p_first = float(p_first)
    first, second = text_of(values, "first").strip(), text_of(values, "second").strip()
    return LabeledPair(prompt=prompt, first=first, second=second, p_first=p_first)


def text_of(values: Mapping[str, object], key: str) -> str:
    """The text under a key.

    Raises:
        DataError: Something else stands there; the caller adds the place.
    """
    value = values[key]
    if not isinstance(value, str):
        raise DataError(f"{key} is {value!r:.40}; expected a text")
    return value


def parse_tldr(values: Mapping[str, object]) -> LabeledPair:
    """A comparison of two summaries of a Reddit post (arXiv 2009.01325), in the query format of its authors.

    Source: openai/summarize-from-feedback, ``summarize_from_feedback/utils/experiment_helpers.py``.
    """
    info, summaries, extra = values["info"], values["summaries"], values["extra"]
    assert isinstance(info, Mapping) and isinstance(summaries, list) and isinstance(extra, Mapping)
    if not info["post"]:
        raise OddRowError("empty prompt")
    prompt = f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {info['title']}\n\nPOST: {info['post']}"
    choice = values["choice"]
    if choice not in (0, 1):
        raise OddRowError("no choice", str(choice))
    texts = [summary["text"].strip() for summary in summaries]
    confidence = None if extra["confidence"] is None else float(extra["confidence"])
    return chosen_and_rejected(prompt, texts[choice], texts[1 - choice], confidence)
