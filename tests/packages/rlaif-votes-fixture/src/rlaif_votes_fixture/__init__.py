"""Rows with a question, two answers, and how many people voted for each."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError


def parse_votes(values: Mapping[str, object]) -> LabeledPair:
    """Read a row; the label is the share of votes for the first answer.

    Raises:
        OddRowError: Nobody voted, or votes are no numbers.
    """
    votes = (values["votes_a"], values["votes_b"])
    if not all(isinstance(count, int) for count in votes) or not sum(votes):  # type: ignore[arg-type]
        raise OddRowError("no votes", f"{votes}")
    first, second = (float(count) for count in votes)  # type: ignore[arg-type]
    return LabeledPair(
        prompt=str(values["question"]),
        first=str(values["a"]),
        second=str(values["b"]),
        p_first=first / (first + second),
        is_instruction=True,
    )


LAYOUT = Layout(parse_votes, (("question", "a", "b", "votes_a", "votes_b"),))
