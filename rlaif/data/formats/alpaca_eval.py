"""Annotations of AlpacaEval."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError, label_of
from rlaif.data.formats.encodings import decoder
from rlaif.data.formats.fields import decoded, text_of
from rlaif.types import HUMAN_TURN


def parse_alpaca_eval(values: Mapping[str, object]) -> LabeledPair:
    """An annotation of AlpacaEval: ``preference`` from 1, the first, to 2, or ``p_output_2_preferred``.

    Source: tatsu-lab/alpaca_eval, ``results/*/*/annotations.json``.
    """
    instruction = text_of(values, "instruction")
    if not instruction.strip():
        raise OddRowError("empty prompt")
    key, encoding = (
        ("p_output_2_preferred", "p_second") if "p_output_2_preferred" in values else ("preference", "index1")
    )
    first, second = (text_of(values, name) for name in ("output_1", "output_2"))
    with label_of(instruction, first, second):
        p_first = decoded(decoder(encoding, key), values, key)
    return LabeledPair(
        prompt=instruction,
        first=first,
        second=second,
        p_first=p_first,
        is_instruction=not instruction.startswith(HUMAN_TURN),
        first_source=str(values.get("generator_1") or "dataset"),
        second_source=str(values.get("generator_2") or "dataset"),
    )


LAYOUT = Layout(
    parse_alpaca_eval,
    (
        ("instruction", "output_1", "output_2", "preference"),
        ("instruction", "output_1", "output_2", "p_output_2_preferred"),
    ),
)
