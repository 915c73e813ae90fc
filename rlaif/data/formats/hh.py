"""Anthropic HH: two transcripts that differ in their last turn."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError, chosen_and_rejected
from rlaif.data.formats.fields import text_of
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN


def parse_hh(values: Mapping[str, object]) -> LabeledPair:
    """Two transcripts that differ in their last assistant turn (Anthropic HH, arXiv 2204.05862).

    The context ends with the last ``\\n\\nAssistant:``; in rows where the two contexts differ under that
    split, the transcripts part earlier than in their last turn.
    """
    chosen, rejected = text_of(values, "chosen"), text_of(values, "rejected")
    contexts, responses = [], []
    for text in (chosen, rejected):
        context, turn, response = text.rpartition(ASSISTANT_TURN)
        if not turn or not context.startswith(HUMAN_TURN):
            raise OddRowError("not a dialogue", "a transcript starts with a human turn and ends with an assistant's")
        contexts.append(context + turn)
        responses.append(response.removeprefix(" "))
    if contexts[0] != contexts[1]:
        raise OddRowError("split context", "chosen and rejected part before the last assistant turn")
    return chosen_and_rejected(contexts[0], responses[0], responses[1])


LAYOUT = Layout(parse_hh, (("chosen", "rejected"),))
