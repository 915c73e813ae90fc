"""Rated generations of distilabel."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif.data.formats.base import LabeledPair, Layout, OddRowError, label_of
from rlaif.data.formats.fields import PROBABILITY, decoded, number_of, text_of
from rlaif.errors import DataError
from rlaif.types import HUMAN_TURN


def parse_distilabel(values: Mapping[str, object]) -> LabeledPair:
    """Two rated ``generations`` of an ``instruction``: the higher of the ``ratings`` wins, equal ones tie.

    Ratings are no probabilities, so the label is hard, unless a column ``p_first`` says more. Source: distilabel,
    ``FormatTextGenerationDPO``.
    """
    instruction, generations, ratings = text_of(values, "instruction"), values["generations"], values["ratings"]
    if not instruction.strip():
        raise OddRowError("empty prompt")
    if not isinstance(generations, list) or not isinstance(ratings, list):
        raise DataError("generations and ratings must be lists")
    if len(generations) != 2 or len(ratings) != 2:
        raise OddRowError("not two generations", f"{len(generations)} with {len(ratings)} ratings")
    models = values.get("generation_models")
    first_model, second_model = models if isinstance(models, list) and len(models) == 2 else ("dataset", "dataset")
    first, second = (text_of({"generations": text}, "generations") for text in generations)
    with label_of(instruction, first, second):
        if values.get("p_first") is not None:
            p_first = decoded(PROBABILITY, values, "p_first")
        else:
            worth = [number_of({"ratings": rating}, "ratings") for rating in ratings]
            p_first = None if worth[0] is None or worth[1] is None else _winner(worth[0], worth[1])
    return LabeledPair(
        prompt=instruction,
        first=first,
        second=second,
        p_first=p_first,
        is_instruction=not instruction.startswith(HUMAN_TURN),
        first_source=str(first_model),
        second_source=str(second_model),
    )


def _winner(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)


LAYOUT = Layout(parse_distilabel, (("instruction", "generations", "ratings"),))
