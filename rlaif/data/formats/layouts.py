"""One row of each known format as a pair of responses with a label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rlaif.data.formats.encodings import UnknownPreferenceError, decoder
from rlaif.data.formats.transcripts import ASSISTANT_TURN, HUMAN_TURN, TurnError, instruction_in, transcript, with_turns
from rlaif.errors import DataError
from rlaif.types import content_id

COLUMNS = {
    name: name if name != "preference" else "p_first"
    for name in ("prompt", "first", "second", "preference", "confidence", "weight")
}
"""What a row of ``table`` holds, and the column it stands in unless ``columns`` says otherwise; the last two may be
absent."""
OPTIONAL_COLUMNS = ("confidence", "weight")
_PROBABILITY = decoder("p_first", "preference")


class OddRowError(Exception):
    """A row that is well-formed but cannot be used.

    Args:
        reason: A few words under which such rows are counted.
        detail: What is odd about this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.pair: tuple[str, str, str] | None = None
        """Prompt and both responses, where they could be read and the rest of the row is odd."""
        super().__init__(f"{reason} ({detail})" if detail else reason)


@contextmanager
def label_of(prompt: str, first: str, second: str) -> Iterator[None]:
    """Read what a row says of a pair: an :class:`OddRowError` on the way gets to know whose label is lost."""
    try:
        yield
    except OddRowError as odd:
        odd.pair = (prompt, first, second)
        raise


class OtherTaskError(OddRowError):
    """A row that belongs to another task: left out and counted, not held against the data."""


@dataclass(frozen=True, kw_only=True)
class LabeledPair:
    """One row, parsed."""

    prompt: str
    """Starts with a human turn where the format has turns."""
    first: str
    """As written, without only the space that separates it from the prompt in formats that write both as one text."""
    second: str
    p_first: float | None
    """In [0, 1]; None where the row has no label."""
    confidence: float | None = None
    weight: float = 1.0
    is_instruction: bool = False
    """True when ``prompt`` is what one person asked, without turns."""
    first_source: str = "dataset"
    """Who wrote the first response."""
    second_source: str = "dataset"

    def prompt_for(self, continues_dialogue: bool) -> str:
        """The prompt for a task: an instruction gets turns where the policy continues a dialogue."""
        return with_turns(self.prompt) if self.is_instruction and continues_dialogue else self.prompt


def chosen_and_rejected(prompt: str, chosen: str, rejected: str, confidence: float | None = None) -> LabeledPair:
    """A hard label as a pair whose order does not tell which one was chosen.

    The order is drawn from the trimmed texts, so that it is the same in every run and when a file is turned around.

    >>> pair, turned = chosen_and_rejected("p", "a", "b"), chosen_and_rejected("p", "b", "a")
    >>> (pair.first, pair.p_first) == (turned.first, 1 - turned.p_first)
    True
    """
    first, second = sorted((chosen, rejected), key=str.strip)
    if int(content_id("candidate order", prompt, first.strip(), second.strip()), 16) % 2:
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
    for text in (chosen, rejected):
        context, turn, response = text.rpartition(ASSISTANT_TURN)
        if not turn or not context.startswith(HUMAN_TURN):
            raise OddRowError("not a dialogue", "a transcript starts with a human turn and ends with an assistant's")
        contexts.append(context + turn)
        responses.append(response.removeprefix(" "))
    if contexts[0] != contexts[1]:
        raise OddRowError("split context", "chosen and rejected part before the last assistant turn")
    return chosen_and_rejected(contexts[0], responses[0], responses[1])


def parse_table(
    values: Mapping[str, object],
    *,
    columns: Mapping[str, str] = COLUMNS,
    decode: Callable[[object], float | None] = _PROBABILITY,
) -> LabeledPair:
    """A prompt, two responses and a preference in named columns; an empty preference is no label.

    Args:
        values: The row.
        columns: Where each thing stands, as :data:`COLUMNS`.
        decode: What turns the preference into P(first is better).
    """
    prompt, first, second = (text_of(values, columns[name]) for name in ("prompt", "first", "second"))
    if not prompt.strip():
        raise OddRowError("empty prompt")
    with label_of(prompt, first, second):
        return LabeledPair(
            prompt=prompt,
            first=first,
            second=second,
            p_first=_decoded(decode, values, columns["preference"]),
            confidence=_number_of(values, columns["confidence"]),
            weight=_weight_of(values, columns["weight"]),
            is_instruction=not prompt.startswith(HUMAN_TURN),
        )


