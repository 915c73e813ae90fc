"""One prompt and its responses from what a row holds: texts, transcripts, messages, whole conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rlaif.data.formats.base import OddRowError
from rlaif.data.formats.marks import ends_open, with_hh_marks, with_line_ends, with_outer_marks
from rlaif.data.formats.messages import (
    canonical_transcript,
    is_transcript,
    messages_in,
    prompt_transcript,
    text_of,
    turns_of,
)
from rlaif.data.formats.paths import as_list
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Role, Turn, turns_in

Roles = Mapping[str, Role]


@dataclass(frozen=True)
class Dialogue:
    """Turns, and the text they were written as."""

    turns: tuple[Turn, ...]
    transcript: str | None = None
    """The prompt as a transcript, up to the assistant's turn, where the row has it as one."""

    @property
    def context(self) -> tuple[Turn, ...]:
        """The turns before the last one."""
        return self.turns[:-1]

    @property
    def is_response_alone(self) -> bool:
        """True when there is nothing but the assistant's last turn."""
        return len(self.turns) == 1 and self.turns[0].role == "assistant"


def prompt_in(value: object, name: str, roles: Roles) -> Dialogue | None:
    """The prompt that a value holds; None where it is null or an empty list.

    Args:
        value: A text, a transcript, messages, or a list of texts (user and assistant in turn).
        name: Of the value, for messages.
        roles: Names of roles of this layout.

    Raises:
        OddRowError: The prompt is empty, or a message of it cannot be read.
    """
    if value is None or value == []:
        return None
    messages = messages_in(value)
    if messages is not None:
        turns = tuple(Turn(turn.role, turn.text.strip()) for turn in turns_of(messages, roles))
        return Dialogue(turns)
    text = text_of(_only_text(value, name), name)
    if not text.strip():
        raise OddRowError("empty prompt")
    text = with_line_ends(text)
    if not is_transcript(text):
        marked = with_hh_marks(with_outer_marks(text))
        if marked is None or not ends_open(marked):
            return Dialogue((Turn("user", text),))
        text = marked
    transcript = prompt_transcript(text)
    return Dialogue(turns_in(transcript), transcript)


def response_in(value: object, name: str, roles: Roles, *, in_json: bool) -> Dialogue:
    """The response that a value holds, with the turns before it where the value is a whole conversation.

    Args:
        value: A text, a transcript, or messages.
        name: Of the value, for messages.
        roles: Names of roles of this layout.
        in_json: Whether a text that is JSON of messages means these messages; else it is the response itself.

    Raises:
        OddRowError: There is no text, or a message of it cannot be read.
    """
    messages = messages_in(value, in_json=in_json)
    if messages is not None:
        return Dialogue(turns_of(messages, roles))
    text = text_of(_only_text(value, name), name)
    text = with_line_ends(text)
    if is_transcript(text):
        return _transcript_with_response(text, name)
    if text.startswith(ASSISTANT_TURN):
        text = text.removeprefix(ASSISTANT_TURN).removeprefix(" ")
    return Dialogue((Turn("assistant", text),))


def whole_in(prompt: Dialogue | None, side: Dialogue) -> Dialogue:
    """A side whose text has other turn marks than HH's, as the conversation that it is.

    Only where nobody can take it for a response that quotes a conversation: the row has no prompt, or the conversation
    begins with it.
    """
    marked = with_hh_marks(side.turns[0].text) if side.is_response_alone else None
    if marked is None:
        return side
    whole = _transcript_with_response(marked, "a conversation")
    asked = [turn.text.strip() for turn in prompt.turns if turn.role == "user"] if prompt else None
    said = [turn.text.strip() for turn in whole.context if turn.role == "user"]
    return whole if asked is None or asked == said else side


def with_system(prompt: Dialogue | None, system: str) -> Dialogue | None:
    """The prompt with a system turn at its beginning, unless it has this one."""
    if prompt is None or not system.strip():
        return prompt
    turn = Turn("system", system.strip())
    return prompt if turn in prompt.turns else Dialogue((turn, *prompt.turns))


def with_history(prompt: Dialogue | None, exchanges: Iterable[Sequence[object]]) -> Dialogue | None:
    """The prompt with earlier exchanges of user and assistant before its last turn.

    Raises:
        OddRowError: An exchange is no pair of texts.
    """
    earlier: list[Turn] = []
    for exchange in exchanges:
        if len(exchange) != 2:
            raise OddRowError("odd history", f"{exchange!r:.60} is no pair of texts")
        earlier += [Turn("user", text_of(exchange[0], "history")), Turn("assistant", text_of(exchange[1], "history"))]
    if prompt is None or not earlier:
        return prompt
    return Dialogue(
        (*prompt.turns[:-1], *(replace(turn, text=turn.text.strip()) for turn in earlier), prompt.turns[-1])
    )


