"""Text to token ids, piece by piece, so that data can never become an instruction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from rlaif.errors import EngineError
from rlaif.types import StructuredPrompt, as_unicode

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = "⟦rlaif⟧"
_UNREACHABLE = "\U0010ffff"
"""A noncharacter: names vocabulary entries that no data may spell, and is itself taken out of data."""
_FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
"""Templates that write today's date would make another prompt each day; this is the date Llama's falls back to."""


class PromptTokenizer:
    """Tokenizes what we wrote and what we did not write apart.

    Each segment is tokenized on its own and the ids are joined, so no segment changes another's ids. Only the text at
    the very beginning gets the space that some tokenizers put before a text. Data is tokenized without the
    tokenizer's added and special tokens: text such as ``<|endoftext|>`` in a candidate becomes ordinary characters.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        chat_template: ``none`` joins the segments after the begin token, if the tokenizer uses one;
            ``model`` puts them into one user turn of the tokenizer's own chat template.
        template_arguments: Arguments of that template, e.g. ``{"enable_thinking": False}``.

    Raises:
        EngineError: The tokenizer has no chat template, or one that does not keep the user's text as it is.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str = "none",
        template_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._backends = {
            (is_data, opens): _backend(tokenizer, is_data=is_data, opens=opens)
            for is_data in (False, True)
            for opens in (False, True)
        }
        self._opens = chat_template == "none"
        self.before_ids, self.after_ids = _frame(tokenizer, chat_template, template_arguments or {})

    def trusted_ids(self, text: str) -> list[int]:
        """Ids of text that we wrote and that follows other text; special tokens in it count."""
        return self._encode(text, is_data=False)

    def data_ids(self, text: str) -> list[int]:
        """Ids of text that we did not write and that follows other text: never a special or added token.

        The one exception is the unknown token, for characters that the vocabulary cannot write. Lone surrogates,
        which UTF-8 cannot carry, and the noncharacter U+10FFFF become question marks.
        """
        return self._encode(text, is_data=True)

    def prompt_ids(self, prompt: StructuredPrompt) -> list[int]:
        """Ids of a whole judge prompt, the begin token or chat frame included."""
        ids = list(self.before_ids)
        for index, segment in enumerate(prompt.segments):
            ids += self._encode(segment.text, is_data=segment.is_data, opens=self._opens and index == 0)
        return ids + self.after_ids

    def policy_ids(self, text: str) -> list[int]:
        """Ids of a policy's prompt: the begin token, if the tokenizer uses one, and the text as data."""
        return [*self.before_ids, *self._encode(text, is_data=True, opens=self._opens), *self.after_ids]

    def cut_left(self, ids: list[int], max_tokens: int) -> list[int]:
        """The last tokens of a policy's prompt; a prompt that is cut keeps the begin token.

        Args:
            ids: From :meth:`policy_ids`.
            max_tokens: Tokens to keep at most, at least 1.
        """
        if len(ids) <= max_tokens:
            return ids
        begin = self.before_ids if len(self.before_ids) < max_tokens else []
        return [*begin, *ids[len(ids) - max_tokens + len(begin) :]]

    def pair(self, first: str, second: str, *, max_length: int) -> Encoding:
        """Two texts of data as the tokenizer puts them together, e.g. ``[CLS] first [SEP] second [SEP]``.

        Args:
            first: Cut from the left when both are too long.
            second: Cut from the right when it is too long alone.
            max_length: Tokens of both with the special ones around them.
        """
        room = max_length - self._joining.num_special_tokens_to_add(is_pair=True)
        texts = [as_unicode(text).replace(_UNREACHABLE, "?") for text in (first, second)]
        one, two = (self._backends[True, True].encode(text, add_special_tokens=False) for text in texts)
        two.truncate(max(1, room - 1))
        one.truncate(max(1, room - len(two)), direction="left")
        return self._joining.post_process(one, two)

    @cached_property
    def _joining(self) -> Tokenizer:
        from tokenizers import Tokenizer

        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return Tokenizer.from_str(json.dumps(backend | {"truncation": None, "padding": None}))

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of token ids without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def response_text(self, ids: Sequence[int]) -> str:
        """Text of a response as written, without special tokens and the one space that separates it from its prompt.

        Some decoders drop the space in front of the first token, so the ids are decoded after a letter.
        """
        before = self._letter_ids
        return self.decode([*before, *ids]).removeprefix(self.decode(before)).removeprefix(" ")

    @cached_property
    def _letter_ids(self) -> list[int]:
        return self.data_ids("a")

    def _encode(self, text: str, *, is_data: bool, opens: bool = False) -> list[int]:
        if is_data:
            text = as_unicode(text).replace(_UNREACHABLE, "?")
        return list(self._backends[is_data, opens].encode(text, add_special_tokens=False).ids) if text else []


