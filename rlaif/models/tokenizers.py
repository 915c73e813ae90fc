"""Text to token ids, piece by piece, so that data can never become an instruction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rlaif.types import Segment, StructuredPrompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = "⟦rlaif⟧"


class PromptTokenizer:
    """Tokenizes what we wrote and what we did not write apart.

    Each segment is tokenized on its own and the ids are joined, so no segment changes another's ids.
    Data is tokenized without the tokenizer's added tokens: text such as ``<|endoftext|>`` in a candidate
    becomes ordinary characters.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        chat_template: ``none`` joins the segments after the begin token, if the tokenizer uses one;
            ``model`` puts them into one user turn of the tokenizer's own chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, chat_template: str = "none") -> None:
        self.tokenizer = tokenizer
        self._data_tokenizer = _without_added_tokens(tokenizer)
        self.before_ids, self.after_ids = _frame(tokenizer, chat_template)

    def trusted_ids(self, text: str) -> list[int]:
        """Ids of text that we wrote; special tokens in it count."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def data_ids(self, text: str) -> list[int]:
        """Ids of text that we did not write: never a special or added token.

        Lone surrogates, which UTF-8 cannot carry, become question marks.
        """
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return list(self._data_tokenizer.encode(clean, add_special_tokens=False).ids)

    def segment_ids(self, segment: Segment) -> list[int]:
        """Ids of one segment, by its kind."""
        return self.data_ids(segment.text) if segment.is_data else self.trusted_ids(segment.text)

    def prompt_ids(self, prompt: StructuredPrompt) -> list[int]:
        """Ids of a whole judge prompt, the begin token or chat frame included."""
        ids = list(self.before_ids)
        for segment in prompt.segments:
            ids += self.segment_ids(segment)
        return ids + self.after_ids

    def policy_ids(self, text: str) -> list[int]:
        """Ids of a policy's prompt: the begin token, if the tokenizer uses one, and the text as data."""
        return [*self.before_ids, *self.data_ids(text), *self.after_ids]

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of token ids without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _without_added_tokens(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    from tokenizers import Tokenizer

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend["added_tokens"] = []
    backend["truncation"] = backend["padding"] = backend["post_processor"] = None
    return Tokenizer.from_str(json.dumps(backend))


def _frame(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> tuple[list[int], list[int]]:
    if chat_template == "model":
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": _PLACEHOLDER}], add_generation_prompt=True, tokenize=False
        )
        before, after = str(chat).split(_PLACEHOLDER)
        return (
            list(tokenizer(before, add_special_tokens=False)["input_ids"]),
            list(tokenizer(after, add_special_tokens=False)["input_ids"]),
        )
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return ([tokenizer.bos_token_id] if begins else []), []