def one_dialogue(prompt: Dialogue | None, sides: Sequence[Dialogue]) -> tuple[Dialogue, list[str]]:
    """The prompt that all responses share, and the responses' texts.

    A side that is a whole conversation repeats the prompt: the prompt is taken out of it. A side that is a response
    alone follows the prompt, or, in a row without one, what the other side's conversation holds before its last turn.

    Raises:
        OddRowError: A conversation does not hold the prompt or does not end with the assistant's turn, or the sides
            part before their last turn.
    """
    whole = [_whole(prompt, side) for side in sides]
    for side in whole:
        if side.turns[-1].role != "assistant":
            raise OddRowError("ends with a human turn", "a conversation ends with the assistant's response")
    contexts = [side for side in whole if side.context]
    base = _shared(contexts)
    if base is None:
        raise OddRowError("no prompt", "neither a prompt nor a conversation that holds one")
    if base.turns[-1].role == "assistant":
        raise OddRowError("prompt ends with an assistant turn", repr(base.turns[-1].text[-40:]))
    texts = [side.turns[-1].text for side in whole]
    if all(side.is_response_alone for side in sides) and (base.transcript is not None or _has_separator(texts)):
        texts = [text.removeprefix(" ") for text in texts]
    return base, texts


def _has_separator(texts: Sequence[str]) -> bool:
    """True when every response begins with the one space that separates it from its prompt, as TRL's texts do.

    At least one of them shows that it is no indentation: it has a single space there.
    """
    return all(text.startswith(" ") for text in texts) and any(text[1:2].strip() for text in texts)


def _only_text(value: object, name: str) -> object:
    """The text of a list with one text; every other value unchanged.

    Raises:
        OddRowError: The list holds several texts: nothing says whether they are turns, parts or responses.
    """
    items = as_list(value)
    if not items or not all(isinstance(item, str) for item in items):
        return value
    if len(items) > 1:
        raise OddRowError("several texts in one place", f"{name} is a list of {len(items)} texts")
    return items[0]


def _whole(prompt: Dialogue | None, side: Dialogue) -> Dialogue:
    """A side with the prompt before it."""
    if prompt is None:
        return side
    if side.turns[0].role in ("assistant", "tool"):
        return Dialogue((*prompt.turns, *side.turns), prompt.transcript if side.is_response_alone else None)
    system = tuple(turn for turn in prompt.turns if turn.role == "system" and turn not in side.turns)
    asked = [turn.text.strip() for turn in prompt.turns if turn.role == "user"]
    said = [turn.text.strip() for turn in side.context if turn.role == "user"]
    if asked and not _holds(said, asked):
        raise OddRowError("prompt not in the conversation", f"{asked[-1][:40]!r} is no turn of it")
    plain = prompt.turns if _same(prompt.turns, side.context) else (*system, *side.context)
    transcript = prompt.transcript if _same(prompt.turns, side.context) else side.transcript
    return Dialogue((*plain, side.turns[-1]), None if system else transcript)


def _holds(said: list[str], asked: list[str]) -> bool:
    """True when a conversation begins with the user's turns of a prompt, or holds the last of them."""
    return said[: len(asked)] == asked or asked[-1] in said


def _shared(sides: Sequence[Dialogue]) -> Dialogue | None:
    """The context that all sides have."""
    if not sides:
        return None
    first = sides[0]
    if any(not _same(side.context, first.context) for side in sides[1:]):
        raise OddRowError("split context", "the conversations part before the last assistant turn")
    return Dialogue(first.context, first.transcript)


def _same(turns: Sequence[Turn], others: Sequence[Turn]) -> bool:
    return [(t.role, t.text.strip()) for t in turns] == [(t.role, t.text.strip()) for t in others]


def _transcript_with_response(text: str, name: str) -> Dialogue:
    context, mark, response = canonical_transcript(text).rpartition(ASSISTANT_TURN)
    if not mark or not context:
        raise OddRowError("not a dialogue", f"{name}: a transcript ends with an assistant's turn")
    if HUMAN_TURN in response:
        raise OddRowError("ends with a human turn", f"{name}: a transcript ends with the assistant's response")
    transcript = context + mark
    return Dialogue((*turns_in(transcript), Turn("assistant", response.removeprefix(" "))), transcript)
