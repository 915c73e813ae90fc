"""The chat template of a tokenizer: the texts around the turns of a dialogue, and how a response ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError

from rlaif.errors import EngineError
from rlaif.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = "⟦rlaif⟧"
_FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
"""Templates that write today's date would make another prompt each day; this is the date Llama's falls back to."""


def chat_pieces(
    tokenizer: PreTrainedTokenizerBase,
    roles: Sequence[str],
    *,
    option: str,
    add_generation_prompt: bool = False,
    **arguments: Any,
) -> list[str]:
    """The pieces of the tokenizer's chat template around the texts of these turns: one more than there are turns.

    Args:
        tokenizer: A chat model's.
        roles: ``user``, ``assistant`` or ``system`` for each turn.
        option: What the user typed to get here, for the errors.
        add_generation_prompt: Begin the assistant's next turn.
        arguments: Further arguments of the template.

    Raises:
        EngineError: There is no template, it refuses these turns, or it does not keep their texts as they are.
    """
    if not tokenizer.chat_template:
        raise EngineError(f"{option}: this model's tokenizer has no chat template, so it was not made for chats")
    try:
        chat = tokenizer.apply_chat_template(
            [{"role": role, "content": _PLACEHOLDER} for role in roles],
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            chat_template=_FIXED_DATE + tokenizer.get_chat_template(),
            **arguments,
        )
    except TemplateError as error:
        raise EngineError(f"{option}: the template refuses the turns {', '.join(roles)}: {error}") from error
    pieces = str(chat).split(_PLACEHOLDER)
    if len(pieces) != len(roles) + 1:
        raise EngineError(
            f"{option}: this model's template writes {len(pieces) - 1} texts where there are {len(roles)}; it must "
            "write each once, unchanged"
        )
    return pieces


class Framed(NamedTuple):
    """The turns of a dialogue as a template takes them, and the texts around them."""

    turns: tuple[Turn, ...]
    """The turns; with system text in the user's turn where the template knows no system."""
    pieces: tuple[str, ...]
    """Text before each turn, and after the last: it begins the assistant's turn."""


class ChatFormat:
    """Dialogues and responses in the tokenizer's own chat template.

    Args:
        tokenizer: A chat model's.
    """

    OPTION = "model.chat_template=model"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._pieces = cache(self._pieces_of)

    def framed(self, turns: Sequence[Turn]) -> Framed:
        """A dialogue up to the assistant's turn.

        Templates that know no system, or want the roles in turn, get system text and neighbours of one role joined.

        Args:
            turns: Up to the assistant's next turn.

        Raises:
            EngineError: The template refuses the turns also then, or does not keep their texts.
        """
        try:
            return Framed(tuple(turns), self._pieces(tuple(turn.role for turn in turns)))
        except EngineError:
            joined = joined_turns(turns)
            if joined == tuple(turns):
                raise
            return Framed(joined, self._pieces(tuple(turn.role for turn in joined)))

    def _pieces_of(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(chat_pieces(self.tokenizer, roles, option=self.OPTION, add_generation_prompt=True))

    @cached_property
    def _around_response(self) -> tuple[str, str]:
        """Texts before and after an assistant's turn that follows one of the user."""
        _, before, after = chat_pieces(self.tokenizer, ["user", "assistant"], option=self.OPTION)
        return before, after

    @cached_property
    def before_response(self) -> str:
        """White space that the template writes between the beginning of an assistant's turn and its text."""
        more = self._around_response[0].removeprefix(self._pieces(("user",))[-1])
        return more if not more.strip() else ""

    @cached_property
    def end_id(self) -> int:
        """The token that ends an assistant's turn: the special one after its text, else the tokenizer's end token."""
        special = special_ids(self.tokenizer)
        for token in self.tokenizer(self._around_response[1], add_special_tokens=False)["input_ids"]:
            if token in special:
                return int(token)
            if str(self.tokenizer.decode([token])).strip():
                break
        return int(self.tokenizer.eos_token_id)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of special and added tokens: those that no ordinary text is made of."""
    added = tokenizer.added_tokens_decoder.items()
    others = (index for index, token in added if token.special or not is_white_space(token.content))
    return frozenset(tokenizer.all_special_ids) | frozenset(others)


def is_white_space(token: str) -> bool:
    """True for a token of white space alone, which some tokenizers (Gemma, Phi-2) add and ordinary text is made of.

    >>> is_white_space("\\n\\n"), is_white_space("\u2581\u2581"), is_white_space("<h1>")
    (True, True, False)
    """
    return bool(token) and not token.replace("\u2581", " ").strip()


def joined_turns(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """System text before the text of the next user, and neighbours of one role as one turn.

    >>> [turn.text for turn in joined_turns([Turn("system", "Be brief."), Turn("user", "Hi"), Turn("user", "you")])]
    ['Be brief.\\n\\nHi\\n\\nyou']
    """
    joined: list[Turn] = []
    for turn in turns:
        role = "user" if turn.role == "system" else turn.role
        if joined and joined[-1].role == role:
            joined[-1] = Turn(role, f"{joined[-1].text}\n\n{turn.text}")
        else:
            joined.append(Turn(role, turn.text))
    return tuple(joined)