def _backend(tokenizer: PreTrainedTokenizerBase, *, is_data: bool, opens: bool) -> Tokenizer:
    from tokenizers import Tokenizer

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend["truncation"] = backend["padding"] = backend["post_processor"] = None
    if not opens:
        backend["normalizer"] = _without_opening(backend["normalizer"], "normalizers")
        backend["pre_tokenizer"] = _without_opening(backend["pre_tokenizer"], "pretokenizers")
    if is_data:
        names = {token["content"] for token in backend["added_tokens"]} | set(tokenizer.all_special_tokens)
        backend["added_tokens"] = []
        _hide(backend["model"], names)
        if backend["model"].get("byte_fallback"):
            _spell_out_bytes(backend)
    return Tokenizer.from_str(json.dumps(backend))


def _without_opening(step: Any, children: str) -> Any:
    """A normalizer or pre-tokenizer that puts no space before the text."""
    if step is None or step["type"] == "Prepend":
        return None
    if step["type"] == "Sequence":
        kept = [_without_opening(child, children) for child in step[children]]
        return step | {children: [child for child in kept if child is not None]}
    if step["type"] == "Metaspace":
        return step | {"prepend_scheme": "never"}
    if step["type"] == "ByteLevel":
        return step | {"add_prefix_space": False}
    return step


def _hide(model: dict[str, Any], names: set[str]) -> None:
    """Rename special entries of the vocabulary, which text could spell, to what no data holds; ids stay."""

    def renamed(piece: str) -> str:
        return _UNREACHABLE + piece if piece in names else piece

    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {renamed(piece): index for piece, index in vocab.items()}
    else:
        model["vocab"] = [[renamed(piece), score] for piece, score in vocab]
    if model.get("unk_token") is not None:
        model["unk_token"] = renamed(model["unk_token"])
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if "".join(merge) not in names and not names & {*merge}]


def _spell_out_bytes(backend: dict[str, Any]) -> None:
    """Keep the text ``<0x0A>`` from matching the entry of the byte."""
    split = {
        "type": "Split",
        "pattern": {"Regex": "<(?=0x[0-9A-F]{2}>)"},
        "behavior": "Isolated",
        "invert": False,
    }
    before = backend["pre_tokenizer"]
    steps = [split] if before is None else [before, split]
    backend["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}


def _frame(
    tokenizer: PreTrainedTokenizerBase, chat_template: str, arguments: Mapping[str, Any]
) -> tuple[list[int], list[int]]:
    """Ids before and after the prompt, made once."""
    if chat_template == "model":
        option = "labeler.engine.chat_template=model"
        before, after = chat_pieces(tokenizer, ["user"], option=option, add_generation_prompt=True, **arguments)
        return (
            list(tokenizer(before, add_special_tokens=False)["input_ids"]),
            list(tokenizer(after, add_special_tokens=False)["input_ids"]),
        )
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return ([tokenizer.bos_token_id] if begins else []), []


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
