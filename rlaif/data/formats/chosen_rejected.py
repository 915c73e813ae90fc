"""TRL's preference format, as texts or as lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError, chosen_and_rejected, label_of
from rlaif.data.formats.fields import PROBABILITY, decoded, side_of, weight_of
from rlaif.data.formats.hh import parse_hh
from rlaif.data.transcripts import instruction_in
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN


def parse_chosen_rejected(values: Mapping[str, object]) -> LabeledPair:
    """TRL's preference format: a prompt with ``chosen`` and ``rejected``, as texts or as lists of messages.

    Without ``prompt``, both are whole conversations (lists of messages, or HH transcripts). ``p_chosen`` in
    [0, 1] makes the label soft; without it, it is hard. ``weight`` counts where it is there.
    Source: trl ``docs/source/dataset_formats.md``.
    """
    chosen, rejected = (side_of(values, key, ends_with_response=True) for key in ("chosen", "rejected"))
    if "prompt" not in values:
        return parse_hh({"chosen": chosen, "rejected": rejected})
    prompt = side_of(values, "prompt")
    if isinstance(values["prompt"], list):
        prompt = instruction_in(prompt + ASSISTANT_TURN)
    if not prompt.strip():
        raise OddRowError("empty prompt")
    chosen, rejected = (side.removeprefix(ASSISTANT_TURN).removeprefix(" ") for side in (chosen, rejected))
    pair = chosen_and_rejected(prompt, chosen, rejected)
    with label_of(prompt, chosen, rejected):
        p_chosen = decoded(PROBABILITY, values, "p_chosen") if "p_chosen" in values else 1.0
        weight = weight_of(values, "weight")
    p_first = p_chosen if p_chosen is None or pair.p_first == 1.0 else 1.0 - p_chosen
    return replace(
        pair,
        p_first=p_first,
        weight=weight,
        is_instruction=not prompt.startswith(HUMAN_TURN),
    )


LAYOUT = Layout(parse_chosen_rejected, (("prompt", "chosen", "rejected"), ("chosen", "rejected")))
