"""What the run's own reward model gives the policy's responses more than the SFT policy's, on held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.estimates import mean_figures
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.matches import Match
from rlaif.evaluation.win_rate import BY_ANNOTATORS, GREEDY
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Figure

REWARD_DIFFERENCES = {GREEDY: "policy/greedy_reward_difference", BY_ANNOTATORS: "policy/reward_difference"}
"""Win rate of a match to the name of its difference of rewards."""
_EXPLANATION = (
    "By the run's reward model, on prompts that no training read, in log-odds that the policy's response is preferred."
    " It also rises where the policy fools the reward model."
)
FIGURES = (
    FigureSpec(
        name=REWARD_DIFFERENCES[GREEDY],
        label="reward minus SFT's, greedy",
        unit="score",
        explanation=_EXPLANATION,
        order=54,
    ),
    FigureSpec(
        name=REWARD_DIFFERENCES[BY_ANNOTATORS],
        label="reward minus SFT's",
        unit="score",
        explanation=_EXPLANATION,
        order=55,
    ),
)


def reward_difference_figures(
    match: Match,
    first: Sequence[float],
    second: Sequence[float],
    *,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """The mean difference of scores, paired by prompt.

    Args:
        match: Responses of two policies, whose win rate is one of :data:`REWARD_DIFFERENCES`.
        first: The reward model's score of each response of the first policy, in logits.
        second: Its score of each response of the second.
        confidence: Coverage of the interval, which is clustered by prompt.
        processes: Processes that hold further responses.
    """
    gains = [ours - theirs for ours, theirs in zip(first, second, strict=True)]
    name, note = REWARD_DIFFERENCES[match.name], f"reward model; {match.sampling}"
    return mean_figures(name, match.prompts, gains, note, confidence=confidence, processes=processes)
