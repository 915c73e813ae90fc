"""The evidence of one scored prompt, as every labeler that scores answers gives it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rlaif.labelers.answer_mass import answer_mass, why_too_low
from rlaif.outcome import OptionScores
from rlaif.types import Judgment, StructuredPrompt, View

NO_ANSWER = "no probability on any answer option"


def judged(
    view: View,
    prompt: StructuredPrompt,
    scores: OptionScores,
    options: Sequence[str],
    *,
    min_answer_mass: float,
    p_slot1: Callable[[tuple[float, ...]], float] | None = None,
    nothing: str = NO_ANSWER,
) -> Judgment:
    """The judgement that scores mean; it is unreadable where the answers have too little probability, or none.

    Args:
        view: What the prompt shows.
        prompt: What the engine read.
        scores: What it answered.
        options: The answers that were scored.
        min_answer_mass: Least probability, in [0, 1], that all answers have together.
        p_slot1: Probability that the candidate in slot 1 is better, from the log-probabilities of the answers; None
            where one response is judged alone. It is called where some answer has a probability.
        nothing: The reason where no answer has any.

    >>> scores = OptionScores(logprobs=(math.log(0.6), math.log(0.2)))
    >>> judgment = judged("first", StructuredPrompt(segments=()), scores, ("bad", "good"), min_answer_mass=0.9)
    >>> judgment.missing, judgment.unreadable
    ('answer mass 0.8 below labeler.min_answer_mass=0.9', True)
    """
    p, missing, mass = None, scores.missing, answer_mass(scores)
    if missing is None:
        assert scores.logprobs is not None
        if max(scores.logprobs) == -math.inf or any(map(math.isnan, scores.logprobs)):
            missing = nothing
        else:
            missing = why_too_low(mass, min_answer_mass)
    if missing is None and p_slot1 is not None and scores.logprobs is not None:
        p = p_slot1(scores.logprobs)
    return Judgment(
        order=view,
        prompt=prompt.text,
        option_logprobs=scores.logprobs,
        p_slot1=p,
        missing=missing,
        unreadable=missing is not None and not scores.failed,
        num_prompt_tokens=scores.num_prompt_tokens,
        num_reply_tokens=scores.num_reply_tokens,
        reasoning=scores.reasoning,
        options=tuple(options),
        asks_for_worse=prompt.asks_for_worse,
        answer_mass=mass,
    )
