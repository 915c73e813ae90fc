"""Text to token ids, piece by piece, so that data can never become an instruction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlaif.chat_format import ChatFormat, chat_pieces, is_white_space
from rlaif.types import StructuredPrompt, Turn, as_unicode, turns_in

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

_UNREACHABLE = "\U0010ffff"
"""A noncharacter: names vocabulary entries that no data may spell, and is itself taken out of data."""


class PromptTokenizer:
    """Tokenizes what we wrote and what we did not write apart.

    Each segment is tokenized on its own and the ids are joined, so no segment changes another's ids. Only the text at
    the very beginning gets the space that some tokenizers put before a text. Data is tokenized without the
    tokenizer's added and special tokens: text such as ``<|endoftext|>`` in a candidate becomes ordinary characters.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        chat_template: ``none`` joins the segments after the begin tokens, if the tokenizer writes any;
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
        self.before_ids, after = _frame(tokenizer, chat_template, template_arguments or {})
        self.after_ids = self.trusted_ids(after)

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

    @cached_property
    def chat(self) -> ChatFormat | None:
        """The form of a policy's prompts in the tokenizer's chat template; None where it has none: plain text."""
        return ChatFormat(self.tokenizer) if self.tokenizer.chat_template else None

    def policy_ids(self, text: str, turns: Sequence[Turn] = ()) -> list[int]:
        """Ids of a policy's prompt, whose text is data.

        With a chat template the turns are messages, and the assistant's turn begins; without one the text follows the
        begin token, if the tokenizer uses one.

        Args:
            text: What a policy continues; its turns count where ``turns`` are empty.
            turns: Turns that say more than the text, e.g. with a system turn.

        Raises:
            EngineError: The chat template refuses the turns.
        """
        if self.chat is None:
            return [*self.before_ids, *self._encode(text, is_data=True, opens=self._opens), *self.after_ids]
        framed = self.chat.framed(turns or turns_in(text))
        ids = self.trusted_ids(framed.pieces[0])
        for turn, after in zip(framed.turns, framed.pieces[1:], strict=True):
            ids += [*self.data_ids(turn.text), *self.trusted_ids(after)]
        return ids

    def cut(self, ids: list[int], max_tokens: int) -> list[int]:
        """A policy's prompt without its oldest tokens, which still begins as a prompt does.

        The begin token stays. With a chat template the system turn stays as far as there is room for it, and what is
        left follows the beginning of a user's turn.

        Args:
            ids: Of :meth:`policy_ids`.
            max_tokens: Tokens that are kept, at least 1.
        """
        if len(ids) <= max_tokens:
            return ids
        kept = next((each for each in self._beginnings(ids) if len(each) < max_tokens), [])
        return kept + ids[len(ids) - max_tokens + len(kept) :]

    def _beginnings(self, ids: list[int]) -> Iterator[list[int]]:
        """What may stand before the newest tokens of a prompt, best first."""
        begin = [self.tokenizer.bos_token_id]
        if self.chat is None:
            yield from (each for each in (self.before_ids, begin) if ids[: len(each)] == each)
            return
        opening, *_ = self._around(Turn("user", ""))
        if ids[: len(opening)] != opening and (end := self._system_end(ids)):
            yield ids[:end]
        yield opening
        if ids[:1] == begin:
            yield begin

    def _system_end(self, ids: list[int]) -> int:
        """Where the user's first text begins in a prompt with a system turn; 0 where it has none."""
        pieces = self._around(Turn("system", ""), Turn("user", ""))
        if len(pieces) != 3 or ids[: len(pieces[0])] != pieces[0]:
            return 0
        ends = range(len(pieces[0]) + len(pieces[1]), len(ids))
        return next((end for end in ends if ids[end - len(pieces[1]) : end] == pieces[1]), 0)

    def _around(self, *turns: Turn) -> list[list[int]]:
        """Ids of the template's texts around turns."""
        assert self.chat is not None
        return [self.trusted_ids(piece) for piece in self.chat.framed(turns).pieces]

    @property
    def before_response(self) -> str:
        """White space between a policy's prompt and its response."""
        return " " if self.chat is None else self.chat.before_response

    @property
    def end_id(self) -> int:
        """The token that ends a policy's response: the chat template's end of turn, or the tokenizer's end token."""
        return int(self.tokenizer.eos_token_id) if self.chat is None else self.chat.end_id

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
        if ids and ids[-1] == self.end_id:
            ids = ids[:-1]  # some templates end turns with a token that is not special and would be text
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
        visible = [token for token in backend["added_tokens"] if _is_text(token)]
        hidden = {token["content"] for token in backend["added_tokens"]} - {token["content"] for token in visible}
        names = hidden | set(tokenizer.all_special_tokens)
        backend["added_tokens"] = [token for token in visible if token["content"] not in names]
        _hide(backend["model"], names)
        if backend["model"].get("byte_fallback"):
            _spell_out_bytes(backend)
    return Tokenizer.from_str(json.dumps(backend))


def _is_text(added_token: Mapping[str, Any]) -> bool:
    """True for an added token that ordinary text is made of."""
    return not added_token["special"] and is_white_space(added_token["content"])


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
) -> tuple[list[int], str]:
    """Ids before the prompt, and the text after it."""
    if chat_template == "model":
        option = "labeler.engine.chat_template=model"
        before, after = chat_pieces(tokenizer, ["user"], option=option, add_generation_prompt=True, **arguments)
        return list(tokenizer(before, add_special_tokens=False)["input_ids"]), after
    return _begin_ids(tokenizer), ""


def _begin_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that the tokenizer writes before a text: ``<s>``, nothing, or others than its begin token (GLM-4 has
    ``[gMASK]<sop>``, XGLM its end token)."""
    whole, bare = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (True, False))
    starts = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
    # A text that is other tokens without its frame says nothing of the frame but its begin token.
    return whole[: next(starts, int(whole[:1] == [tokenizer.bos_token_id]))]