def parse_chosen_rejected(values: Mapping[str, object]) -> LabeledPair:
    """TRL's preference format: a prompt with ``chosen`` and ``rejected``, as texts or as lists of messages.

    Without ``prompt``, both are whole conversations (lists of messages, or HH transcripts). ``p_chosen`` in
    [0, 1] makes the label soft; without it, it is hard. ``weight`` counts where it is there.
    Source: trl ``docs/source/dataset_formats.md``.
    """
    chosen, rejected = (_side(values, key, ends_with_response=True) for key in ("chosen", "rejected"))
    if "prompt" not in values:
        return parse_hh({"chosen": chosen, "rejected": rejected})
    prompt = _side(values, "prompt")
    if isinstance(values["prompt"], list):
        prompt = instruction_in(prompt + ASSISTANT_TURN)
    if not prompt.strip():
        raise OddRowError("empty prompt")
    chosen, rejected = (side.removeprefix(ASSISTANT_TURN).removeprefix(" ") for side in (chosen, rejected))
    pair = chosen_and_rejected(prompt, chosen, rejected)
    with label_of(prompt, chosen, rejected):
        p_chosen = _decoded(_PROBABILITY, values, "p_chosen") if "p_chosen" in values else 1.0
        weight = _weight_of(values, "weight")
    p_first = p_chosen if p_chosen is None or pair.p_first == 1.0 else 1.0 - p_chosen
    return replace(
        pair,
        p_first=p_first,
        weight=weight,
        is_instruction=not prompt.startswith(HUMAN_TURN),
    )


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
        p_first = _decoded(decoder(encoding, key), values, key)
    return LabeledPair(
        prompt=instruction,
        first=first,
        second=second,
        p_first=p_first,
        is_instruction=not instruction.startswith(HUMAN_TURN),
        first_source=str(values.get("generator_1") or "dataset"),
        second_source=str(values.get("generator_2") or "dataset"),
    )


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
            p_first = _decoded(_PROBABILITY, values, "p_first")
        else:
            worth = [_number_of({"ratings": rating}, "ratings") for rating in ratings]
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


def parse_tldr(values: Mapping[str, object]) -> LabeledPair:
    """A comparison of two summaries of a Reddit post (arXiv 2009.01325), in the query format of its authors.

    Comparisons of news articles (the CNN/DM batches) are of another task. Source: openai/summarize-from-feedback,
    ``summarize_from_feedback/utils/experiment_helpers.py``.
    """
    if "cnndm" in str(values.get("batch", "")):
        raise OtherTaskError("news article, no post", str(values["batch"]))
    info, summaries = _fields(values, "info"), values["summaries"]
    if not isinstance(summaries, list) or len(summaries) != 2:
        raise DataError(f"summaries is {summaries!r:.40}; expected a list of two")
    if not info.get("post"):
        raise OddRowError("empty prompt")
    prompt = f"SUBREDDIT: r/{info.get('subreddit')}\n\nTITLE: {info.get('title')}\n\nPOST: {info['post']}"
    texts = [text_of(_fields({"summaries": summary}, "summaries"), "text").removeprefix(" ") for summary in summaries]
    choice = values["choice"]
    with label_of(prompt, *texts):
        if choice not in (0, 1):
            raise OddRowError("no choice", str(choice))
        confidence = _number_of(_fields(values, "extra"), "confidence") if values.get("extra") else None
    return chosen_and_rejected(prompt, texts[choice], texts[1 - choice], confidence)


def text_of(values: Mapping[str, object], key: str) -> str:
    """The text under a key.

    Raises:
        OddRowError: Nothing stands there.
        DataError: Something else stands there; the caller adds the place.
    """
    value = values.get(key)
    if value is None:
        raise OddRowError("no text", f"{key} is null")
    if not isinstance(value, str):
        raise DataError(f"{key} is {value!r:.40}; expected a text")
    return value


def _fields(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = values[key]
    if not isinstance(value, Mapping):
        raise DataError(f"{key} is {value!r:.40}; expected an object")
    return value


def _side(values: Mapping[str, object], key: str, *, ends_with_response: bool = False) -> str:
    """A text, or the text of a list of messages, of which a response keeps its outer white space."""
    value = values[key]
    if not isinstance(value, list):
        return text_of(values, key)
    try:
        return transcript(value, ends_with_response=ends_with_response)
    except TurnError as error:
        raise OddRowError("unknown message", f"{key}: {error}") from None


def _number_of(values: Mapping[str, object], key: str) -> float | None:
    value = values.get(key)
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise OddRowError(f"{key} is no number", repr(value)) from None
    if not math.isfinite(number):
        raise OddRowError(f"{key} is no number", repr(value))
    return number


def _weight_of(values: Mapping[str, object], key: str) -> float:
    weight = _number_of(values, key)
    if weight is not None and weight < 0.0:
        raise OddRowError("no weight", f"{key}={weight:g}")
    return 1.0 if weight is None else weight


def _decoded(decode: Callable[[object], float | None], values: Mapping[str, object], key: str) -> float | None:
    try:
        return decode(values[key])
    except UnknownPreferenceError as error:
        raise OddRowError("unknown preference", f"{key}: {error}") from None
